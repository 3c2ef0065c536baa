//! `meshpcap explain`: rules and probes in, verdicts out.

use std::io::Write;
use std::process::ExitCode;

use meshpcap::cli::ExplainArgs;
use meshpcap::explain::Explain;
use meshpcap::nat::{self, Probe};

use super::{complain, fail};

/// Remarks about rules that are printed.
const NOTES: usize = 20;

/// Explains one probe, or many.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let stdin = |path: &std::path::Path| path.as_os_str() == "-";
    if args.probes.as_deref().is_some_and(stdin) && args.rules.iter().any(|file| stdin(&file.path)) {
        return fail("--rules and --probes cannot both come from standard input");
    }
    let preset = args.mesh.as_deref().and_then(nat::Preset::named);
    let rules = match preset.map_or_else(|| nat::load(&args.rules), |preset| Ok(preset.ruleset())) {
        Ok(rules) => rules,
        Err(message) => return fail(&message),
    };
    for note in rules.notes.iter().take(NOTES) {
        complain(&format!("{}: {}", rules.whereabouts(note.place), note.what));
    }
    if rules.notes.len() > NOTES {
        complain(&format!("and {} more of this kind", rules.notes.len() - NOTES));
    }
    let (interfaces, loopback) = args.host();
    let explain = Explain { rules, interfaces, loopback, json: args.json };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let known = |probe: Probe| Probe {
        uid: args.uid,
        gid: args.gid,
        mark: args.mark,
        input: args.input.clone(),
        output: args.output.clone(),
        ..probe
    };
    let result = match (&args.probe, &args.probes) {
        (Some(probe), _) => explain.one(&known(probe.clone()), &mut out),
        (None, Some(path)) if path.as_os_str() == "-" => {
            explain.lines(&mut std::io::stdin().lock(), &known(Probe::default()), &mut out)
        }
        (None, Some(path)) => std::fs::File::open(path)
            .and_then(|file| explain.lines(&mut std::io::BufReader::new(file), &known(Probe::default()), &mut out)),
        (None, None) => Ok(()),
    };
    match result.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}

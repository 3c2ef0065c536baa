//! `meshpcap explain`: rules and probes in, verdicts out.

use std::io::Write;
use std::process::ExitCode;

use meshpcap::cli::ExplainArgs;
use meshpcap::explain::Explain;
use meshpcap::nat::{self, Probe};

use super::{complain, fail};

/// Explains one probe, or many.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let preset = args.mesh.as_deref().and_then(nat::Preset::named);
    let rules = match preset.map_or_else(|| nat::load(&args.rules), |preset| Ok(preset.ruleset())) {
        Ok(rules) => rules,
        Err(message) => return fail(&message),
    };
    for note in &rules.notes {
        complain(&format!("{}: {}", rules.whereabouts(note.place), note.what));
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

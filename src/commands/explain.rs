//! `meshpcap explain`: rules and probes in, verdicts out.

use std::io::Write;
use std::process::ExitCode;

use meshpcap::cli::ExplainArgs;
use meshpcap::explain::Explain;
use meshpcap::nat::Probe;

use super::{fail, given, printed};

/// Explains one probe, or many.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let stdin = |path: &std::path::Path| path.as_os_str() == "-";
    if args.probes.as_deref().is_some_and(stdin) && args.rules.iter().any(|file| stdin(&file.path)) {
        return fail("--rules and --probes cannot both come from standard input");
    }
    let rules = match given::ruleset(args.mesh.as_deref(), &args.rules) {
        Ok(rules) => rules,
        Err(message) => return fail(&message),
    };
    let (interfaces, loopback) = args.host();
    let explain = Explain { rules, interfaces, loopback, json: args.json };
    let mut out = Out { writer: std::io::BufWriter::new(std::io::stdout().lock()), failed: false };
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
    match (result.and_then(|()| out.flush()), &args.probes) {
        (Err(error), Some(path)) if !out.failed => match path.to_str() {
            Some("-") => fail(&format!("standard input: {error}")),
            _ => fail(&format!("{}: {error}", path.display())),
        },
        (result, _) => printed(result),
    }
}

/// Standard output, which remembers that it failed: other errors are those of what is read.
struct Out<W> {
    writer: W,
    failed: bool,
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes).inspect_err(|_| self.failed = true)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush().inspect_err(|_| self.failed = true)
    }
}

//! The `meshpcap` command: parse, run, exit status.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser};
use indicatif::{ProgressBar, ProgressStyle};

use meshpcap::capture::Source;
use meshpcap::cli::{Cli, Command, ExplainArgs, MergeArgs};
use meshpcap::explain::Explain;
use meshpcap::nat::{self, Probe};
use meshpcap::output::{Destination, GivenName};
use meshpcap::pipeline::{self, Done, Error, Merge};

/// The output is there, but something was wrong with an input.
const DAMAGED: u8 = 1;
/// Nothing was written.
const FAILED: u8 = 2;
/// 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Merge(args) => merge(&args),
        Command::Explain(args) => explain(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "meshpcap", &mut script);
            print(&script)
        }
        Command::Man => manual(),
    }
}

fn merge(args: &MergeArgs) -> ExitCode {
    let merge = match prepare(args) {
        Ok(merge) => merge,
        Err(message) => return fail(&message),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = watch_signals(&interrupted) {
        return fail(&format!("signals cannot be handled: {error}"));
    }
    let bar = progress_bar(args.quiet);
    let result = pipeline::merge(&merge, &interrupted, &mut |read, total| {
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(read);
    });
    bar.finish_and_clear();
    match result {
        Ok(done) => tell(&done, args.quiet),
        // The reader has seen enough: nothing to complain about.
        Err(Error::Output { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Error::Interrupted) => {
            fail(&Error::Interrupted.to_string());
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn explain(args: &ExplainArgs) -> ExitCode {
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

/// Builds the run from what was typed.
fn prepare(args: &MergeArgs) -> Result<Merge, String> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        return Err("the output is binary: pipe it into wireshark -k -i - or give a file with -o".to_owned());
    }
    let inputs: Vec<Source> = args.inputs.iter().map(|path| Source::from_arg(path.as_os_str())).collect();
    if inputs.iter().filter(|input| **input == Source::Stdin).count() > 1 {
        return Err("standard input (-) can be read only once".to_owned());
    }
    if inputs.len() > usize::from(u16::MAX) {
        return Err("too many captures".to_owned());
    }
    let names = args.interfaces.iter().map(|typed| {
        if typed.capture > inputs.len() {
            return Err(format!("--interface: there is no capture {}, only {}", typed.capture, inputs.len()));
        }
        Ok(GivenName { input: typed.capture - 1, index: typed.interface, name: typed.name.clone() })
    });
    Ok(Merge {
        names: names.collect::<Result<_, _>>()?,
        inputs,
        output: if to_stdout { Destination::Stdout } else { Destination::Path(args.output.clone()) },
        report: args.report.clone(),
        ethernet: args.linktype.is_some(),
        keep_duplicates: args.keep_duplicates,
        look_ahead: args.lookahead.map(|l| l.0),
    })
}

/// The first SIGINT or SIGTERM ends the inputs; the second one ends the program.
fn watch_signals(interrupted: &Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    Ok(())
}

/// A progress bar, if somebody watches and the work is long.
fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let template = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn tell(done: &Done, quiet: bool) -> ExitCode {
    for damage in &done.damage {
        complain(&damage.to_string());
    }
    if !quiet {
        // Standard error may be closed; there is nobody to tell then.
        let _ = write!(std::io::stderr(), "{}", done.summary);
        if done.link_types > 1 {
            complain("the output has several link types: Wireshark reads it, tcpdump does not (see --linktype)");
        }
    }
    match (done.interrupted, done.damage.is_empty()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, false) => ExitCode::from(DAMAGED),
        (false, true) => ExitCode::SUCCESS,
    }
}

fn fail(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(FAILED)
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "meshpcap: {message}");
}

fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}

/// One page for the command and its subcommands.
fn manual() -> ExitCode {
    let mut page = Vec::new();
    let command = Cli::command();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page).and_then(|()| {
        let merge = command.find_subcommand("merge").cloned().unwrap_or_default();
        let merge = clap_mangen::Man::new(merge.name("meshpcap merge"));
        merge.render_description_section(&mut page)?;
        merge.render_options_section(&mut page)?;
        merge.render_extra_section(&mut page)
    });
    match rendered {
        Ok(()) => print(&page),
        Err(error) => fail(&error.to_string()),
    }
}

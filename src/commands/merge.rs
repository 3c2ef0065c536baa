//! `meshpcap merge`: from what was typed to the pipeline, and what came of it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indicatif::{ProgressBar, ProgressStyle};

use meshpcap::audit::Rules;
use meshpcap::capture::Source;
use meshpcap::cli::{MergeArgs, NameArg};
use meshpcap::nat::{self, Preset, RulesFile};
use meshpcap::output::{Destination, GivenName};
use meshpcap::pipeline::{self, Done, Error, Merge};

use super::found::Found;
use super::{DAMAGED, INTERRUPTED, complain, fail};

/// Merges, and says what was done.
pub fn run(args: &MergeArgs) -> ExitCode {
    let found = match Found::at(&args.inputs) {
        Ok(found) => found,
        Err(message) => return fail(&message),
    };
    let merge = match prepare(args, &found) {
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

/// Builds the run from what was typed.
fn prepare(args: &MergeArgs, found: &Found) -> Result<Merge, String> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        return Err("the output is binary: pipe it into wireshark -k -i - or give a file with -o".to_owned());
    }
    let inputs = found.inputs.clone();
    let rules_from_stdin = args.rules.iter().filter(|file| file.path.as_os_str() == "-").count();
    if inputs.iter().filter(|input| **input == Source::Stdin).count() + rules_from_stdin > 1 {
        return Err("standard input (-) can be read only once".to_owned());
    }
    if inputs.contains(&Source::Stdin) && std::io::stdin().is_terminal() {
        return Err(
            "standard input (-) is a terminal: pipe a capture into it, such as tcpdump -U -w - writes".to_owned()
        );
    }
    if inputs.len() > usize::from(u16::MAX) {
        return Err("too many captures".to_owned());
    }
    for (place, typed) in args.interfaces.iter().enumerate() {
        let is_same = |other: &&NameArg| (other.capture, other.interface) == (typed.capture, typed.interface);
        if let Some(other) = args.interfaces[..place].iter().find(is_same) {
            return Err(format!("--interface: {other} and {typed} name one interface; give it one name"));
        }
    }
    let names = args.interfaces.iter().map(|typed| {
        if typed.capture > inputs.len() {
            return Err(format!("--interface: there is no capture {}, only {}", typed.capture, inputs.len()));
        }
        Ok(GivenName { input: typed.capture - 1, index: typed.interface, name: typed.name.clone() })
    });
    // Names that were typed come first.
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.extend(found.names.iter().cloned());
    for note in args.gateway.notes() {
        complain(&note);
    }
    Ok(Merge {
        names,
        inputs,
        output: if to_stdout { Destination::Stdout } else { Destination::Path(args.output.clone()) },
        report: args.report.clone(),
        rules: rules(args, &found.rules)?,
        ethernet: args.linktype.is_some(),
        keep_duplicates: args.keep_duplicates,
        look_ahead: args.lookahead.map(|l| l.0),
        beside: found.beside(args),
        gateway: args.gateway.gateway(&args.pods, &args.ports),
        keep_proxy_address: args.keep_proxy_address,
    })
}

/// What was said of the pod's rules.
fn rules(args: &MergeArgs, found: &[RulesFile]) -> Result<Rules, String> {
    if let Some(preset) = args.mesh.as_deref().and_then(Preset::named) {
        return Ok(Rules::Mesh(preset));
    }
    let files = if args.rules.is_empty() { found } else { &args.rules };
    if files.is_empty() {
        return Ok(Rules::Unknown);
    }
    rules_of(files)
}

/// The rules in files.
pub fn rules_of(files: &[RulesFile]) -> Result<Rules, String> {
    let rules = nat::load(files)?;
    for note in &rules.notes {
        complain(&format!("{}: {}", rules.whereabouts(note.place), note.what));
    }
    Ok(Rules::Read(rules))
}

/// The first SIGINT or SIGTERM ends the inputs; the second one ends the program.
pub fn watch_signals(interrupted: &Arc<AtomicBool>) -> std::io::Result<()> {
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
    for GivenName { input, index, name } in &done.unused_names {
        let typed = NameArg { capture: input + 1, interface: *index, name: name.clone() };
        complain(&format!("--interface {typed}: nothing of such an interface is in capture {}", input + 1));
    }
    for unused in &done.unused {
        complain(&unused.to_string());
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

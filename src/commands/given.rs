//! What `meshpcap merge` and `meshpcap check` have in common: from what was typed of captures to a run, and what watches it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indicatif::{ProgressBar, ProgressStyle};

use meshpcap::audit::Rules;
use meshpcap::beside::Files;
use meshpcap::capture::Source;
use meshpcap::cli::{CaptureArgs, NameArg};
use meshpcap::nat::{self, Preset, RulesFile, Ruleset};
use meshpcap::output::{Destination, GivenName};
use meshpcap::pipeline::Merge;

use super::found::Found;
use super::{INTERRUPTED, complain};

/// Remarks about rules that are printed.
const NOTES: usize = 20;

/// A run over captures; where its output goes, and what that looks like, is up to the caller.
pub fn merge(args: &CaptureArgs, found: &Found, beside: Files) -> Result<Merge, String> {
    let inputs = found.inputs.clone();
    let files = args.rules.iter().map(|file| &file.path).chain(beside.paths());
    let from_stdin = files.filter(|path| path.as_os_str() == "-").count();
    if inputs.iter().filter(|input| **input == Source::Stdin).count() + from_stdin > 1 {
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
        rules: rules(args, &found.rules)?,
        rules_from: args.rules.iter().chain(&found.rules).map(|file| file.path.clone()).collect(),
        keep_duplicates: args.keep_duplicates,
        beside,
        gateway: args.gateway.gateway(&args.pods, &args.ports),
        keep_proxy_address: args.keep_proxy_address,
        ..Merge::new(inputs, Destination::Stdout)
    })
}

/// What was said of the pod's rules.
fn rules(args: &CaptureArgs, found: &[RulesFile]) -> Result<Rules, String> {
    match args.mesh.as_deref().and_then(Preset::named) {
        Some(preset) => Ok(Rules::Mesh(preset)),
        None => found_rules(if args.rules.is_empty() { found } else { &args.rules }),
    }
}

/// The rules in files, if there are any.
pub fn found_rules(files: &[RulesFile]) -> Result<Rules, String> {
    if files.is_empty() { Ok(Rules::Unknown) } else { ruleset(None, files).map(Rules::Read) }
}

/// The rules of a mesh, or else those in files; says what of them is not understood.
pub fn ruleset(mesh: Option<&str>, files: &[RulesFile]) -> Result<Ruleset, String> {
    let rules = match mesh.and_then(Preset::named) {
        Some(preset) => preset.ruleset(),
        None => nat::load(files)?,
    };
    for note in rules.notes.iter().take(NOTES) {
        complain(&format!("{}: {}", rules.whereabouts(note.place), note.what));
    }
    if rules.notes.len() > NOTES {
        complain(&format!("and {} more of this kind", rules.notes.len() - NOTES));
    }
    Ok(rules)
}

/// Whether the user stopped the run: the first SIGINT or SIGTERM ends the inputs; the second one ends the program.
pub fn watch_signals() -> Result<Arc<AtomicBool>, String> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&interrupted))
            .and_then(|_| register(signal, Arc::clone(&interrupted)))
            .map_err(|error| format!("signals cannot be handled: {error}"))?;
    }
    Ok(interrupted)
}

/// A progress bar, if somebody watches and the work is long.
pub fn progress_bar(quiet: bool) -> ProgressBar {
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

/// Shows how far reading has come.
pub fn progress(bar: &ProgressBar, read: u64, total: Option<u64>) {
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_position(read);
}

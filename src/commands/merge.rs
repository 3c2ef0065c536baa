//! `meshpcap merge`: from what was typed to the pipeline, and what came of it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use meshpcap::capture::LinkType;
use meshpcap::cli::{MergeArgs, NameArg};
use meshpcap::output::{Destination, GivenName};
use meshpcap::packet;
use meshpcap::pipeline::{self, Done, Error, Merge};

use super::found::Found;
use super::{DAMAGED, INTERRUPTED, complain, fail, given, status};

/// Merges, and says what was done.
pub fn run(args: &MergeArgs) -> ExitCode {
    let interrupted = match given::watch_signals() {
        Ok(interrupted) => interrupted,
        Err(message) => return fail(&message),
    };
    let found = match Found::at(&args.captures.inputs, &interrupted) {
        Ok(found) => found,
        Err(failure) => return status(Err(failure)),
    };
    let merge = match prepare(args, &found) {
        Ok(merge) => merge,
        Err(message) => return fail(&message),
    };
    let bar = given::progress_bar(args.quiet);
    let result = pipeline::merge(&merge, &interrupted, &mut |read, total| given::progress(&bar, read, total));
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
    for path in &found.repaired {
        complain(&format!(
            "{}: meshpcap wrote it: what its legs were captured as is not looked at again; better merge what it was made of",
            path.display()
        ));
    }
    let beside = found.beside(&args.captures, &args.names, &args.keys);
    Ok(Merge {
        output: if to_stdout { Destination::Stdout } else { Destination::Path(args.output.clone()) },
        report: args.report.clone(),
        ethernet: args.linktype.is_some(),
        look_ahead: args.lookahead.map(|l| l.0),
        ..given::merge(&args.captures, found, beside)?
    })
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
        for LinkType(number) in done.link_types.iter().filter(|link_type| !packet::is_understood(**link_type)) {
            complain(&format!(
                "packets of link type {number} are written as they are: their headers are not understood (capture the \
                 interface itself, as tcpdump -i eth0 does)"
            ));
        }
        if done.link_types.len() > 1 {
            complain("the output has several link types: Wireshark reads it, tcpdump does not (see --linktype)");
        }
    }
    match (done.interrupted, done.damage.is_empty()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, false) => ExitCode::from(DAMAGED),
        (false, true) => ExitCode::SUCCESS,
    }
}

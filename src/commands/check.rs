//! `meshpcap check`: from what was typed to the findings, and their exit status.

use std::process::ExitCode;

use meshpcap::check::format::{self, About};
use meshpcap::check::{self, Finding};
use meshpcap::cli::CheckArgs;
use meshpcap::pipeline::{self, Error};

use super::found::Found;
use super::{FAILED, INTERRUPTED, complain, complain_of_limits, expect, fail, given, print, status};

/// Something is at least as bad as `--fail-on` says.
const FOUND: u8 = 1;

/// Checks, or explains a code.
pub fn run(args: &CheckArgs) -> ExitCode {
    if let Some(code) = args.explain.as_deref().and_then(check::code) {
        return print(code.to_string().as_bytes());
    }
    let interrupted = match given::watch_signals() {
        Ok(interrupted) => interrupted,
        Err(message) => return fail(&message),
    };
    if args.expect || args.bless {
        return status(expect::run(args, &interrupted));
    }
    if !args.same.is_empty() {
        return fail("--map and --ignore-header are for --expect and --bless");
    }
    let captures = &args.captures;
    let prepared = Found::at(&captures.inputs, &interrupted).and_then(|found| {
        found.refuse_repaired()?;
        let beside = found.beside(captures, &[], &[]);
        let merge = given::merge(captures, &found, beside)?;
        // Folders that were unpacked have to stay until they are read.
        Ok((found, merge))
    });
    let (_found, merge) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return status(Err(failure)),
    };
    let bar = given::progress_bar(false);
    let result = pipeline::check(&merge, &interrupted, &mut |read, total| given::progress(&bar, read, total));
    bar.finish_and_clear();
    let checked = match result {
        Ok(checked) => checked,
        Err(Error::Interrupted) => {
            complain(&Error::Interrupted.to_string());
            return ExitCode::from(INTERRUPTED);
        }
        Err(error) => return fail(&error.to_string()),
    };
    for damage in &checked.damage {
        complain(&damage.to_string());
    }
    for unused in &checked.unused {
        complain(&unused.to_string());
    }
    complain_of_limits(&checked);
    let findings: Vec<Finding> = checked.findings.into_iter().filter(|finding| args.wants(finding.code)).collect();
    let about = About { inputs: &checked.inputs, legs: checked.legs };
    let printed = print(format::write(args.format.into(), &findings, about).as_bytes());
    if !checked.damage.is_empty() {
        return ExitCode::from(FAILED);
    }
    match findings.iter().any(|finding| args.fail_on.is_met(finding.severity)) {
        true => ExitCode::from(FOUND),
        false => printed,
    }
}

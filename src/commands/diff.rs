//! `meshpcap diff`: recordings are repaired if they are not yet, read, and compared.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use meshpcap::cli::DiffArgs;
use meshpcap::diff::{self, Addresses, Settings};
use meshpcap::output::{Destination, is_repaired};
use meshpcap::pipeline::Merge;

use super::found::Found;
use super::given::{found_rules, watch_signals};
use super::recording::{Recorded, merged, read, settings};
use super::{DAMAGED, FAILED, Failure, fail, print, status};

/// Compares, and says what differs.
pub fn run(args: &DiffArgs) -> ExitCode {
    let interrupted = match watch_signals() {
        Ok(interrupted) => interrupted,
        Err(message) => return fail(&message),
    };
    status(two(args, &interrupted))
}

/// Two recordings.
fn two(args: &DiffArgs, interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    let (old, new) = match (args.recordings.as_slice(), args.to.as_slice()) {
        ([old, new], []) => (std::slice::from_ref(old), std::slice::from_ref(new)),
        (_, []) => {
            let number = args.recordings.len();
            let told = format!(
                "diff takes two recordings, and {number} were given: meshpcap diff OLD NEW, \
                 or, of several captures, meshpcap diff OLD... --to NEW..."
            );
            return Err(told.into());
        }
        (old, new) => (old, new),
    };
    if [old, new].concat().iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err("standard input (-) can be read only once".to_owned().into());
    }
    let new_settings = settings(&args.same)?;
    let old_settings = Settings { addresses: Addresses::default(), ..new_settings.clone() };
    let old = trace(old, &old_settings, interrupted)?;
    let new = trace(new, &new_settings, interrupted)?;
    let is_damaged = old.is_damaged || new.is_damaged;
    let (old, new) = (old.trace, new.trace);
    let diff = diff::compare(&old, &new);
    let printed = match args.json {
        true => {
            let json = diff::json(&diff, &old, &new).map_err(|error| format!("JSON: {error}"))?;
            print(format!("{json}\n").as_bytes())
        }
        false => print(diff::text(&diff, &old, &new, ["OLD", "NEW"]).as_bytes()),
    };
    // What is missing may be the same, or differ.
    Ok(match (is_damaged, diff.is_empty()) {
        (true, _) => ExitCode::from(FAILED),
        (false, true) => printed,
        (false, false) => ExitCode::from(DAMAGED),
    })
}

/// The conversations of a recording: of a file that merge wrote, or of captures.
fn trace(paths: &[PathBuf], settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Recorded, Failure> {
    let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    if let [path] = paths
        && is_repaired(path)
    {
        return read(path, &name, settings, interrupted);
    }
    let found = Found::at(paths, interrupted)?;
    found.refuse_repaired()?;
    let merge = Merge {
        names: found.names.clone(),
        rules: found_rules(&found.rules)?,
        beside: found.beside.clone(),
        ..Merge::new(found.inputs.clone(), Destination::Stdout)
    };
    merged(merge, &name, settings, interrupted)
}

//! The conversations of a recording: what merge did not write is merged first, into a temporary file.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use meshpcap::beside::Files;
use meshpcap::cli::SameArgs;
use meshpcap::diff::{self, Addresses, Limits, Settings, Trace};
use meshpcap::output::Destination;
use meshpcap::pipeline::{self, Merge};

use super::{INTERRUPTED, complain, fail};

/// Why there is no answer.
pub enum Failure {
    Told(String),
    Interrupted,
}

impl From<String> for Failure {
    fn from(told: String) -> Failure {
        Failure::Told(told)
    }
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Failure {
        match error {
            pipeline::Error::Interrupted => Failure::Interrupted,
            error => Failure::Told(error.to_string()),
        }
    }
}

/// The exit status of a comparison.
pub fn status(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(Failure::Told(message)) => fail(&message),
        Err(Failure::Interrupted) => {
            complain("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// What does not count, as typed.
pub fn settings(args: &SameArgs) -> Result<Settings, String> {
    let ignored_headers = args.ignored_headers.iter().cloned().collect();
    Ok(Settings { ignored_headers, addresses: Addresses::new(args.map.clone())? })
}

/// The conversations of captures. Where the merge writes to, and names and secrets, do not count.
pub fn merged(merge: Merge, name: &str, settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Trace, Failure> {
    let temporary = |error| format!("temporary file: cannot be written: {error} (set TMPDIR to a folder with room)");
    let folder = TempDir::with_prefix("meshpcap-").map_err(temporary)?;
    let repaired = folder.path().join("repaired.pcapng");
    let beside = Files { names: Vec::new(), keys: Vec::new(), ..merge.beside };
    let merge = Merge { output: Destination::Path(repaired.clone()), beside, ..merge };
    let done = pipeline::merge(&merge, interrupted, &mut |_, _| ()).map_err(|error| match error {
        pipeline::Error::Output { source, .. } => temporary(source).into(),
        error => Failure::from(error),
    })?;
    done.damage.iter().for_each(|damage| complain(&damage.to_string()));
    done.unused.iter().for_each(|unused| complain(&unused.to_string()));
    if done.interrupted {
        return Err(Failure::Interrupted);
    }
    read(&repaired, name, settings, interrupted)
}

/// The conversations of a file that merge wrote.
pub fn read(path: &Path, name: &str, settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Trace, Failure> {
    let read = diff::read(path, name, settings, Limits::default(), interrupted).map_err(|error| match error {
        diff::Error::Interrupted => Failure::Interrupted,
        error => error.to_string().into(),
    })?;
    if let Some(damage) = read.damage {
        complain(&damage.to_string());
    }
    Ok(read.trace)
}

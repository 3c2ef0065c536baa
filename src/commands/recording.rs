//! The conversations of a recording: what merge did not write is merged first, into a temporary file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use meshpcap::beside::Files;
use meshpcap::cli::SameArgs;
use meshpcap::diff::{self, Addresses, Limits, Settings, Trace};
use meshpcap::output::Destination;
use meshpcap::pipeline::{self, Merge};

use super::{Failure, complain};

/// What does not count, as typed.
pub fn settings(args: &SameArgs) -> Result<Settings, String> {
    let ignored_headers = args.ignored_headers.iter().cloned().collect();
    Ok(Settings { ignored_headers, addresses: Addresses::new(args.map.clone())? })
}

/// What was recorded.
pub struct Recorded {
    /// The conversations.
    pub trace: Trace,
    /// Whether a part could not be read.
    pub is_damaged: bool,
}

/// The conversations of captures. Where the merge writes to, and names and secrets, do not count.
pub fn merged(
    merge: Merge,
    name: &str,
    settings: &Settings,
    interrupted: &Arc<AtomicBool>,
) -> Result<Recorded, Failure> {
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
    let recorded = read(&repaired, name, settings, interrupted)?;
    Ok(Recorded { is_damaged: recorded.is_damaged || !done.damage.is_empty(), ..recorded })
}

/// The conversations of a file that merge wrote.
pub fn read(path: &Path, name: &str, settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Recorded, Failure> {
    let read = diff::read(path, name, settings, Limits::default(), interrupted).map_err(|error| match error {
        diff::Error::Interrupted => Failure::Interrupted,
        error => error.to_string().into(),
    })?;
    if let Some(damage) = &read.damage {
        complain(&damage.to_string());
    }
    Ok(Recorded { is_damaged: read.damage.is_some(), trace: read.trace })
}

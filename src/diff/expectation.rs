//! What is expected of the captures in a folder, noted beside them as JSON that a reviewer can read.
//!
//! A folder with captures, what lies beside them and such a file is a regression trace: a run over it has to find the same
//! conversations again.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compare::{Diff, compare};
use super::read::Settings;
use super::trace::{Conversation, Trace};
use crate::output::NewFile;

/// The name of the file.
pub const EXPECTATION: &str = "expect.json";

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A larger file is none.
const LARGEST: u64 = 256 << 20;

/// What is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    meshpcap_expectation: u32,
    /// Header fields that do not count, beside those that never do.
    pub ignored_headers: BTreeSet<String>,
    /// The conversations, in the order of their first packets.
    pub conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Version {
    meshpcap_expectation: u32,
}

/// Why there is no expectation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not written yet.
    #[error("{}: is not there; write it with meshpcap diff --bless {}", .0.display(), .0.parent().unwrap_or(Path::new(".")).display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{}: is no expectation of meshpcap: {source}", .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What was wrong, and where.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("{}: is version {version} of an expectation, this meshpcap reads version {VERSION}; write it anew with --bless", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl Expectation {
    /// What was found becomes what is expected.
    pub fn of(trace: &Trace, settings: &Settings) -> Expectation {
        Expectation {
            meshpcap_expectation: VERSION,
            ignored_headers: settings.ignored_headers.clone(),
            conversations: trace.conversations.clone(),
        }
    }

    /// Reads the one in a folder.
    pub fn read(folder: &Path) -> Result<Expectation, Error> {
        let path = folder.join(EXPECTATION);
        let mut text = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Missing(path)),
            Err(source) => return Err(Error::Io { path, source }),
            Ok(_) => {}
        }
        let other = |source| Error::Other { path: path.clone(), source };
        let Version { meshpcap_expectation: version } = serde_json::from_slice(&text).map_err(other)?;
        if version != VERSION {
            return Err(Error::Version { path, version });
        }
        serde_json::from_slice(&text).map_err(other)
    }

    /// Writes it into a folder.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(EXPECTATION);
        let write = || {
            let file = NewFile::create(&path)?;
            let mut writer = io::BufWriter::new(file.writer()?);
            serde_json::to_writer_pretty(&mut writer, self)?;
            writer.write_all(b"\n")?;
            writer.flush()?;
            file.finish()
        };
        write().map_err(|source| Error::Io { path: path.clone(), source })
    }

    /// Holds a recording against it.
    pub fn hold(&self, found: &Trace) -> Diff {
        compare(&self.trace(), found)
    }

    /// Whether it tells what another one, of the same conversations, leaves open.
    pub fn knows_more(&self, other: &Expectation) -> bool {
        let open = |expectation: &Expectation| {
            let payloads = expectation.conversations.iter().flat_map(|c| [&c.sent, &c.received]);
            payloads.filter(|payload| payload.incomplete).count()
        };
        let ties = |expectation: &Expectation| expectation.conversations.iter().map(|c| c.tied.len()).sum::<usize>();
        open(self) < open(other) || ties(self) > ties(other)
    }

    /// What is expected, as a recording.
    pub fn trace(&self) -> Trace {
        Trace { conversations: self.conversations.clone() }
    }
}

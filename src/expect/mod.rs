//! What is expected of the captures in a folder, noted beside them as JSON that a reviewer can read.
//!
//! A folder with captures, what lies beside them and such a file is a regression trace: a run over it has to find the same
//! findings and conversations again. What comes in is both, of one run; what goes out is the file, or how they differ from
//! it. Nothing here reads captures.
//!
//! ```text
//! findings   findings -> what of them is the same in another recording; which are there more or less often
//! told       what differs -> text, JSON
//! ```

mod findings;
mod told;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::check::Finding;
use crate::diff::{Conversation, Diff, Settings, Trace, compare};
use crate::output::NewFile;

pub use findings::{Miscounted, Noted};
pub use told::{json, text};

/// The name of the file.
pub const EXPECTATION: &str = "expect.json";

/// The version that is written, and the only one that is read.
const VERSION: u32 = 2;

/// A larger file is none.
const LARGEST: u64 = 256 << 20;

/// What a run over the captures shows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The conversations, their addresses those of `settings`.
    pub trace: Trace,
}

/// How that differs from what is expected.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Findings of which there are more or fewer.
    pub findings: Vec<Miscounted>,
    /// The conversations.
    pub conversations: Diff,
}

impl Held {
    /// Whether all is as expected.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.conversations.is_empty()
    }
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    meshpcap_expectation: u32,
    /// Header fields that do not count, beside those that never do.
    pub ignored_headers: BTreeSet<String>,
    /// What is wrong, in the order of the codes.
    pub findings: Vec<Noted>,
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
    #[error("{}: is not there; write it with meshpcap check --bless {}", .0.display(), .0.parent().unwrap_or(Path::new(".")).display())]
    Missing(PathBuf),
    /// It cannot be written.
    #[error("{}: cannot be written: {source} (its folder is to be one that you may write to)", .path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
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
    pub fn of(shown: &Shown, settings: &Settings) -> Expectation {
        Expectation {
            meshpcap_expectation: VERSION,
            ignored_headers: settings.ignored_headers.clone(),
            findings: findings::noted(&shown.findings, &settings.addresses),
            conversations: shown.trace.conversations.clone(),
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
            let file = NewFile::create(&path, false)?;
            let mut writer = io::BufWriter::new(file.writer()?);
            serde_json::to_writer_pretty(&mut writer, self)?;
            writer.write_all(b"\n")?;
            writer.flush()?;
            file.finish()
        };
        write().map_err(|source| Error::Output { path: path.clone(), source })
    }

    /// Holds a run against it. `trace` is what is expected, less what does not count.
    pub fn hold(&self, trace: &Trace, shown: &Shown, settings: &Settings) -> Held {
        let findings = findings::miscounted(&self.findings, &shown.findings, &settings.addresses);
        Held { findings, conversations: compare(trace, &shown.trace) }
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

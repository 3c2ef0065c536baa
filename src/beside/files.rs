//! Files on disk; the one place of this stage that opens files.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::keys::Keys;
use super::names::Names;
use super::unused::Unused;

/// What the user has beside the captures, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Hosts files, and what `kubectl get pods,services -A -o json` prints.
    pub names: Vec<PathBuf>,
    /// TLS key logs.
    pub keys: Vec<PathBuf>,
    /// Access logs of the proxies.
    pub access_logs: Vec<PathBuf>,
    /// Their format, as Envoy's configuration writes it; none: Istio's.
    pub format: Option<String>,
    /// What conntrack lists.
    pub conntrack: Vec<PathBuf>,
}

impl Files {
    /// All of them: what is read may not be written to.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.names.iter().chain(&self.keys).chain(&self.access_logs).chain(&self.conntrack)
    }
}

/// What these files hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// From all files of names.
    pub names: Names,
    /// From all key logs.
    pub keys: Keys,
    /// What was not used, one for each file that has bad lines.
    pub unused: Vec<Unused>,
}

/// Reads all of these files. Of each, at most 256 MiB are read; what is kept of them is no larger than they are, and
/// some 100 octets for each name or secret.
pub fn load(files: &Files) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    for path in &files.names {
        let (file, reader) = open(path)?;
        let unused = loaded.names.read(&file, reader)?;
        loaded.unused.push(unused);
    }
    for path in &files.keys {
        let (file, reader) = open(path)?;
        let unused = loaded.keys.read(&file, reader)?;
        loaded.unused.push(unused);
    }
    loaded.unused.retain(|unused| unused.bad > 0);
    Ok(loaded)
}

/// Opens a file; the name that it has in messages. `-` is standard input.
pub fn open(path: &Path) -> Result<(String, Box<dyn BufRead>), Error> {
    if path.as_os_str() == "-" {
        return Ok(("standard input".to_owned(), Box::new(io::stdin().lock())));
    }
    let file = path.display().to_string();
    match File::open(path) {
        Ok(opened) => Ok((file, Box::new(BufReader::with_capacity(64 << 10, opened)))),
        Err(source) => Err(Error::Io { file, source }),
    }
}

//! A folder with everything that belongs to one capture, as the script of `meshpcap plan` leaves it.
//!
//! What comes in is a folder, or a tar archive of one (also compressed); what goes out is a [`Folder`]: which files are
//! what. Files are told by what is in them; names help where content does not. Folders within are not looked into.
//!
//! ```text
//! archive   tar, gzip -> a temporary folder
//! kind      a file    -> what it is
//! ```

mod archive;
mod kind;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use kind::Kind;

/// A larger list of addresses or rules than this is none.
const LARGEST: u64 = 16 << 20;

/// What was found in a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// Captures, by name.
    pub captures: Vec<Found>,
    /// The pod's rules: what iptables-save and ip6tables-save print; what nft prints, only if those have no rule.
    pub rules: Vec<PathBuf>,
    /// Access logs of the proxy.
    pub access_logs: Vec<PathBuf>,
    /// Lists of conntrack.
    pub conntrack: Vec<PathBuf>,
    /// TLS secrets, as NSS key logs.
    pub keys: Vec<PathBuf>,
    /// Names for addresses: hosts files, what `kubectl get -o json` prints.
    pub names: Vec<PathBuf>,
    /// What `ip -j addr` prints.
    pub addresses: Option<PathBuf>,
    /// Where an archive was unpacked to; gone with it.
    pub unpacked: Option<TempDir>,
}

/// A capture that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// The interface that it is of: the file is named after one that the pod has.
    pub interface: Option<String>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read, or not be unpacked.
    #[error("{name}: {source}")]
    Io {
        /// The folder or archive as the user named it.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
    /// There is no capture in it.
    #[error("{0}: there is no capture in it (pcap or pcapng; folders within it are not looked into)")]
    NoCapture(String),
}

impl Folder {
    /// Whether a path is a folder, or an archive of one: then it is to be opened as such.
    pub fn is_one(path: &Path) -> bool {
        path.is_dir() || path.is_file() && archive::plain(path).is_ok_and(|archive| archive.is_some())
    }

    /// Looks at what is in a folder, or in an archive of one, which is unpacked to a temporary folder first.
    /// Stops if `interrupted` is set meanwhile.
    pub fn open(path: &Path, interrupted: &AtomicBool) -> Result<Folder, Error> {
        let name = path.display().to_string();
        let io = |source| match interrupted.load(Ordering::Relaxed) {
            true => Error::Interrupted,
            false => Error::Io { name: name.clone(), source },
        };
        let mut folder = if path.is_dir() {
            Folder::look(path).map_err(io)?
        } else {
            let unpacked = archive::unpack(path, interrupted).map_err(io)?;
            let mut folder = Folder::look(&archive::root(unpacked.path()).map_err(io)?).map_err(io)?;
            folder.unpacked = Some(unpacked);
            folder
        };
        if folder.captures.is_empty() {
            return Err(Error::NoCapture(name));
        }
        let interfaces = folder.addresses.as_deref().map(interfaces).unwrap_or_default();
        for capture in &mut folder.captures {
            let name = capture.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            capture.interface =
                name.split_once(".pcap").map(|(stem, _)| stem.to_owned()).filter(|s| interfaces.contains(s));
        }
        Ok(folder)
    }

    fn look(path: &Path) -> io::Result<Folder> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.is_file());
        paths.sort_by_key(|path| by_number(path));
        let mut folder = Folder::default();
        let mut nft = Vec::new();
        for path in paths {
            match Kind::of(&path)? {
                Kind::Capture => folder.captures.push(Found { path, interface: None }),
                Kind::Rules => folder.rules.push(path),
                Kind::Nft => nft.push(path),
                Kind::AccessLog => folder.access_logs.push(path),
                Kind::Conntrack => folder.conntrack.push(path),
                Kind::Keys => folder.keys.push(path),
                Kind::Names => folder.names.push(path),
                Kind::Addresses => folder.addresses = Some(path),
                Kind::Other => {}
            }
        }
        // nft lists rules of iptables, too, but without their parameters.
        if folder.rules.is_empty() {
            folder.rules = nft;
        }
        Ok(folder)
    }
}

/// `lo.pcap2` comes before `lo.pcap10`.
fn by_number(path: &Path) -> (String, u64, PathBuf) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), name[stem.len()..].parse().unwrap_or(0), path.to_owned())
}

/// The names of the interfaces in what `ip -j addr` prints; none if it is something else.
fn interfaces(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    let listed: Value = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
    let name = |one: &Value| one["ifname"].as_str().map(str::to_owned);
    listed.as_array().into_iter().flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_when_the_user_stops_the_run_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pod.tar");
        let mut archive = tar::Builder::new(File::create(&path).expect("a file"));
        let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/basic/lo.pcap");
        archive.append_path_with_name(capture, "lo.pcap").and_then(|()| archive.finish()).expect("an archive");
        assert!(matches!(Folder::open(&path, &AtomicBool::new(true)), Err(Error::Interrupted)));
        let opened = Folder::open(&path, &AtomicBool::new(false)).expect("a folder");
        assert_eq!(opened.captures.len(), 1);
        let unpacked = opened.unpacked.as_ref().expect("an archive").path().to_owned();
        drop(opened);
        assert!(!unpacked.exists());
    }

    #[test]
    fn rotated_files_are_in_order() {
        let mut paths: Vec<PathBuf> = ["lo.pcap10", "eth0.pcap", "lo.pcap2"].map(PathBuf::from).into();
        paths.sort_by_key(|path| by_number(path));
        assert_eq!(paths, ["eth0.pcap", "lo.pcap2", "lo.pcap10"].map(PathBuf::from));
    }
}

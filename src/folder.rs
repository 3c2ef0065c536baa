//! A folder with everything that belongs to one capture, as the script of `meshpcap plan` leaves it.
//!
//! What comes in is a folder, or a tar archive of one (also compressed); what goes out is a [`Folder`]: which files are
//! what. Files are told by what is in them; names help where content does not. Folders within are not looked into.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::capture::{Capture, Source};

/// How much of a file is looked at to tell what it is, in octets.
const HEAD: u64 = 64 << 10;

/// Lines of that.
const LINES: usize = 200;

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
    /// What `ss -tanp` prints.
    pub sockets: Vec<PathBuf>,
    /// Files that are nothing of all that.
    pub other: Vec<PathBuf>,
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
    /// There is no capture in it.
    #[error("{0}: there is no capture in it (pcap or pcapng; folders within it are not looked into)")]
    NoCapture(String),
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Capture,
    Rules,
    Nft,
    AccessLog,
    Conntrack,
    Keys,
    Names,
    Addresses,
    Sockets,
    Other,
}

impl Folder {
    /// Whether a path is a folder, or an archive of one: then it is to be opened as such.
    pub fn is_one(path: &Path) -> bool {
        path.is_dir() || path.is_file() && archive(path).is_ok_and(|archive| archive.is_some())
    }

    /// Looks at what is in a folder, or in an archive of one, which is unpacked to a temporary folder first.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let name = path.display().to_string();
        let io = |source| Error::Io { name: name.clone(), source };
        let mut folder = if path.is_dir() {
            Folder::look(path).map_err(io)?
        } else {
            let unpacked = unpack(path).map_err(io)?;
            let mut folder = Folder::look(&root(unpacked.path()).map_err(io)?).map_err(io)?;
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
            match kind(&path)? {
                Kind::Capture => folder.captures.push(Found { path, interface: None }),
                Kind::Rules => folder.rules.push(path),
                Kind::Nft => nft.push(path),
                Kind::AccessLog => folder.access_logs.push(path),
                Kind::Conntrack => folder.conntrack.push(path),
                Kind::Keys => folder.keys.push(path),
                Kind::Names => folder.names.push(path),
                Kind::Addresses => folder.addresses = Some(path),
                Kind::Sockets => folder.sockets.push(path),
                Kind::Other => folder.other.push(path),
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

/// The folder in which an archive has its files: itself, or the only folder in it.
fn root(path: &Path) -> io::Result<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    match &entries[..] {
        [only] if only.is_dir() => Ok(only.clone()),
        _ => Ok(path.to_owned()),
    }
}

fn kind(path: &Path) -> io::Result<Kind> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_named = [".pcap", ".pcapng", ".cap"].iter().any(|end| name.contains(end));
    // One that is cut short before its header is still meant to be one: what is wrong with it is said.
    if is_named || Capture::open(&Source::Path(path.to_owned()), 0, Arc::default()).is_ok() {
        return Ok(Kind::Capture);
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head);
    Ok(kind_of_text(&text, &name))
}

fn kind_of_text(text: &str, name: &str) -> Kind {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES);
    let any = |fits: &dyn Fn(&str) -> bool| lines.clone().any(fits);
    let first = lines.clone().next().unwrap_or_default();
    if first.starts_with('{') || first.starts_with("[{") || first == "[" {
        let has = |key: &str| text.contains(key);
        return match () {
            () if has("\"nftables\"") => Kind::Nft,
            () if has("\"ifindex\"") || has("\"ifname\"") => Kind::Addresses,
            () if has("\"apiVersion\"") => Kind::Names,
            () if name.contains("access") => Kind::AccessLog,
            () => Kind::Other,
        };
    }
    let is_rule =
        |line: &str| ["-A ", "[0:0] -A "].iter().any(|start| line.starts_with(start)) || line.contains("] -A ");
    let secret = |line: &str| {
        let mut words = line.split(' ');
        let label = words.next().unwrap_or_default();
        let is_label = label.starts_with("CLIENT_") || label.starts_with("SERVER_") || label.starts_with("EXPORTER_");
        let hex = |word: &str| word.len() >= 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
        is_label && words.next().is_some_and(hex) && words.next().is_some()
    };
    let entry = |line: &str| ["src=", "dst=", "sport="].iter().all(|field| line.contains(field));
    // `[2026-01-01T12:00:00.000Z] "GET / HTTP/1.1" 200`
    let access = |line: &str| line.starts_with("[2") && line.contains("Z] \"");
    let socket = |line: &str| ["LISTEN ", "ESTAB "].iter().any(|state| line.starts_with(state));
    let host = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        words.next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok()) && words.next().is_some()
    };
    match lines.clone().find(|line| !line.starts_with('#')) {
        Some(line) if line.starts_with(['*', ':', '-', '[']) && any(&is_rule) => Kind::Rules,
        _ if any(&entry) => Kind::Conntrack,
        _ if any(&secret) => Kind::Keys,
        _ if any(&access) => Kind::AccessLog,
        Some(line) if line.starts_with("State ") || socket(line) => Kind::Sockets,
        Some(line) if host(line) => Kind::Names,
        _ => Kind::Other,
    }
}

/// The names of the interfaces in what `ip -j addr` prints; none if it is something else.
fn interfaces(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    let listed: Value = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
    let name = |one: &Value| one["ifname"].as_str().map(str::to_owned);
    listed.as_array().into_iter().flatten().filter_map(name).collect()
}

/// The plain archive in a file, if it is one.
fn archive(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut plain: Box<dyn BufRead> = match reader.fill_buf()? {
        // RFC 1952, section 2.3.1.
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(reader))),
        _ => Box::new(reader),
    };
    // POSIX.1-1988: the magic of a header is at 257. Less than that can be in the buffer only at the end of the file.
    let mut head = vec![0; 512];
    let mut filled = 0;
    while filled < head.len() {
        match plain.read(&mut head[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let is_archive = head[257..262] == *b"ustar";
    Ok(is_archive.then(|| Box::new(io::Cursor::new(head).chain(plain)) as Box<dyn Read>))
}

/// Unpacks the files of an archive. Links, devices and paths that lead out of it are left out.
fn unpack(path: &Path) -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let Some(archive) = archive(path)? else { return Ok(folder) };
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            entry.set_preserve_permissions(false);
            entry.unpack_in(folder.path())?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_what_is_in_them() {
        let random = "0123456789abcdef".repeat(4);
        for (text, name, kind) in [
            ("# Generated by iptables-save\n*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j X\nCOMMIT\n", "a", Kind::Rules),
            ("# Generated by iptables-save\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", "a", Kind::Other),
            ("{\"nftables\": []}", "a", Kind::Nft),
            ("[{\"ifindex\":1,\"ifname\":\"lo\"}]", "a", Kind::Addresses),
            ("{\n \"apiVersion\": \"v1\"}", "a", Kind::Names),
            ("127.0.0.1 localhost\n", "hosts", Kind::Names),
            ("[2026-11-25T10:29:43.105Z] \"GET / HTTP/1.1\" 200 -\n", "a", Kind::AccessLog),
            ("2026-11-25 info envoy starts\n[2026-11-25T10:29:43.105Z] \"- - -\" 0 -\n", "a", Kind::AccessLog),
            ("{\"start_time\":\"x\"}\n", "access.log", Kind::AccessLog),
            (
                "tcp 6 9 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1\n",
                "a",
                Kind::Conntrack,
            ),
            (
                "[1732531000.1]\t    [NEW] tcp 6 120 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] id=1\n",
                "a",
                Kind::Conntrack,
            ),
            (&format!("CLIENT_TRAFFIC_SECRET_0 {random} {random}\n"), "a", Kind::Keys),
            ("State Recv-Q Send-Q Local\nLISTEN 0 128 0.0.0.0:80 0.0.0.0:*\n", "a", Kind::Sockets),
            ("tcpdump: listening on eth0\n", "eth0.log", Kind::Other),
            (
                "Summary:\n\n/usr/sbin/iptables-nft-save(IPtables rules)\n*nat\n-A OUTPUT -j X\n",
                "iptables-rules.txt",
                Kind::Other,
            ),
            ("32768\t60999\n", "local-ports.txt", Kind::Other),
            ("", "a", Kind::Other),
        ] {
            assert_eq!(kind_of_text(text, name), kind, "{text}");
        }
    }

    #[test]
    fn rotated_files_are_in_order() {
        let mut paths: Vec<PathBuf> = ["lo.pcap10", "eth0.pcap", "lo.pcap2"].map(PathBuf::from).into();
        paths.sort_by_key(|path| by_number(path));
        assert_eq!(paths, ["eth0.pcap", "lo.pcap2", "lo.pcap10"].map(PathBuf::from));
    }
}

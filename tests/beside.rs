//! Files that lie beside the stored captures, read as they are: Envoy's access logs and key logs, conntrack's listings.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use meshpcap::beside::{AccessLog, Conntrack, Files, Format, load};

/// All files of this name in testdata.
fn stored(name: &str) -> Vec<PathBuf> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let folders = std::fs::read_dir(testdata).expect("testdata").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = folders.map(|folder| folder.join(name)).filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() > 5, "only {} files named {name}", files.len());
    files
}

fn open(path: &Path) -> (String, BufReader<File>) {
    (path.display().to_string(), BufReader::new(File::open(path).expect("it is there")))
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).expect("text").lines().count()
}

#[test]
fn access_logs() {
    let mut requests = 0;
    for path in stored("access.log") {
        let (name, reader) = open(&path);
        let mut log = AccessLog::new(&name, reader, Format::istio().expect("it is built in"));
        let mut records = 0;
        while let Some(record) = log.advance().expect("it can be read") {
            records += 1;
            requests += usize::from(record.request_id.is_some_and(|id| id.len() == 36));
            assert!(record.start.is_some() && record.duration.is_some(), "{name}: {record:?}");
            assert!(record.downstream_remote.is_some() && record.downstream_local.is_some(), "{name}: {record:?}");
        }
        assert_eq!(records, lines(&path), "{}", log.unused());
    }
    assert!(requests > 50, "only {requests} requests");
}

#[test]
fn conntrack_listings() {
    let mut translated = 0;
    for path in stored("conntrack") {
        let (name, reader) = open(&path);
        let mut entries = Conntrack::new(&name, reader);
        let mut read = 0;
        while let Some(entry) = entries.advance().expect("it can be read") {
            read += 1;
            translated += usize::from(entry.original.destination != entry.reply.source);
        }
        assert_eq!(read, lines(&path), "{}", entries.unused());
    }
    assert!(translated > 50, "only {translated} translated connections");
}

#[test]
fn key_logs() {
    let keys = stored("keys.log");
    let expected: usize = keys.iter().map(|path| lines(path)).sum();
    let loaded = load(&Files { keys, ..Files::default() }).expect("key logs");
    assert!(loaded.unused.is_empty(), "{:?}", loaded.unused);
    // Where a proxy calls itself, it writes each secret twice.
    assert!(loaded.keys.len() <= expected && loaded.keys.len() >= expected / 2, "{} of {expected}", loaded.keys.len());
    assert!(loaded.keys.sessions() >= 10, "only {} sessions", loaded.keys.sessions());
}

//! The project's own regression traces: every folder in testdata has its expectation, as a team would keep its own.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folders() -> Vec<PathBuf> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(testdata).expect("testdata");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// After a change that is meant: `cargo run -- diff --bless testdata/*/`, and review what it prints.
#[test]
fn every_capture_shows_what_is_expected() {
    let folders = folders();
    assert!(folders.len() > 20);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
    let run = command.arg("diff").arg("--expect").args(&folders).output().expect("meshpcap runs");
    let told = String::from_utf8_lossy(&run.stdout);
    assert_eq!((run.status.code(), told.as_ref()), (Some(0), ""), "{}", String::from_utf8_lossy(&run.stderr));
}

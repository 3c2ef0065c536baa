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

#[test]
fn the_documents_show_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/diff.md")).expect("a document");
    let mut blocks = document.split("```").skip(1).step_by(2);
    let (command, shown) = (blocks.next().expect("the command"), blocks.next().expect("what it prints"));
    let args = command.trim().strip_prefix("sh\nmeshpcap ").expect("a command").split(' ');
    let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).current_dir(root).args(args).output().expect("it runs");
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&run.stdout), shown.strip_prefix("text\n").expect("text"));
    for name in meshpcap::diff::VOLATILE {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}

/// The commands of both pipelines, run as they stand there: good captures pass, others do not.
#[test]
fn the_pipelines_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/ci.md")).expect("a document");
    let commands: Vec<&str> = document
        .lines()
        .map(|line| line.trim().trim_start_matches("- "))
        .filter(|line| line.starts_with("meshpcap diff --expect"))
        .collect();
    assert_eq!(commands.len(), 2, "one of each pipeline");
    let bin = Path::new(env!("CARGO_BIN_EXE_meshpcap")).parent().expect("a folder").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["basic", "dns"] {
        let to = folder.path().join("traces").join(name);
        std::fs::create_dir_all(&to).expect("a folder");
        for entry in std::fs::read_dir(root.join("testdata").join(name)).expect("testdata") {
            let from = entry.expect("an entry").path();
            std::fs::copy(&from, to.join(from.file_name().expect("a name"))).expect("a file");
        }
    }
    let run = |command: &str| {
        let bash = Command::new("bash")
            .current_dir(&folder)
            .env("PATH", &path)
            .args(["-eo", "pipefail", "-c", command])
            .output();
        let bash = bash.expect("bash runs");
        (bash.status.code(), String::from_utf8_lossy(&bash.stdout).into_owned())
    };
    for command in &commands {
        assert_eq!(run(command), (Some(0), String::new()), "{command}");
    }
    let lo = |name: &str| folder.path().join("traces").join(name).join("lo.pcap");
    std::fs::copy(lo("dns"), lo("basic")).expect("another capture");
    for command in &commands {
        let (status, told) = run(command);
        assert!(status == Some(1) && told.starts_with("traces/basic/:\n"), "{command}: {told}");
    }
}

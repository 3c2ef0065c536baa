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

/// After a change that is meant: `cargo run -- check --bless testdata/*/`, and review what it prints.
#[test]
fn every_capture_shows_what_is_expected() {
    let folders = folders();
    assert!(folders.len() > 20);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
    let run = command.arg("check").arg("--expect").args(&folders).output().expect("meshpcap runs");
    let told = String::from_utf8_lossy(&run.stdout);
    assert_eq!((run.status.code(), told.as_ref()), (Some(0), ""), "{}", String::from_utf8_lossy(&run.stderr));
}

/// The commands of both pipelines, run as they stand there: good captures pass, others do not.
#[test]
fn the_pipelines_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/ci.md")).expect("a document");
    let commands: Vec<&str> = document
        .lines()
        .map(|line| line.trim().trim_start_matches("- "))
        .filter(|line| line.starts_with("meshpcap check --expect"))
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

/// docs/check.md shows what is printed where a scenario was recorded anew, and is another one.
#[test]
fn the_document_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/check.md")).expect("a document");
    let (_, shown) = document.split_once("meanwhile:\n\n```text\n").expect("what is printed");
    let shown = shown.split_once("```").expect("its end").0;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().join("traces/checkout");
    std::fs::create_dir_all(&to).expect("a folder");
    for (name, files) in
        [("telemetry-port", &["expect.json"][..]), ("admin-port", &["eth0.pcap", "lo.pcap", "access.log"])]
    {
        for file in files {
            std::fs::copy(root.join("testdata").join(name).join(file), to.join(file)).expect("a file");
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
    let run = command.current_dir(&folder).args(["check", "--expect", "traces/checkout/"]).output().expect("it runs");
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&String::from_utf8_lossy(&run.stdout)), squeezed(shown));
    assert_eq!(run.status.code(), Some(1));
}

//! What the documents promise: commands print what the README shows, the stages are told in one wording and keep their
//! order, links lead somewhere.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use meshpcap::cli::Cli;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a document")
}

/// The fenced blocks of a document, each with the line before it that says something.
fn blocks(document: &str, language: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(fence) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            if fence == language {
                found.push((before.to_owned(), inside.join("\n")));
            }
        } else if !line.trim().is_empty() {
            before = line;
        }
    }
    found
}

/// The block of the README behind the line that ends so.
fn shown(readme: &str, language: &str, behind: &str) -> String {
    let found: Vec<_> = blocks(readme, language).into_iter().filter(|(before, _)| before.ends_with(behind)).collect();
    assert_eq!(found.len(), 1, "one block behind `{behind}`");
    found.into_iter().next().map(|(_, inside)| inside).unwrap_or_default()
}

/// Runs the README's main command, its output in a folder of the test.
fn main_job() -> (TempDir, PathBuf, String) {
    let readme = read("README.md");
    let command = shown(&readme, "sh", "it builds what it needs:");
    let args = command.strip_prefix("cargo run --release -- ").expect("the command").split_whitespace();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("fixed.pcapng");
    let args = args.map(|arg| if arg == "fixed.pcapng" { output.as_os_str() } else { arg.as_ref() });
    let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).current_dir(root()).args(args).output().expect("it runs");
    assert!(run.status.success());
    assert!(run.stdout.is_empty());
    (folder, output, String::from_utf8(run.stderr).expect("UTF-8"))
}

#[test]
fn the_main_job_tells_what_the_readme_shows() {
    let readme = read("README.md");
    let (_folder, output, told) = main_job();
    assert_eq!(told, shown(&readme, "text", "It tells what it did:") + "\n");

    // Lines of the README are broken, the comment is one line.
    let comment = shown(&readme, "text", "what proves it:").replace('\n', " ");
    let output = common::Output::read(&fs::read(output).expect("the output"));
    let first = output.packets.iter().map(common::Packet::comments).find(|c| !c.is_empty()).expect("a repaired leg");
    assert_eq!(first, [comment]);
}

#[test]
fn tshark_shows_what_the_readme_shows() {
    if !common::require("tshark", "what tshark shows in the README") {
        return;
    }
    let readme = read("README.md");
    let (_folder, output, _) = main_job();
    let output = output.to_str().expect("UTF-8");
    for (behind, args) in [
        ("without an answer):", vec!["-r", "testdata/basic/lo.pcap"]),
        ("'tcp.stream eq 0'`:", vec!["-r", output, "-Y", "tcp.stream eq 0"]),
    ] {
        let run = Command::new("tshark").current_dir(root()).args(args).output().expect("tshark runs");
        let printed = String::from_utf8(run.stdout).expect("UTF-8");
        let shown = shown(&readme, "text", behind);
        assert!(shown.lines().count() > 4);
        for (shown, printed) in shown.lines().zip(printed.lines()) {
            // Shortened: without number and time at the left, and what follows at the right.
            let printed: Vec<&str> = printed.split_whitespace().skip(2).collect();
            let shown: Vec<&str> = shown.split_whitespace().collect();
            assert_eq!(shown, printed[..shown.len().min(printed.len())]);
        }
    }
}

#[test]
fn the_readme_names_options_that_there_are() {
    let help = |subcommand: &str| {
        let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).args([subcommand, "--help"]).output().expect("it runs");
        String::from_utf8(run.stdout).expect("UTF-8")
    };
    let help = help("merge") + &help("plan") + &help("check") + &help("diff") + &help("man");
    let readme = read("README.md");
    let named: BTreeSet<&str> = readme
        .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .filter(|word| word.starts_with("--") && !word.starts_with("---"))
        .collect();
    // Those of cargo and kubectl.
    let elsewhere = ["--", "--release", "--path", "--image", "--profile"];
    let unknown: Vec<_> =
        named.iter().filter(|option| !elsewhere.contains(option) && !help.contains(**option)).collect();
    assert!(unknown.is_empty() && named.len() > 4, "{unknown:?} of {named:?}");
    // One wording of the command that watches a live capture.
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let live = shown(&readme, "sh", "and a live one can be watched:");
    assert!(squeezed(&help).contains(&squeezed(&live)), "{live}");
}

/// Help alone is found by those only who know already that there is such an option.
#[test]
fn every_option_is_in_a_document() {
    let folder = fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages = folder.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).expect("a page"));
    let text: String = pages.chain([read("README.md")]).collect();
    let words: BTreeSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let command = Cli::command();
    let mut missing = Vec::new();
    for subcommand in command.get_subcommands() {
        for argument in subcommand.get_arguments() {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            if long.iter().chain(&short).all(|name| !words.contains(&**name)) {
                missing.extend(long.map(|long| format!("{} {long}", subcommand.get_name())));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_filter_loses_what_the_document_shows() {
    if !common::require("tcpdump", "what a filter loses in docs/capturing.md") {
        return;
    }
    let document = read("docs/capturing.md");
    let is_it = |inside: &String| inside.starts_with("outbound-app ");
    let shown = blocks(&document, "text").into_iter().map(|(_, inside)| inside).find(is_it).expect("what it prints");
    assert!(document.contains("meshpcap plan --pod 10.244.1.7 --port 8080 --leg outbound-app --check 'port 15001'"));
    let args = "plan --pod 10.244.1.7 --port 8080 --leg outbound-app --check".split(' ').chain(["port 15001"]);
    let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).args(args).output().expect("it runs");
    assert_eq!(String::from_utf8(run.stdout).expect("UTF-8"), shown + "\n");
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn the_readme_names_the_tools_that_tests_need() {
    let readme = read("README.md");
    let install = read(".ci/install");
    let packages = install.split_once("packages=(").and_then(|(_, rest)| rest.split_once(')')).expect("the packages").0;
    let missing: Vec<_> = packages.split_whitespace().filter(|package| !readme.contains(package)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_code_of_check_has_its_page() {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let document = read("docs/check.md");
    let (_, sections) = document.split_once("## Codes").expect("the codes");
    let (table, sections) = sections.split_once("\n### ").expect("the first page");
    let pages: Vec<&str> = sections.split("\n### ").collect();
    assert_eq!(pages.len(), meshpcap::check::CODES.len());
    for (page, code) in pages.iter().zip(meshpcap::check::CODES) {
        let (name, severity) = (code.name, code.severity);
        assert!(table.contains(&format!("| [{name}](#{name}) | {severity} | {} |", code.title)), "{name}");
        let threads: Vec<String> = code.threads.iter().map(|thread| format!("<{thread}>")).collect();
        let expected = format!(
            "{name} Severity {severity}: {}. {} **Detected:** {} **Causes:** {} See: {}",
            code.title,
            code.meaning,
            code.detection,
            code.causes,
            threads.join(", ")
        );
        assert_eq!(squeezed(page), squeezed(&expected));
    }
    // What the document shows of a run.
    let args = shown(&document, "sh", "what to do about it:");
    let args = args.strip_prefix("meshpcap ").expect("the command").split_whitespace();
    let run = Command::new(env!("CARGO_BIN_EXE_meshpcap")).current_dir(root()).args(args).output().expect("it runs");
    let printed = String::from_utf8(run.stdout).expect("UTF-8");
    let shown = shown(&document, "text", "that failed:");
    assert!(squeezed(&printed).contains(&squeezed(&shown)), "{printed}");
    assert_eq!(run.status.code(), Some(1));
}

/// The list of the stages, as it stands in a document.
fn stages() -> String {
    let architecture = read("docs/architecture.md");
    blocks(&architecture, "text").into_iter().next().map(|(_, inside)| inside).expect("the list")
}

#[test]
fn the_stages_are_told_in_one_wording() {
    let documentation: Vec<String> = read("src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .collect();
    let (_, in_lib) = blocks(&documentation.join("\n"), "text").into_iter().next().expect("the list");
    assert_eq!(in_lib, stages());
}

#[test]
fn a_stage_imports_only_from_stages_above_it() {
    let stages = stages();
    let order: Vec<&str> = stages.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut there: Vec<String> = fs::read_dir(root().join("src"))
        .expect("src")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    there.sort();
    let mut listed = order.clone();
    listed.sort();
    assert_eq!(listed, there, "every folder of src is a stage");
    for (place, stage) in order.iter().enumerate() {
        let mut sources = Vec::new();
        collect(&root().join("src").join(stage), &mut sources);
        sources.extend(fs::read_to_string(root().join(format!("src/{stage}.rs"))));
        for source in sources {
            let imports = source.match_indices("crate::").map(|(at, prefix)| &source[at + prefix.len()..]);
            for import in imports {
                let name = import.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
                if let Some(from) = order.iter().position(|stage| *stage == name) {
                    assert!(from <= place, "{stage} imports from {name}");
                }
            }
        }
    }
}

/// The contents of all source files in a folder.
fn collect(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.extension() {
            _ if path.is_dir() => collect(&path, sources),
            Some(extension) if extension == "rs" => sources.push(fs::read_to_string(&path).expect("a source")),
            _ => {}
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut documents =
        vec![root().join("README.md"), root().join("testdata/README.md"), root().join("fuzz/README.md")];
    for folder in ["docs", "docs/decisions", "tests/rig"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let path = document.parent().expect("a folder").join(target);
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
    assert!(links > 10, "{links}");
}

//! The command as users and shells see it: what it prints, its exit status, and what files are there afterwards.
//!
//! The status is frozen as `--help` documents it: 0 done, 1 done but an input was damaged, 2 nothing written,
//! 130 interrupted.

mod beside;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod diff;
mod expect;
mod failures;
mod folders;
mod gateway;
mod plan;
mod repaired;
mod signals;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use common::{Leg, Link, pcap};
use snapbox::{assert_data_eq, file, str};
use tempfile::TempDir;

/// A folder with two good captures.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wire = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(3_000).whole();
    let lo = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    put(&folder, "eth0.pcap", &pcap(Link::Eth, &wire.shots(Link::Eth)));
    put(&folder, "lo.pcap", &pcap(Link::Lo, &lo.shots(Link::Lo)));
    folder
}

fn put(folder: &TempDir, name: &str, bytes: &[u8]) {
    std::fs::write(folder.path().join(name), bytes).expect("a file of the test");
}

fn meshpcap(folder: &TempDir, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
    command.current_dir(folder.path()).args(args.split_whitespace()).stdin(Stdio::null());
    command.env_remove("RUST_BACKTRACE").env("COLUMNS", "100");
    command
}

fn run(folder: &TempDir, args: &str) -> Output {
    meshpcap(folder, args).output().expect("meshpcap runs")
}

/// Exit status, standard error, and standard output unless it is a capture.
fn told(output: &Output) -> String {
    let stdout = match output.stdout.starts_with(b"\x0a\x0d\x0d\x0a") {
        true => "(pcapng)\n".to_owned(),
        false => text(&output.stdout),
    };
    let status = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    format!("{status}\n{stdout}{}", text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The names in a folder, hidden ones too.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// How many packets a capture in the folder has.
fn packets(folder: &TempDir, name: &str) -> usize {
    common::Output::read(&std::fs::read(folder.path().join(name)).expect("the output")).packets.len()
}

#[test]
fn a_run_tells_what_it_did() {
    let folder = folder();
    let output = run(&folder, "merge eth0.pcap lo.pcap -o fixed.pcapng --report legs.csv");
    assert_data_eq!(
        told(&output),
        str![[r#"
0
20 packets from 2 inputs, 20 written
6 packets got their original addresses back, 20 checksums completed
legs            repaired     whole      left
outbound-app           1         0         0  app to proxy
outbound-peer          0         1         0  proxy to peer
nat rules: mesh istio, found from the packets; 8 others would fit as well

"#]]
    );
    assert_eq!(names(&folder), ["eth0.pcap", "fixed.pcapng", "legs.csv", "lo.pcap"]);
    assert_eq!(packets(&folder, "fixed.pcapng"), 20);
    assert_data_eq!(told(&run(&folder, "merge eth0.pcap lo.pcap -o fixed.pcapng --quiet")), "0\n");
}

#[test]
fn help() {
    let folder = folder();
    assert_data_eq!(told(&run(&folder, "--help")), file!["snapshots/help.txt"]);
    assert_data_eq!(told(&run(&folder, "merge --help")), file!["snapshots/merge-help.txt"]);
    assert_data_eq!(told(&run(&folder, "merge -h")), file!["snapshots/merge-short-help.txt"]);
    assert_data_eq!(told(&run(&folder, "explain --help")), file!["snapshots/explain-help.txt"]);
    assert_data_eq!(told(&run(&folder, "ports --help")), file!["snapshots/ports-help.txt"]);
    assert_data_eq!(told(&run(&folder, "man --help")), file!["snapshots/man-help.txt"]);
    assert_data_eq!(told(&run(&folder, "completions --help")), file!["snapshots/completions-help.txt"]);
    assert!(told(&run(&folder, "--version")).starts_with(concat!("0\nmeshpcap ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn standard_input_and_output() {
    let folder = folder();
    let file = run(&folder, "merge lo.pcap -o out.pcapng");
    let input = File::open(folder.path().join("lo.pcap")).expect("the input");
    let piped = meshpcap(&folder, "merge - -o -").stdin(input).output().expect("meshpcap runs");
    assert_eq!(told(&piped), told(&file).replacen("0\n", "0\n(pcapng)\n", 1));
    assert_eq!(piped.stdout, std::fs::read(folder.path().join("out.pcapng")).expect("the output"));
}

#[test]
fn several_link_types() {
    let folder = folder();
    let leg = Leg::direct("10.1.0.5:57169", "10.1.0.6:8080").whole();
    put(&folder, "raw.pcap", &pcap(Link::Raw, &leg.shots(Link::Raw)));
    let warning =
        "meshpcap: the output has several link types: Wireshark reads it, tcpdump does not (see --linktype)\n";
    assert!(told(&run(&folder, "merge lo.pcap raw.pcap -o out.pcapng")).ends_with(warning));
    assert!(!told(&run(&folder, "merge lo.pcap raw.pcap -o out.pcapng --linktype ethernet")).contains("link types"));
    if common::require("tcpdump", "several_link_types") {
        let out = Command::new("tcpdump").arg("-nr").arg(folder.path().join("out.pcapng")).output().expect("tcpdump");
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert_eq!(text(&out.stdout).lines().count(), 20);
    }
}

#[test]
fn a_link_type_that_is_not_understood() {
    let folder = folder();
    let mut nflog = std::fs::read(folder.path().join("eth0.pcap")).expect("the input");
    nflog[20..24].copy_from_slice(&239_u32.to_le_bytes());
    put(&folder, "nflog.pcap", &nflog);
    let told = told(&run(&folder, "merge nflog.pcap lo.pcap -o out.pcapng --linktype ethernet"));
    let line = "meshpcap: packets of link type 239 are written as they are: their headers are not understood (capture the \
                interface itself, as tcpdump -i eth0 does)\n";
    assert!(told.starts_with("0\n") && told.contains(line), "{told}");
    assert_eq!(packets(&folder, "out.pcapng"), 20);
}

#[test]
fn captures_without_packets() {
    let folder = folder();
    put(&folder, "header.pcap", &pcap(Link::Lo, &[]));
    assert_data_eq!(
        told(&run(&folder, "merge header.pcap -o out.pcapng")),
        str![[r#"
0
0 packets from 1 input, 0 written
0 packets got their original addresses back, 0 checksums completed
nat rules: nothing was redirected, a plain merge

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 0);
}

#[test]
fn outputs_that_are_no_files() {
    let folder = folder();
    assert_eq!(told(&run(&folder, "merge lo.pcap -o /dev/null -q")), "0\n");
    let output = run(&folder, "merge lo.pcap -o /dev/stdout -q");
    assert_eq!(told(&output), "0\n(pcapng)\n");
    assert_eq!(common::Output::read(&output.stdout).packets.len(), 10);
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);
}

#[test]
fn a_link_is_written_through() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("new")).expect("a folder");
    for (link, target) in [("out.pcapng", "new/out.pcapng"), ("legs.csv", "new/legs.csv"), ("loop.csv", "loop.csv")] {
        std::os::unix::fs::symlink(target, path(link)).expect("a link");
    }
    // Once to nothing, once to what is there by then.
    for _ in 0..2 {
        assert_eq!(told(&run(&folder, "merge lo.pcap -o out.pcapng --report legs.csv -q")), "0\n");
        for name in ["out.pcapng", "legs.csv"] {
            assert!(path(name).is_symlink(), "{name}");
            assert!(!path("new").join(name).is_symlink(), "{name}");
        }
        assert_eq!(packets(&folder, "new/out.pcapng"), 10);
    }
    let output = run(&folder, "merge lo.pcap -o x.pcapng --report loop.csv");
    assert!(told(&output).starts_with("2\nmeshpcap: loop.csv: cannot be written: too many "), "{}", told(&output));
    assert_eq!(names(&folder), ["eth0.pcap", "legs.csv", "lo.pcap", "loop.csv", "new", "out.pcapng"]);
}

#[test]
fn the_ending_of_a_report_in_any_case() {
    let folder = folder();
    for (name, start) in [("LEGS.CSV", "leg,protocol"), ("legs.Json", "[")] {
        assert_eq!(told(&run(&folder, &format!("merge lo.pcap -o x.pcapng -q --report {name}"))), "0\n");
        assert!(std::fs::read_to_string(folder.path().join(name)).expect("the report").starts_with(start), "{name}");
    }
}

#[test]
fn completions() {
    let folder = folder();
    for (shell, sign) in
        [("bash", "complete -F _meshpcap"), ("zsh", "#compdef meshpcap"), ("fish", "complete -c meshpcap")]
    {
        let output = run(&folder, &format!("completions {shell}"));
        assert!(output.status.success());
        let script = text(&output.stdout);
        assert!(script.contains(sign), "{shell}");
        for option in ["keep-duplicates", "lookahead", "linktype", "report", "quiet"] {
            assert!(script.contains(option), "{shell} completes --{option}");
        }
        let checks: &[&str] = if shell == "fish" { &["--no-execute"] } else { &["-n"] };
        if common::require(shell, "completions") {
            let path = folder.path().join(shell);
            std::fs::write(&path, &script).expect("written");
            assert!(Command::new(shell).args(checks).arg(path).status().expect("it runs").success(), "{shell}");
        }
    }
}

const SUBCOMMANDS: [&str; 8] = ["merge", "check", "diff", "explain", "plan", "ports", "completions", "man"];

#[test]
fn manual_pages() {
    let folder = folder();
    assert_data_eq!(told(&run(&folder, "man --output-dir new/man1")), "0\n");
    let pages = folder.path().join("new/man1");
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).expect("a page");
    assert_eq!(text(&run(&folder, "man").stdout), page("meshpcap.1"));
    for subcommand in SUBCOMMANDS {
        let one = page(&format!("meshpcap-{subcommand}.1"));
        assert_eq!(text(&run(&folder, &format!("man {subcommand}")).stdout), one);
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"SEE ALSO\""] {
            assert_eq!(one.matches(&format!("\n.SH {heading}\n")).count(), 1, "{subcommand}: {heading}");
        }
        assert!(page("meshpcap.1").contains(&format!("meshpcap\\-{subcommand}(1)")), "{subcommand}");
    }
    assert_eq!(std::fs::read_dir(&pages).expect("the folder").count(), 1 + SUBCOMMANDS.len());
    // Commands keep their lines, each status has one.
    let merge = page("meshpcap-merge.1");
    for part in [
        ".nf\nkubectl exec POD \\-c istio\\-proxy \\-\\- tcpdump \\-i any \\-U \\-w \\- |\n  meshpcap merge \\- \\-o \\- | wireshark",
        "\n.SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nthe output is written, every input was read to its end\n.TP\n",
        "\\-\\-keep\\-duplicates",
    ] {
        assert!(merge.contains(part), "{part}\nin\n{merge}");
    }
    if common::require("man", "manual_pages") {
        for entry in std::fs::read_dir(&pages).expect("the folder") {
            let path = entry.expect("an entry").path();
            let shown = Command::new("man").args(["--warnings", "-l"]).arg(&path).output().expect("man runs");
            assert_eq!(text(&shown.stderr), "", "groff has nothing to complain about");
            assert!(text(&shown.stdout).contains("meshpcap"), "{}", path.display());
        }
    }
    assert_data_eq!(
        told(&run(&folder, "man --output-dir lo.pcap")),
        "2\nmeshpcap: lo.pcap: the pages cannot be written: File exists (os error 17)\n"
    );
}

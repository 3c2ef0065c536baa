//! The command as users and shells see it: what it prints, its exit status, and what files are there afterwards.
//!
//! The status is frozen as `--help` documents it: 0 done, 1 done but an input was damaged, 2 nothing written,
//! 130 interrupted.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

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
    assert!(told(&run(&folder, "--version")).starts_with(concat!("0\nmeshpcap ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_arguments() {
    let folder = folder();
    for (args, expected) in [
        (
            "merge",
            str![[r#"
2
error: the following required arguments were not provided:
  --output <FILE>
  <CAPTURE>...

Usage: meshpcap merge --output <FILE> <CAPTURE>...

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --lookahead 5",
            str![[r#"
2
error: invalid value '5' for '--lookahead <TIME,SIZE>': `5`: give a unit: ns, us, ms, s, min; B, KiB, MiB, GiB

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --interface lo",
            str![[r#"
2
error: invalid value 'lo' for '--interface <CAPTURE[:INTERFACE]=NAME>': `lo` is not of the form 2=lo or 1:3=eth0

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --interface 3=lo",
            str![[r#"
2
meshpcap: --interface: there is no capture 3, only 1

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --report legs.xml",
            str![[r#"
2
meshpcap: legs.xml: cannot be written: name it .csv or .json

"#]],
        ),
        (
            "merge - - -o x.pcapng",
            str![[r#"
2
meshpcap: standard input (-) can be read only once

"#]],
        ),
        (
            "merge lo.pcap -o lo.pcap",
            str![[r#"
2
meshpcap: lo.pcap: is both input and output; name another file for the output

"#]],
        ),
        (
            "merge lo.pcap -o ./../no/lo.pcap",
            str![[r#"
2
meshpcap: ./../no/lo.pcap: cannot be written: No such file or directory (os error 2)

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --report lo.pcap",
            str![[r#"
2
meshpcap: lo.pcap: is both input and output; name another file for the output

"#]],
        ),
        (
            "merge lo.pcap -o x.csv --report x.csv",
            str![[r#"
2
meshpcap: x.csv: is both output and report; name another file for the report

"#]],
        ),
    ] {
        assert_data_eq!(told(&run(&folder, args)), expected);
        assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"], "{args}");
    }
}

#[test]
fn the_output_is_an_input_by_another_name() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("lo.pcap", path("link.pcap")).expect("a link");
    std::fs::hard_link(path("lo.pcap"), path("hard.pcap")).expect("a link");
    let before = std::fs::read(path("lo.pcap")).expect("the input");
    for name in ["link.pcap", "hard.pcap", "./lo.pcap"] {
        let output = run(&folder, &format!("merge lo.pcap -o {name}"));
        assert_eq!(
            told(&output),
            format!("2\nmeshpcap: {name}: is both input and output; name another file for the output\n")
        );
        assert_eq!(std::fs::read(path("lo.pcap")).expect("the input"), before);
    }
}

#[test]
fn inputs_that_are_none() {
    let folder = folder();
    put(&folder, "empty", b"");
    put(&folder, "text", b"12:00:01.5 IP 10.0.0.1 > 10.0.0.2\n");
    put(&folder, "program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&folder, "zeros", &[0; 100]);
    put(&folder, "short", &pcap(Link::Lo, &[])[..20]);
    std::fs::create_dir(folder.path().join("folder")).expect("a folder");
    let before = names(&folder);
    for (input, expected) in [
        (
            "missing",
            str![[r#"
2
meshpcap: missing: No such file or directory (os error 2) (is the path right? "-" reads standard input)

"#]],
        ),
        (
            "empty",
            str![[r#"
2
meshpcap: empty: empty, not even a capture header (was the capture started, did anything write to it?)

"#]],
        ),
        (
            "text",
            str![[r#"
2
meshpcap: text: not a pcap or pcapng capture: it is text (tcpdump's output on the screen? write a capture with tcpdump -w)

"#]],
        ),
        (
            "program",
            str![[r#"
2
meshpcap: program: not a pcap or pcapng capture: it is a program

"#]],
        ),
        (
            "zeros",
            str![[r#"
2
meshpcap: zeros: not a pcap or pcapng capture: it is all zeros (a file that was preallocated?)

"#]],
        ),
        (
            "short",
            str![[r#"
2
meshpcap: short: cut short before the first frame at byte 0: a pcap header has 24 bytes, here are 20; what came before was used (was it still being written or copied?)

"#]],
        ),
        (
            "folder",
            str![[r#"
2
meshpcap: folder: is a directory

"#]],
        ),
    ] {
        assert_data_eq!(told(&run(&folder, &format!("merge {input} -o out.pcapng --report out.csv"))), expected);
        assert_eq!(names(&folder), before, "{input}");
    }
    // Beside a good one, what is no capture is still an obstacle; what is merely empty is not.
    for (input, status) in [("missing", 2), ("text", 2), ("folder", 2), ("empty", 1), ("short", 1)] {
        let output = run(&folder, &format!("merge lo.pcap {input} -o out.pcapng -q"));
        assert_eq!(output.status.code(), Some(status), "{input}");
        assert_eq!(folder.path().join("out.pcapng").exists(), status == 1, "{input}");
        let _ = std::fs::remove_file(folder.path().join("out.pcapng"));
    }
}

#[test]
fn a_tail_that_is_cut_short() {
    let folder = folder();
    let mut file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
    file.truncate(file.len() - 7);
    put(&folder, "cut.pcap", &file);
    assert_data_eq!(
        told(&run(&folder, "merge cut.pcap eth0.pcap -o out.pcapng -q")),
        str![[r#"
1
meshpcap: cut.pcap: cut short in frame 10 at byte 799: the record promises 66 bytes, 59 follow; what came before was used (was it still being written or copied?)

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 19);
}

#[test]
fn a_record_that_makes_no_sense() {
    let folder = folder();
    let mut file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
    // The length of the third record.
    let at = 24 + 2 * (16 + 66) + 8;
    file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    put(&folder, "bad.pcap", &file);
    assert_data_eq!(
        told(&run(&folder, "merge bad.pcap eth0.pcap -o out.pcapng -q")),
        str![[r#"
1
meshpcap: bad.pcap: damaged in frame 3 at byte 188: the record promises 4294967295 bytes, the largest packet of this kind has 262144; what came before was used (was it copied as text, or by two writers?)

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 12);
}

#[test]
fn an_output_that_cannot_be_written() {
    let folder = folder();
    for (output, expected) in [
        (
            "no/out.pcapng",
            str![[r#"
2
meshpcap: no/out.pcapng: cannot be written: No such file or directory (os error 2)

"#]],
        ),
        (
            ".",
            str![[r#"
2
meshpcap: .: cannot be written: Is a directory (os error 21)

"#]],
        ),
        (
            "/dev/full",
            str![[r#"
2
meshpcap: /dev/full: cannot be written: No space left on device (os error 28)

"#]],
        ),
    ] {
        assert_data_eq!(told(&run(&folder, &format!("merge lo.pcap -o {output}"))), expected);
        assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);
    }
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = meshpcap(&folder, "merge lo.pcap -o -").stdout(full).output().expect("meshpcap runs");
    assert_data_eq!(
        told(&output),
        str![[r#"
2
meshpcap: standard output: cannot be written: No space left on device (os error 28)

"#]]
    );
}

#[test]
fn a_report_that_cannot_be_written_leaves_no_output() {
    let folder = folder();
    let output = run(&folder, "merge lo.pcap -o out.pcapng --report no/legs.csv");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("meshpcap: no/legs.csv: cannot be written: "), "{}", told(&output));
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);
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

/// Starts a run whose input is a pipe, and gives it a capture without its end.
fn start(folder: &TempDir, args: &str) -> Child {
    let command = &mut meshpcap(folder, args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("meshpcap starts");
    let capture = std::fs::read(folder.path().join("lo.pcap")).expect("the input");
    let stdin = child.stdin.as_mut().expect("a pipe");
    stdin.write_all(&capture).and_then(|()| stdin.flush()).expect("meshpcap reads");
    child
}

fn interrupt(child: &Child, signal: &str) {
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("kill, of every Unix").success());
}

#[test]
fn packets_leave_while_the_writer_pauses() {
    let folder = folder();
    let mut child = start(&folder, "merge - -o - -q --lookahead 2s");
    let mut out = child.stdout.take().expect("a pipe");
    let mut head = vec![0; 200];
    out.read_exact(&mut head).expect("it comes before the input ends");
    drop(child.stdin.take());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("the rest");
    let output = common::Output::read(&[head, rest].concat());
    assert_eq!(output.packets.len(), 10);
    assert!(child.wait().expect("meshpcap ends").success());
}

#[test]
fn an_interrupt_ends_a_pipe() {
    for (signal, output) in [("-INT", "out.pcapng"), ("-TERM", "out.pcapng"), ("-INT", "-")] {
        let folder = folder();
        let mut child = start(&folder, &format!("merge - -o {output} -q"));
        let stdin = child.stdin.take();
        std::thread::sleep(Duration::from_millis(400));
        interrupt(&child, signal);
        let result = child.wait_with_output().expect("meshpcap ends");
        drop(stdin);
        assert_eq!(text(&result.stderr), "", "what came is all there is");
        assert_eq!(result.status.code(), Some(INTERRUPTED_PIPE), "{signal} {output}");
        if output == "-" {
            assert_eq!(common::Output::read(&result.stdout).packets.len(), 10);
        } else {
            assert_eq!(packets(&folder, output), 10);
            assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap", "out.pcapng"]);
        }
    }
}

const INTERRUPTED_PIPE: i32 = 130;

#[test]
fn an_interrupt_of_files_leaves_nothing() {
    // A file beside a FIFO that nobody writes would be a pipe; so a large file, of which the run is not done at once.
    let folder = folder();
    let leg = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole();
    let records = pcap(Link::Eth, &leg.shots(Link::Eth))[24..].to_vec();
    let mut large = File::create(folder.path().join("large.pcap")).expect("a file");
    large.write_all(&pcap(Link::Eth, &[])).expect("written");
    let chunk = records.repeat(1000);
    for _ in 0..60 {
        large.write_all(&chunk).expect("written");
    }
    drop(large);
    let child = meshpcap(&folder, "merge large.pcap -o out.pcapng").stderr(Stdio::piped()).spawn().expect("it starts");
    // As soon as its temporary file is there it is at work.
    while names(&folder).len() < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    interrupt(&child, "-INT");
    let result = child.wait_with_output().expect("meshpcap ends");
    assert_data_eq!(
        told(&result),
        str![[r#"
130
meshpcap: interrupted; nothing was written

"#]]
    );
    assert_eq!(names(&folder), ["eth0.pcap", "large.pcap", "lo.pcap"]);
}

#[test]
fn a_reader_that_has_seen_enough() {
    let folder = folder();
    let mut child = start(&folder, "merge - -o -");
    drop(child.stdout.take());
    // More than a pipe and the buffers hold.
    let leg = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(1_000_000_000).whole();
    let records = pcap(Link::Eth, &leg.shots(Link::Eth))[24..].repeat(3000);
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(&records);
    drop(stdin);
    let result = child.wait_with_output().expect("meshpcap ends");
    assert_eq!(told(&result), "0\n");
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

#[test]
fn the_manual_page() {
    let folder = folder();
    let output = run(&folder, "man");
    assert!(output.status.success());
    let page = text(&output.stdout);
    for part in [".TH meshpcap", ".SH NAME", "EXAMPLES", "Exit status", "keep\\-duplicates", "CAPTURE"] {
        assert!(page.to_lowercase().contains(&part.to_lowercase()), "{part} in the page");
    }
    if common::require("man", "the_manual_page") {
        let path = folder.path().join("meshpcap.1");
        std::fs::write(&path, &page).expect("written");
        let shown = Command::new("man").args(["--warnings", "-l"]).arg(Path::new(&path)).output().expect("man runs");
        assert_eq!(text(&shown.stderr), "", "groff has nothing to complain about");
    }
}

//! `meshpcap check`: what it prints, and its exit status.

use std::process::Stdio;

use snapbox::{assert_data_eq, file};

use crate::common::{Leg, Link, pcap};
use crate::{folder, meshpcap, put, run, told};

/// A folder in which lo.pcap lacks all replies, beside a good one.
fn filtered() -> tempfile::TempDir {
    let folder = folder();
    let mut leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    leg.packets.retain(|(_, datagram)| datagram[16..20] == [127, 0, 0, 1]);
    put(&folder, "filtered.pcap", &pcap(Link::Lo, &leg.shots(Link::Lo)));
    folder
}

#[test]
fn quiet_when_clean() {
    let folder = folder();
    assert_eq!(told(&run(&folder, "check eth0.pcap lo.pcap --fail-on note")), "0\n");
    assert_eq!(told(&run(&folder, "check eth0.pcap lo.pcap --format github")), "0\n");
    let names: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 2, "nothing is written");
}

#[test]
fn the_status_says_whether_something_is_as_bad() {
    let folder = filtered();
    let status = |args: &str| run(&folder, &format!("check filtered.pcap {args}")).status.code();
    assert_eq!(status(""), Some(0), "a warning is no error");
    assert_eq!(status("--fail-on warning"), Some(1));
    assert_eq!(status("--fail-on note"), Some(1));
    assert_eq!(status("--fail-on never"), Some(0));
    assert_eq!(status("--fail-on warning --ignore one-direction"), Some(0));
    assert_eq!(status("--fail-on warning --select bypass,snaplen"), Some(0));
    assert_eq!(status("--fail-on warning --select snaplen,one-direction"), Some(1));
    assert_eq!(status("--select one-way"), Some(2));
    let text = told(&run(&folder, "check filtered.pcap --fail-on warning"));
    assert_data_eq!(text, file!["snapshots/check.txt"]);
    assert_eq!(told(&run(&folder, "check filtered.pcap --ignore one-direction")), "0\n");
}

#[test]
fn what_cannot_be_checked() {
    let folder = filtered();
    let whole = std::fs::read(folder.path().join("filtered.pcap")).expect("the capture");
    put(&folder, "cut.pcap", &whole[..whole.len() - 3]);
    put(&folder, "text.pcap", b"no capture at all, but some text");
    for (args, expected) in [
        ("check", "required arguments were not provided"),
        ("check missing.pcap", "missing.pcap"),
        ("check text.pcap", "text.pcap"),
        ("check cut.pcap --fail-on never", "cut.pcap"),
        ("check --explain nothing", "invalid value 'nothing'"),
        ("check --explain snaplen lo.pcap", "cannot be used with"),
        ("check lo.pcap -o fixed.pcapng", "unexpected argument '-o'"),
    ] {
        let told = told(&run(&folder, args));
        assert!(told.starts_with("2\n") && told.contains(expected), "{args}: {told}");
    }
    let told = told(&run(&folder, "check cut.pcap"));
    assert!(told.contains("warning[one-direction]"), "what could be read is checked: {told}");
}

#[test]
fn a_pipe_is_checked_as_well() {
    let folder = filtered();
    let input = std::fs::File::open(folder.path().join("filtered.pcap")).expect("the capture");
    let output = meshpcap(&folder, "check - --fail-on warning").stdin(Stdio::from(input)).output().expect("it runs");
    assert_eq!(told(&output), told(&run(&folder, "check filtered.pcap --fail-on warning")));
    let mut piped = meshpcap(&folder, "check - --fail-on warning");
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let bytes = std::fs::read(folder.path().join("filtered.pcap")).expect("the capture");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut pipe, &bytes).expect("it reads");
    drop(pipe);
    assert_eq!(told(&child.wait_with_output().expect("it ends")), told(&output));
}

#[test]
fn codes_are_explained() {
    let folder = folder();
    assert_data_eq!(told(&run(&folder, "check --explain port-collision")), file!["snapshots/check-explain.txt"]);
    assert_data_eq!(told(&run(&folder, "check --help")), file!["snapshots/check-help.txt"]);
}

/// Standard input that is a file: it could be read again, but not opened again.
#[test]
fn standard_input_that_is_not_in_order() {
    let folder = folder();
    let leg = |port: u16| Leg::outbound(&format!("10.1.0.5:{port}"), "10.96.0.10:80").open().ask("GET /").answer("200");
    let shots =
        [leg(40_000).after(1_000_000_000).reset().shots(Link::Lo), leg(40_001).reset().shots(Link::Lo)].concat();
    put(&folder, "late.pcap", &pcap(Link::Lo, &shots));
    let input = std::fs::File::open(folder.path().join("late.pcap")).expect("the capture");
    let output = meshpcap(&folder, "check -").stdin(Stdio::from(input)).output().expect("it runs");
    let named = told(&run(&folder, "check late.pcap"));
    let codes = |told: &str| told.matches("[connection-reset]").count();
    assert_eq!((output.status.code(), codes(&told(&output))), (Some(0), 2), "{}", told(&output));
    assert_eq!(codes(&named), 2, "{named}");
}

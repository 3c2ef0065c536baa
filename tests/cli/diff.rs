//! `meshpcap diff` as typed: what can be given, what is printed, the exit status.

use snapbox::{assert_data_eq, file};
use tempfile::TempDir;

use crate::common::{Leg, Link, pcap};
use crate::{folder, put, run, told};

/// A folder with a recording in each of `old` and `new`; the new one has one connection more.
pub fn recordings() -> TempDir {
    let folder = folder();
    let same = Leg::outbound("10.1.0.5:50000", "10.96.0.10:80").whole();
    let more = Leg::outbound("10.1.0.5:50001", "10.96.0.20:80").after(50_000_000).whole();
    for name in ["old", "new"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        std::fs::copy(folder.path().join("eth0.pcap"), folder.path().join(name).join("eth0.pcap")).expect("a capture");
    }
    std::fs::copy(folder.path().join("lo.pcap"), folder.path().join("old/lo.pcap")).expect("a capture");
    let shots = crate::common::leg::together(&[&same, &more], Link::Lo);
    put(&folder, "new/lo.pcap", &pcap(Link::Lo, &shots));
    folder
}

const MORE: &str = "\
1
+ outbound-app 10.1.0.5 > 10.96.0.20:80: only in NEW (tcp.stream 2 in NEW)
    sent GET / HTTP/1.1; received HTTP/1.1 200; opened; closed by both
1 added, 0 removed, 0 changed, 0 moved; 2 the same
";

#[test]
fn recordings_are_given_in_any_form() {
    let folder = recordings();
    assert_eq!(told(&run(&folder, "merge old -o old.pcapng -q")), "0\n");
    assert_eq!(told(&run(&folder, "merge new -o new.pcapng -q")), "0\n");
    for args in [
        "diff old new",
        "diff old.pcapng new.pcapng",
        "diff old new.pcapng",
        "diff old/eth0.pcap old/lo.pcap --to new/eth0.pcap new/lo.pcap",
        "diff old --to new/eth0.pcap new/lo.pcap",
    ] {
        assert_eq!(told(&run(&folder, args)), MORE, "{args}");
    }
    for args in ["diff old old", "diff old.pcapng old", "diff new.pcapng new.pcapng"] {
        assert_eq!(told(&run(&folder, args)), "0\n", "{args}");
    }
}

#[test]
fn what_programs_get() {
    let folder = recordings();
    assert_data_eq!(told(&run(&folder, "diff old new --json")), file!["snapshots/diff.json": Text]);
    let same = told(&run(&folder, "diff old old --json"));
    assert!(same.starts_with("0\n{") && same.contains("\"same\": true"), "{same}");
}

#[test]
fn what_cannot_be_compared() {
    let folder = recordings();
    put(&folder, "text", b"no capture");
    for (args, expected) in [
        (
            "diff old",
            "meshpcap: diff takes two recordings, and 1 were given: meshpcap diff OLD NEW, or, of several captures, meshpcap diff OLD... --to NEW...",
        ),
        (
            "diff old new old",
            "meshpcap: diff takes two recordings, and 3 were given: meshpcap diff OLD NEW, or, of several captures, meshpcap diff OLD... --to NEW...",
        ),
        ("diff old text", "meshpcap: text: [..]"),
        ("diff old missing", "meshpcap: missing: [..]"),
        (
            "diff old new --map 10.1.0.0/24=10.2.0.0/24 --map 10.1.9.9=10.2.0.9",
            "meshpcap: --map: 10.2.0.0 and 10.2.0.9 in NEW overlap, so it is open what they were in OLD",
        ),
        (
            "diff old new --map 10.1.0.5",
            "error: invalid value '10.1.0.5' for '--map <OLD=NEW>': `10.1.0.5` is not of the form 10.1.0.5=10.1.0.9 or 10.1.0.0/24=10.2.0.0/24\n\nFor more information, try '--help'.",
        ),
        (
            "diff old new --ignore-header x:y",
            "error: invalid value 'x:y' for '--ignore-header <NAME>': `x:y` is no name of a header field\n\nFor more information, try '--help'.",
        ),
        ("diff - -", "meshpcap: standard input (-) can be read only once"),
    ] {
        assert_data_eq!(told(&run(&folder, args)), snapbox::Data::from(format!("2\n{expected}\n")));
    }
}

#[test]
fn a_damaged_capture_is_compared_as_far_as_it_goes() {
    let folder = recordings();
    let whole = std::fs::read(folder.path().join("old/lo.pcap")).expect("a capture");
    put(&folder, "old/lo.pcap", &whole[..whole.len() - 3]);
    let held = told(&run(&folder, "diff old old"));
    assert!(held.starts_with("2\nmeshpcap: old/lo.pcap: ") && held.lines().count() == 3, "{held}");
}

#[test]
fn help() {
    assert_data_eq!(told(&run(&folder(), "diff --help")), file!["snapshots/diff-help.txt"]);
}

//! `meshpcap diff` as typed: what can be given, what is printed, the exit status.

use snapbox::{assert_data_eq, file, str};
use tempfile::TempDir;

use crate::common::{Leg, Link, pcap};
use crate::{folder, names, put, run, told};

/// A folder with a recording in each of `old` and `new`; the new one has one connection more.
fn recordings() -> TempDir {
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
fn an_expectation_is_written_and_held() {
    let folder = recordings();
    assert_data_eq!(
        told(&run(&folder, "diff --expect old")),
        str![[r#"
2
meshpcap: old/expect.json: is not there; write it with meshpcap diff --bless old

"#]]
    );
    assert_data_eq!(
        told(&run(&folder, "diff --bless old")),
        str![[r#"
0
old: expect.json written:
2 conversations

"#]]
    );
    let written = std::fs::read(folder.path().join("old/expect.json")).expect("the expectation");
    assert_data_eq!(String::from_utf8(written.clone()).expect("UTF-8"), file!["snapshots/expect.json": Text]);
    assert_eq!(told(&run(&folder, "diff --expect old")), "0\n");
    assert_eq!(told(&run(&folder, "diff --bless old")), "0\n", "it says the same");
    assert_eq!(std::fs::read(folder.path().join("old/expect.json")).expect("it"), written);

    // The same captures, one more connection.
    std::fs::copy(folder.path().join("new/lo.pcap"), folder.path().join("old/lo.pcap")).expect("a capture");
    assert_eq!(told(&run(&folder, "diff --expect old")), MORE.replacen("1\n", "1\nold:\n", 1));
    assert_eq!(told(&run(&folder, "diff --bless old")), MORE.replacen("1\n", "0\nold: expect.json written:\n", 1));
    assert_eq!(told(&run(&folder, "diff --expect old")), "0\n");
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap", "new", "old"], "no temporary file is left");
}

#[test]
fn what_was_ignored_stays_ignored() {
    let folder = recordings();
    let leg = |tenant: &str| {
        let request = format!("GET / HTTP/1.1\r\nx-tenant: {tenant}\r\n\r\n");
        let leg = Leg::outbound("10.1.0.5:50000", "10.96.0.10:80").open().ask(&request);
        pcap(Link::Lo, &leg.answer("HTTP/1.1 204\r\n\r\n").close().shots(Link::Lo))
    };
    put(&folder, "old/lo.pcap", &leg("red"));
    assert!(told(&run(&folder, "diff --bless old --ignore-header X-Tenant")).starts_with("0\n"));
    put(&folder, "old/lo.pcap", &leg("blue"));
    assert_eq!(told(&run(&folder, "diff --expect old")), "0\n");
    assert!(
        told(&run(&folder, "diff --bless old")).starts_with("0\nold: expect.json written"),
        "it counts from now on"
    );
    put(&folder, "old/lo.pcap", &leg("green"));
    let held = told(&run(&folder, "diff --expect old"));
    assert!(held.contains("header x-tenant: (hash ") && held.contains(") -> green"), "{held}");
    // What is ignored now, too.
    assert_eq!(told(&run(&folder, "diff --expect old --ignore-header x-tenant")), "0\n");
}

#[test]
fn what_cannot_be_compared() {
    let folder = recordings();
    put(&folder, "old/expect.json", b"{\"meshpcap_expectation\": 7}");
    put(&folder, "new/expect.json", b"{\"meshpcap_expectation\": 1, \"ignored_headers\": [], \"conversations\": [{}]}");
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
            "diff --expect old",
            "meshpcap: old/expect.json: is version 7 of an expectation, this meshpcap reads version 1; write it anew with --bless",
        ),
        (
            "diff --expect new",
            "meshpcap: new/expect.json: is no expectation of meshpcap: missing field `step` at line 1 column 71",
        ),
        ("diff --bless lo.pcap", "meshpcap: lo.pcap: is no folder: expect.json stands in one, with its captures"),
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
    assert!(held.starts_with("0\nmeshpcap: old/lo.pcap: ") && held.lines().count() == 3, "{held}");
}

#[test]
fn help() {
    assert_data_eq!(told(&run(&folder(), "diff --help")), file!["snapshots/diff-help.txt"]);
}

//! `meshpcap check --expect` and `--bless` as typed: what they print, what they write, the exit status.

use serde_json::Value;
use snapbox::{assert_data_eq, file, str};

use crate::common::leg::together;
use crate::common::{Leg, Link, pcap};
use crate::diff::recordings;
use crate::{folder, names, put, run, told};

const MORE: &str = "\
+ outbound-app 10.1.0.5 > 10.96.0.20:80: only in the captures (tcp.stream 2 in the captures)
    sent GET / HTTP/1.1; received HTTP/1.1 200; opened; closed by both
1 added, 0 removed, 0 changed, 0 moved; 2 the same
";

#[test]
fn an_expectation_is_written_and_held() {
    let folder = recordings();
    assert_data_eq!(
        told(&run(&folder, "check --expect old")),
        str![[r#"
2
meshpcap: old/expect.json: is not there; write it with meshpcap check --bless old

"#]]
    );
    assert_data_eq!(
        told(&run(&folder, "check --bless old")),
        str![[r#"
0
old: expect.json written:
0 findings, 2 conversations

"#]]
    );
    let written = std::fs::read(folder.path().join("old/expect.json")).expect("the expectation");
    assert_data_eq!(String::from_utf8(written.clone()).expect("UTF-8"), file!["snapshots/expect.json": Text]);
    assert_eq!(told(&run(&folder, "check --expect old")), "0\n");
    assert_eq!(told(&run(&folder, "check --bless old")), "0\n", "it says the same");
    assert_eq!(std::fs::read(folder.path().join("old/expect.json")).expect("it"), written);

    // The same captures, one more connection.
    std::fs::copy(folder.path().join("new/lo.pcap"), folder.path().join("old/lo.pcap")).expect("a capture");
    assert_eq!(told(&run(&folder, "check --expect old")), format!("1\nold:\n{MORE}"));
    assert_eq!(told(&run(&folder, "check --bless old")), format!("0\nold: expect.json written:\n{MORE}"));
    assert_eq!(told(&run(&folder, "check --expect old")), "0\n");
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
    assert!(told(&run(&folder, "check --bless old --ignore-header X-Tenant")).starts_with("0\n"));
    put(&folder, "old/lo.pcap", &leg("blue"));
    assert_eq!(told(&run(&folder, "check --expect old")), "0\n");
    assert!(
        told(&run(&folder, "check --bless old")).starts_with("0\nold: expect.json written"),
        "it counts from now on"
    );
    put(&folder, "old/lo.pcap", &leg("green"));
    let held = told(&run(&folder, "check --expect old"));
    assert!(held.contains("header x-tenant: (hash ") && held.contains(") -> green"), "{held}");
    // What is ignored now, too.
    assert_eq!(told(&run(&folder, "check --expect old --ignore-header x-tenant")), "0\n");
}

/// lo.pcap of `old` with these connections, both refused by the proxy.
fn refused(folder: &tempfile::TempDir, servers: [&str; 2]) {
    let leg = |port: u16, server: &str| Leg::outbound(&format!("10.1.0.5:{port}"), server).syn().refuse();
    let legs = [leg(40_000, servers[0]), leg(40_001, servers[1]).after(50_000_000)];
    put(folder, "old/lo.pcap", &pcap(Link::Lo, &together(&[&legs[0], &legs[1]], Link::Lo)));
}

#[test]
fn findings_are_expected_as_well() {
    let folder = recordings();
    refused(&folder, ["10.96.0.10:80", "10.96.0.10:80"]);
    assert!(told(&run(&folder, "check --bless old")).contains("2 findings, 3 conversations"));
    let written = std::fs::read(folder.path().join("old/expect.json")).expect("the expectation");
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    let noted = serde_json::json!([{"code": "connection-refused", "legs": ["outbound-app 10.96.0.10:80"], "times": 2}]);
    assert_eq!(written["findings"], noted);
    assert_eq!(told(&run(&folder, "check --expect old")), "0\n", "what is expected is no failure, however bad");

    refused(&folder, ["10.96.0.10:80", "10.96.0.20:80"]);
    let held = told(&run(&folder, "check --expect old"));
    let expected = "1\nold:\n\
        ~ note[connection-refused] outbound-app 10.96.0.10:80: 2 in expect.json, 1 in the captures\n    \
        the proxy refused the connection (frames 1, 4)\n\
        + note[connection-refused] outbound-app 10.96.0.20:80: 0 in expect.json, 1 in the captures\n    \
        the proxy refused the connection (frames 2, 5)\n";
    assert!(held.starts_with(expected), "{held}");
    assert!(held.contains("> 10.96.0.10:80: only in expect.json"), "{held}");
    let mapped = told(&run(&folder, "check --expect old --map 10.96.0.10=10.96.0.20 --ignore connection-refused"));
    assert!(!mapped.contains("connection-refused"), "{mapped}");

    let json = run(&folder, "check --expect old --format json");
    assert_eq!(json.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&json[0]["folder"], &json[0]["same"]), (&Value::from("old"), &Value::from(false)));
    let found = &json[0]["findings"][1];
    assert_eq!((&found["expected"], &found["found"]), (&Value::from(0), &Value::from(1)));
    assert_eq!(found["finding"]["frames"], serde_json::json!([2, 5]));
    assert_eq!(json[0]["conversations"]["same"], false);
    assert!(json[0]["conversations"]["differences"].as_array().is_some_and(|all| !all.is_empty()));

    refused(&folder, ["10.96.0.30:80", "10.96.0.30:80"]);
    assert_eq!(told(&run(&folder, "check --expect old --map 10.96.0.10=10.96.0.30")), "0\n");
}

#[test]
fn what_cannot_be_held() {
    let folder = recordings();
    put(&folder, "old/expect.json", b"{\"meshpcap_expectation\": 1}");
    let spoiled = b"{\"meshpcap_expectation\": 2, \"ignored_headers\": [], \"findings\": [], \"conversations\": [{}]}";
    put(&folder, "new/expect.json", spoiled);
    for (args, expected) in [
        (
            "check --expect old",
            "meshpcap: old/expect.json: is version 1 of an expectation, this meshpcap reads version 2; write it anew with --bless",
        ),
        (
            "check --expect new",
            "meshpcap: new/expect.json: is no expectation of meshpcap: missing field `step` at line 1 column [..]",
        ),
        ("check --bless lo.pcap", "meshpcap: lo.pcap: is no folder: expect.json stands in one, with its captures"),
        ("check --expect missing", "meshpcap: missing: is no folder: expect.json stands in one, with its captures"),
        ("check --expect new --format junit", "meshpcap: --expect tells what differs as text or json"),
        ("check lo.pcap --map 10.1.0.5=10.1.0.6", "meshpcap: --map and --ignore-header are for --expect and --bless"),
        ("check --expect --bless new", "error: the argument '--expect' cannot be used with '--bless'"),
        ("check --expect new --fail-on note", "error: the argument '--expect' cannot be used with '--fail-on [..]"),
    ] {
        assert_data_eq!(told(&run(&folder, args)), snapbox::Data::from(format!("2\n{expected}\n...\n")));
    }
    assert!(told(&run(&folder, "check --bless old")).starts_with("0\nold: expect.json written:\n0 findings"));
    let folder = self::folder();
    assert!(told(&run(&folder, "check --expect")).contains("<CAPTURE>"));
}

/// What is missing may be as expected, or not.
#[test]
fn damaged_captures() {
    let folder = recordings();
    assert!(run(&folder, "check --bless old").status.success());
    let expectation = || std::fs::read(folder.path().join("old/expect.json")).expect("the expectation");
    let before = expectation();
    let whole = std::fs::read(folder.path().join("old/lo.pcap")).expect("a capture");
    put(&folder, "old/lo.pcap", &whole[..whole.len() - 3]);
    let held = told(&run(&folder, "check --expect old"));
    assert!(held.starts_with("2\n") && held.contains("meshpcap: old/lo.pcap: "), "{held}");
    let blessed = told(&run(&folder, "check --bless old"));
    let end = "meshpcap: old: nothing is expected of damaged captures; editcap writes what can be read of them anew\n";
    assert!(blessed.starts_with("2\n") && blessed.ends_with(end), "{blessed}");
    assert_eq!(expectation(), before);
}

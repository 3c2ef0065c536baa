//! Files beside the captures on the command line: what is used, what is told of bad lines, what is refused.

use std::fs::File;

use snapbox::{assert_data_eq, str};

use crate::{folder, meshpcap, names, put, run, text, told};

const HOSTS: &[u8] = b"10.1.0.5 web-1.shop\n10.96.0.10 api.shop.svc\n";

#[test]
fn bad_lines_are_told_and_the_rest_is_used() {
    let folder = folder();
    put(&folder, "hosts", &[HOSTS, b"10.1.0.256 oops\n\x1b[31m10.1.0.6\n"].concat());
    put(&folder, "keys.log", format!("oops\nCLIENT_RANDOM {} {}\n", "0a".repeat(32), "0b".repeat(48)).as_bytes());
    assert_data_eq!(
        told(&run(&folder, "merge eth0.pcap lo.pcap -o x.pcapng --names hosts --keys keys.log")),
        str![[r#"
0
meshpcap: hosts: 2 bad lines were not used
  line 3: does not start with an address: 10.1.0.256 oops
  line 4: does not start with an address:  [31m10.1.0.6
meshpcap: keys.log: 1 bad line was not used
  line 1: it does not start with a label such as CLIENT_RANDOM
20 packets from 2 inputs, 20 written
6 packets got their original addresses back, 20 checksums completed
legs            repaired     whole      left
outbound-app           1         0         0  app to proxy
outbound-peer          0         1         0  proxy to peer
nat rules: mesh istio, found from the packets; 8 others would fit as well
2 addresses got their names
no TLS session that begins in the captures has secrets in the files of --keys

"#]]
    );
}

/// A pipe is read once, and then nothing is tied: that is told where a file was given that ties are made by.
#[test]
fn what_a_pipe_cannot_be_tied_by_is_told() {
    let folder = folder();
    for name in ["access.log", "conntrack.txt"] {
        put(&folder, name, b"");
    }
    for (args, is_told) in [
        ("merge - -o x.pcapng --access-log access.log", true),
        ("merge - -o x.pcapng --conntrack conntrack.txt", true),
        ("merge lo.pcap -o x.pcapng --access-log access.log --lookahead 2s", true),
        ("merge lo.pcap -o x.pcapng --access-log access.log", false),
        ("merge - -o x.pcapng", false),
    ] {
        let input = File::open(folder.path().join("lo.pcap")).expect("the input");
        let output = meshpcap(&folder, args).stdin(input).output().expect("meshpcap runs");
        let line = "no legs were tied: access logs and conntrack's lists need captures that can be read twice (give files, \
                    without --lookahead)\n";
        assert!(output.status.success(), "{args}");
        assert_eq!(text(&output.stderr).contains(line), is_told, "{args}: {}", text(&output.stderr));
    }
}

#[test]
fn files_that_cannot_be_used() {
    let folder = folder();
    put(&folder, "hosts", HOSTS);
    put(&folder, "some.json", b"{\"items\": [{\"metadata\": {}}");
    let before = names(&folder);
    for (args, expected) in [
        ("--names nowhere", "nowhere: cannot be read: No such file or directory (os error 2)"),
        ("--names .", ".: cannot be read: Is a directory (os error 21)"),
        (
            "--names lo.pcap",
            "lo.pcap: names no address: neither a hosts file nor the output of kubectl get pods,services -A -o json",
        ),
        ("--names some.json", "some.json: names no address"),
        ("--keys hosts", "hosts: not a TLS key log: no line reads LABEL CLIENT_RANDOM SECRET"),
        ("--names hosts --keys lo.pcap", "lo.pcap: not a TLS key log"),
    ] {
        let output = run(&folder, &format!("merge eth0.pcap lo.pcap -o x.pcapng {args}"));
        assert_eq!(output.status.code(), Some(2), "{args}");
        let told = text(&output.stderr);
        assert!(told.starts_with(&format!("meshpcap: {expected}")) && told.lines().count() == 1, "{args}: {told}");
        assert_eq!(names(&folder), before, "nothing is written");
    }
}

#[test]
fn a_file_beside_the_captures_is_not_overwritten() {
    let folder = folder();
    put(&folder, "hosts", HOSTS);
    for args in ["-o hosts --names hosts", "-o x.pcapng --report ./hosts.csv --names hosts.csv"] {
        put(&folder, "hosts.csv", HOSTS);
        let output = run(&folder, &format!("merge lo.pcap {args}"));
        assert_eq!(output.status.code(), Some(2), "{args}");
        let told = text(&output.stderr);
        let kind = if args.contains("report") { "report" } else { "output" };
        assert!(told.contains(&format!("is both input and {kind}")), "{told}");
        assert_eq!(std::fs::read(folder.path().join("hosts")).expect("still there"), HOSTS);
    }
}

#[test]
fn logs_that_say_nothing_of_the_captures() {
    let folder = folder();
    put(&folder, "access.log", b"");
    let told = told(&run(&folder, "merge eth0.pcap lo.pcap -o x.pcapng --access-log access.log"));
    let line =
        "no request of the access logs went over a connection of the captures (another pod's, or of another time?)\n";
    assert!(told.ends_with(line), "{told}");
}

/// As from `kubectl get pods -o json`, or from a log that is read over there.
#[test]
fn any_file_can_be_standard_input() {
    let folder = folder();
    put(&folder, "hosts", HOSTS);
    let hosts = || File::open(folder.path().join("hosts")).expect("the file");
    let piped = meshpcap(&folder, "merge eth0.pcap lo.pcap -o x.pcapng --names -").stdin(hosts()).output();
    let file = run(&folder, "merge eth0.pcap lo.pcap -o y.pcapng --names hosts");
    assert_eq!(told(&piped.expect("meshpcap runs")), told(&file));
    let twice = meshpcap(&folder, "merge eth0.pcap - -o x.pcapng --names -").stdin(hosts()).output();
    assert_eq!(told(&twice.expect("meshpcap runs")), "2\nmeshpcap: standard input (-) can be read only once\n");
}

#[test]
fn rules_are_not_written_to() {
    let folder = folder();
    put(&folder, "rules.csv", b"*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n");
    for (args, role) in [("-o rules.csv", "output"), ("-o x.pcapng --report rules.csv", "report")] {
        let told = told(&run(&folder, &format!("merge eth0.pcap lo.pcap --rules ip:rules.csv {args}")));
        let expected = format!("2\nmeshpcap: rules.csv: is both input and {role}; name another file for the {role}\n");
        assert_eq!(told, expected);
    }
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap", "rules.csv"]);
}

#[cfg(unix)]
#[test]
fn who_may_read_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    put(&folder, "keys.log", format!("CLIENT_RANDOM {} {}\n", "0a".repeat(32), "0b".repeat(48)).as_bytes());
    let others_may = |args: &str| {
        assert!(run(&folder, &format!("merge eth0.pcap lo.pcap -q -o x.pcapng {args}")).status.success());
        let file = std::fs::metadata(folder.path().join("x.pcapng")).expect("the output");
        file.permissions().mode() & 0o077 != 0
    };
    assert!(others_may("") && !others_may("--keys keys.log"));
}

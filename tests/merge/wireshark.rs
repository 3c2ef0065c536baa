//! What it is all for: Wireshark follows a connection whole, and finds nothing wrong with it.

use std::path::Path;
use std::process::Command;

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Shot, require};

/// Runs tshark over a file, with checksums verified.
fn tshark(file: &Path, args: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]).args(args);
    let output = command.output().expect("tshark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn follow_tcp_stream() {
    if !require("tshark", "follow_tcp_stream") {
        return;
    }
    let web = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let redis = Leg::outbound("10.1.0.5:40000", "10.96.0.20:6379").port(25463).after(3_000).whole();
    let v6 = Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").after(4_000).whole();
    let eth0 = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(5_000).whole();
    let lo: Vec<Shot> = together(&[&web, &redis, &v6], Link::Lo);
    let mut job = Job::new().shots(Link::Eth, &eth0.shots(Link::Eth)).shots(Link::Lo, &lo);
    job.merge.report = None;
    let fixed = job.folder.path().join("out.pcapng");
    meshpcap::pipeline::merge(&job.merge, &std::sync::Arc::default(), &mut |_, _| ()).expect("the merge");

    let streams = |file: &Path| tshark(file, &["-T", "fields", "-e", "tcp.stream"]).lines().map(str::to_owned).max();
    assert_eq!(streams(&job.folder.path().join("in1")).as_deref(), Some("5"), "three connections in six halves");
    assert_eq!(streams(&fixed).as_deref(), Some("3"), "four connections");
    for stream in 0..4 {
        let followed = tshark(&fixed, &["-q", "-z", &format!("follow,tcp,ascii,{stream}")]);
        assert!(followed.contains("GET / HTTP/1.1") && followed.contains("HTTP/1.1 200 OK"), "{followed}");
    }
    // Segments that were lost or repeated, acknowledgments of what was never sent.
    assert_eq!(tshark(&fixed, &["-Y", "tcp.analysis.flags"]), "");
    assert_eq!(tshark(&fixed, &["-Y", "tcp.checksum.status != 1 || ip.checksum.status != 1"]), "");
    assert_eq!(tshark(&fixed, &["-Y", "ip.addr == 127.0.0.1 || ipv6.addr == ::1"]), "");
    // Every repaired leg is found by its comment.
    assert_eq!(tshark(&fixed, &["-Y", "frame.comment contains \"outbound-app\""]).lines().count(), 3);
}

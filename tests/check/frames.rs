//! Frames and streams of findings are those of the file that a merge of the same captures writes.

use std::path::{Path, PathBuf};

use meshpcap::capture::Source;
use meshpcap::check::Finding;
use serde_json::Value;

use crate::common::leg::START;
use crate::common::{Job, Leg, Link};
use crate::job::{MS, check, codes};

/// Checks and merges, and holds both against each other. What was found.
fn agree(job: Job) -> Vec<Finding> {
    let findings = check(&job);
    let outcome = job.run();
    for finding in &findings {
        for subject in &finding.legs {
            let is_it = |row: &&Value| {
                row["role"] == subject.role && row["client"] == subject.client && row["server"] == subject.server
            };
            let streams: Vec<Option<u64>> =
                outcome.legs.iter().filter(is_it).map(|row| row["tcp_stream"].as_u64()).collect();
            assert!(streams.contains(&subject.tcp_stream.map(u64::from)), "{subject:?}: {streams:?}");
        }
        for &frame in &finding.frames {
            let packet = &outcome.output.packets[frame as usize - 1];
            let (source, destination) = packet.ends();
            let (source, destination) = (source.to_string(), destination.to_string());
            let is_of = |client: &str, server: &str| {
                (client, server) == (&source, &destination) || (server, client) == (&source, &destination)
            };
            let mut legs = finding.legs.iter();
            assert!(legs.any(|leg| is_of(&leg.client, &leg.server)), "frame {frame} of {finding:?}: {packet:?}");
        }
        if finding.code == "connection-reset" {
            let is_reset = |frame: &u64| outcome.output.packets[*frame as usize - 1].datagram();
            let resets = finding.frames.iter().map(is_reset).filter(|datagram| flags(datagram) & 4 != 0);
            assert!(resets.count() > 0, "{finding:?}");
        }
    }
    findings
}

/// TCP's control bits, without options in front.
fn flags(datagram: &[u8]) -> u8 {
    datagram[if datagram[0] >> 4 == 4 { 33 } else { 53 }]
}

#[test]
fn of_captures_of_real_parts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut found = 0;
    for name in ["ambient-same-addresses", "forgotten", "reuse-after-reset", "proxy-gone"] {
        let mut captures: Vec<PathBuf> = std::fs::read_dir(root.join(name))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        captures.retain(|path| path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng"));
        captures.sort();
        let mut job = Job::new();
        job.merge.inputs.extend(captures.into_iter().map(Source::Path));
        found += agree(job).len();
    }
    assert!(found > 20, "{found}");
}

/// Both pods show the connection between them; the second one shows more of it, so that its packets are written.
#[test]
fn of_connections_that_two_inputs_show() {
    let leg = |port: u16, after: u64| {
        Leg::direct(&format!("10.1.0.5:{port}"), "10.1.0.6:8080").after(after).open().ask("GET /").answer("200").reset()
    };
    let (both, alone) = (leg(50_000, 0), leg(50_001, 5 * MS));
    let mut there = both.clone();
    for (time, datagram) in &mut there.packets {
        *time += 1_000_000;
        datagram[8] -= 1; // A router in between.
    }
    let mut here = both;
    here.packets.remove(5); // The server's data.
    let lo = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").after(2 * MS).open().ask("GET /").answer("200").reset();
    let wire: Vec<_> = [here.shots(Link::Eth), alone.shots(Link::Eth)].concat();
    let job = || {
        Job::new()
            .shots(Link::Lo, &lo.shots(Link::Lo))
            .shots(Link::Eth, &wire)
            .shots(Link::Eth, &there.shots(Link::Eth))
    };
    let outcome = job().run();
    assert!(outcome.summary().contains("captured by several inputs"), "{}", outcome.summary());
    let findings = agree(job());
    assert_eq!(codes(&findings), ["connection-reset"], "{findings:#?}");
    assert_eq!(findings.len(), 3);
}

#[test]
fn of_packets_that_two_inputs_show_alike() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask("GET /").answer("200").reset();
    let late: Vec<_> = leg
        .shots(Link::Lo)
        .into_iter()
        .map(|mut shot| {
            shot.time += 2_000;
            shot
        })
        .collect();
    let findings = agree(Job::new().shots(Link::Lo, &leg.shots(Link::Lo)).shots(Link::Lo, &late));
    assert_eq!(codes(&findings), ["connection-reset"]);
    assert_eq!(findings[0].frames, [8], "each packet is written once");
}

#[test]
fn of_a_capture_that_is_not_in_order() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask("GET /").answer("200").reset();
    let mut shots = leg.shots(Link::Lo);
    shots.rotate_right(1);
    assert!(shots[0].time > START);
    let findings = agree(Job::new().shots(Link::Lo, &shots));
    assert_eq!(findings[0].frames, [8]);
}

/// One packet is found twice: as cut off, and as the first of a connection without replies.
#[test]
fn of_a_packet_that_is_found_twice() {
    let forward = |port: u16, after: u64| {
        let mut leg = Leg::outbound(&format!("10.1.0.5:{port}"), "10.96.0.10:80").after(after).whole();
        leg.packets.retain(|(_, datagram)| datagram[16..20] == [127, 0, 0, 1]);
        leg
    };
    let (first, second) = (forward(40_000, 0), forward(40_001, 100 * MS));
    let mut shots = [first.shots(Link::Lo), second.shots(Link::Lo)].concat();
    let length = shots[0].bytes.len();
    shots[0] = shots[0].clone().cut(length - 1);
    let findings = check(&Job::new().shots(Link::Lo, &shots));
    let frames = |code: &str| findings.iter().find(|finding| finding.code == code).map(|finding| &finding.frames[..]);
    assert_eq!(frames("snaplen"), Some(&[1][..]), "{findings:#?}");
    assert_eq!(frames("one-direction"), Some(&[1, 1 + first.packets.len() as u64][..]));
}

//! Files that change while they are merged. Files are read twice, and what was found the first time must not be done to
//! other packets the second time.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshpcap::capture::Source;
use meshpcap::pipeline::{self, Done, Error};

use crate::common::file::record;
use crate::common::leg::START;
use crate::common::{Job, Leg, Link, Output, Shot, pcap, shot};

/// A capture of lo: traffic that nobody redirected, then a leg to be repaired; nothing behind it for a while.
fn lo() -> Vec<Shot> {
    let local = Leg::direct("10.1.0.5:57168", "10.1.0.5:9090").ask("x").packets;
    let frame = Link::Lo.frame(&local[0].1);
    let mut shots: Vec<Shot> = (0..4000).map(|n| shot(START + n * 10, frame.clone())).collect();
    shots.extend(Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").after(50_000).whole().shots(Link::Lo));
    shots
}

/// A capture of eth0 that goes on longer, with a packet each microsecond.
fn eth0() -> Vec<Shot> {
    let frame = Link::Eth.frame(&Leg::direct("10.1.0.5:40000", "10.9.0.6:8080").ask("y").packets[0].1);
    (0..4500).map(|n| shot(START + n * 1000, frame.clone())).collect()
}

/// Merges both. Progress is told each 4096 records of each pass: the second time, `change` is called.
fn merge(lo: &[Shot], eth0: &[Shot], change: impl FnOnce(&Path, &Path)) -> (Result<Done, Error>, Option<Output>) {
    let job = Job::new().input(&pcap(Link::Lo, lo)).input(&pcap(Link::Eth, eth0));
    let path = |n: usize| match &job.merge.inputs[n] {
        Source::Path(path) => path.clone(),
        Source::Stdin => panic!("a file"),
    };
    let (first, second): (PathBuf, PathBuf) = (path(0), path(1));
    let (mut calls, mut change) = (0, Some(change));
    let done = pipeline::merge(&job.merge, &Arc::default(), &mut |_, _| {
        calls += 1;
        // Two passes over 8,510 packets.
        if calls == 3
            && let Some(change) = change.take()
        {
            change(&first, &second);
        }
    });
    assert!(calls >= 3, "it was changed in the second pass");
    let output = std::fs::read(job.folder.path().join("out.pcapng")).ok();
    (done, output.map(|bytes| Output::read(&bytes)))
}

/// What follows is written to the end of a file.
fn append(path: &Path, shots: &[Shot]) {
    let mut file = OpenOptions::new().append(true).open(path).expect("the input");
    for shot in shots {
        file.write_all(&record(shot)).expect("the input grows");
    }
}

#[test]
fn a_file_that_grows_is_merged_as_far_as_it_went() {
    let (lo, eth0) = (lo(), eth0());
    let (_, expected) = merge(&lo, &eth0, |_, _| ());
    // Between the packets of eth0 that are still to come.
    let more: Vec<Shot> = (0..200).map(|n| Shot { time: START + 300_000 + n * 1000, ..lo[0].clone() }).collect();
    let (done, output) = merge(&lo, &eth0, |lo, _| append(lo, &more));
    let done = done.expect("the merge succeeds");
    assert_eq!((done.summary.read, done.summary.counts.packets), (8510, 8510));
    let packets = |output: Option<Output>| output.expect("an output").packets;
    assert_eq!(packets(output), packets(expected));
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    // More than is read ahead.
    let eth0: Vec<Shot> = (0..20_000).map(|n| Shot { time: START + n * 1000, ..eth0()[0].clone() }).collect();
    let cut = |path: &Path, octets: u64| {
        let file = OpenOptions::new().write(true).open(path).expect("the input");
        file.set_len(octets).expect("the input shrinks");
    };
    let (done, output) = merge(&lo(), &eth0, |_, eth0| cut(eth0, 700_000));
    let message = done.expect_err("it changed").to_string();
    assert!(message.contains("in1: changed while it was merged"), "{message}");
    assert!(output.is_none(), "nothing is written");
}

#[test]
fn another_file_in_its_place_is_an_error() {
    let eth0: Vec<Shot> = (0..20_000).map(|n| Shot { time: START + n * 1000, ..eth0()[0].clone() }).collect();
    let others: Vec<Shot> = eth0.iter().map(|shot| Shot { time: shot.time + 1, ..shot.clone() }).collect();
    let (done, output) = merge(&lo(), &eth0, |_, path| {
        std::fs::write(path, pcap(Link::Eth, &others)).expect("another file");
    });
    let message = done.expect_err("it changed").to_string();
    assert!(message.contains("in1: changed while it was merged"), "{message}");
    assert!(output.is_none(), "nothing is written");
}

//! Memory is allocated for connections, not for packets.
//!
//! The same connections with twice the packets must need as many allocations. All threads count, so this file
//! holds one test.

#[path = "../benches/traffic/mod.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod traffic;

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;

use meshpcap::beside::Files;
use meshpcap::capture::Source;
use meshpcap::output::{Destination, GivenName};
use meshpcap::pipeline::{LookAhead, Merge, merge};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use traffic::{Shape, Traffic};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What may differ by chance: buffers on their way to the writer, tables that grow with what happens at once.
const BY_CHANCE: usize = 64;

/// Connections of the traffic, and how often what is kept of one may grow, where it is collected and where it is read for ties.
const CONNECTIONS: u32 = 60;
const GROWTH: usize = 12;

#[test]
fn packets_are_not_allocated_for() {
    let cases = [
        ("packets go straight through", false, Shape::Small, Vec::new(), None),
        ("large packets", false, Shape::Bulk, Vec::new(), None),
        ("packets wait to the end", true, Shape::Small, Vec::new(), None),
        (
            "packets wait for a while",
            true,
            Shape::Small,
            Vec::new(),
            Some(LookAhead { time: 20_000_000, bytes: 1 << 20 }),
        ),
        ("interfaces have names", false, Shape::Small, vec![name(0, "eth0"), name(1, "lo")], None),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = cases.map(|case| (case, Files::default()));
    let named = (("names and secrets", false, Shape::Small, Vec::new(), None), files(folder.path()));
    for ((case, only_forward, shape, names, look_ahead), beside) in cases.into_iter().chain([named]) {
        let count = |megabytes: u64| {
            let traffic = Traffic {
                seed: 7,
                bytes: megabytes * 1_000_000,
                connections: CONNECTIONS,
                live: 20,
                shape,
                only_forward,
                ..Traffic::default()
            };
            allocations(folder.path(), traffic, names.clone(), look_ahead, beside.clone())
        };
        let (once, twice) = (count(8), count(16));
        let (packets, allocated) = (twice.0 - once.0, twice.1.saturating_sub(once.1));
        assert!(packets > 2_000, "{case}: {packets} packets are too few to tell");
        // With more packets, what is kept of a connection grows to its bound.
        let most = BY_CHANCE + CONNECTIONS as usize * GROWTH;
        assert!(allocated < most, "{case}: {allocated} allocations for {packets} packets more");
    }
}

/// How many packets were merged, with how many allocations.
fn allocations(
    folder: &Path,
    traffic: Traffic,
    names: Vec<GivenName>,
    look_ahead: Option<LookAhead>,
    beside: Files,
) -> (u64, usize) {
    let captures = traffic.write(folder).expect("room for the captures").paths;
    let inputs = captures.into_iter().map(Source::Path).collect();
    let output = Destination::Path(folder.join("merged.pcapng"));
    let job = Merge { names, look_ahead, beside, ..Merge::new(inputs, output) };
    let interrupted = Arc::default();
    let region = Region::new(ALLOCATOR);
    let done = merge(&job, &interrupted, &mut |_, _| {}).expect("generated captures can be merged");
    let counted = region.change();
    (done.summary.read, counted.allocations + counted.reallocations)
}

/// Names for all addresses of the traffic, and the secrets of a session.
fn files(folder: &Path) -> Files {
    let (names, keys) = (folder.join("hosts"), folder.join("keys.log"));
    let hosts: String =
        (0..=255).map(|last| format!("172.21.206.{last} pod-{last}\n10.96.0.{last} service-{last}\n")).collect();
    std::fs::write(&names, hosts).expect("room for a hosts file");
    let secret = format!("CLIENT_RANDOM {} {}\n", "01".repeat(32), "02".repeat(48));
    std::fs::write(&keys, secret).expect("room for a key log");
    Files { names: vec![names], keys: vec![keys], ..Files::default() }
}

fn name(input: usize, name: &str) -> GivenName {
    GivenName { input, index: None, name: name.to_owned() }
}

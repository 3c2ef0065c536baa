//! Look-ahead and memory: what cannot wait longer leaves as it was captured, and says so; nothing is lost.

use crate::common::leg::START;
use crate::common::{Job, Leg, Link, Shot, shot};

const MS: u64 = 1_000_000;

/// A leg whose SYN is answered after so many nanoseconds.
fn answered_after(wait: u64) -> Leg {
    let mut leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").syn();
    leg.time = START + wait;
    let mut leg = leg.refuse();
    leg.time += MS;
    leg
}

/// Packets that go on while a leg waits.
fn traffic(milliseconds: u64) -> Vec<Shot> {
    let wire = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").ask("x").packets[0].1.clone();
    (1..milliseconds).map(|n| shot(START + n * MS, Link::Eth.frame(&wire))).collect()
}

fn run(wait: u64, look_ahead: Option<(u64, u64)>) -> Vec<String> {
    let leg = answered_after(wait);
    let mut shots = [leg.shots(Link::Lo), traffic(200)].concat();
    shots.sort_by_key(|shot| shot.time);
    let count = shots.len();
    let mut job = Job::new().shots(Link::Lo, &shots);
    if let Some((time, bytes)) = look_ahead {
        job = job.look_ahead(time, bytes);
    }
    let outcome = job.run();
    assert_eq!(outcome.output.packets.len(), count);
    assert!(outcome.output.times().is_sorted());
    outcome.told().into_iter().filter(|leg| leg.starts_with("outbound-app")).collect()
}

#[test]
fn how_far_to_look_ahead() {
    let repaired = "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80";
    let left = "outbound-app left look-ahead 10.1.0.5:40000 127.0.0.1:15001";
    for (look_ahead, expected) in [
        (None, repaired),
        (Some((150 * MS, u64::MAX)), repaired),
        (Some((50 * MS, u64::MAX)), left),
        (Some((u64::MAX, 1 << 20)), repaired),
        (Some((u64::MAX, 1000)), left),
        (Some((0, u64::MAX)), left),
    ] {
        assert_eq!(run(100 * MS, look_ahead), [expected], "{look_ahead:?}");
    }
}

#[test]
fn a_file_is_known_whole() {
    // An answer a minute later, as after many retransmissions.
    let leg = answered_after(60_000 * MS);
    let outcome = Job::new().shots(Link::Lo, &leg.shots(Link::Lo)).run();
    assert_eq!(outcome.output.ends(), leg.repaired());
}

#[test]
fn a_flood_of_half_open_connections() {
    const FLOOD: u32 = 150_000;
    let mut syn = Leg::outbound("10.1.0.5:1", "10.96.0.10:80").syn().packets[0].1.clone();
    let mut shots = Vec::with_capacity(FLOOD as usize);
    for n in 0..FLOOD {
        // Another client, port and initial sequence number each.
        syn[14..16].copy_from_slice(&((n >> 12) as u16).to_be_bytes());
        syn[20..22].copy_from_slice(&(1024 + (n & 0xfff) as u16).to_be_bytes());
        syn[24..28].copy_from_slice(&(n * 1000).to_be_bytes());
        shots.push(shot(START + u64::from(n) * 1_000, Link::Lo.frame(&syn)));
    }
    // One good connection in the middle of it.
    let good = Leg::outbound("10.2.0.5:40000", "10.96.0.10:80").after(75_000_000).whole();
    shots.extend(good.shots(Link::Lo));
    shots.sort_by_key(|shot| shot.time);
    let outcome = Job::new().shots(Link::Lo, &shots).without_report().run();
    assert_eq!(outcome.done.summary.counts.packets, u64::from(FLOOD) + 10);
    assert_eq!(outcome.output.packets.len(), shots.len());
    let repaired: Vec<_> = outcome.output.packets.iter().filter(|packet| !packet.options.is_empty()).collect();
    assert!(matches!(repaired[..], [one] if one.comments()[0].contains("10.2.0.5:40000 > 10.96.0.10:80")));
    let summary = outcome.summary();
    assert!(summary.contains(&format!("outbound-app           1         0    {FLOOD}")), "each is counted: {summary}");
    // Of those that were still waiting at the end there are no more than the bound.
    let evicted = count(&summary, "forgotten to stay within memory before the proof came");
    let waiting = count(&summary, "no reply in the capture fits");
    assert_eq!(evicted + waiting, u64::from(FLOOD));
    assert!(waiting <= 32_768, "{summary}");
}

/// How many legs the summary says were left for a reason.
fn count(summary: &str, reason: &str) -> u64 {
    let line = summary.lines().find(|line| line.contains(reason)).unwrap_or_else(|| panic!("{reason} in {summary}"));
    let number = line.split(' ').find_map(|word| word.parse().ok());
    number.expect("a number of legs")
}

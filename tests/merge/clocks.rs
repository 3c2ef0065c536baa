//! A second machine captured the same connections, by another clock: nobody gets another one's address.

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Shot, addr};

const MILLISECOND: u64 = 1_000_000;

/// Calls of two clients by turns, all alike, each 10 ms after the one before: on the wire, and from the proxy to the application.
fn calls() -> (Vec<Leg>, Vec<Leg>) {
    let call = |n: u64| {
        let (begun, port) = (10 * MILLISECOND * n, 50_000 + n);
        let client = format!("10.1.0.{}:{port}", 8 + n % 2);
        let near = Leg::direct(&client, "10.1.0.5:8080").after(begun).open().ask("a question");
        let own = Leg::direct(&format!("127.0.0.6:{}", 33_000 + n), "10.1.0.5:8080").after(begun + 100_000);
        let far = own.open().ask("a question").answer("an answer").close();
        (near.after(begun + 400_000).answer("an answer").close(), far)
    };
    (0..20).map(call).unzip()
}

/// What another machine captured whose clock is ahead by so many nanoseconds; `hops` away, and 20 µs.
fn elsewhere(shots: &[Shot], ahead: i64, hops: u8) -> Vec<Shot> {
    let moved = |shot: &Shot| {
        let mut shot = shot.clone();
        // The server's end of all is 10.1.0.5: it is nearer to the first capture.
        let from_server = shot.bytes[29] == 5;
        let late = if hops == 0 { 0 } else { 20_000 };
        shot.time = shot.time.saturating_add_signed(ahead + if from_server { late } else { -late });
        shot.bytes[22] = if from_server { shot.bytes[22] - hops } else { shot.bytes[22] + hops };
        shot
    };
    let mut all: Vec<Shot> = shots.iter().map(moved).collect();
    all.sort_by_key(|shot| shot.time);
    all
}

/// How many legs from the proxy got their client's address, and how many another one's.
fn renamed(inputs: &[(Link, &[Shot])]) -> (usize, usize, String) {
    let job = inputs.iter().fold(Job::new(), |job, (link, shots)| job.shots(*link, shots));
    let outcome = job.run();
    let ends = outcome.output.ends();
    let (mut right, mut wrong) = (0, 0);
    for n in 0..20 {
        let has = |client: u64| ends.iter().any(|(from, _)| *from == addr(&format!("10.1.0.{client}:{}", 33_000 + n)));
        right += usize::from(has(8 + n % 2));
        wrong += usize::from(has(9 - n % 2));
    }
    (right, wrong, outcome.summary())
}

#[test]
fn no_leg_gets_another_ones_client() {
    let (near, far) = calls();
    let shots = |legs: &[Leg], link| together(&legs.iter().collect::<Vec<_>>(), link);
    let (wire, lo) = (shots(&near, Link::Eth), shots(&far, Link::Lo));
    let (right, wrong, summary) = renamed(&[(Link::Eth, &wire), (Link::Lo, &lo)]);
    assert_eq!((right, wrong), (20, 0), "{summary}");
    assert!(!summary.contains("clocks differ"), "{summary}");
    for ahead in [-200, -10, -1, 1, 10, 200].map(|milliseconds| milliseconds * 1_000_000) {
        for hops in [0, 1] {
            let other = elsewhere(&wire, ahead, hops);
            for inputs in [[(Link::Eth, &other), (Link::Eth, &wire)], [(Link::Eth, &wire), (Link::Eth, &other)]] {
                let [first, second] = inputs.map(|(link, shots)| (link, &shots[..]));
                let (right, wrong, summary) = renamed(&[first, second, (Link::Lo, &lo)]);
                // Where nothing shows which capture is the pod's, nobody knows whose clock is the proxy's.
                let known = if hops == 0 { 0 } else { 20 };
                assert_eq!((right, wrong), (known, 0), "{ahead} ns, {hops} hops: {summary}");
                let told = "20 connections captured by inputs whose clocks differ\n";
                assert!(summary.contains(told), "{summary}");
                assert_eq!(summary.contains("  of 20 connections it is not known"), hops == 0, "{summary}");
            }
        }
    }
}

#[test]
fn captures_by_one_clock_change_nothing() {
    let (near, far) = calls();
    let shots = |legs: &[Leg], link| together(&legs.iter().collect::<Vec<_>>(), link);
    let (wire, lo) = (shots(&near, Link::Eth), shots(&far, Link::Lo));
    for (ahead, hops) in [(0, 0), (0, 1), (-15_000, 1), (15_000, 1), (20_000, 0)] {
        let other = elsewhere(&wire, ahead, hops);
        let (right, wrong, summary) = renamed(&[(Link::Eth, &other), (Link::Eth, &wire), (Link::Lo, &lo)]);
        assert_eq!((right, wrong), (20, 0), "{ahead} ns, {hops} hops: {summary}");
        assert!(!summary.contains("clocks differ"), "{summary}");
    }
    // A file that another one continues, and the other pod's capture.
    let other = elsewhere(&wire, -10_000_000, 1);
    let (head, tail) = wire.split_at(wire.len() / 2 + 3);
    for files in [[&other[..], head, tail], [head, tail, &other[..]]] {
        let [a, b, c] = files.map(|shots| (Link::Eth, shots));
        let (right, wrong, summary) = renamed(&[a, b, c, (Link::Lo, &lo)]);
        assert_eq!(wrong, 0, "{summary}");
        assert!(right >= 19, "{right}: {summary}");
    }
}

//! TCP legs that were open before the capture began: sequence numbers of both directions, timestamps where these leave
//! a gap, and nothing where two legs fit.

use crate::common::leg::together;
use crate::common::{Leg, Link, merge};

const APP: &str = "10.1.0.5:40000";
const WEB: &str = "10.96.0.10:80";

fn open_long_ago(server: &str) -> Leg {
    Leg::outbound(APP, server).open().begun_at(3)
}

#[test]
fn numbers_of_both_directions_fit() {
    let changed = Leg::outbound("10.1.0.5:40001", WEB).port(23456).open().begun_at(3);
    for leg in [
        open_long_ago(WEB),
        open_long_ago(WEB).no_timestamps(),
        changed,
        Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").open().begun_at(3),
    ] {
        let leg = leg.ask("one").answer("two").ask("three").answer("four").close();
        let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
        assert_eq!(outcome.output.ends(), leg.repaired());
        assert_eq!(outcome.told(), [format!("outbound-app repaired sequence {} {}", leg.client, leg.server)]);
        assert!(outcome.output.comments()[0].contains("sequence numbers of both directions fit"));
        outcome.output.assert_sums();
    }
}

#[test]
fn a_capture_that_begins_with_a_reply() {
    let leg = open_long_ago(WEB).answer("pushed").answer("again");
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert_eq!(outcome.output.ends(), leg.repaired());
}

#[test]
fn timestamps_prove_what_numbers_leave_open() {
    // The client has not acknowledged the server's last data yet: only the echo of its timestamp fits exactly.
    let lagging = |leg: Leg| leg.send(true, "PA", "x").unseen(10).send(false, "A", "");
    let leg = lagging(open_long_ago(WEB));
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert_eq!(outcome.output.ends(), leg.repaired());
    assert_eq!(outcome.told(), ["outbound-app repaired sequence+timestamps 10.1.0.5:40000 10.96.0.10:80"]);
    assert!(outcome.output.comments()[0].contains("fit, with timestamp echo, frame 1 of input 1 and frame 2"));

    let leg = lagging(open_long_ago(WEB).no_timestamps());
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert_eq!(outcome.output.ends(), leg.as_captured());
    assert_eq!(outcome.told()[0], "outbound-app left no-reply 10.1.0.5:40000 127.0.0.1:15001");
}

#[test]
fn two_candidates_fit() {
    // Two legs of one application with the same numbers, as a capture with a broken clock of the world might hold.
    let one = open_long_ago(WEB).numbers(1000, 2000).no_timestamps().ask("x").answer("y");
    let two = Leg::outbound("10.1.0.5:40007", "10.96.0.20:6379").numbers(1000, 2000).no_timestamps().after(5_000);
    let two = two.ask("x").answer("y");
    let shots = together(&[&one, &two], Link::Lo);
    let outcome = merge(Link::Lo, &shots);
    let mut expected: Vec<_> =
        [&one, &two].into_iter().flat_map(|leg| leg.packets.iter().map(|p| p.0).zip(leg.as_captured())).collect();
    expected.sort_by_key(|&(time, _)| time);
    assert_eq!(outcome.output.ends(), expected.into_iter().map(|(_, ends)| ends).collect::<Vec<_>>());
    assert!(outcome.told().iter().all(|leg| leg.contains(" left ")), "{:?}", outcome.told());
    let ambiguous = |leg: &&String| leg.contains("outbound-app left ambiguous");
    assert_eq!(outcome.told().iter().filter(ambiguous).count(), 2, "{:?}", outcome.told());
}

#[test]
fn numbers_that_do_not_fit() {
    // The halves of two different legs, each without its other half.
    let one = open_long_ago(WEB).numbers(1_000, 2_000).ask("x").answer("y");
    let two = open_long_ago("10.96.0.20:6379").numbers(900_000, 800_000).after(5_000).ask("x").answer("y");
    let forward = one.shots(Link::Lo).into_iter().zip(one.as_captured()).filter(|(_, e)| *e == one.captured);
    let reply = two.shots(Link::Lo).into_iter().zip(two.as_captured()).filter(|(_, e)| *e != two.captured);
    let mut shots: Vec<_> = forward.chain(reply).map(|(shot, _)| shot).collect();
    shots.sort_by_key(|shot| shot.time);
    let outcome = merge(Link::Lo, &shots);
    assert_eq!(
        outcome.told(),
        [
            "local left one-direction 10.1.0.5:40000 10.96.0.20:6379",
            "outbound-app left no-reply 10.1.0.5:40000 127.0.0.1:15001",
        ]
    );
}

#[test]
fn the_next_connection_on_the_port_is_not_the_old_one() {
    let old = open_long_ago(WEB).ask("x").answer("y");
    let new = Leg::outbound(APP, "10.96.0.20:6379").after(10_000_000).whole();
    let outcome = merge(Link::Lo, &together(&[&old, &new], Link::Lo));
    assert_eq!(outcome.output.ends(), [old.repaired(), new.repaired()].concat());
}

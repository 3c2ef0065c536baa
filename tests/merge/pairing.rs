//! TCP legs whose beginning is in the capture: the handshake joins their halves, whatever the ports.

use crate::common::leg::{START, together};
use crate::common::{Leg, Link, Sum, Tcp, merge, shot};

const APP: &str = "10.1.0.5:40000";
const WEB: &str = "10.96.0.10:80";
const REDIS: &str = "10.96.0.20:6379";

/// Every leg comes out with its own addresses and right checksums, and is reported as told.
fn assert_repaired(legs: &[&Leg], told: &[&str]) {
    let shots = together(legs, Link::Lo);
    let outcome = merge(Link::Lo, &shots);
    let mut expected: Vec<_> =
        legs.iter().flat_map(|leg| leg.packets.iter().map(|p| p.0).zip(leg.repaired())).collect();
    expected.sort_by_key(|&(time, _)| time);
    assert_eq!(outcome.output.ends(), expected.iter().map(|&(_, ends)| ends).collect::<Vec<_>>());
    assert_eq!(outcome.told(), told);
    outcome.output.assert_sums();
}

#[test]
fn a_handshake_joins_both_halves() {
    let leg = Leg::outbound(APP, WEB).whole();
    assert_repaired(&[&leg], &["outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80"]);
}

#[test]
fn checksums_that_are_complete_stay_right() {
    let leg = Leg::outbound(APP, WEB).sum(Sum::Right).whole();
    assert_repaired(&[&leg], &["outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80"]);
}

#[test]
fn the_first_packet_says_how_the_leg_was_captured() {
    let outcome = merge(Link::Lo, &Leg::outbound(APP, WEB).whole().shots(Link::Lo));
    assert_eq!(outcome.output.packets[0].comments().len(), 1);
    assert_eq!(
        outcome.output.comments(),
        ["meshpcap: outbound-app leg, app to proxy: 10.1.0.5:40000 > 10.96.0.10:80, \
          captured as 10.1.0.5:40000 > 127.0.0.1:15001; \
          evidence: handshake, SYN in frame 1 of input 1 and SYN-ACK that acknowledges it in frame 2 of input 1"]
    );
}

#[test]
fn one_local_port_to_two_destinations() {
    // conntrack gave the second one another source port on its way to the proxy.
    let web = Leg::outbound(APP, WEB).whole();
    let redis = Leg::outbound(APP, REDIS).port(25463).after(5_000).whole();
    assert_repaired(
        &[&web, &redis],
        &[
            "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80",
            "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.20:6379",
        ],
    );
    // The port is the other leg's own: nothing is joined by ports.
    let web = Leg::outbound("10.1.0.5:40001", WEB).port(40002).whole();
    let redis = Leg::outbound("10.1.0.5:40002", REDIS).port(40001).after(5_000).whole();
    assert_repaired(
        &[&web, &redis],
        &[
            "outbound-app repaired handshake 10.1.0.5:40001 10.96.0.10:80",
            "outbound-app repaired handshake 10.1.0.5:40002 10.96.0.20:6379",
        ],
    );
}

#[test]
fn a_port_that_is_used_again_for_another_destination() {
    let used = Leg::outbound(APP, WEB).open().ask("x").answer("y");
    let endings = [("FIN", used.clone().close()), ("RST", used.clone().reset()), ("neither", used)];
    for (ending, first) in endings {
        let second = Leg::outbound(APP, REDIS).after(1_000_000).whole();
        println!("after {ending}");
        assert_repaired(
            &[&first, &second],
            &[
                "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80",
                "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.20:6379",
            ],
        );
    }
}

#[test]
fn a_port_that_is_used_again_for_the_same_destination() {
    let first = Leg::outbound(APP, WEB).whole();
    let second = Leg::outbound(APP, WEB).numbers(77, 99_000).after(1_000_000).whole();
    assert_repaired(&[&first, &second], &["outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80"; 2]);
}

#[test]
fn a_connection_that_is_refused() {
    let leg = Leg::outbound(APP, WEB).syn().refuse();
    assert_repaired(&[&leg], &["outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80"]);
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert!(outcome.output.comments()[0].contains("RST that acknowledges it"), "{:?}", outcome.output.comments());
}

#[test]
fn a_syn_that_is_sent_twice() {
    let mut leg = Leg::outbound(APP, WEB).syn();
    let again = leg.packets[0].clone();
    leg.packets.push((again.0 + 1_000_000_000, again.1));
    leg.time += 1_000_000_000;
    let leg = leg.refuse();
    assert_repaired(&[&leg], &["outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80"]);
}

#[test]
fn other_listeners_and_ipv6() {
    for (leg, told) in [
        (Leg::redirected(APP, "10.1.0.5:8080", 15006), "self-call repaired handshake 10.1.0.5:40000 10.1.0.5:8080"),
        (Leg::redirected(APP, "10.96.0.53:53", 15053), "dns repaired handshake 10.1.0.5:40000 10.96.0.53:53"),
        (
            Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80"),
            "outbound-app repaired handshake [fd00:21::5]:40000 [fd00:96::10]:80",
        ),
        (
            Leg::redirected("[fd00:21::5]:40000", "[fd00:21::5]:8080", 15006),
            "self-call repaired handshake [fd00:21::5]:40000 [fd00:21::5]:8080",
        ),
    ] {
        assert_repaired(&[&leg.whole()], &[told]);
    }
}

#[test]
fn a_syn_that_nobody_answers() {
    let leg = Leg::outbound(APP, WEB).syn();
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert_eq!(outcome.output.ends(), leg.as_captured());
    assert_eq!(outcome.told(), ["outbound-app left no-reply 10.1.0.5:40000 127.0.0.1:15001"]);
    assert!(outcome.summary().contains("a capture filter on the proxy's port"), "{}", outcome.summary());
}

#[test]
fn the_replies_are_missing() {
    // What a capture filter `port 15001` keeps.
    let leg = Leg::outbound(APP, WEB).whole();
    let shots: Vec<_> =
        leg.shots(Link::Lo).into_iter().zip(leg.as_captured()).filter(|(_, e)| *e == leg.captured).collect();
    let shots: Vec<_> = shots.into_iter().map(|(shot, _)| shot).collect();
    let outcome = merge(Link::Lo, &shots);
    assert!(outcome.output.ends().iter().all(|ends| *ends == leg.captured));
    assert_eq!(outcome.told(), ["outbound-app left no-reply 10.1.0.5:40000 127.0.0.1:15001"]);
}

#[test]
fn the_forward_half_is_missing() {
    let leg = Leg::outbound(APP, WEB).whole();
    let shots: Vec<_> =
        leg.shots(Link::Lo).into_iter().zip(leg.as_captured()).filter(|(_, e)| *e != leg.captured).collect();
    let shots: Vec<_> = shots.into_iter().map(|(shot, _)| shot).collect();
    let outcome = merge(Link::Lo, &shots);
    assert_eq!(outcome.output.packets.len(), shots.len());
    assert_eq!(outcome.told(), ["local left one-direction 10.1.0.5:40000 10.96.0.10:80"]);
}

#[test]
fn two_connections_with_one_initial_number() {
    // Without timestamps nothing tells which SYN-ACK answers which SYN; and the connections go no further.
    let one = Leg::outbound(APP, WEB).numbers(5000, 1).no_timestamps();
    let two = Leg::outbound("10.1.0.5:40007", REDIS).numbers(5000, 2).no_timestamps().after(1_000);
    let refused = [one.clone().syn().refuse(), two.clone().syn().refuse()];
    let outcome = merge(Link::Lo, &together(&[&refused[0], &refused[1]], Link::Lo));
    assert!(outcome.told().iter().all(|leg| leg.contains(" left ambiguous ")), "{:?}", outcome.told());
    assert!(outcome.summary().contains("more than one answer fits"), "{}", outcome.summary());
    let as_captured = [refused[0].as_captured(), refused[1].as_captured()];
    let in_turn: Vec<_> = (0..2).flat_map(|n| [as_captured[0][n], as_captured[1][n]]).collect();
    assert_eq!(outcome.output.ends(), in_turn);

    // What comes later acknowledges the number of one server only.
    assert_repaired(
        &[&one.whole(), &two.whole()],
        &[
            "outbound-app repaired sequence 10.1.0.5:40000 10.96.0.10:80",
            "outbound-app repaired sequence 10.1.0.5:40007 10.96.0.20:6379",
        ],
    );

    // The SYN-ACK echoes the timestamp of its own SYN.
    let one = Leg::outbound(APP, WEB).numbers(5000, 1).open();
    let two = Leg::outbound("10.1.0.5:40007", REDIS).numbers(5000, 2).after(1_000).open();
    assert_repaired(
        &[&one, &two],
        &[
            "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80",
            "outbound-app repaired handshake 10.1.0.5:40007 10.96.0.20:6379",
        ],
    );
}

#[test]
fn what_was_sent_to_the_proxy_directly() {
    let leg = Leg::direct("127.0.0.1:50000", "127.0.0.1:15001").whole();
    let outcome = merge(Link::Lo, &leg.shots(Link::Lo));
    assert_eq!(outcome.output.ends(), leg.as_captured());
    assert_eq!(outcome.told(), ["outbound-app left direct 127.0.0.1:50000 127.0.0.1:15001"]);
}

#[test]
fn the_halves_come_from_two_inputs() {
    let leg = Leg::outbound(APP, WEB).whole();
    let (forward, reply): (Vec<_>, Vec<_>) =
        leg.shots(Link::Lo).into_iter().zip(leg.as_captured()).partition(|(_, ends)| *ends == leg.captured);
    let shots = |half: Vec<(_, _)>| half.into_iter().map(|(shot, _)| shot).collect::<Vec<_>>();
    let job = crate::common::Job::new().shots(Link::Lo, &shots(forward)).shots(Link::Lo, &shots(reply));
    let outcome = job.run();
    assert_eq!(outcome.output.ends(), leg.repaired());
    outcome.output.assert_sums();
}

/// What the listener sends from its own address is a stream of its own, which comes between others.
#[test]
fn streams_of_what_a_listener_sends_from_its_own_address() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").ask("x").answer("y");
    let own = Tcp::new(leg.captured.1, leg.client).numbers(leg.next.1, leg.next.0).ip();
    let last = Leg::direct("10.1.0.5:40001", "10.1.0.5:9090").after(200_000_000).whole();
    let mut shots = [leg.shots(Link::Lo), last.shots(Link::Lo)].concat();
    shots.insert(4, shot(START + 100_000_000, Link::Lo.frame(&own)));
    let outcome = merge(Link::Lo, &shots);
    let streams: Vec<_> = outcome.legs.iter().map(|leg| leg["tcp_stream"].as_u64()).collect();
    assert_eq!(streams, [Some(0), Some(2)]);
}

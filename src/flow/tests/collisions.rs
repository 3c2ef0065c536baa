//! Two connections with the same ends on the proxy's side, one after the other or at once.

use super::notation::{describe, parse};
use super::tables::check;
use super::*;

/// The proxy acknowledges a SYN that meets an old connection of its own, with the old numbers, and nat gives that the new
/// connection's addresses.
#[test]
fn what_answers_a_later_syn_proves_nothing_of_what_was_before() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 71 81
         lo 0.001 10.0.0.1:1000 > 127.0.0.1:15001 S 3000000000
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 . 81 71",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+1",
    );
}

#[test]
fn a_connection_goes_on_behind_the_syn_of_another() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 S 3000000000
         lo 0.004 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501 len 5
         lo 0.005 10.96.0.10:80 > 10.0.0.1:1000 . 501 106 len 7
         lo 0.006 10.0.0.1:1000 > 127.0.0.1:15001 . 106 508
         lo 1.003 10.0.0.1:1000 > 127.0.0.1:15001 S 3000000000
         lo 1.004 10.96.0.20:80 > 10.0.0.1:1000 S. 2000000000 3000000001
         lo 1.005 10.0.0.1:1000 > 127.0.0.1:15001 F. 106 508",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 5+2
         outbound-app 10.0.0.1:1000 > 10.96.0.20:80 repaired handshake 2+1",
    );
}

#[test]
fn a_mapping_does_not_outlive_a_reset() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 R. 101 501
         lo 0.101 10.0.0.1:1000 > 127.0.0.1:15001 . 200101 300501 len 5
         lo 0.102 10.96.0.20:80 > 10.0.0.1:1000 . 300501 200106 len 7
         lo 0.103 10.0.0.1:1000 > 127.0.0.1:15001 . 200106 300508",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 3+1
         outbound-app 10.0.0.1:1000 > 10.96.0.20:80 repaired sequence 2+1",
    );
}

/// It is not known yet that a leg is one when it is reset, and its port is used again.
#[test]
fn a_port_again_where_answers_to_syns_are_lost() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501 len 5
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 . 501 106
         lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 R. 106 501
         lo 0.080 10.0.0.1:1000 > 127.0.0.1:15001 S 200100
         lo 0.081 10.0.0.1:1000 > 127.0.0.1:15001 . 200101 300501 len 5
         lo 0.082 10.96.0.10:80 > 10.0.0.1:1000 . 300501 200106",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence 3+1
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence 2+1",
    );
}

/// A probe whether the other end is still there has the number before its next one; the timestamps prove the rest.
#[test]
fn only_keep_alives() {
    let probes = "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 70 81 ts 5 3
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 81 71 ts 8 1
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 . 70 81 ts 6";
    check(&format!("{probes} 8"), "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence+timestamps 2+1");
    check(
        &format!("{probes} 7"),
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 2+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+1",
    );
}

/// Each pod has a loopback of its own, with the same addresses, and a capture of it.
#[test]
fn queries_of_two_pods_from_one_port() {
    let mut run = Run::new(Limits::default(), None);
    for (pod, lines) in [
        "lo 0.000 127.0.0.1:1000 > 127.0.0.1:15053 query 7 name
         lo 0.001 10.96.0.53:53 > 10.0.0.1:1000 answer 7 name",
        "lo 0.002 127.0.0.1:1000 > 127.0.0.1:15053 query 8 name
         lo 0.003 10.96.0.53:53 > 10.0.0.2:1000 answer 8 name",
    ]
    .iter()
    .enumerate()
    {
        for (frame, line) in lines.lines().enumerate() {
            let segment = parse(line.trim(), frame as u64 + 1);
            run.packet(&Segment { place: Place { input: pod as u16, ..segment.place }, ..segment });
        }
    }
    run.finish();
    let legs: Vec<String> = run.legs.iter().map(describe).collect();
    assert_eq!(
        legs,
        ["dns 10.0.0.1:1000 > 10.96.0.53:53 repaired dns 1+1", "dns 10.0.0.2:1000 > 10.96.0.53:53 repaired dns 1+1"]
    );
}

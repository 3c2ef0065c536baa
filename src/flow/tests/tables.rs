//! One situation each: the events, and the legs that come of them.

use super::notation::{describe, parse};
use super::*;

fn run(events: &str, look_ahead: Option<u64>) -> Run {
    let mut run = Run::new(Limits::default(), look_ahead);
    for (number, line) in events.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        run.packet(&parse(line, number as u64 + 1));
    }
    run.finish();
    run
}

#[track_caller]
pub fn check(events: &str, expected: &str) {
    let legs: Vec<String> = run(events, None).legs.iter().map(describe).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(legs, expected, "{events}");
}

#[test]
fn a_handshake_tells_the_original_destination() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501 len 5
         lo 0.004 10.96.0.10:80 > 10.0.0.1:1000 . 501 106",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 3+2",
    );
}

#[test]
fn a_handshake_over_ipv6() {
    check(
        "lo 0.000 [fd00::1]:1000 > [::1]:15001 S 100
         lo 0.001 [fd00:96::10]:80 > [fd00::1]:1000 S. 500 101",
        "outbound-app [fd00::1]:1000 > [fd00:96::10]:80 repaired handshake 1+1",
    );
}

#[test]
fn a_syn_sent_again_is_the_same_leg() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 1.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 1.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 3+1",
    );
}

#[test]
fn a_syn_ack_sent_again_is_the_same_leg() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 1.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 1.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+2",
    );
}

#[test]
fn a_syn_ack_may_stand_before_its_syn() {
    check(
        "lo 0.000 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence 2+1",
    );
}

#[test]
fn one_port_to_two_destinations() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.0.0.1:45000 > 127.0.0.1:15001 S 200
         lo 0.002 10.96.0.20:6379 > 10.0.0.1:1000 S. 600 201
         lo 0.003 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.004 10.0.0.1:45000 > 127.0.0.1:15001 . 201 601
         lo 0.005 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired handshake 2+1",
    );
}

#[test]
fn a_port_is_reused_after_fin_after_rst_and_without_either() {
    let first = "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501";
    let second = "lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 7000
         lo 1.001 10.96.0.20:6379 > 10.0.0.1:1000 S. 9000 7001
         lo 1.002 10.0.0.1:1000 > 127.0.0.1:15001 . 7001 9001";
    let ends = [
        (
            "lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 F. 101 501
             lo 0.004 10.96.0.10:80 > 10.0.0.1:1000 F. 501 102
             lo 0.005 10.0.0.1:1000 > 127.0.0.1:15001 . 102 502",
            "4+2",
        ),
        ("lo 0.003 10.0.0.1:1000 > 127.0.0.1:15001 R. 101 501", "3+1"),
        ("", "2+1"),
    ];
    for (end, packets) in ends {
        check(
            &format!("{first}\n{end}\n{second}"),
            &format!(
                "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake {packets}
                 outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired handshake 2+1"
            ),
        );
    }
}

#[test]
fn a_port_is_reused_for_the_same_destination() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 R 101
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 7000
         lo 1.001 10.96.0.10:80 > 10.0.0.1:1000 S. 9000 7001",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 1+1",
    );
}

/// The numbers leave no doubt that it is another connection, though its SYN is not there.
#[test]
fn a_reused_port_without_its_syn_gets_no_old_mapping() {
    for (seq, ack) in [(3_000_000_101_u32, 501), (101, 3_000_000_501_u32)] {
        let next = seq + 1;
        check(
            &format!(
                "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
                 lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
                 lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
                 lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 . {seq} {ack} len 1
                 lo 1.001 10.96.0.20:6379 > 10.0.0.1:1000 . {ack} {next}"
            ),
            "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
             outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired sequence 1+1",
        );
    }
}

/// Of the first connection only the SYN and its refusal were captured: there is no acknowledgment to go by.
#[test]
fn a_reused_port_after_a_refusal_gets_no_old_mapping() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 R. 0 101
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 . 3000000101 501 len 1
         lo 1.001 10.96.0.20:6379 > 10.0.0.1:1000 . 501 3000000102",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake (refused) 1+1
         outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired sequence 1+1",
    );
}

/// Neither may the SYN get the mapping of the connection behind it.
#[test]
fn an_unanswered_syn_gets_no_later_mapping() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 . 3000000101 501 len 1
         lo 1.001 10.96.0.20:6379 > 10.0.0.1:1000 . 501 3000000102",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired sequence 1+1",
    );
}

#[test]
fn a_reset_of_another_connection_gets_no_old_mapping() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 R. 3000000101 3000000501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0",
    );
}

/// The proxy still has an older connection of this port, which conntrack has forgotten: it answers the SYN with what it
/// expected there (RFC 9293, section 3.10.7.4), the client resets that, and sends its SYN again.
#[test]
fn an_older_connection_of_the_proxy_is_reset_and_the_syn_sent_again() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 3000000500 3000000101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 R 3000000101
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 1.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 1.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 4+1
         local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+1",
    );
}

/// A SYN is not sent again once it was answered and the answer acknowledged.
#[test]
fn a_reused_port_with_the_same_isn_is_another_leg() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 1.001 10.96.0.20:6379 > 10.0.0.1:1000 S. 900 101",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         outbound-app 10.0.0.1:1000 > 10.96.0.20:6379 repaired handshake 1+1",
    );
}

#[test]
fn a_capture_begins_mid_stream() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500 len 10
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 110 len 20
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:15001 . 110 520",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence 2+1",
    );
}

/// The reply has been sent before what it acknowledges next was: only the timestamp echo ties it.
#[test]
fn a_capture_begins_mid_stream_with_data_both_ways() {
    let events = |tsecr| {
        format!(
            "lo 0.000 10.96.0.10:80 > 10.0.0.1:1000 . 500 100 len 1000 ts 9000 7000
             lo 0.001 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500 len 10 ts 7001 8999
             lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 . 1500 110 len 1000 ts 9001 {tsecr}"
        )
    };
    check(&events(7001), "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence+timestamps 1+2");
    check(
        &events(6000),
        "local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+2
         outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0",
    );
}

#[test]
fn two_replies_that_both_fit_leave_all_as_it_was() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500 len 10
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 110
         lo 0.002 10.96.0.20:80 > 10.0.0.1:1000 . 500 110",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left ambiguous 1+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left ambiguous 0+1
         local 10.0.0.1:1000 > 10.96.0.20:80 left ambiguous 0+1",
    );
}

#[test]
fn two_forward_halves_that_both_fit_leave_all_as_it_was() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500 len 10
         lo 0.001 10.0.0.1:45000 > 127.0.0.1:15001 . 100 500 len 10
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 . 500 110",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left ambiguous 1+0
         outbound-app 10.0.0.1:45000 > 127.0.0.1:15001 left ambiguous 1+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left ambiguous 0+1",
    );
}

/// A half that was joined on better evidence is no longer the one that was proposed to another.
#[test]
fn a_half_is_joined_once() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 100
         lo 0.002 10.0.0.1:1001 > 127.0.0.1:15001 S 199
         lo 0.003 10.96.0.10:80 > 10.0.0.1:1000 R. 500 200
         lo 0.100 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 2+0
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake (refused) 1+2",
    );
}

#[test]
fn a_missing_direction_is_said() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 2+0",
    );
    check(
        "lo 0.000 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 501 110",
        "local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+2",
    );
}

#[test]
fn late_evidence_repairs_the_leg_from_its_first_packet() {
    let run = run(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 31.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 63.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 63.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101",
        None,
    );
    let repaired = run.out.iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(repaired, [true, true, true, false]);
}

#[test]
fn a_syn_without_an_answer_is_given_up_after_the_kernel_has() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 128.000 10.0.0.1:2000 > 127.0.0.1:15001 S 300
         lo 128.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         outbound-app 10.0.0.1:2000 > 127.0.0.1:15001 left no-reply 1+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left one-direction 0+1",
    );
}

#[test]
fn keep_alives_pair_an_idle_connection() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 . 99 500
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 100
         lo 75.000 10.0.0.1:1000 > 127.0.0.1:15001 . 99 500
         lo 75.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 100
         lo 76.000 10.0.0.1:1000 > 127.0.0.1:15001 . 100 500 len 4
         lo 76.001 10.96.0.10:80 > 10.0.0.1:1000 . 500 104",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired sequence 3+3",
    );
}

#[test]
fn equal_initial_sequence_numbers_prove_nothing() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.0.0.1:1001 > 127.0.0.1:15001 S 100
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.003 10.96.0.20:80 > 10.0.0.1:1001 S. 500 101
         lo 0.004 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501
         lo 0.005 10.0.0.1:1001 > 127.0.0.1:15001 . 101 501",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left ambiguous 2+0
         outbound-app 10.0.0.1:1001 > 127.0.0.1:15001 left ambiguous 2+0
         local 10.0.0.1:1000 > 10.96.0.10:80 left ambiguous 0+1
         local 10.0.0.1:1001 > 10.96.0.20:80 left ambiguous 0+1",
    );
}

#[test]
fn of_equal_initial_sequence_numbers_the_timestamp_echo_tells_one() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100 ts 1 0
         lo 0.001 10.0.0.1:45000 > 127.0.0.1:15001 S 100 ts 2 0
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101 ts 8 2",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 1+1",
    );
}

#[test]
fn a_refusal_answers_its_syn() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 R. 0 101",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake (refused) 1+1",
    );
}

#[test]
fn a_second_attempt_that_is_refused_too_is_another_leg() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 R. 0 101
         lo 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 7000
         lo 1.001 10.96.0.10:80 > 10.0.0.1:1000 R. 0 7001",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake (refused) 1+1
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake (refused) 1+1",
    );
}

#[test]
fn dns_by_id_question_and_port() {
    check(
        "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc",
        "dns 10.0.0.1:4000 > 10.96.0.53:53 repaired dns 1+1",
    );
    for other in ["answer 8 svc", "answer 7 other"] {
        check(
            &format!(
                "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
                 lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 {other}"
            ),
            "dns 10.0.0.1:4000 > 127.0.0.1:15053 left no-reply 1+0
             local 10.0.0.1:4000 > 10.96.0.53:53 left one-direction 0+1",
        );
    }
}

#[test]
fn dns_with_a_changed_port_needs_the_conversation_that_took_it() {
    check(
        "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc
         lo 0.002 10.0.0.1:45000 > 127.0.0.1:15053 query 8 svc
         lo 0.003 10.96.0.54:53 > 10.0.0.1:4000 answer 8 svc",
        "dns 10.0.0.1:4000 > 10.96.0.53:53 repaired dns 1+1
         dns 10.0.0.1:4000 > 10.96.0.54:53 repaired dns 1+1",
    );
    check(
        "lo 0.002 10.0.0.1:45000 > 127.0.0.1:15053 query 8 svc
         lo 0.003 10.96.0.54:53 > 10.0.0.1:4000 answer 8 svc",
        "dns 10.0.0.1:45000 > 127.0.0.1:15053 left no-reply 1+0
         local 10.0.0.1:4000 > 10.96.0.54:53 left one-direction 0+1",
    );
}

/// musl asks all its name servers at once, from one socket, with one ID: nothing tells the halves apart, and
/// least of all the port that conntrack let the first one keep. The other server may be slow, or dead.
#[test]
fn one_query_to_two_name_servers_is_ambiguous() {
    for second in ["lo 0.003 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", ""] {
        let run = run(
            &format!(
                "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
                 lo 0.001 10.0.0.1:45000 > 127.0.0.1:15053 query 7 svc
                 lo 0.002 10.96.0.54:53 > 10.0.0.1:4000 answer 7 svc
                 {second}
                 lo 5.000 10.0.0.1:9 > 10.0.0.1:9 udp"
            ),
            None,
        );
        assert!(run.out.iter().all(Option::is_none));
        let ambiguous = run.legs.iter().filter(|leg| leg.outcome == Outcome::Left(Reason::Ambiguous)).count();
        assert_eq!(ambiguous, if second.is_empty() { 3 } else { 4 });
    }
}

/// The second answer of one server is its own, not another's that has not come yet.
#[test]
fn an_answer_that_comes_twice_takes_no_other_query() {
    check(
        "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc
         lo 0.002 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 0.003 10.0.0.1:5000 > 127.0.0.1:15053 query 7 svc
         lo 0.004 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc
         lo 0.005 10.96.0.54:53 > 10.0.0.1:5000 answer 7 svc",
        "dns 10.0.0.1:4000 > 10.96.0.53:53 repaired dns 2+2
         dns 10.0.0.1:5000 > 10.96.0.54:53 repaired dns 1+1",
    );
}

#[test]
fn a_query_sent_again_is_the_same_leg() {
    check(
        "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 5.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 5.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc",
        "dns 10.0.0.1:4000 > 10.96.0.53:53 repaired dns 2+1",
    );
}

#[test]
fn a_query_without_a_reply_is_given_up_when_conntrack_forgets_it() {
    check(
        "lo 0.000 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc
         lo 31.000 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc",
        "dns 10.0.0.1:4000 > 127.0.0.1:15053 left no-reply 1+0
         local 10.0.0.1:4000 > 10.96.0.53:53 left one-direction 0+1",
    );
}

#[test]
fn every_leg_has_its_role() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15006 S 100
         lo 0.001 10.0.0.1:8080 > 10.0.0.1:1000 S. 500 101
         lo 1.000 10.0.0.1:1001 > 127.0.0.1:15053 S 200
         lo 1.001 10.96.0.53:53 > 10.0.0.1:1001 S. 600 201
         lo 2.000 127.0.0.6:29894 > 10.0.0.1:8080 S 300
         lo 2.001 10.0.0.1:8080 > 127.0.0.6:29894 S. 700 301
         lo 3.000 10.0.0.1:1002 > 10.0.0.1:8080 S 400
         lo 3.001 10.0.0.1:8080 > 10.0.0.1:1002 S. 800 401
         eth0 4.000 10.0.0.1:1003 > 10.0.0.2:8080 S 500
         eth0 4.001 10.0.0.2:8080 > 10.0.0.1:1003 S. 900 501
         eth0 5.000 10.0.0.3:1004 > 10.0.0.1:8080 S 600
         eth0 5.001 10.0.0.1:8080 > 10.0.0.3:1004 S. 1000 601
         eth0 6.000 10.0.0.3:1004 > 10.0.0.4:8080 S 700",
        "self-call 10.0.0.1:1000 > 10.0.0.1:8080 repaired handshake 1+1
         dns 10.0.0.1:1001 > 10.96.0.53:53 repaired handshake 1+1
         inbound-app 127.0.0.6:29894 > 10.0.0.1:8080 whole 1+1
         local 10.0.0.1:1002 > 10.0.0.1:8080 whole 1+1
         outbound-peer 10.0.0.1:1003 > 10.0.0.2:8080 whole 1+1
         inbound-peer 10.0.0.3:1004 > 10.0.0.1:8080 whole 1+1
         network 10.0.0.3:1004 > 10.0.0.4:8080 whole 1+0",
    );
}

#[test]
fn what_was_not_redirected_stays() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 127.0.0.1:15001 > 10.0.0.1:1000 S. 500 101
         eth0 1.000 10.0.0.1:1000 > 127.0.0.1:15001 S 200
         eth0 1.001 10.96.0.10:80 > 10.0.0.1:1000 S. 600 201",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left direct 1+1
         network 10.0.0.1:1000 > 127.0.0.1:15001 whole 1+0
         network 10.0.0.1:1000 > 10.96.0.10:80 whole 0+1",
    );
}

#[test]
fn what_was_given_up_stays_given_up() {
    let events = "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 3.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 3.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 3.002 10.0.0.1:1000 > 127.0.0.1:15001 . 101 501";
    let run = run(events, Some(2_000_000_000));
    assert!(run.out.iter().all(Option::is_none));
    assert_eq!(describe(&run.legs[0]), "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left look-ahead 3+0");
}

/// conntrack does not translate what it holds for invalid: it stands on the wire so, and is no packet of the client.
#[test]
fn what_a_listener_sends_from_its_own_address_stays() {
    let run = run(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 127.0.0.1:15001 > 10.0.0.1:1000 R 501",
        None,
    );
    assert!(run.out[0].is_some() && run.out[2].is_none());
    assert_eq!(describe(&run.legs[0]), "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 1+2");
}

/// A datagram of raw IPv4: a fragment at this offset, which is not the last.
fn fragment(source: [u8; 4], destination: [u8; 4], id: u8, offset: u16) -> Vec<u8> {
    let mut frame = vec![0x45, 0, 0, 40, 0, id, 0x20, 0, 64, 17, 0, 0];
    frame[6..8].copy_from_slice(&(0x2000 | (offset / 8)).to_be_bytes());
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&destination);
    frame.resize(40, 0);
    frame
}

fn view(frame: &[u8]) -> View {
    crate::packet::decode(crate::capture::LinkType::RAW, frame, frame.len())
}

/// Feeds a datagram of raw IPv4 that bears no ports of its own.
fn observe_other(run: &mut Run, frame: &[u8], origin: Origin, time: Timestamp) -> Mark {
    run.flows.observe_other(&view(frame), frame, origin, time)
}

const POD: [u8; 4] = [10, 0, 0, 1];
const LOCAL: [u8; 4] = [127, 0, 0, 1];

/// Feeds a first fragment of the leg of this event.
fn first_fragment(run: &mut Run, event: &str, id: u8) -> Mark {
    let segment = parse(event, 1);
    let mark = run.packet(&segment);
    run.flows.observe_first_fragment(&view(&fragment(POD, LOCAL, id, 0)), mark, segment.time);
    mark
}

fn later_fragment(run: &mut Run, id: u8, seconds: u64) {
    let time = Timestamp(seconds * 1_000_000_000);
    let mark = observe_other(run, &fragment(POD, LOCAL, id, 16), Origin::Loopback, time);
    run.enqueue(mark, time);
}

fn repaired(run: &Run) -> Vec<bool> {
    run.out.iter().map(Option::is_some).collect()
}

#[test]
fn fragments_follow_the_first_one() {
    let mut run = Run::new(Limits::default(), None);
    later_fragment(&mut run, 7, 0);
    first_fragment(&mut run, "lo 0.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 7);
    later_fragment(&mut run, 7, 0);
    later_fragment(&mut run, 8, 0);
    run.packet(&parse("lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", 2));
    run.finish();
    assert_eq!(repaired(&run), [true, true, true, false, false]);
}

/// An older SYN holds up everything behind it, longer than fragments are remembered.
#[test]
fn fragments_follow_the_first_one_however_long_they_wait() {
    let mut run = Run::new(Limits::default(), None);
    run.packet(&parse("lo 0.0 10.0.0.1:1000 > 127.0.0.1:15001 S 100", 1));
    later_fragment(&mut run, 7, 0);
    first_fragment(&mut run, "lo 0.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 7);
    later_fragment(&mut run, 7, 0);
    run.packet(&parse("lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", 2));
    run.packet(&parse("lo 60.0 10.96.0.53:53 > 10.0.0.1:4000 udp", 3));
    run.finish();
    assert_eq!(repaired(&run), [false, true, true, true, false, false]);
}

#[test]
fn fragments_of_another_datagram_with_the_same_identification_go_their_own_way() {
    let mut run = Run::new(Limits::default(), None);
    first_fragment(&mut run, "lo 0.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 7);
    later_fragment(&mut run, 7, 0);
    first_fragment(&mut run, "lo 0.0 10.0.0.1:5000 > 127.0.0.1:15053 query 8 svc", 7);
    later_fragment(&mut run, 7, 0);
    run.packet(&parse("lo 0.001 10.96.0.53:53 > 10.0.0.1:5000 answer 8 svc", 2));
    run.finish();
    assert_eq!(repaired(&run), [false, false, true, true, false]);
}

#[test]
fn a_fragment_behind_its_forgotten_leg_stays() {
    let mut run = Run::new(Limits { legs: 4, over: 4, ended: 4, pending: 4 }, None);
    let mark = first_fragment(&mut run, "lo 0.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 7);
    run.packet(&parse("lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", 2));
    for port in 2000..2010 {
        run.packet(&parse(&format!("eth0 1.0 10.0.0.1:{port} > 10.0.0.2:80 S 1"), 3));
        run.packet(&parse(&format!("eth0 1.0 10.0.0.2:80 > 10.0.0.1:{port} S. 1 2"), 4));
    }
    later_fragment(&mut run, 7, 2);
    assert!(run.legs.iter().any(|leg| matches!(leg.outcome, Outcome::Repaired { .. })), "forgotten");
    let later = observe_other(&mut run, &fragment(POD, LOCAL, 7, 16), Origin::Loopback, Timestamp(0));
    assert!(matches!((mark, later), (Mark::Conversation { .. }, Mark::Fragment { .. })));
    run.finish();
    assert_eq!(run.out.last(), Some(&None));
}

/// One that came before its first fragment is given up with the whole leg, not alone.
#[test]
fn a_fragment_that_is_given_up_gives_up_its_leg() {
    let mut run = Run::new(Limits::default(), Some(2_000_000_000));
    later_fragment(&mut run, 7, 0);
    first_fragment(&mut run, "lo 2.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 7);
    later_fragment(&mut run, 7, 3);
    run.packet(&parse("lo 3.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", 2));
    run.finish();
    assert_eq!(repaired(&run), [false; 4]);
}

#[test]
fn an_icmp_error_follows_the_leg_that_it_quotes() {
    let quote = |port: u16| {
        let mut frame = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0];
        frame.extend_from_slice(&[LOCAL, POD].concat());
        frame.extend_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&[POD, LOCAL].concat());
        frame.extend_from_slice(&[port.to_be_bytes(), 15053_u16.to_be_bytes(), [0, 8], [0, 0]].concat());
        frame
    };
    let mut run = Run::new(Limits::default(), None);
    run.packet(&parse("lo 0.0 10.0.0.1:4000 > 127.0.0.1:15053 query 7 svc", 1));
    for (port, origin) in [(4000, Origin::Loopback), (4001, Origin::Loopback), (4000, Origin::Network)] {
        let mark = observe_other(&mut run, &quote(port), origin, Timestamp(0));
        assert_eq!(matches!(mark, Mark::Quote { .. }), (port, origin) == (4000, Origin::Loopback));
        run.enqueue(mark, Timestamp(0));
    }
    run.packet(&parse("lo 0.001 10.96.0.53:53 > 10.0.0.1:4000 answer 7 svc", 2));
    run.finish();
    assert_eq!(repaired(&run), [true, true, false, false, false]);
}

/// Linkerd, by a port that other software uses as well.
#[test]
fn a_perhaps_listener() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:4140 S 100
         lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.002 10.0.0.1:1000 > 127.0.0.1:4140 . 101 501
         lo 0.003 127.0.0.1:1001 > 127.0.0.1:4140 S 100
         lo 0.004 127.0.0.1:4140 > 127.0.0.1:1001 S. 500 101
         lo 0.005 10.0.0.1:1002 > 127.0.0.1:4140 S 100
         lo 0.006 10.0.0.1:1002 > 127.0.0.1:4140 . 101 901 len 3",
        "outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         local 127.0.0.1:1001 > 127.0.0.1:4140 whole 1+1
         outbound-app 10.0.0.1:1002 > 127.0.0.1:4140 left no-reply 2+0",
    );
}

/// No rules are known, and the handshake tells; then the others to the same port are known as well.
#[test]
fn an_unknown_listener() {
    check(
        "lo 0.000 10.0.0.1:999 > 127.0.0.1:7777 . 50 60 len 3
         lo 0.001 10.0.0.1:1000 > 127.0.0.1:7777 S 100
         lo 0.002 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101
         lo 0.003 10.0.0.1:1000 > 127.0.0.1:7777 . 101 501
         lo 0.004 10.0.0.1:1001 > 127.0.0.1:7777 . 71 81 len 3
         lo 0.005 10.96.0.10:80 > 10.0.0.1:1001 . 81 74 len 3
         lo 0.006 10.0.0.1:1001 > 127.0.0.1:7777 . 74 84 len 3
         lo 0.007 127.0.0.1:1002 > 127.0.0.1:7777 S 100
         lo 0.008 127.0.0.1:7777 > 127.0.0.1:1002 S. 500 101",
        "outbound-app 10.0.0.1:999 > 127.0.0.1:7777 left no-reply 1+0
         outbound-app 10.0.0.1:1000 > 10.96.0.10:80 repaired handshake 2+1
         outbound-app 10.0.0.1:1001 > 10.96.0.10:80 repaired sequence 2+1
         outbound-app 127.0.0.1:1002 > 127.0.0.1:7777 left direct 1+1",
    );
}

/// Before any redirection shows: a connection that began earlier, to a port that is nobody's.
#[test]
fn an_unknown_listener_mid_stream() {
    check(
        "lo 0.004 10.0.0.1:1001 > 127.0.0.1:7777 . 71 81 len 3
         lo 0.005 10.96.0.10:80 > 10.0.0.1:1001 . 81 74 len 3
         lo 0.006 10.0.0.1:1001 > 127.0.0.1:7777 . 74 84 len 3",
        "outbound-app 10.0.0.1:1001 > 10.96.0.10:80 repaired sequence 2+1",
    );
}

/// The proxy connects to lo, and the rules send it to the pod's address.
#[test]
fn a_loopback_address_given_for_the_pods() {
    check(
        "lo 0.000 127.0.0.1:1000 > 10.0.0.1:8080 S 100
         lo 0.001 127.0.0.1:8080 > 127.0.0.1:1000 S. 500 101
         lo 0.002 127.0.0.1:1000 > 10.0.0.1:8080 . 101 501
         lo 0.003 127.0.0.1:1001 > 10.0.0.1:8080 . 71 81 len 3
         lo 0.004 127.0.0.1:8080 > 127.0.0.1:1001 . 81 74 len 3
         lo 0.005 127.0.0.1:1001 > 10.0.0.1:8080 . 74 84 len 3",
        "local 127.0.0.1:1000 > 127.0.0.1:8080 repaired handshake 2+1
         local 127.0.0.1:1001 > 127.0.0.1:8080 repaired sequence 2+1",
    );
}

#[test]
fn a_client_in_another_hosts_name() {
    check(
        "eth0 0.000 10.0.0.9:2000 > 10.0.0.1:8080 S 7
         eth0 0.001 10.0.0.1:8080 > 10.0.0.9:2000 S. 9 8
         lo 0.002 10.0.0.9:1000 > 10.0.0.1:8080 S 100
         lo 0.003 10.0.0.1:8080 > 10.0.0.9:1000 S. 500 101
         lo 0.004 10.0.0.1:1001 > 10.0.0.1:8080 S 100
         lo 0.005 10.0.0.1:8080 > 10.0.0.1:1001 S. 500 101",
        "inbound-peer 10.0.0.9:2000 > 10.0.0.1:8080 whole 1+1
         inbound-app 10.0.0.9:1000 > 10.0.0.1:8080 whole 1+1
         local 10.0.0.1:1001 > 10.0.0.1:8080 whole 1+1",
    );
}

/// Rules of Istio 1.6 to 1.8 also change the source of a query.
#[test]
fn a_query_with_another_source() {
    check(
        "lo 0.000 127.0.0.1:1000 > 127.0.0.1:15053 query 7 name
         lo 0.001 10.96.0.53:53 > 10.0.0.1:1000 answer 7 name
         lo 0.002 127.0.0.1:1001 > 127.0.0.1:15053 query 8 name
         lo 0.003 127.0.0.1:53 > 127.0.0.1:1001 answer 8 name",
        "dns 10.0.0.1:1000 > 10.96.0.53:53 repaired dns 1+1
         dns 127.0.0.1:1001 > 127.0.0.1:53 repaired dns 1+1",
    );
}

/// A listener for DNS that no rules told.
#[test]
fn a_query_to_an_unknown_listener() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:12345 query 7 name
         lo 0.001 10.96.0.53:53 > 10.0.0.1:1000 answer 7 name
         lo 0.002 10.0.0.1:1001 > 127.0.0.1:5353 query 8 name
         lo 0.003 127.0.0.1:5353 > 10.0.0.1:1001 answer 8 name",
        "dns 10.0.0.1:1000 > 10.96.0.53:53 repaired dns 1+1
         local 10.0.0.1:1001 > 127.0.0.1:5353 whole 1+1",
    );
}

/// A SYN on loopback that nobody answers holds up others for a second, not longer.
#[test]
fn unanswered_and_not_redirected() {
    let run = run(
        "lo 0.000 10.0.0.1:1000 > 10.0.0.1:8080 S 100
         lo 0.500 10.0.0.1:1001 > 10.0.0.1:8081 S 100
         lo 0.501 10.0.0.1:8081 > 10.0.0.1:1001 R. 0 101
         lo 1.100 10.0.0.1:1002 > 10.0.0.1:8082 . 100 200",
        Some(u64::MAX),
    );
    let legs: Vec<String> = run.legs.iter().map(describe).collect();
    assert_eq!(
        legs,
        [
            "local 10.0.0.1:1000 > 10.0.0.1:8080 whole 1+0",
            "local 10.0.0.1:1001 > 10.0.0.1:8081 whole 1+1",
            "local 10.0.0.1:8082 > 10.0.0.1:1002 left one-direction 0+1"
        ]
    );
}

/// A bridge in the pod: what a virtual machine sends is redirected to the bridge's address.
#[test]
fn redirected_on_the_wire() {
    check(
        "k6t-eth0 0.000 10.0.2.2:1000 > 10.0.2.1:15001 S 100
         k6t-eth0 0.001 10.96.0.10:80 > 10.0.2.2:1000 S. 500 101
         k6t-eth0 0.002 10.0.2.2:1000 > 10.0.2.1:15001 . 101 501
         eth0 0.003 10.0.0.9:1000 > 10.0.0.1:15001 S 100
         eth0 0.004 10.0.0.1:15001 > 10.0.0.9:1000 S. 500 101
         eth0 0.005 10.0.0.2:80 > 10.0.0.9:1001 S. 500 101",
        "outbound-app 10.0.2.2:1000 > 10.96.0.10:80 repaired handshake 2+1
         network 10.0.0.9:1000 > 10.0.0.1:15001 whole 1+1
         network 10.0.0.9:1001 > 10.0.0.2:80 whole 0+1",
    );
}

/// The halves of one leg are seen on one side.
#[test]
fn halves_on_lo_and_on_the_wire_are_never_one() {
    check(
        "lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
         eth0 0.001 10.0.0.1:2000 > 10.0.0.9:15001 S 100
         eth0 0.002 10.96.0.10:80 > 10.0.0.1:2000 S. 500 101",
        "outbound-app 10.0.0.1:1000 > 127.0.0.1:15001 left no-reply 1+0
         outbound-app 10.0.0.1:2000 > 10.96.0.10:80 repaired handshake 1+1",
    );
}

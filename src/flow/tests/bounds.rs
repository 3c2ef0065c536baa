//! Memory: whatever comes, the tables keep to their limits.

use proptest::prelude::*;

use super::notation::parse;
use super::*;

const SMALL: Limits = Limits { legs: 32, over: 16, ended: 4, pending: 8 };

/// The bounds that the module promises, while the caller writes what is decided.
fn keeps_its_limits(flows: &Flows, limits: Limits) {
    let Remembered { conversations, over, waiting, deadlines, .. } = flows.remembered();
    assert!(waiting <= limits.pending + 1, "{waiting} wait");
    assert!(conversations <= limits.legs * 2 + limits.legs / 8 + 2, "{conversations} conversations");
    // Those that are given up come at once.
    assert!(over <= limits.over * 2 + limits.over / 8 + limits.pending, "{over} are over");
    let is_over = |id: &u32| flows.table.records[*id].is(record::marks::OVER);
    assert_eq!(flows.table.ids().iter().filter(|id| is_over(id)).count(), over);
    let most = flows.table.records.most();
    for line in [&flows.unsettled, &flows.ended, &flows.idle] {
        assert!(line.len() <= most + most / 4 + 1026, "{} stand in a line", line.len());
    }
    assert!(deadlines <= 6 * (limits.pending + 1) + 65, "{deadlines} deadlines");
    // Slots are used again.
    assert!(flows.table.records.most() <= limits.legs * 2 + limits.legs / 8 + 3);
}

/// A SYN from another port each, at one time: nothing expires, nobody answers.
#[test]
fn a_flood_of_half_open_connections_pushes_out_itself() {
    let limits = Limits { legs: 2048, over: 512, ended: 64, pending: 128 };
    let mut run = Run::new(limits, None);
    let first = parse("lo 0.0 10.0.0.1:1000 > 127.0.0.1:15001 S 5", 1);
    run.packet(&first);
    run.packet(&parse("lo 0.0 10.96.0.10:80 > 10.0.0.1:1000 S. 7 6", 2));
    let count = 50_000;
    for number in 0..count {
        let mut syn = first;
        syn.source = SocketAddr::from(([10, 0, (number >> 14) as u8, 2], 1024 + (number & 0x3fff) as u16));
        syn.content = Content::Tcp { seq: number * 77, ack: 0, flags: flags::SYN, timestamps: None };
        run.packet(&syn);
        keeps_its_limits(&run.flows, limits);
    }
    run.finish();
    let of = |outcome| run.legs.iter().filter(|leg| leg.outcome == outcome).count() as u32;
    assert_eq!(run.legs.len() as u32, count + 1, "every one is counted");
    let (evicted, unanswered) = (of(Outcome::Left(Reason::Evicted)), of(Outcome::Left(Reason::NoReply)));
    assert_eq!(evicted + unanswered, count);
    assert!(unanswered <= limits.pending as u32 + 1);
}

/// A connection on the wire from its SYN to what acknowledges its last FIN, two milliseconds from packet to packet.
fn connection(run: &mut Run, port: u32, start: f64) {
    let line = |at: f64, ends: &str, rest: &str| parse(&format!("eth0 {at:.3} {ends} {rest}"), 1);
    let (there, back) = (format!("10.0.0.9:{port} > 10.0.0.1:80"), format!("10.0.0.1:80 > 10.0.0.9:{port}"));
    run.packet(&line(start, &there, "S 5"));
    run.packet(&line(start + 0.002, &back, "S. 9 6"));
    run.packet(&line(start + 0.004, &there, "F. 6 10"));
    run.packet(&line(start + 0.006, &back, "F. 10 7"));
    run.packet(&line(start + 0.008, &there, ". 7 11"));
}

#[test]
fn what_ended_is_remembered_for_a_second() {
    let mut run = Run::new(Limits { ended: 16, ..Limits::default() }, None);
    // Whose a leg is, is known from now on.
    run.packet(&parse("lo 0.0 127.0.0.6:999 > 10.0.0.1:80 S 5", 1));
    for number in 0..500 {
        let start = f64::from(number) / 100.0;
        connection(&mut run, 10_000 + number, start);
        if number > 90 {
            // The last FIN of one that ended 0.9 s ago, once more.
            let late = format!("eth0 {:.3} 10.0.0.1:80 > 10.0.0.9:{} F. 10 7", start + 0.009, 10_000 + number - 90);
            run.packet(&parse(&late, 1));
        }
        let remembered = run.flows.remembered().conversations;
        assert!(remembered <= 16 + 230, "{remembered} conversations");
    }
    run.finish();
    assert_eq!(run.legs.len(), 501, "none is told twice");
}

#[test]
fn what_ended_stays_while_no_pod_is_known() {
    let mut run = Run::new(Limits { ended: 16, ..Limits::default() }, None);
    for number in 0..500 {
        connection(&mut run, 10_000 + number, f64::from(number) / 100.0);
    }
    assert_eq!(run.flows.remembered().conversations, 500);
}

/// Half of the connection goes on, or what acknowledges its end may yet come.
#[test]
fn what_did_not_end_for_good_stays() {
    let mut run = Run::new(Limits { ended: 16, ..Limits::default() }, None);
    run.packet(&parse("lo 0.0 127.0.0.6:999 > 10.0.0.1:80 S 5", 1));
    for port in 10_000..10_100 {
        let (there, back) = (format!("10.0.0.9:{port} > 10.0.0.1:80"), format!("10.0.0.1:80 > 10.0.0.9:{port}"));
        let lines = [(&there, "S 5"), (&back, "S. 9 6"), (&there, "F. 6 10"), (&back, "F. 10 7")];
        for (ends, rest) in lines.into_iter().take(if port % 2 == 0 { 4 } else { 3 }) {
            run.packet(&parse(&format!("eth0 1.0 {ends} {rest}"), 1));
        }
    }
    for number in 0..500 {
        connection(&mut run, 20_000 + number, 10.0 + f64::from(number) / 100.0);
    }
    for port in 10_000..10_100 {
        run.packet(&parse(&format!("eth0 20.0 10.0.0.9:{port} > 10.0.0.1:80 . 7 11"), 1));
    }
    run.finish();
    assert_eq!(run.legs.len(), 601, "none is told twice");
}

#[test]
fn datagrams_are_remembered_for_a_while() {
    let mut run = Run::new(Limits { ended: 16, ..Limits::default() }, None);
    run.packet(&parse("lo 0.0 127.0.0.6:999 > 10.0.0.1:80 S 5", 1));
    for number in 0..1000 {
        let (port, second) = (10_000 + number, f64::from(number));
        run.packet(&parse(&format!("eth0 {second:.3} 10.0.0.1:{port} > 10.0.0.2:53 udp"), 1));
        run.packet(&parse(&format!("eth0 {second:.3} 10.0.0.2:53 > 10.0.0.1:{port} udp"), 1));
        // One that goes on.
        run.packet(&parse(&format!("eth0 {second:.3} 10.0.0.1:5000 > 10.0.0.2:4433 udp"), 1));
        let remembered = run.flows.remembered().conversations;
        assert!((number as usize).min(150) <= remembered && remembered <= 16 + 160, "{remembered} conversations");
    }
    run.finish();
    assert_eq!(run.legs.len(), 1002, "none is told twice");
}

/// Equal numbers must not make a list of all that wait, walked for every packet.
#[test]
fn a_flood_with_one_initial_sequence_number_is_a_crowd() {
    let mut run = Run::new(Limits::default(), None);
    let first = parse("lo 0.0 10.0.0.1:1000 > 127.0.0.1:15001 S 5", 1);
    for port in 1000..31_000 {
        let mut syn = first;
        syn.source.set_port(port);
        run.packet(&syn);
    }
    for port in 1000..31_000 {
        let mut answer = parse("lo 0.0 10.96.0.10:80 > 10.0.0.1:1000 S. 7 6", 2);
        answer.destination.set_port(port);
        run.packet(&answer);
    }
    run.finish();
    assert!(run.out.iter().all(Option::is_none), "none is certain");
    assert_eq!(run.legs.len(), 60_000);
}

#[test]
fn a_flood_of_equal_queries_is_a_crowd() {
    let mut run = Run::new(Limits::default(), None);
    for port in 1000..11_000 {
        let mut query = parse("lo 0.0 10.0.0.1:1000 > 127.0.0.1:15053 query 7 svc", 1);
        query.source.set_port(port);
        run.packet(&query);
    }
    for port in 1000..11_000 {
        let mut answer = parse("lo 0.0 10.96.0.53:53 > 10.0.0.1:1000 answer 7 svc", 2);
        answer.destination.set_port(port);
        run.packet(&answer);
    }
    run.finish();
    assert!(run.out.iter().all(Option::is_none), "none is certain");
}

/// An event between few ends with few numbers, so that anything can meet anything.
fn event() -> impl Strategy<Value = (Segment, u64)> {
    let address = prop_oneof![
        Just("10.0.0.1:1000"),
        Just("10.0.0.1:1001"),
        Just("10.0.0.1:1002"),
        Just("127.0.0.1:15001"),
        Just("127.0.0.1:15053"),
        Just("127.0.0.6:99"),
        Just("10.96.0.10:80"),
        Just("10.96.0.20:53"),
    ];
    let ends = (address.clone(), address, 0..40_u16);
    let tcp = (0..6_u32, 0..6_u32, any::<u8>(), proptest::option::of((0..3_u32, 0..3_u32)))
        .prop_map(|(seq, ack, flags, timestamps)| (Protocol::Tcp, Content::Tcp { seq, ack, flags, timestamps }));
    let dns = (0..2_u16, 0..2_u64, any::<bool>())
        .prop_map(|(id, question, response)| (Protocol::Udp, Content::Dns { id, question, response }));
    let content = prop_oneof![4 => tcp, 2 => dns, 1 => Just((Protocol::Tcp, Content::Opaque))];
    let step = prop_oneof![Just(0), 0..100_000_000_u64, Just(40_000_000_000)];
    (ends, content, 0..3_u32, 0..8_u8, step).prop_map(|((source, destination, more), content, data_len, wire, step)| {
        let end = |text: &str| -> SocketAddr { text.parse().expect("an address of this table") };
        let (mut source, destination) = (end(source), end(destination));
        if source.ip() == IpAddr::from([10, 0, 0, 1]) {
            source.set_port(source.port() + more);
        }
        let (protocol, content) = content;
        let origin = if wire == 0 { Origin::Network } else { Origin::Loopback };
        let (time, place) = (Timestamp(0), Place::default());
        (Segment { protocol, source, destination, origin, time, place, data_len, content }, step)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_keep_their_limits_whatever_comes(
        events in proptest::collection::vec(event(), 0..300),
        look_ahead in proptest::option::of(0..2_000_000_000_u64),
    ) {
        let mut run = Run::new(SMALL, look_ahead);
        let mut now = 1_u64 << 60;
        for (number, (mut segment, step)) in events.iter().copied().enumerate() {
            now += step;
            segment.time = Timestamp(now);
            segment.place.frame = number as u64 + 1;
            run.packet(&segment);
            keeps_its_limits(&run.flows, SMALL);
        }
        run.finish();
        prop_assert_eq!(run.flows.table.len(), 0);
        prop_assert_eq!(run.flows.waiting, 0);
        let packets: u64 = run.legs.iter().map(|leg| leg.from_client.packets + leg.from_server.packets).sum();
        prop_assert_eq!(packets, events.len() as u64, "the legs account for every packet");
    }
}

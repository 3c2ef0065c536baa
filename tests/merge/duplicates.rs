//! One packet that two inputs show comes out once; a retransmission is not one packet.

use crate::common::leg::{START, together};
use crate::common::{Job, Leg, Link, Shot, Tcp, Udp, addr, shot};

fn segment(data: &[u8]) -> Vec<u8> {
    Tcp::new(addr("10.1.0.5:40000"), addr("10.1.0.6:80")).numbers(1, 2).data(data).ip()
}

/// How many packets come out of inputs whose packets, all the same, were captured at these microseconds.
fn written(inputs: &[&[u64]]) -> usize {
    let job = inputs.iter().fold(Job::new(), |job, times| {
        let shots: Vec<Shot> =
            times.iter().map(|time| shot(START + time * 1_000, Link::Eth.frame(&segment(b"x")))).collect();
        job.shots(Link::Eth, &shots)
    });
    let outcome = job.run();
    let summary = &outcome.done.summary;
    assert_eq!(summary.counts.packets + summary.duplicates, summary.read);
    assert_eq!(summary.counts.packets as usize, outcome.output.packets.len());
    outcome.output.packets.len()
}

#[test]
fn by_time_and_input() {
    for (inputs, expected, why) in [
        (&[&[0][..], &[2]][..], 1, "one packet, captured twice"),
        (&[&[2], &[0]], 1, "the second input saw it first"),
        (&[&[0], &[1_000]], 1, "a millisecond apart"),
        (&[&[0], &[1_001]], 2, "more than a millisecond apart"),
        (&[&[0, 2]], 2, "sent again: one input shows both"),
        (&[&[0, 300], &[1, 301]], 2, "sent again, and both inputs show both"),
        (&[&[0, 300], &[1]], 2, "sent again, and one input missed the second"),
        (&[&[0], &[1], &[2]], 1, "captured three times"),
        (&[&[0, 10], &[1, 11], &[2, 12]], 2, "sent twice, captured three times"),
    ] {
        assert_eq!(written(inputs), expected, "{why}");
    }
}

#[test]
fn other_link_layers_and_other_octets() {
    for (link, data, expected) in [
        (Link::Sll { lo: false }, b"x", 1),
        (Link::Sll2 { index: 2, lo: false }, b"x", 1),
        (Link::Raw, b"x", 1),
        (Link::Eth, b"y", 2),
    ] {
        let first = shot(START, Link::Eth.frame(&segment(b"x")));
        let second = shot(START + 1_000, link.frame(&segment(data)));
        let outcome = Job::new().shots(Link::Eth, &[first]).shots(link, &[second]).run();
        assert_eq!(outcome.output.packets.len(), expected, "{link:?}");
    }
}

#[test]
fn what_is_not_ip_is_never_one() {
    let arp = shot(START, [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 28]].concat());
    let outcome = Job::new().shots(Link::Eth, std::slice::from_ref(&arp)).shots(Link::Eth, &[arp]).run();
    assert_eq!(outcome.output.packets.len(), 2);
}

#[test]
fn a_redirected_leg_that_two_inputs_show() {
    // lo alone, and -i any beside it.
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let any = Link::Sll2 { index: 1, lo: true };
    let late: Vec<Shot> = leg.shots(any).into_iter().map(|s| Shot { time: s.time + 1_500, ..s }).collect();
    let job = || Job::new().shots(Link::Lo, &leg.shots(Link::Lo)).shots(any, &late);
    let outcome = job().run();
    assert_eq!(outcome.output.ends(), leg.repaired());
    assert_eq!(outcome.done.summary.duplicates, 10);
    assert!(outcome.summary().starts_with("20 packets from 2 inputs, 10 written, 10 duplicates dropped\n"));
    outcome.output.assert_sums();

    let outcome = job().keep_duplicates().run();
    assert_eq!(outcome.output.packets.len(), 20);
    assert_eq!(outcome.done.summary.duplicates, 0);
    let twice: Vec<_> = leg.repaired().into_iter().flat_map(|ends| [ends, ends]).collect();
    assert_eq!(outcome.output.ends(), twice);
}

#[test]
fn four_captures_side_by_side() {
    // What operators do: one tcpdump for each direction and port, with filters that overlap.
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let inbound = Leg::direct("127.0.0.6:29894", "10.1.0.5:8080").after(2_000).whole();
    let wire = Leg::direct("10.1.0.9:39844", "10.1.0.5:8080").after(4_000).whole();
    let lo = together(&[&app, &inbound], Link::Lo);
    let filtered = |skew: u64, keep: &dyn Fn((u16, u16)) -> bool| -> Vec<Shot> {
        let ports = |bytes: &[u8]| [34, 36].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let kept = lo.iter().filter(|shot| keep(ports(&shot.bytes).into()));
        kept.map(|shot| Shot { time: shot.time + skew, ..shot.clone() }).collect()
    };
    let outcome = Job::new()
        .keep_proxy_address()
        .shots(Link::Eth, &wire.shots(Link::Eth))
        .shots(Link::Lo, &filtered(0, &|(source, destination)| source == 8080 || destination == 8080))
        .shots(Link::Lo, &filtered(1_000, &|(_, destination)| destination == 15001))
        .shots(Link::Lo, &filtered(2_500, &|(_, destination)| destination > 20_000))
        .run();
    assert_eq!(outcome.output.packets.len(), 30);
    assert_eq!(outcome.done.summary.duplicates, 4, "what the application answered");
    outcome.output.assert_sums();
    let of = |leg: &Leg| {
        let ours = |ends: &(_, _)| *ends == (leg.client, leg.server) || *ends == (leg.server, leg.client);
        outcome.output.ends().into_iter().filter(ours).collect::<Vec<_>>()
    };
    for leg in [app, inbound, wire] {
        assert_eq!(of(&leg), leg.repaired());
    }
}

/// Both pods of a connection were captured, on two machines: the clocks differ, and one network card put segments together.
#[test]
fn a_connection_that_two_machines_show() {
    let leg = Leg::direct("10.1.0.5:40000", "10.1.0.6:80")
        .open()
        .ask("o")
        .ask("n")
        .ask("e")
        .ask("t")
        .ask("wo")
        .answer("three")
        .close();
    let other = Leg::direct("10.1.0.5:40000", "10.1.0.6:80").after(25_000).open().ask("onetwo").answer("three").close();
    let alone = Leg::direct("10.1.0.7:40000", "10.1.0.6:81").after(5_000).whole();
    for (first, second, kept) in [(&leg, &other, &leg), (&other, &leg, &leg)] {
        let inputs = Job::new().shots(Link::Eth, &together(&[first], Link::Eth));
        let outcome = inputs.shots(Link::Eth, &together(&[second, &alone], Link::Eth)).run();
        let input = if std::ptr::eq(first, kept) { 1 } else { 2 };
        let line = format!("1 connection captured by several inputs, kept: 1 as input {input} has them\n");
        assert!(outcome.summary().contains(&line), "{}", outcome.summary());
        let times = |leg: &Leg| leg.packets.iter().map(|(time, _)| *time).collect::<Vec<_>>();
        let mut expected = [times(kept), times(&alone)].concat();
        expected.sort_unstable();
        let written: Vec<u64> = outcome.output.packets.iter().map(|packet| packet.time).collect();
        assert_eq!(written, expected);
        assert_eq!(outcome.done.summary.counts.packets + outcome.done.summary.duplicates, outcome.done.summary.read);
        let streams: Vec<_> = outcome.legs.iter().map(|leg| leg["tcp_stream"].as_u64()).collect();
        assert_eq!(streams.len(), 2);
        assert!(streams.contains(&Some(0)) && streams.contains(&Some(1)), "{streams:?}");
    }
    // One that missed something stands for no other, however often it has the rest.
    let again = |leg: Leg| leg.send(true, "A", "");
    let lossy = again(again(Leg::direct("10.1.0.5:40000", "10.1.0.6:80").after(25_000).open().ask("onetwo").unseen(5)));
    let lossy = lossy.send(false, "A", "and more than that").close();
    let inputs = Job::new().shots(Link::Eth, &together(&[&leg], Link::Eth));
    let outcome = inputs.shots(Link::Eth, &together(&[&lossy], Link::Eth)).run();
    assert!(!outcome.summary().contains("captured by several inputs"), "{}", outcome.summary());
    // A file that another one continues shows the SYN once.
    let (head, tail) = (together(&[&leg], Link::Eth), together(&[&leg], Link::Eth));
    let outcome = Job::new().shots(Link::Eth, &head[..4]).shots(Link::Eth, &tail[4..]).run();
    assert_eq!(outcome.output.packets.len(), leg.packets.len());
}

/// One input has more of a connection, the other one what was sent again before: neither stands for the other.
#[test]
fn what_only_one_of_two_machines_shows_is_written() {
    let begun = |after| Leg::direct("10.1.0.5:40000", "10.1.0.6:80").after(after).open().ask("one");
    let numbers = begun(0).next;
    let again = |leg: Leg| leg.send(true, "PA", "two").numbers(numbers.0, numbers.1);
    let longer = |leg: Leg| leg.ask("two").ask("three").ask("and four");
    let resent = again(again(again(begun(0)))).ask("two");
    let both = |first: &Leg, second: &Leg| {
        let job = Job::new().shots(Link::Eth, &first.shots(Link::Eth)).shots(Link::Eth, &second.shots(Link::Eth));
        job.run()
    };
    let count = |first: &Leg, second: &Leg| first.packets.len() + second.packets.len();
    for other in [longer(begun(5_000_000)), longer(begun(5_000_000)).close()] {
        let outcome = both(&resent, &other);
        assert_eq!(outcome.output.packets.len(), count(&resent, &other), "{}", outcome.summary());
    }
    // What came again counts for as many octets as what the other one has beside.
    let as_much = begun(5_000_000).ask("two").ask("threetwotwo");
    assert_eq!(both(&resent, &as_much).output.packets.len(), count(&resent, &as_much));
    // The reset leaves no gap.
    let cut = begun(0).answer("a").answer("b");
    let put_together = begun(5_000_000).send(false, "PA", "ab").send(true, "A", "").send(true, "A", "").reset();
    for (first, second) in [(&cut, &put_together), (&put_together, &cut)] {
        let outcome = both(first, second);
        assert!(outcome.summary().contains("1 connection captured by several inputs"), "{}", outcome.summary());
        assert_eq!(outcome.output.packets.len(), put_together.packets.len());
    }
    let ended = begun(0).answer("a").answer("b").send(true, "A", "");
    assert_eq!(both(&ended, &put_together).output.packets.len(), count(&ended, &put_together));
    // The beginning of one was captured before the other one began, and not all of it is remembered.
    let early = Leg::direct("10.1.0.5:40000", "10.1.0.6:80").open();
    let early = (0..1100).fold(early, |leg, _| leg.send(true, "A", ""));
    let late = Leg::direct("10.1.0.5:40000", "10.1.0.6:80").after(400_000_000).open();
    assert_eq!(both(&early, &late).output.packets.len(), count(&early, &late));
}

/// The first fragment of a segment has no stream before the others are there; what another input shows of the connection has.
#[test]
fn a_connection_that_begins_in_a_fragment_and_goes_on_in_another_input() {
    let leg = Leg::direct("10.1.0.5:40000", "10.1.0.6:80").ask(&"x".repeat(40)).answer("y");
    let segment = &leg.packets[0].1[28..];
    let mut part = Udp::new(leg.client, leg.server, segment).fragments(40).swap_remove(0);
    // Of TCP.
    part[9] = 6;
    part[20..60].copy_from_slice(&leg.packets[0].1[20..60]);
    let first = [shot(leg.packets[0].0, Link::Eth.frame(&part))];
    let outcome = Job::new().shots(Link::Eth, &first).shots(Link::Eth, &leg.shots(Link::Eth)[1..]).run();
    assert_eq!(outcome.output.packets.len(), 4);
    let streams: Vec<_> = outcome.legs.iter().map(|leg| leg["tcp_stream"].as_u64()).collect();
    assert_eq!(streams, [Some(0)]);
}

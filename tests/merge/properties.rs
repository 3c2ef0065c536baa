//! What holds for every capture.
//!
//! A merge of a capture that was split in two equals the merge of the whole in packets, times, addresses and
//! comments of the capture; interfaces differ (each input has its own), and so do the places of the proof in the leg's
//! comment (frame and input). Splits are between packets of different times: packets of one time are in the order of
//! the inputs, which a split by place does not keep.

use proptest::prelude::*;

use crate::common::leg::{START, together};
use crate::common::read::Checksum;
use crate::common::{Job, Leg, Link, Shot, Sum, Tcp, Udp, addr, icmp_error, merge, shot};

/// What happens on a connection, in letters.
fn leg(n: u8, script: &str, sum: Sum, gap: u64) -> Leg {
    // One port to several servers at once: each has another port on the way to the proxy.
    let client = format!("10.1.0.5:{}", 40_000 + u16::from(n % 3));
    let server = format!("10.96.0.{}:80", n / 3);
    let leg = Leg::outbound(&client, &server).port(20_000 + u16::from(n)).sum(sum).after(u64::from(n) * gap);
    script.chars().fold(leg.numbers(u32::from(n) * 90_000_001, u32::from(n) * 70_000_003), |leg, step| match step {
        's' => leg.open(),
        'q' => leg.ask("question"),
        'a' => leg.answer("a longer answer"),
        'f' => leg.close(),
        _ => leg.reset(),
    })
}

fn sums() -> impl Strategy<Value = Sum> {
    prop_oneof![Just(Sum::Right), Just(Sum::Partial), any::<u16>().prop_map(|by| Sum::Wrong(by | 1))]
}

/// Redirected legs in the order of time.
fn redirected() -> impl Strategy<Value = Vec<Shot>> {
    let one = ("s?[qa]{1,3}[fr]?", sums());
    (prop::collection::vec(one, 1..6), 1..200_000_u64).prop_map(|(legs, gap)| {
        let legs: Vec<Leg> = legs.iter().zip(0..).map(|((script, sum), n)| leg(n, script, *sum, gap)).collect();
        let mut shots = together(&legs.iter().collect::<Vec<_>>(), Link::Lo);
        // No two of one time.
        for n in 1..shots.len() {
            shots[n].time = shots[n].time.max(shots[n - 1].time + 1);
        }
        shots
    })
}

/// Connections that are hard to tell apart, each with its own ends: few client addresses, ports used again after and
/// beside each other, equal initial sequence numbers, begun before the capture or not, with timestamps or without.
fn confusable() -> impl Strategy<Value = Vec<Leg>> {
    let one = ("[s]?[qa]{1,4}[fr]?", 0..3_usize, any::<bool>(), any::<u32>(), any::<bool>(), 0..60_000_u64);
    prop::collection::vec(one, 1..12).prop_map(|legs| {
        let leg =
            |(n, (script, begun, same, number, timestamps, start)): (u16, &(String, usize, bool, u32, bool, u64))| {
                // Four at once: two ports to two servers. Then the same again.
                let (place, wave) = (n % 4, u64::from(n / 4));
                let client = format!("10.1.0.5:{}", 40_000 + place % 2);
                let server = format!("10.96.0.{}:80", place / 2);
                let mut leg = Leg::outbound(&client, &server).after(wave * 1_000_000 + start);
                if place / 2 == 1 {
                    leg = leg.port(20_000 + place);
                }
                if !timestamps {
                    leg = leg.no_timestamps();
                }
                // Other numbers differ, whatever they shrink to.
                let number = number.wrapping_add(u32::from(n) * 200_000_033);
                let isn = if *same { u32::from(n / 4) * 1000 } else { number.rotate_left(16) ^ 0x5a5a_0000 };
                let leg = script.chars().fold(leg.numbers(isn, number), |leg, step| match step {
                    's' => leg.open(),
                    'q' => leg.ask("question"),
                    'a' => leg.answer("a longer answer"),
                    'f' => leg.close(),
                    _ => leg.reset(),
                });
                // Equal numbers can be told apart only where all of both connections is there.
                let first = if *same { 0 } else { (*begun).min(leg.packets.len()) };
                leg.begun_at(first)
            };
        (0..).zip(&legs).map(leg).collect()
    })
}

/// Datagrams that nobody redirected, and octets that are none.
fn unrelated() -> impl Strategy<Value = Vec<Shot>> {
    let data = || prop::collection::vec(any::<u8>(), 0..40);
    let end = || (1..4_u8, 1..5_u16).prop_map(|(host, port)| addr(&format!("10.1.0.{host}:{port}")));
    let tcp = (end(), end(), any::<(u32, u32)>(), any::<u8>(), data(), sums()).prop_map(
        |(from, to, (seq, ack), flags, data, sum)| {
            let mut tcp = Tcp::new(from, to).numbers(seq, ack).data(&data).sum(sum);
            tcp.flags = flags;
            tcp.ip()
        },
    );
    let udp = (end(), end(), data(), sums()).prop_map(|(from, to, data, sum)| Udp::new(from, to, &data).sum(sum).ip());
    let frame = prop_oneof![
        4 => tcp.prop_map(|datagram| Link::Lo.frame(&datagram)),
        2 => udp.prop_map(|datagram| Link::Lo.frame(&datagram)),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(|bytes| [&[0; 12][..], &[8, 0], &bytes].concat()),
    ];
    prop::collection::vec((frame, 0..90_u64, any::<bool>()), 0..30).prop_map(|frames| {
        let mut time = START;
        let mut shots = Vec::new();
        for (bytes, step, cut) in frames {
            time += step;
            let whole = shot(time, bytes);
            shots.push(if cut { whole.cut(50) } else { whole });
        }
        shots
    })
}

/// Packets of all kinds between few ends: redirected or not, mid-stream or not, in fragments, cut, quoted by ICMP errors, ports
/// used again. Of two inputs, the second is on the wire.
fn anything() -> impl Strategy<Value = [Vec<Shot>; 2]> {
    let ends =
        ["10.1.0.5:40000", "10.1.0.5:40001", "127.0.0.1:15001", "127.0.0.1:9090", "10.96.0.10:80", "127.0.0.6:40000"];
    let end = move || (0..ends.len()).prop_map(move |n| addr(ends[n]));
    let flags = prop::sample::select(vec!["S", "SA", "A", "PA", "FA", "RA", "R"]);
    // Few numbers, near and far.
    let number = || prop::sample::select(vec![0_u32, 1, 2, 1000, 1 << 25, 1 << 30]);
    let data = prop::sample::select(vec![0_usize, 1, 24]);
    let tcp = (end(), end(), flags, number(), number(), data).prop_map(|(from, to, flags, seq, ack, len)| {
        vec![Tcp::new(from, to).flags(flags).numbers(seq, ack).data(&vec![7; len]).ip()]
    });
    let dns = ["10.1.0.5:5353", "10.1.0.5:5354", "127.0.0.1:15053", "10.96.0.53:53"];
    let dns_end = move || (0..dns.len()).prop_map(move |n| addr(dns[n]));
    let udp = (dns_end(), dns_end(), 0..2_u8, any::<bool>(), 0..3_u16, any::<bool>()).prop_map(
        |(from, to, id, response, fragment, swapped)| {
            let head = [0, id, if response { 0x80 } else { 0 }, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let mut udp = Udp::new(from, to, &[&head[..], b"\x03svc\x00\x00\x01\x00\x01"].concat());
            udp.id = fragment;
            let mut datagrams = if fragment == 0 { vec![udp.ip()] } else { udp.fragments(16) };
            if swapped {
                datagrams.reverse();
            }
            datagrams
        },
    );
    let leg = (0..4_u16, "s?[qa]{0,3}[fr]?", 0..3_usize).prop_map(|(n, script, begun)| {
        let leg = Leg::outbound(&format!("10.1.0.5:{}", 40_000 + n % 2), &format!("10.96.0.{}:80", 10 + n / 2));
        let leg = script.chars().fold(leg, |leg, step| match step {
            's' => leg.open(),
            'q' => leg.ask("question"),
            'a' => leg.answer("a longer answer"),
            'f' => leg.close(),
            _ => leg.reset(),
        });
        let count = leg.packets.len();
        leg.begun_at(begun.min(count)).packets.into_iter().map(|(_, datagram)| datagram).collect()
    });
    let part = (prop_oneof![4 => tcp, 2 => udp, 3 => leg], any::<[bool; 2]>(), 0..9_u8, 0..40_000_000_u64);
    prop::collection::vec(part, 1..25).prop_map(|parts| {
        let (mut time, mut shots) = (START, [Vec::new(), Vec::new()]);
        for (datagrams, [on_wire, quoted], cut, step) in parts {
            time += step;
            for mut datagram in datagrams {
                time += 1000;
                if on_wire {
                    // Addresses of its own: where lo and the wire show the same ones, Wireshark sees one stream, and a SYN on
                    // one of them makes two of it.
                    (datagram[13], datagram[17]) = (datagram[13] ^ 0x40, datagram[17] ^ 0x40);
                }
                let link = if on_wire { Link::Eth } else { Link::Lo };
                let quote = icmp_error([10, 1, 0, 5].into(), [10, 1, 0, 5].into(), &datagram);
                let whole = shot(time, link.frame(&datagram));
                shots[usize::from(on_wire)].push(if cut == 0 { whole.cut(50) } else { whole });
                if quoted && cut == 1 {
                    shots[usize::from(on_wire)].push(shot(time, link.frame(&quote)));
                }
            }
        }
        shots
    })
}

/// Few cases in a plain `cargo test`; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_capture_split_in_two_is_the_whole(shots in redirected(), place in any::<prop::sample::Index>()) {
        let whole = merge(Link::Lo, &shots);
        let (head, tail) = shots.split_at(place.index(shots.len() + 1));
        let split = Job::new().shots(Link::Lo, head).shots(Link::Lo, tail).keep_duplicates().run();
        let told = |outcome: &crate::common::Outcome| {
            let evidence = |comment: &String| comment.split("frame ").next().map(str::to_owned);
            let packet = |p: &crate::common::Packet| {
                (p.time, p.bytes.clone(), p.comments().iter().map(evidence).collect::<Vec<_>>())
            };
            outcome.output.packets.iter().map(packet).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&whole), told(&split));
        prop_assert_eq!(whole.told(), split.told());
    }

    #[test]
    fn every_packet_in_is_a_packet_out(shots in redirected()) {
        let outcome = merge(Link::Lo, &shots);
        prop_assert_eq!(outcome.output.packets.len(), shots.len());
        for (packet, shot) in outcome.output.packets.iter().zip(&shots) {
            prop_assert_eq!((packet.time, packet.length), (shot.time, shot.length));
            // Nothing but addresses, ports and checksums is ever changed.
            let blank = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                for field in [24..38, 50..52] {
                    bytes[field].fill(0);
                }
                bytes
            };
            prop_assert_eq!(blank(&packet.bytes), blank(&shot.bytes));
        }
    }

    #[test]
    fn legs_get_their_own_addresses_or_none(legs in confusable(), look_ahead in 0..100_000_000_u64) {
        let shots = together(&legs.iter().collect::<Vec<_>>(), Link::Lo);
        let isn = |leg: &Leg| leg.packets.first().filter(|p| p.1[33] == 0x02).map(|p| p.1[24..28].to_vec());
        let isns: Vec<_> = legs.iter().map(isn).collect();
        let mut truth = Vec::new();
        for (leg, isn) in legs.iter().zip(&isns) {
            // A handshake with a number of its own proves the leg.
            let proven = isn.is_some() && isns.iter().filter(|other| *other == isn).count() == 1;
            let ends = leg.as_captured().into_iter().zip(leg.repaired());
            truth.extend(leg.packets.iter().zip(ends).map(|(p, (captured, repaired))| (p.0, captured, repaired, proven)));
        }
        truth.sort_by_key(|&(time, ..)| time);
        let whole = merge(Link::Lo, &shots);
        let hasty = Job::new().shots(Link::Lo, &shots).look_ahead(look_ahead, 1 << 16).run();
        for (outcome, complete) in [(whole, true), (hasty, false)] {
            prop_assert_eq!(outcome.output.packets.len(), shots.len());
            for (ends, (time, captured, repaired, proven)) in outcome.output.ends().into_iter().zip(&truth) {
                let left = ends == *captured && !(complete && *proven);
                prop_assert!(left || ends == *repaired, "{ends:?} at {time}: {captured:?} {repaired:?} {proven}");
            }
        }
    }

    #[test]
    fn without_a_redirection_the_same_packets_come_out(shots in unrelated()) {
        let outcome = merge(Link::Lo, &shots);
        prop_assert_eq!(outcome.output.packets.len(), shots.len());
        for (packet, shot) in outcome.output.packets.iter().zip(&shots) {
            prop_assert_eq!((packet.time, packet.length), (shot.time, shot.length));
            if packet.bytes != shot.bytes {
                // A partial checksum was completed; it differs in two octets, and is right now.
                prop_assert_eq!(packet.checksum(), Checksum::Right);
                let differ = packet.bytes.iter().zip(&shot.bytes).filter(|(a, b)| a != b).count();
                prop_assert!(differ <= 2 && packet.bytes.len() == shot.bytes.len());
            }
        }
    }

    #[test]
    fn files_read_twice_come_out_as_if_read_once([lo, eth0] in anything()) {
        let job = || Job::new().shots(Link::Lo, &lo).shots(Link::Eth, &eth0).keep_duplicates().keep_proxy_address();
        let (twice, once) = (job().run(), job().look_ahead(u64::MAX, u64::MAX).run());
        prop_assert_eq!(twice.output.packets.len(), lo.len() + eth0.len());
        // No comment tells of a tie in one pass.
        let untied = |comment: String| comment.split("; t").next().map(str::to_owned).filter(|c| c.contains("; evidence"));
        let told = |outcome: &crate::common::Outcome| {
            let packet = |p: &crate::common::Packet| {
                (p.time, p.bytes.clone(), p.comments().into_iter().filter_map(untied).collect::<Vec<_>>())
            };
            outcome.output.packets.iter().map(packet).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&twice), told(&once));
        let legs = |outcome: &crate::common::Outcome| {
            let mut legs = outcome.legs.clone();
            // Ties, and which mesh it is, are known only when all was read.
            let late = ["tie", "tie_filter", "tie_evidence", "tie_grade", "requests", "real_client", "exchanges"];
            for leg in legs.iter_mut().filter_map(serde_json::Value::as_object_mut) {
                for column in late.into_iter().chain(["port_label"]) {
                    leg.remove(column);
                }
            }
            legs
        };
        prop_assert_eq!(legs(&twice), legs(&once));
        prop_assert_eq!(twice.summary(), once.summary());
    }

    #[test]
    fn a_merge_of_a_merge_changes_nothing(shots in redirected()) {
        let once = merge(Link::Lo, &shots);
        let twice = Job::new().input(&once.bytes).run();
        let packets = |outcome: &crate::common::Outcome| {
            outcome.output.packets.iter().map(|p| (p.time, p.bytes.clone())).collect::<Vec<_>>()
        };
        let mut expected = packets(&once);
        for ((packet, after), (_, bytes)) in once.output.packets.iter().zip(&twice.output.packets).zip(&mut expected) {
            // A wrong checksum that is, by chance, the partial one of the new addresses is taken for that.
            if packet.checksum() != Checksum::Right && after.checksum() == Checksum::Right {
                bytes[50..52].copy_from_slice(&after.bytes[50..52]);
            }
        }
        prop_assert_eq!(expected, packets(&twice));
    }
}

//! Checksums: partial ones are completed, right ones stay right, wrong ones stay wrong by as much; where the snaplen cut
//! a packet, what is there is updated for the new addresses, verified with the whole packet.

use crate::common::leg::START;
use crate::common::packet::{ones_sum, pseudo_header};
use crate::common::read::Checksum;
use crate::common::{Leg, Link, Sum, Udp, addr, merge, shot};

fn leg() -> Leg {
    Leg::outbound("10.1.0.5:40000", "10.96.0.10:80")
}

#[test]
fn a_wrong_one_stays_wrong_by_as_much() {
    for by in [1, 0x1234, 0xfffe] {
        let captured = leg().sum(Sum::Wrong(by)).whole();
        let right = leg().sum(Sum::Right).whole();
        let shots = captured.shots(Link::Lo);
        let outcome = merge(Link::Lo, &shots);
        assert_eq!(outcome.output.ends(), captured.repaired());
        for (packet, (_, right)) in outcome.output.packets.iter().zip(&right.packets) {
            assert!(matches!(packet.checksum(), Checksum::Wrong(_)), "wrong by {by}");
            // The error itself: what the sum over all is, before and after.
            let (_, before) = captured.packets.iter().find(|(time, _)| *time == packet.time).expect("the packet");
            assert_eq!(packet.checksum(), crate::common::read::checksum(before), "wrong by {by}");
            assert_eq!(crate::common::read::checksum(right), Checksum::Right);
        }
        let direct = Leg::direct("10.1.0.5:40000", "10.1.0.5:80").sum(Sum::Wrong(by)).whole();
        let outcome = merge(Link::Lo, &direct.shots(Link::Lo));
        let bytes: Vec<_> = outcome.output.packets.into_iter().map(|p| p.bytes).collect();
        assert_eq!(bytes, direct.shots(Link::Lo).into_iter().map(|s| s.bytes).collect::<Vec<_>>());
    }
}

#[test]
fn how_many_were_completed() {
    let outcome = merge(Link::Lo, &leg().whole().shots(Link::Lo));
    assert_eq!(outcome.done.summary.counts.completed, 10);
    assert_eq!(merge(Link::Lo, &leg().sum(Sum::Right).whole().shots(Link::Lo)).done.summary.counts.completed, 0);
}

/// What a cut packet's checksum field must hold so that the whole packet, were it there, would be right.
#[test]
fn a_cut_packet_is_updated() {
    let data = "0123456789".repeat(20);
    for (client, server) in [("10.1.0.5:40000", "10.96.0.10:80"), ("[fd00:21::5]:40000", "[fd00:96::10]:80")] {
        let leg = |sum| Leg::outbound(client, server).sum(sum).open().ask(&data).answer(&data);
        let header = if client.starts_with('[') { 40 } else { 20 };
        let snaplen = 14 + header + 32 + 10;
        for sum in [Sum::Right, Sum::Partial] {
            let whole = leg(sum).shots(Link::Lo);
            let cut: Vec<_> = whole.iter().map(|shot| shot.clone().cut(snaplen)).collect();
            let outcome = merge(Link::Lo, &cut);
            assert_eq!(outcome.output.ends(), leg(sum).repaired());
            for (packet, whole) in outcome.output.packets.iter().zip(&whole) {
                assert_eq!(packet.length, whole.length);
                assert_eq!(packet.bytes.len(), cut.iter().find(|c| c.time == packet.time).expect("it").bytes.len());
                // The missing octets put back.
                let mut datagram = packet.datagram().to_vec();
                let is_cut = packet.bytes.len() < whole.bytes.len();
                datagram.extend(&whole.bytes[packet.bytes.len()..]);
                let payload = &datagram[header..];
                let (from, to) = packet.ends();
                let pseudo = pseudo_header(from.ip(), to.ip(), 6, payload.len());
                if sum == Sum::Partial && is_cut {
                    // Still the network card's to complete: for the new addresses.
                    assert_eq!(payload[16..18], ones_sum(&pseudo).to_be_bytes());
                } else {
                    assert_eq!(ones_sum(&[&pseudo[..], payload].concat()), 0xffff);
                }
            }
        }
    }
}

#[test]
fn a_packet_cut_before_its_ports() {
    // It bears no ports, so it cannot be told to which leg it belongs; nothing of it changes.
    let leg = leg().whole();
    let shots: Vec<_> = leg.shots(Link::Lo).into_iter().map(|shot| shot.cut(14 + 20)).collect();
    let outcome = merge(Link::Lo, &shots);
    let bytes: Vec<_> = outcome.output.packets.into_iter().map(|p| p.bytes).collect();
    assert_eq!(bytes, shots.into_iter().map(|s| s.bytes).collect::<Vec<_>>());
}

#[test]
fn padding_behind_the_datagram_is_no_part_of_it() {
    let mut shots = leg().no_timestamps().whole().shots(Link::Lo);
    for shot in &mut shots {
        shot.bytes.resize(shot.bytes.len().max(60), 0xaa);
        shot.length = shot.bytes.len() as u32;
    }
    let outcome = merge(Link::Lo, &shots);
    for (packet, shot) in outcome.output.packets.iter().zip(&shots) {
        assert_eq!(packet.bytes.len(), shot.bytes.len());
        let end = 14 + usize::from(u16::from_be_bytes([packet.bytes[16], packet.bytes[17]]));
        assert_eq!(crate::common::read::checksum(&packet.bytes[14..end]), Checksum::Right);
        assert!(packet.bytes[end..].iter().all(|&octet| octet == 0xaa));
    }
}

#[test]
fn a_udp_checksum_that_comes_to_zero_is_all_ones() {
    // RFC 768: 0 means none. The data is chosen so that the sum over all is 0xffff.
    let mut udp = Udp::new(addr("10.1.0.5:40000"), addr("10.1.0.5:9000"), &[0, 0]).sum(Sum::Right);
    let payload = udp.payload();
    let value = u16::from_be_bytes([payload[6], payload[7]]);
    udp.data = value.to_be_bytes().to_vec();
    assert_eq!(udp.payload()[6..8], [0xff, 0xff]);
    let outcome = merge(Link::Lo, &[shot(START, Link::Lo.frame(&udp.clone().sum(Sum::Partial).ip()))]);
    assert_eq!(outcome.output.packets[0].bytes, Link::Lo.frame(&udp.ip()));
}

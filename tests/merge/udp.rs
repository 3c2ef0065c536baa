//! DNS that is redirected to the proxy, its fragments, and the ICMP errors about it and about TCP.

use std::net::SocketAddr;

use crate::common::leg::START;
use crate::common::read::{Checksum, ends};
use crate::common::{Leg, Link, Outcome, Shot, Sum, Udp, addr, icmp_error, merge, shot};

const APP: &str = "10.1.0.5:40166";
const DNS: &str = "10.96.0.53:53";
const PROXY: &str = "127.0.0.1:15053";

/// A message with one question; a response has the QR bit.
fn message(id: u16, name: &str, response: bool) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([if response { 0x81 } else { 0x01 }, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]);
    message.extend(name.as_bytes());
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn query(from: &str, to: &str, id: u16, name: &str) -> Udp {
    Udp::new(addr(from), addr(to), &message(id, name, false))
}

fn response(from: &str, to: &str, id: u16, name: &str) -> Udp {
    Udp::new(addr(from), addr(to), &message(id, name, true))
}

/// Merges datagrams that are captured on lo a tenth of a millisecond apart.
fn on_lo(datagrams: &[Vec<u8>]) -> Outcome {
    let shots: Vec<Shot> =
        datagrams.iter().zip(0..).map(|(d, n)| shot(START + n * 100_000, Link::Lo.frame(d))).collect();
    merge(Link::Lo, &shots)
}

fn pairs(texts: &[(&str, &str)]) -> Vec<(SocketAddr, SocketAddr)> {
    texts.iter().map(|(from, to)| (addr(from), addr(to))).collect()
}

#[test]
fn a_query_and_its_response() {
    for sum in [Sum::Partial, Sum::Right, Sum::None] {
        let outcome = on_lo(&[query(APP, PROXY, 7, "a").sum(sum).ip(), response(DNS, APP, 7, "a").sum(sum).ip()]);
        assert_eq!(outcome.output.ends(), pairs(&[(APP, DNS), (DNS, APP)]));
        assert_eq!(outcome.told(), [format!("dns repaired dns {APP} {DNS}")]);
        outcome.output.assert_sums();
        let none = outcome.output.packets[0].checksum() == Checksum::None;
        assert_eq!(none, sum == Sum::None, "a checksum of 0 stays 0");
        assert!(outcome.output.comments()[0].contains("evidence: DNS ID and question"));
    }
    let (app, dns) = ("[fd00:21::5]:40166", "[fd00:96::53]:53");
    let outcome = on_lo(&[query(app, "[::1]:15053", 7, "a").ip(), response(dns, app, 7, "a").ip()]);
    assert_eq!(outcome.output.ends(), pairs(&[(app, dns), (dns, app)]));
    outcome.output.assert_sums();
}

#[test]
fn another_question_is_no_answer() {
    for (id, name) in [(8, "a"), (7, "b")] {
        let outcome = on_lo(&[query(APP, PROXY, 7, "a").ip(), response(DNS, APP, id, name).ip()]);
        assert_eq!(outcome.output.ends(), pairs(&[(APP, PROXY), (DNS, APP)]));
        assert_eq!(outcome.told()[0], format!("dns left no-reply {APP} {PROXY}"));
    }
}

#[test]
fn one_local_port_to_two_name_servers() {
    // conntrack gave the second query another source port; the first one is the witness that it had to.
    let other = "10.96.0.54:53";
    let outcome = on_lo(&[
        query(APP, PROXY, 7, "a").ip(),
        query("10.1.0.5:1029", PROXY, 8, "b").ip(),
        response(other, APP, 8, "b").ip(),
        response(DNS, APP, 7, "a").ip(),
    ]);
    assert_eq!(outcome.output.ends(), pairs(&[(APP, DNS), (APP, other), (other, APP), (DNS, APP)]));
    outcome.output.assert_sums();
}

#[test]
fn another_port_without_a_witness() {
    let outcome = on_lo(&[query("10.1.0.5:1029", PROXY, 8, "b").ip(), response(DNS, APP, 8, "b").ip()]);
    assert_eq!(outcome.output.ends(), pairs(&[("10.1.0.5:1029", PROXY), (DNS, APP)]));
}

#[test]
fn several_queries_of_one_socket() {
    // A and AAAA at once, as resolvers ask.
    let outcome = on_lo(&[
        query(APP, PROXY, 7, "a").ip(),
        query(APP, PROXY, 8, "a").ip(),
        response(DNS, APP, 8, "a").ip(),
        response(DNS, APP, 7, "a").ip(),
    ]);
    assert_eq!(outcome.output.ends(), pairs(&[(APP, DNS), (APP, DNS), (DNS, APP), (DNS, APP)]));
    assert_eq!(outcome.legs.len(), 1);
}

#[test]
fn fragments_follow_their_datagram() {
    // The question stands in the first fragment; EDNS padding fills the second one.
    let name = "a".repeat(20);
    for (app, dns, proxy) in [(APP, DNS, PROXY), ("[fd00:21::5]:40166", "[fd00:96::53]:53", "[::1]:15053")] {
        let mut ask = query(app, proxy, 7, &name);
        ask.id = 99;
        ask.data.extend([0; 40]);
        let fragments = ask.clone().sum(Sum::Right).fragments(64);
        let [first, second] = &fragments[..] else { panic!("two fragments") };
        let answer = response(dns, app, 7, &name).ip();
        // In order, and with the later fragment first.
        for order in [[first, second, &answer], [second, first, &answer]] {
            let outcome = on_lo(&order.map(Clone::clone));
            assert_eq!(outcome.told(), [format!("dns repaired dns {app} {dns}")]);
            let out = &outcome.output.packets;
            for packet in &out[..2] {
                assert_eq!(packet.ends().1.ip(), addr(dns).ip());
                packet.checksum();
            }
            // Put together again, the checksum over all is right.
            let (head, tail) = if order[0] == first { (&out[0], &out[1]) } else { (&out[1], &out[0]) };
            let skip = if app.starts_with('[') { 48 } else { 20 };
            let payload = [&head.datagram()[skip..], &tail.datagram()[skip..]].concat();
            let whole = crate::common::packet::ip(addr(app).ip(), addr(dns).ip(), 17, 0, &payload);
            assert_eq!(crate::common::read::checksum(&whole), Checksum::Right);
            assert_eq!(ends(&whole), (addr(app), addr(dns)));
        }
    }
}

#[test]
fn an_icmp_error_quotes_the_original_addresses() {
    let v4 = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let v6 = Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").whole();
    for (leg, header) in [(v4, 20), (v6, 40)] {
        let about = &leg.packets[3].1;
        let error = icmp_error(leg.captured.1.ip(), leg.client.ip(), about);
        let mut shots = leg.shots(Link::Lo);
        shots.push(shot(leg.time, Link::Lo.frame(&error)));
        let outcome = merge(Link::Lo, &shots);
        let packet = outcome.output.packets.last().expect("the error");
        // etherparse gives no ports of a TCP header that is cut after 8 octets.
        let quoted = &packet.datagram()[header + 8..];
        let port = |at: usize| u16::from_be_bytes([quoted[header + at], quoted[header + at + 1]]);
        let (source, destination) = ends(quoted);
        assert_eq!((source.ip(), destination.ip()), (leg.client.ip(), leg.server.ip()));
        assert_eq!((port(0), port(2)), (leg.client.port(), leg.server.port()));
        // The outer addresses are the host's own: no redirection wrote them.
        assert_eq!(packet.ends().0.ip(), leg.captured.1.ip());
        let message = &packet.datagram()[header..];
        let pseudo = match leg.client.is_ipv4() {
            true => Vec::new(),
            false => {
                let (from, to) = packet.ends();
                crate::common::packet::pseudo_header(from.ip(), to.ip(), 58, message.len())
            }
        };
        assert_eq!(crate::common::packet::ones_sum(&[&pseudo[..], message].concat()), 0xffff, "ICMP checksum");
    }
}

#[test]
fn an_icmp_error_about_another_leg_stays() {
    let leg = Leg::direct("10.1.0.5:40000", "10.1.0.5:8080").sum(Sum::Right).whole();
    let error = icmp_error(leg.server.ip(), leg.client.ip(), &leg.packets[0].1);
    let mut shots = leg.shots(Link::Lo);
    shots.push(shot(leg.time, Link::Lo.frame(&error)));
    let outcome = merge(Link::Lo, &shots);
    assert_eq!(outcome.output.packets.last().map(|p| &p.bytes), shots.last().map(|s| &s.bytes));
}

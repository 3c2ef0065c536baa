//! What comes out as it was captured: every octet, every time.

use crate::common::leg::START;
use crate::common::packet::ip;
use crate::common::{Job, Leg, Link, Outcome, Shot, Sum, addr, merge, shot};

fn assert_same(outcome: &Outcome, shots: &[Shot]) {
    let out = outcome.output.packets.iter().map(|p| Shot { time: p.time, bytes: p.bytes.clone(), length: p.length });
    assert_eq!(out.collect::<Vec<_>>(), shots);
}

#[test]
fn legs_that_are_whole() {
    for (name, link, leg) in [
        ("proxy to peer", Link::Eth, Leg::direct("10.1.0.5:57168", "10.1.0.6:8080")),
        ("peer to proxy", Link::Eth, Leg::direct("10.1.0.6:39844", "10.1.0.5:8080")),
        ("proxy to app", Link::Lo, Leg::direct("127.0.0.6:29894", "10.1.0.5:8080")),
        ("proxy to app, IPv6", Link::Lo, Leg::direct("[::6]:49690", "[fd00:21::5]:8080")),
        ("proxy to app on 127.0.0.1", Link::Lo, Leg::direct("127.0.0.6:54002", "127.0.0.1:8080")),
        ("the app calls itself", Link::Lo, Leg::direct("10.1.0.5:50000", "10.1.0.5:8080")),
        ("the app calls 127.0.0.1", Link::Lo, Leg::direct("127.0.0.1:50000", "127.0.0.1:8080")),
        ("an excluded port", Link::Eth, Leg::direct("10.1.0.5:50000", "10.9.0.1:3306")),
        ("a listener's port elsewhere", Link::Eth, Leg::direct("10.1.0.5:50000", "10.9.0.1:15001")),
        ("a listener's port, captured on the wire", Link::Eth, Leg::direct("127.0.0.1:50000", "127.0.0.1:15001")),
    ] {
        println!("{name}");
        let shots = leg.clone().sum(Sum::Right).whole().shots(link);
        let outcome = merge(link, &shots);
        assert_same(&outcome, &shots);
        assert_eq!(outcome.output.comments(), [""; 0]);
        // Partial checksums are completed, and nothing else is changed.
        let partial = merge(link, &leg.whole().shots(link));
        assert_same(&partial, &shots);
    }
}

#[test]
fn a_redirected_leg_beside_whole_ones() {
    let eth0 = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").sum(Sum::Right).after(3_000).whole();
    let lo = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let outcome = Job::new().shots(Link::Eth, &eth0.shots(Link::Eth)).shots(Link::Lo, &lo.shots(Link::Lo)).run();
    let of = |interface| outcome.output.packets.iter().filter(move |p| p.interface == interface);
    let lo_id = outcome.output.packets[0].interface;
    assert_eq!(of(lo_id).map(|p| p.ends()).collect::<Vec<_>>(), lo.repaired());
    let bytes: Vec<_> = of(1 - lo_id).map(|p| p.bytes.clone()).collect();
    assert_eq!(bytes, eth0.shots(Link::Eth).into_iter().map(|s| s.bytes).collect::<Vec<_>>());
    assert_eq!(
        outcome.told(),
        [
            "outbound-app repaired handshake 10.1.0.5:40000 10.96.0.10:80",
            "outbound-peer whole 10.1.0.5:57168 10.1.0.6:8080",
        ]
    );
}

#[test]
fn packets_that_make_no_sense() {
    let whole = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").sum(Sum::Right).syn().packets[0].1.clone();
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut change = |name, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut datagram = whole.clone();
        edit(&mut datagram);
        cases.push((name, Link::Lo.frame(&datagram)));
    };
    change("IPv4 header length of 0", &|d| d[0] = 0x40);
    change("IPv4 header longer than the packet", &|d| d[0] = 0x4f);
    change("total length below the header", &|d| d[2..4].copy_from_slice(&[0, 3]));
    change("total length beyond the packet", &|d| d[2..4].copy_from_slice(&[0xff, 0xff]));
    change("TCP data offset of 0", &|d| d[32] = 0);
    change("TCP data offset beyond the packet", &|d| d[32] = 0xf0);
    change("TCP option of length 0", &|d| d[40..44].copy_from_slice(&[8, 0, 0, 0]));
    change("IP version 9", &|d| d[0] = 0x95);
    for length in 0..34 {
        cases.push(("a frame that ends early", Link::Lo.frame(&whole)[..length].to_vec()));
    }
    cases.push(("40 VLAN tags", Link::Tagged(40).frame(&whole)));
    cases.push(("ARP", [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 28]].concat()));
    let (a, b) = (addr("10.1.0.5:0").ip(), addr("127.0.0.1:0").ip());
    cases.push(("IPv4 in IPv4", Link::Lo.frame(&ip(a, b, 4, 0, &whole))));
    cases.push(("GRE", Link::Lo.frame(&ip(a, b, 47, 0, &[0; 40]))));
    let v6 = (addr("[fd00::5]:0").ip(), addr("[::1]:0").ip());
    cases.push(("IPv6 headers without end", Link::Lo.frame(&ip(v6.0, v6.1, 0, 0, &[0; 400]))));
    for (name, frame) in cases {
        println!("{name}");
        let shots = [shot(START, frame)];
        assert_same(&merge(Link::Lo, &shots), &shots);
    }
}

#[test]
fn link_types_that_are_not_looked_into() {
    for link_type in [105_u16, 127, 147, 220, 252, 65_000] {
        let mut file = crate::common::pcap(Link::Lo, &[shot(START, vec![0x45; 60])]);
        file[20..22].copy_from_slice(&link_type.to_le_bytes());
        let outcome = Job::new().input(&file).run();
        assert_eq!(outcome.output.packets[0].bytes, [0x45; 60]);
        assert_eq!(outcome.output.interfaces[0].link_type, link_type);
    }
}

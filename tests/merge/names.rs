//! Names of addresses: in the output before the first packet that bears the address, and in the report.

use crate::common::file::{Order, Section};
use crate::common::leg::{START, together};
use crate::common::{Job, Leg, Link, Outcome, Udp, addr, icmp_error, shot};

const NAMES: &str = "10.1.0.5 web-1.shop\n10.96.0.10 api.shop.svc api\n10.96.0.20 redis.shop.svc\n127.0.0.1 localhost\n\
    fd00:96::10 api.shop.svc\n10.9.9.9 nobody\n";

/// Records of Name Resolution Blocks: packets before, address and names.
fn records(outcome: &Outcome) -> Vec<(usize, String)> {
    let mut records = Vec::new();
    for (packets, mut body) in outcome.output.blocks_of(4) {
        while body[..4] != [0; 4] {
            let (kind, length) = (u16::from_le_bytes([body[0], body[1]]), usize::from(body[2]));
            let value = &body[4..4 + length];
            let (address, names) = match kind {
                1 => (std::net::IpAddr::from(*value.first_chunk::<4>().expect("IPv4")), &value[4..]),
                2 => (std::net::IpAddr::from(*value.first_chunk::<16>().expect("IPv6")), &value[16..]),
                _ => panic!("record type {kind}"),
            };
            let names = std::str::from_utf8(names).expect("UTF-8").strip_suffix('\0').expect("a zero at the end");
            records.push((packets, format!("{address} {names}")));
            body = &body[4 + length.next_multiple_of(4)..];
        }
        assert_eq!(body, [0; 4], "the end record ends the block");
    }
    records
}

fn expect(outcome: &Outcome, expected: &[(usize, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(packets, record)| (*packets, (*record).to_owned())).collect();
    assert_eq!(records(outcome), expected);
}

#[test]
fn names_come_before_the_first_packet_that_bears_the_address() {
    let web = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let redis = Leg::outbound("10.1.0.5:40000", "10.96.0.20:6379").after(1_000_000).whole();
    let v6 = Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").after(2_000_000).whole();
    let job = Job::new().shots(Link::Lo, &together(&[&web, &redis, &v6], Link::Lo)).names(NAMES);
    let outcome = job.run();
    // As repaired: 127.0.0.1 does not occur any more. The first name is the last one to be read.
    let expected = [
        (0, "10.1.0.5 web-1.shop"),
        (0, "10.96.0.10 api"),
        (0, "10.96.0.10 api.shop.svc"),
        (10, "10.96.0.20 redis.shop.svc"),
        (20, "fd00:96::10 api.shop.svc"),
    ];
    expect(&outcome, &expected);
    let named = |column| outcome.legs.iter().map(|leg| leg[column].as_str().map(str::to_owned)).collect::<Vec<_>>();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(named("client_name"), [some("web-1.shop"), some("web-1.shop"), None]);
    assert_eq!(named("server_name"), [some("api.shop.svc api"), some("redis.shop.svc"), some("api.shop.svc")]);
    assert!(outcome.summary().ends_with("4 addresses got their names\n"), "{}", outcome.summary());
}

#[test]
fn names_wait_with_their_packets() {
    // Nothing is written before the first leg is decided, and it never is.
    let syn = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").syn();
    let later = Leg::direct("10.1.0.5:50000", "10.96.0.20:443").after(1_000_000).whole();
    let outcome = Job::new().shots(Link::Lo, &together(&[&syn, &later], Link::Lo)).names(NAMES).run();
    let expected = [(0, "10.1.0.5 web-1.shop"), (0, "127.0.0.1 localhost"), (1, "10.96.0.20 redis.shop.svc")];
    expect(&outcome, &expected);
}

#[test]
fn addresses_that_an_icmp_error_quotes() {
    let query = Udp::new(addr("10.3.3.3:3333"), addr("10.96.0.20:7777"), b"12345678").ip();
    let error = icmp_error(addr("10.96.0.10:0").ip(), addr("10.3.3.3:0").ip(), &query);
    let outcome = Job::new().shots(Link::Eth, &[shot(START, Link::Eth.frame(&error))]).names(NAMES).run();
    expect(&outcome, &[(0, "10.96.0.10 api"), (0, "10.96.0.10 api.shop.svc"), (0, "10.96.0.20 redis.shop.svc")]);
}

#[test]
fn what_an_input_names_is_not_named_again() {
    let shots = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole().shots(Link::Lo);
    for order in [Order::Little, Order::Big] {
        let section = Section::new(order).interface(Link::Lo, &[(2, b"lo"), (9, &[9])]);
        let name = b"api.shop.svc\0other\0";
        let length = section.u16(4 + name.len() as u16);
        let record = [&section.u16(1)[..], &length, &[10, 96, 0, 10], name, &[0], &[0; 4]].concat();
        let section = shots.iter().fold(section.block(4, &record), |s, shot| s.packet(0, shot, &[]));
        let outcome = Job::new().input(&section.bytes).names(NAMES).run();
        let own = [(0, "10.96.0.10 api.shop.svc\0other"), (0, "10.1.0.5 web-1.shop"), (0, "10.96.0.10 api")];
        expect(&outcome, &own);
    }
}

#[test]
fn nothing_occurs() {
    let outcome = Job::new().shots(Link::Lo, &[]).names(NAMES).run();
    expect(&outcome, &[]);
    assert!(outcome.summary().ends_with("no address of the captures has a name in the files of --names\n"));
}

#[test]
fn bad_lines_do_not_end_the_run() {
    let shots = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole().shots(Link::Lo);
    let outcome = Job::new().shots(Link::Lo, &shots).names("10.1.0.5 web-1.shop\n10.1.0 x\n").names(NAMES).run();
    let unused: Vec<_> =
        outcome.done.unused.iter().map(|unused| (unused.bad, unused.first[0].place.as_str())).collect();
    assert_eq!(unused, [(1, "line 2")]);
    assert_eq!(records(&outcome)[0], (0, "10.1.0.5 web-1.shop".to_owned()));
}

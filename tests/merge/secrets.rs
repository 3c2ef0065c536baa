//! TLS secrets: those of the sessions that begin in the capture, before the packet with the ClientHello.

use crate::common::file::{Order, Section};
use crate::common::leg::START;
use crate::common::{Job, Link, Outcome, Shot, Tcp, addr, shot};

fn hex(octet: u8, count: usize) -> String {
    format!("{octet:02x}").repeat(count)
}

/// Lines of one TLS 1.3 session.
fn session(random: u8) -> String {
    let line = |label: &str, secret| format!("{label} {} {}\n", hex(random, 32), hex(secret, 32));
    line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 0x1a) + &line("CLIENT_TRAFFIC_SECRET_0", 0x2b)
}

/// Lines of one TLS 1.2 session.
fn older(random: u8) -> String {
    format!("CLIENT_RANDOM {} {}\n", hex(random, 32), hex(0x3c, 48))
}

/// The start of a ClientHello, in a record of TLS.
fn hello(random: u8) -> Vec<u8> {
    [&[0x16, 3, 1, 0, 80, 1, 0, 0, 76, 3, 3][..], &[random; 32], &[0; 42]].concat()
}

/// Segments of one connection, a millisecond apart.
fn segments(client: &str, begin: u64, data: &[&[u8]]) -> Vec<Shot> {
    let mut seq = 1_000_u32;
    let mut shots = Vec::new();
    for (number, data) in data.iter().enumerate() {
        let tcp = Tcp::new(addr(client), addr("10.1.0.6:8443")).flags("PA").numbers(seq, 7).data(data);
        shots.push(shot(START + (begin + number as u64) * 1_000_000, Link::Eth.frame(&tcp.ip())));
        seq = seq.wrapping_add(data.len() as u32);
    }
    shots
}

/// The text of each Decryption Secrets Block, and how many packets stand before it.
fn secrets(outcome: &Outcome) -> Vec<(usize, String)> {
    let text = |(packets, body): (usize, &[u8])| {
        assert_eq!(body[..4], 0x544c_534b_u32.to_le_bytes());
        let length = body[4] as usize + body[5] as usize * 256;
        assert_eq!(body.len(), (8 + length).next_multiple_of(4));
        (packets, String::from_utf8(body[8..8 + length].to_vec()).expect("text"))
    };
    outcome.output.blocks_of(10).into_iter().map(text).collect()
}

/// Lines in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[track_caller]
fn expect(outcome: &Outcome, expected: &[(usize, String)]) {
    let found = secrets(outcome);
    let found: Vec<_> = found.iter().map(|(packets, text)| (*packets, sorted(text))).collect();
    let expected: Vec<_> = expected.iter().map(|(packets, text)| (*packets, sorted(text))).collect();
    assert_eq!(found, expected);
}

#[test]
fn only_the_sessions_that_begin_in_the_capture_and_each_once() {
    let shots = [
        segments("10.1.0.5:1", 0, &[b"GET / HTTP/1.1\r\n\r\n", &hello(9)]),
        segments("10.1.0.5:2", 10, &[&hello(1), b"more", &hello(1)]),
        segments("10.1.0.5:3", 20, &[&hello(2)]),
        segments("10.1.0.5:4", 30, &[&hello(3)]),
    ]
    .concat();
    let log = [session(1), session(7), older(2), session(1), older(9)].concat();
    let outcome = Job::new().shots(Link::Eth, &shots).keys(&log).keys(&session(1)).run();
    expect(&outcome, &[(1, older(9)), (2, session(1)), (5, older(2))]);
    let warning = "warning: the output holds the secrets of 3 TLS sessions: who has the file can read them\n";
    assert!(outcome.summary().ends_with(warning), "{}", outcome.summary());
}

#[test]
fn a_hello_in_pieces() {
    let (whole, other) = (hello(1), hello(2));
    for size in [1, 2, 10, 42] {
        let pieces: Vec<&[u8]> = whole.chunks(size).collect();
        // Another connection begins in between, in pieces as well.
        let mut shots = segments("10.1.0.5:1", 0, &pieces);
        shots.extend(segments("10.1.0.5:2", 0, &[&other[..20], &other[20..]]));
        shots.sort_by_key(|shot| shot.time);
        let last = shots.iter().position(|shot| shot.time == START + (43_u64.div_ceil(size as u64) - 1) * 1_000_000);
        let outcome = Job::new().shots(Link::Eth, &shots).keys(&session(1)).run();
        expect(&outcome, &[(last.expect("a piece"), session(1))]);
    }
    // A gap between the pieces: that is no ClientHello that anybody could read.
    let mut gap = segments("10.1.0.5:1", 0, &[&whole[..20], &whole[20..30], &whole[30..]]);
    gap.remove(1);
    expect(&Job::new().shots(Link::Eth, &gap).keys(&session(1)).run(), &[]);
}

#[test]
fn behind_proxy_protocol() {
    let one = [&b"PROXY TCP4 10.9.9.9 10.1.0.6 5 443\r\n"[..], &hello(1)].concat();
    let two = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[7; 12], &hello(2)].concat();
    let shots = [segments("10.1.0.5:1", 0, &[&one]), segments("10.1.0.5:2", 5, &[&two])].concat();
    let outcome = Job::new().shots(Link::Eth, &shots).keys(&(session(1) + &session(2))).run();
    expect(&outcome, &[(0, session(1)), (1, session(2))]);
}

#[test]
fn what_is_no_hello() {
    let mut server = hello(1);
    server[5] = 2;
    let mut version = hello(1);
    version[9] = 4;
    let shots = segments("10.1.0.5:1", 0, &[&server, &version, &hello(1)[1..], b"\x16", b"\x16\x03\x01"]);
    let outcome = Job::new().shots(Link::Eth, &shots).keys(&session(1)).run();
    expect(&outcome, &[]);
    let told = "no TLS session that begins in the captures has secrets in the files of --keys\n";
    assert!(outcome.summary().ends_with(told), "{}", outcome.summary());
}

#[test]
fn what_an_input_holds_is_not_written_again() {
    let shots = segments("10.1.0.5:1", 0, &[&hello(1), b"x", &hello(2)]);
    for order in [Order::Little, Order::Big] {
        let held = format!("# by hand\n{}{}", session(1).lines().next().unwrap_or_default(), "\n");
        let section = Section::new(order).interface(Link::Eth, &[(2, b"eth0"), (9, &[9])]).secrets(held.as_bytes());
        let section = shots.iter().fold(section, |section, shot| section.packet(0, shot, &[]));
        let outcome = Job::new().input(&section.bytes).keys(&(session(1) + &session(2))).run();
        let rest = session(1).lines().nth(1).map(|line| format!("{line}\n")).unwrap_or_default();
        expect(&outcome, &[(0, held), (0, rest), (2, session(2))]);
    }
}

#[test]
fn without_keys_nothing_is_said_of_them() {
    let outcome = Job::new().shots(Link::Eth, &segments("10.1.0.5:1", 0, &[&hello(1)])).run();
    expect(&outcome, &[]);
    assert!(!outcome.summary().contains("secrets"), "{}", outcome.summary());
}

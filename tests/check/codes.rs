//! Captures built to what the threads of the codes describe.

use meshpcap::check::Finding;
use meshpcap::nat::Gateway;

use crate::common::leg::{START, together};
use crate::common::{Job, Leg, Link, Shot, addr};
use crate::job::{MS, alarms, check, codes, inbound, only, packet, pod, shots};

const POD: &str = "10.1.0.5";
const TLS: &str = "\x16\x03\x01\x00\x05hello";
const REQUEST: &str = "GET / HTTP/1.1\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// envoyproxy/envoy#15305: the second connection of a port is answered by an ACK of the first one's, resets it, and
/// comes about a second later. `answers` if it is answered at once: by a newer kernel.
fn collision(answers: bool) -> Job {
    let first = Leg::outbound("10.1.0.5:54321", "10.96.0.11:8080").open().ask(REQUEST).answer(RESPONSE);
    let (seq, ack) = (first.next.1, first.next.0);
    let port = if answers { 40_000 } else { 54321 };
    let mut second = Leg::outbound("10.1.0.5:54321", "10.96.0.12:8080").port(port).after(100 * MS);
    if answers {
        second = second.open().ask(REQUEST).answer(RESPONSE).close();
        return pod(&[&first, &second], &[]);
    }
    let isn = second.next.0;
    second = second.syn();
    second.next.0 = isn;
    second.time = START + 1_130 * MS;
    let second = second.open().ask(REQUEST).answer(RESPONSE).close();
    let met = [
        packet(100 * MS + 20_000, "10.96.0.11:8080", "10.1.0.5:54321", "A", (seq, ack), ""),
        packet(100 * MS + 30_000, "10.1.0.5:54321", "127.0.0.1:15001", "R", (ack, 0), ""),
    ];
    let mut all = together(&[&first, &second], Link::Lo);
    all.extend(shots(Link::Lo, &met));
    all.sort_by_key(|shot| shot.time);
    Job::new().shots(Link::Lo, &all)
}

#[test]
fn a_port_collision_at_the_capture_port() {
    let findings = check(&collision(false));
    let finding = only(&findings, "port-collision");
    assert!(finding.certain && finding.what.contains("10.96.0.11:8080"), "{finding:#?}");
    assert!(finding.legs[0].server.ends_with("10.96.0.12:8080"), "{finding:#?}");
    assert!(finding.what.contains("1.0 s later"), "{}", finding.what);
    assert_eq!(codes(&findings), ["port-collision"], "the client resets what was not meant for it");
    assert!(alarms(&check(&collision(true))).is_empty(), "the kernel changed the port");
}

/// istio/istio#38982: a SYN to one port of the pod is answered by an ACK from another one.
#[test]
fn a_port_collision_of_two_ports_of_the_pod() {
    let app = inbound(POD);
    let first = Leg::direct("10.1.0.9:40000", "10.1.0.5:8080").open().ask(REQUEST).answer(RESPONSE);
    let (seq, ack) = (first.next.1, first.next.0);
    let second = Leg::direct("10.1.0.9:40000", "10.1.0.5:8081").after(500 * MS);
    let met = [packet(500 * MS + 20_000, "10.1.0.5:8080", "10.1.0.9:40000", "A", (seq, ack), "")];
    let late = [
        packet(9_000 * MS, "10.1.0.9:40001", "10.1.0.5:8080", "S", (7, 0), ""),
        packet(9_001 * MS, "10.1.0.5:8080", "10.1.0.9:40001", "SA", (7, 8), ""),
    ];
    let job = |second: &Leg, met: &[(u64, Vec<u8>)]| {
        let mut wire = together(&[&first, second], Link::Eth);
        wire.extend(shots(Link::Eth, met));
        wire.extend(shots(Link::Eth, &late));
        wire.sort_by_key(|shot| shot.time);
        Job::new().shots(Link::Lo, &app.shots(Link::Lo)).shots(Link::Eth, &wire)
    };
    let findings = check(&job(&second.clone().syn(), &met));
    let finding = only(&findings, "port-collision");
    assert_eq!(finding.legs.len(), 2, "both connections: {finding:#?}");
    assert!(finding.what.contains("never came about"));
    // A keep-alive of the first connection at the same time proves nothing if the second one is answered.
    assert!(alarms(&check(&job(&second.open().close(), &met))).is_empty());
}

/// istio/istio#43301: conntrack has forgotten a connection that the proxy still holds in FIN-WAIT-2.
#[test]
fn a_syn_meets_a_half_closed_connection() {
    let build = |from: &str| {
        let syn = Leg::outbound("10.1.0.5:44410", "10.96.0.13:7777").numbers(100, 0).after(100 * MS).syn();
        let rest = [
            packet(100 * MS + 20_000, from, "10.1.0.5:44410", "A", (900, 5_000), ""),
            packet(100 * MS + 30_000, "10.1.0.5:44410", "127.0.0.1:15001", "R", (5_000, 0), ""),
            packet(2_000 * MS, "10.1.0.5:44410", "127.0.0.1:15001", "S", (100, 0), ""),
        ];
        let mut all = syn.shots(Link::Lo);
        all.extend(shots(Link::Lo, &rest));
        Job::new().shots(Link::Lo, &all)
    };
    for from in ["127.0.0.1:15001", "10.96.0.13:7777"] {
        let findings = check(&build(from));
        let finding = only(&findings, "half-closed-connection");
        assert_eq!(finding.certain, from.starts_with("127"), "{finding:#?}");
    }
    let twin = Leg::outbound("10.1.0.5:44410", "10.96.0.13:7777").whole();
    assert!(check(&pod(&[&twin], &[])).is_empty());
}

#[test]
fn a_handshake_that_nobody_answers() {
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let mut silent = Leg::direct("10.1.0.5:50000", "10.1.0.6:9000").syn();
    let isn = silent.next.0.wrapping_sub(1);
    (silent.next.0, silent.time) = (isn, START + 1_000 * MS);
    let silent = silent.syn();
    let findings = check(&pod(&[&app], &[&silent]));
    let finding = only(&findings, "unanswered-syn");
    assert!(finding.what.starts_with("the peer did not answer: 2 SYNs in"), "{}", finding.what);
    assert_eq!(finding.legs[0].server, "10.1.0.6:9000");
    let twin = Leg::direct("10.1.0.5:50000", "10.1.0.6:9000").whole();
    assert!(check(&pod(&[&app], &[&twin])).is_empty());
    // Another machine's capture shows each once more.
    let late = |shot: Shot| Shot { time: shot.time + 5 * MS, ..shot };
    let other: Vec<Shot> = silent.shots(Link::Eth).into_iter().map(late).collect();
    let findings = check(&pod(&[&app], &[&silent]).shots(Link::Eth, &other));
    let what = &only(&findings, "unanswered-syn").what;
    assert!(what.starts_with("the peer did not answer: 2 SYNs in"), "{what}");
}

#[test]
fn a_handshake_that_is_refused() {
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let findings = check(&pod(&[&app], &[&Leg::direct("10.1.0.5:50000", "10.1.0.6:9000").syn().refuse()]));
    assert!(only(&findings, "connection-refused").what.contains("the peer refused"));
    assert_eq!(codes(&findings), ["connection-refused"], "a refusal is no reset besides");
    // The proxy is gone: SYN and reset are of different conversations.
    let gone = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").syn().refuse();
    assert!(only(&check(&pod(&[&gone], &[])), "connection-refused").what.contains("the proxy refused"));
}

/// istio/istio#36489: a packet out of the window is not redirected, and the application's own port resets it.
#[test]
fn a_packet_that_conntrack_calls_invalid() {
    let app = inbound(POD);
    let upload = |data: &str| Leg::direct("10.1.0.9:40000", "10.1.0.5:8080").open().ask(REQUEST).answer(data);
    let whole = upload(RESPONSE);
    let (client, server) = whole.next;
    let invalid = [
        packet(100 * MS, "10.1.0.9:40000", "10.1.0.5:8080", "PA", (client.wrapping_add(90_000), server), "late"),
        packet(100 * MS + 5_000, "10.1.0.5:8080", "10.1.0.9:40000", "R", (server, 0), ""),
    ];
    let goes_on = [packet(110 * MS, "10.1.0.5:8080", "10.1.0.9:40000", "PA", (server, client), "more")];
    let job = |packets: &[&[(u64, Vec<u8>)]]| {
        let mut wire = whole.shots(Link::Eth);
        wire.extend(packets.iter().flat_map(|packets| shots(Link::Eth, packets)));
        Job::new().shots(Link::Lo, &app.shots(Link::Lo)).shots(Link::Eth, &wire)
    };
    let findings = check(&job(&[&invalid, &goes_on]));
    let finding = only(&findings, "invalid-packet-reset");
    assert!(finding.certain && finding.frames.len() == 2, "{finding:#?}");
    let findings = check(&job(&[&invalid]));
    assert!(!only(&findings, "invalid-packet-reset").certain);
    // An application that aborts acknowledges what it got.
    let abort = [packet(100 * MS, "10.1.0.5:8080", "10.1.0.9:40000", "RA", (server, client), "")];
    assert_eq!(codes(&check(&job(&[&abort]))), ["connection-reset"]);
    // A packet to a socket that is gone is answered so as well, when its end was seen.
    let gone = [
        packet(100 * MS, "10.1.0.5:8080", "10.1.0.9:40000", "FA", (server, client), ""),
        packet(101 * MS, "10.1.0.9:40000", "10.1.0.5:8080", "PA", (client, server.wrapping_add(1)), "late"),
        packet(102 * MS, "10.1.0.5:8080", "10.1.0.9:40000", "R", (server.wrapping_add(1), 0), ""),
    ];
    assert!(!codes(&check(&job(&[&gone]))).contains(&"invalid-packet-reset"));
}

/// The same on lo: what the proxy sends is not translated back.
#[test]
fn a_packet_of_the_proxy_that_is_not_translated_back() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask(REQUEST).answer(RESPONSE);
    let (client, server) = leg.next;
    let mut shots_of = leg.shots(Link::Lo);
    shots_of.extend(shots(
        Link::Lo,
        &[
            packet(100 * MS, "127.0.0.1:15001", "10.1.0.5:40000", "PA", (server, client), "more"),
            packet(100 * MS + 5_000, "10.1.0.5:40000", "127.0.0.1:15001", "R", (client, 0), ""),
        ],
    ));
    let findings = check(&Job::new().shots(Link::Lo, &shots_of));
    assert!(only(&findings, "invalid-packet-reset").what.contains("127.0.0.1:15001"));
}

#[test]
fn who_reset_first() {
    // The peer, then the proxy: octets tie both legs.
    let app =
        Leg::outbound("10.1.0.5:40000", "10.96.0.20:6379").open().ask("PING 1 2 3 4 5 6 7 8").after(2 * MS).refuse();
    let peer = Leg::direct("10.1.0.5:50000", "10.1.0.6:6379").after(200_000).open().ask("PING 1 2 3 4 5 6 7 8");
    let peer = peer.after(MS).refuse();
    let findings = check(&pod(&[&app], &[&peer]));
    assert_eq!(codes(&findings), ["reset-unanswered"], "{findings:#?}");
    let of = |role: &str| -> &Finding {
        findings.iter().find(|finding| finding.legs[0].role == role).expect("a finding of the leg")
    };
    assert!(of("outbound-peer").what.contains("the peer reset it first"), "{findings:#?}");
    let cause = "the peer reset the outbound-peer leg first, the proxy passed it on";
    assert!(of("outbound-app").what.contains(cause), "{findings:#?}");
    // Nobody listens: the proxy accepts, is refused itself, and no octet ties the two.
    let caller = Leg::direct("10.1.0.9:50000", "10.1.0.5:15008").open().ask("CONNECT 10.1.0.5:7");
    let caller = caller.after(50 * MS).refuse();
    let refused =
        |port: u16, after: u64| Leg::direct(&format!("127.0.0.6:{port}"), "10.1.0.5:7").after(after).syn().refuse();
    let findings = check(&pod(&[&refused(33_333, MS)], &[&caller]));
    assert_eq!(codes(&findings), ["reset-unanswered", "connection-refused"]);
    let finding = only(&findings, "reset-unanswered");
    assert!(finding.what.contains("after the application had refused its connection to 10.1.0.5:7"), "{findings:#?}");
    assert!(!finding.certain && finding.legs.len() == 2, "{findings:#?}");
    for other in [vec![refused(33_333, MS), refused(33_334, 2 * MS)], vec![refused(33_333, 60 * MS)]] {
        let findings = check(&pod(&other.iter().collect::<Vec<_>>(), &[&caller]));
        assert!(only(&findings, "reset-unanswered").what.ends_with("the proxy reset it first"), "{findings:#?}");
    }
    // Who closes first waits for no response.
    let gone = Leg::direct("10.1.0.9:50000", "10.1.0.5:8080").open().ask("PING").send(true, "FA", "").refuse();
    assert_eq!(codes(&check(&pod(&[&inbound(POD)], &[&gone]))), ["connection-reset"]);
    // A client that had its answer may end so.
    let done = Leg::outbound("10.1.0.5:40000", "10.96.0.20:6379").open().ask("PING").answer("PONG").reset();
    let findings = check(&pod(&[&done], &[]));
    assert!(only(&findings, "connection-reset").what.contains("the application reset it first"));
}

#[test]
fn a_request_without_a_response() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask(REQUEST);
    let given_up = leg.clone().after(3_000 * MS).send(true, "FA", "").send(false, "FA", "");
    let findings = check(&pod(&[&given_up], &[]));
    assert!(only(&findings, "no-response").what.contains("the application closed it then"));
    assert!(check(&pod(&[&leg.after(3_000 * MS).answer(RESPONSE).close()], &[])).is_empty(), "late, but there");
}

#[test]
fn a_filter_that_loses_all_replies() {
    let both: Vec<Leg> =
        [40_000, 40_001].map(|port| Leg::outbound(&format!("10.1.0.5:{port}"), "10.96.0.10:80").whole()).into();
    let forward = |leg: &Leg| {
        let mut leg = leg.clone();
        leg.packets.retain(|(_, datagram)| datagram[16..20] == [127, 0, 0, 1]);
        leg
    };
    let [a, b] = [forward(&both[0]), forward(&both[1])];
    let findings = check(&pod(&[&a, &b], &[]));
    let finding = only(&findings, "one-direction");
    assert!(finding.what.contains("`port 15001`") && finding.legs.len() == 2, "{finding:#?}");
    assert!(check(&pod(&[&both[0], &both[1]], &[])).is_empty());
}

/// A capture that says how many packets its interface dropped, and how many before each packet.
fn dropping(dropped: u64, before: u64) -> Job {
    use crate::common::file::{Order, Section};
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let mut section = Section::new(Order::Big).interface(Link::Lo, &[(2, b"lo"), (9, &[9])]);
    for shot in leg.shots(Link::Lo) {
        section = section.packet(0, &shot, &[(4, &before.to_be_bytes())]);
    }
    let words = [section.u32(0), section.u32(0), section.u32(0)].concat();
    let body = [words, section.options(&[(4, &20_u64.to_be_bytes()), (5, &dropped.to_be_bytes())])].concat();
    Job::new().input(&section.block(5, &body).bytes)
}

#[test]
fn packets_that_the_kernel_dropped() {
    assert!(only(&check(&dropping(7, 0)), "packets-dropped").what.starts_with("7 packets were dropped"));
    assert!(only(&check(&dropping(0, 2)), "packets-dropped").what.starts_with("20 packets were dropped"));
    assert!(check(&dropping(0, 0)).is_empty());
}

#[test]
fn data_that_was_acknowledged_and_is_not_there() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask(REQUEST);
    let lost = leg.clone().unseen(500).answer(RESPONSE).close();
    let findings = check(&pod(&[&lost], &[]));
    let finding = only(&findings, "capture-gap");
    assert!(finding.what.contains("500 octets of the proxy"), "{}", finding.what);
    // Out of order, and lost on the way: both are filled.
    let mut late = leg.clone().answer("a").answer("b").answer("c").close();
    let answers: Vec<usize> = (5..11).step_by(2).collect();
    let time = late.packets[answers[0]].0;
    let moved = late.packets.remove(answers[0]);
    late.packets.insert(answers[2], moved);
    late.packets[answers[2]].0 = time + 40_000;
    late.packets.sort_by_key(|(time, _)| *time);
    assert!(check(&pod(&[&late], &[])).is_empty());
}

#[test]
fn packets_that_were_cut() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let cut: Vec<_> = leg.shots(Link::Lo).into_iter().map(|shot| shot.cut(70)).collect();
    let findings = check(&Job::new().shots(Link::Lo, &cut));
    assert!(only(&findings, "snaplen").what.starts_with("2 packets were cut"), "{findings:#?}");
}

const RULES: &str = "*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 15006
-A OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

#[test]
fn connections_against_the_rules() {
    // Nobody asked the proxy for anything for a long time.
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let past = Leg::direct("10.1.0.5:50000", "10.1.0.6:9000").after(500 * MS).whole();
    let findings = check(&pod(&[&app], &[&past]).rules(RULES));
    assert_eq!(only(&findings, "bypass").legs[0].server, "10.1.0.6:9000");
    // Whoever opened it, the rules redirect it: certain, if lo was captured at that time.
    let strict = RULES.replace("-A OUTPUT -m owner --uid-owner 1337 -j RETURN\n", "");
    let later = Leg::outbound("10.1.0.5:40001", "10.96.0.10:80").after(900 * MS).whole();
    for (lo, certain) in [(&[&app, &later][..], true), (&[&app], false), (&[&later], false)] {
        let findings = check(&pod(lo, &[&past]).rules(&strict));
        assert_eq!(only(&findings, "bypass").certain, certain);
    }
    // Answered, and lo shows nothing to that port.
    let came = Leg::direct("10.1.0.9:50000", "10.1.0.5:8080").whole();
    let elsewhere = Leg::direct("127.0.0.6:33333", "10.1.0.5:8081").whole();
    let findings = check(&pod(&[&elsewhere], &[&came]).rules(RULES));
    assert_eq!(only(&findings, "bypass").legs[0].client, "10.1.0.9:50000");
    // Redirected elsewhere.
    let stale = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 4140).whole();
    let findings = check(&pod(&[&stale], &[]).rules(RULES));
    assert!(only(&findings, "stale-rules").what.contains("127.0.0.1:4140"));
    // As they say; and of a family that they say nothing of.
    let six = Leg::outbound("[fd00::5]:40000", "[fd00:96::10]:80").whole();
    let proxy = Leg::direct("10.1.0.5:50000", "10.1.0.6:8080").after(30_000).whole();
    assert!(check(&pod(&[&app, &six], &[&proxy]).rules(RULES)).is_empty());
}

#[test]
fn plaintext_among_tls() {
    let call = |ends: (&str, &str), data: &str| Leg::direct(ends.0, ends.1).open().ask(data).answer(data).close();
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let tls = call(("10.1.0.5:50000", "10.1.0.6:8080"), TLS);
    let out = |peer: &str| call(("10.1.0.5:50001", peer), REQUEST);
    for (peer, certain) in [("10.1.0.6:8080", true), ("10.1.0.7:8080", false)] {
        let findings = check(&pod(&[&app], &[&tls, &out(peer)]));
        assert_eq!(only(&findings, "plaintext-out").certain, certain);
    }
    assert!(check(&pod(&[&app], &[&tls, &out("10.1.0.7:3306")])).is_empty(), "another port is another protocol");
    let asked = Leg::outbound("10.1.0.5:40001", "10.1.0.7:8080").whole();
    let findings = check(&pod(&[&app, &asked], &[&tls, &out("10.1.0.7:8080")]));
    assert_eq!(codes(&findings), ["plaintext-passthrough"]);

    let app = inbound(POD);
    let tls = call(("10.1.0.9:50000", "10.1.0.5:8080"), TLS);
    let plain = Leg::direct("10.1.0.8:50000", "10.1.0.5:8080").open().ask(REQUEST);
    let findings = check(&pod(&[&app], &[&tls, &plain.clone().answer(RESPONSE).close()]));
    assert!(only(&findings, "plaintext-in").what.contains("10.1.0.8"), "{findings:#?}");
    let findings = check(&pod(&[&app], &[&tls, &plain.clone().send(false, "FA", "")]));
    assert!(only(&findings, "plaintext-refused").what.contains("ended it without a word"));
    // Envoy resets what it has not read.
    let findings = check(&pod(&[&app], &[&tls, &plain.clone().refuse()]));
    assert_eq!(codes(&findings), ["plaintext-refused"]);
    let left = check(&pod(&[&app], &[&tls, &plain.clone().close()]));
    assert_eq!(codes(&left), ["plaintext-in"], "the caller closed it");
    assert!(check(&pod(&[&app], &[&plain.answer(RESPONSE).close()])).is_empty(), "all of it is plaintext");
}

/// The leg, whose first data is sent again after `wait`.
fn again(mut leg: Leg, wait: u64) -> Leg {
    let (at, mut datagram) = leg.packets[3].clone();
    datagram[4] ^= 1; // Another identification: another packet.
    let lost = leg.packets.split_off(4);
    leg.packets.push((at + wait, datagram));
    leg.packets.extend(lost.into_iter().map(|(time, datagram)| (time + 2 * wait, datagram)));
    leg
}

#[test]
fn data_that_is_sent_again() {
    let app = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let findings = check(&pod(&[&again(app.clone(), 210 * MS)], &[]));
    assert!(only(&findings, "loopback-retransmission").what.starts_with("the application had to send 1 segment"));
    assert!(check(&pod(&[&again(app.clone(), 10 * MS)], &[])).is_empty(), "the kernel asks for a late ACK");
    // Another capture of lo shows each packet once more.
    let mut twice = pod(&[&app], &[]).shots(Link::Lo, &app.shots(Link::Lo));
    twice.merge.keep_duplicates = true;
    assert!(check(&twice).is_empty(), "{:#?}", check(&twice));
    let wire = Leg::direct("10.1.0.5:50000", "10.1.0.6:8080").after(30_000).whole();
    let findings = check(&pod(&[&app], &[&again(wire, 210 * MS)]));
    assert_eq!(only(&findings, "retransmission").legs[0].role, "outbound-peer");
    let gone = Leg::direct("10.1.0.5:50000", "10.1.0.6:8080").open().ask(REQUEST).reset().after(30_000).refuse();
    let findings = check(&pod(&[&app], &[&again(gone, 210 * MS)]));
    assert_eq!(codes(&findings), ["reset-unanswered", "retransmission"], "sent again before the reset");
    let late = Leg::direct("10.1.0.5:50000", "10.1.0.6:8080").open().ask(REQUEST).answer(RESPONSE);
    let (client, server) = late.next;
    let answer = |after: u64| {
        packet(after, "10.1.0.6:8080", "10.1.0.5:50000", "PA", (server.wrapping_sub(19), client), RESPONSE)
    };
    let reset = packet(100 * MS, "10.1.0.5:50000", "10.1.0.6:8080", "RA", (client, server), "");
    let mut wire = late.shots(Link::Eth);
    wire.extend(shots(Link::Eth, &[reset, answer(310 * MS)]));
    let findings = check(&Job::new().shots(Link::Lo, &app.shots(Link::Lo)).shots(Link::Eth, &wire));
    assert_eq!(codes(&findings), ["connection-reset"], "nobody is there any more");
}

#[test]
fn data_that_is_sent_to_a_gateway_again() {
    let inside = vec!["10.1.0.0/16".parse().expect("a network of the test")];
    let downstream = again(Leg::direct("198.51.100.7:40000", "10.1.0.5:8080").whole(), 210 * MS);
    let upstream = again(Leg::direct("10.1.0.5:50000", "10.1.0.6:8080").after(30_000).whole(), 210 * MS);
    for (leg, role) in [(downstream, "downstream"), (upstream, "upstream")] {
        let mut job = pod(&[], &[&leg]);
        job.merge.gateway =
            Some(Gateway { addresses: vec![addr("10.1.0.5:0").ip()], inside: inside.clone(), ..Gateway::default() });
        assert_eq!(only(&check(&job), "retransmission").legs[0].role, role);
    }
}

#[test]
fn a_window_that_stays_closed() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").open().ask(REQUEST).send(false, "A", "data");
    let closed = |opens: u64| {
        let mut leg = leg.clone().send(true, "A", "");
        let window = leg.packets.last_mut().expect("a packet");
        window.1[34..36].fill(0);
        leg.after(opens).send(true, "A", "").send(false, "PA", "rest").send(true, "A", "").close()
    };
    let findings = check(&pod(&[&closed(900 * MS)], &[]));
    let finding = only(&findings, "zero-window");
    assert!(finding.what.starts_with("the application did not read for 899 ms"), "{}", finding.what);
    assert!(check(&pod(&[&closed(50 * MS)], &[])).is_empty(), "flow control at work");
}

#[test]
fn ports_of_the_proxy_reached_from_outside() {
    let app = inbound(POD);
    let reach = |port: u16| Leg::direct("10.1.0.9:50000", &format!("10.1.0.5:{port}"));
    for (port, code, label) in [
        (15001, "capture-port-reached", "outbound: what the application opens"),
        (15006, "capture-port-reached", "inbound: what comes to the application"),
        (15000, "admin-port-reached", "administration"),
        (15090, "telemetry-port-reached", "metrics of Envoy"),
        (15021, "telemetry-port-reached", "health"),
    ] {
        let findings = check(&pod(&[&app], &[&reach(port).whole()]));
        let finding = only(&findings, code);
        assert!(finding.what.contains(label) && finding.what.starts_with("10.1.0.9 reached"), "{}", finding.what);
        let findings = check(&pod(&[&app], &[&reach(port).syn().refuse()]));
        assert_eq!(codes(&findings), ["connection-refused"], "who is refused has not reached it");
    }
    let opened = reach(15000).open().ask(REQUEST).close();
    assert!(check(&pod(&[&app], &[&opened])).is_empty(), "the proxy takes what is redirected, and nobody answers");
    assert!(check(&pod(&[&app], &[&reach(15008).whole()])).is_empty(), "peers are meant to call it");
    let own = Leg::direct("127.0.0.1:50000", "127.0.0.1:15000").whole();
    assert!(check(&pod(&[&app, &own], &[])).is_empty(), "from inside it is meant to be reached");
}

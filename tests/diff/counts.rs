//! One change after the other, and what is said of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshpcap::diff::{self, Addresses, Limits, Settings};
use snapbox::{assert_data_eq, str};

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Shot, Udp, addr, shot};
use crate::{read, told, trace, trace_with};

const MS: u64 = 1_000_000;

fn request(fields: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: web\r\n{fields}\r\n")
}

fn response(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len())
}

fn web(port: u16, at: u64) -> Leg {
    Leg::outbound(&format!("10.1.0.5:{port}"), "10.96.0.10:80").after(at).open()
}

fn db(port: u16, at: u64) -> Leg {
    Leg::outbound(&format!("10.1.0.5:{port}"), "10.96.0.20:6379").after(at).open().ask("*1 ping").answer("+pong")
}

fn shots(legs: &[Leg]) -> Vec<Shot> {
    together(&legs.iter().collect::<Vec<_>>(), Link::Lo)
}

/// What is said when one becomes the other.
fn differ(old: &[Leg], new: &[Leg]) -> String {
    told(&trace(&shots(old)), &trace(&shots(new))).join("\n")
}

#[test]
fn one_header_field() {
    let leg = |field: &str| web(40_000, 0).ask(&request(field)).answer(&response("date: x\r\n", "ok")).close();
    assert_eq!(differ(&[leg("x-request-id: 1\r\n")], &[leg("traceparent: 2\r\n")]), "");
    assert_data_eq!(
        differ(&[leg("x-tenant: red\r\n")], &[leg("x-tenant: blue\r\n")]),
        str![[r#"
~ outbound-app 10.1.0.5 > 10.96.0.10:80: changed (tcp.stream 0 in OLD, tcp.stream 0 in NEW)
    sent, message 1 (GET /a HTTP/1.1), header x-tenant: red -> blue
"#]]
    );
    assert_data_eq!(
        differ(&[leg("")], &[leg("cookie: secret\r\n")]),
        str![[r#"
~ outbound-app 10.1.0.5 > 10.96.0.10:80: changed (tcp.stream 0 in OLD, tcp.stream 0 in NEW)
    sent, message 1 (GET /a HTTP/1.1), header cookie: (none) -> (hash [..])
"#]]
    );
    let ignored = Settings { ignored_headers: BTreeSet::from(["x-tenant".to_owned()]), ..Settings::default() };
    let with = |field: &str| trace_with(&shots(&[leg(field)]), &ignored);
    assert_eq!(told(&with("x-tenant: red\r\n"), &with("X-Tenant: blue\r\n")), [""; 0]);
}

#[test]
fn one_request_more_in_between() {
    let leg = |paths: &[&str]| {
        let ask = |leg: Leg, path: &&str| leg.ask(&request("").replace("/a", path)).answer(&response("", "ok"));
        paths.iter().fold(web(40_000, 0), ask).close()
    };
    assert_data_eq!(
        differ(&[leg(&["/1", "/2", "/3"])], &[leg(&["/1", "/new", "/2", "/3"])]),
        str![[r#"
~ outbound-app 10.1.0.5 > 10.96.0.10:80: changed (tcp.stream 0 in OLD, tcp.stream 0 in NEW)
    sent, message 2: (none) -> GET /new HTTP/1.1
    received, message 4: (none) -> HTTP/1.1 200
"#]]
    );
}

#[test]
fn one_connection_more_and_one_less() {
    let old = [db(40_000, 0).close(), web(40_001, 5 * MS).ask(&request("")).answer(&response("", "ok")).close()];
    let new = [db(50_000, 0).close(), db(50_001, MS).close()];
    assert_data_eq!(
        differ(&old, &new),
        str![[r#"
- outbound-app 10.1.0.5 > 10.96.0.10:80: only in OLD (tcp.stream 1 in OLD)
    sent GET /a HTTP/1.1; received HTTP/1.1 200; opened; closed by both
+ outbound-app 10.1.0.5 > 10.96.0.20:6379: only in NEW (tcp.stream 1 in NEW)
    sent raw, 7 octets; received raw, 5 octets; opened; closed by both
"#]]
    );
}

#[test]
fn how_it_began_and_ended() {
    assert_data_eq!(
        differ(&[db(40_000, 0).close()], &[db(40_000, 0).reset()]),
        str![[r#"
~ outbound-app 10.1.0.5 > 10.96.0.20:6379: changed (tcp.stream 0 in OLD, tcp.stream 0 in NEW)
    end: closed by both -> reset by the client
"#]]
    );
    // The kernel answers late packets with a RST; the connection was over.
    assert_eq!(differ(&[db(40_000, 0).close()], &[db(40_000, 0).close().refuse()]), "");
    let direct = || Leg::direct("10.1.0.5:40000", "10.1.0.5:8080");
    assert_data_eq!(
        differ(&[direct().open()], &[direct().syn().refuse()]),
        str![[r#"
~ local 10.1.0.5 > 10.1.0.5:8080: changed (tcp.stream 0 in OLD, tcp.stream 0 in NEW)
    handshake: opened -> refused
    end: still open -> reset by the server
"#]]
    );
    assert!(differ(&[direct().open()], &[direct().syn()]).contains("handshake: opened -> unanswered"));
}

#[test]
fn order_counts_where_one_was_over_before_the_other_began() {
    let web = |at: u64| web(40_000, at).ask(&request("")).answer(&response("", "ok")).close();
    let db = |at: u64| db(40_001, at).close();
    assert_data_eq!(
        differ(&[web(0), db(5 * MS)], &[db(0), web(5 * MS)]),
        str![[r#"
> outbound-app 10.1.0.5 > 10.96.0.10:80: moved (tcp.stream 0 in OLD, tcp.stream 1 in NEW)
    order: step 1 -> step 2
"#]]
    );
    assert_eq!(differ(&[web(0), db(20_000)], &[db(0), web(20_000)]), "", "they overlap");
    assert_eq!(differ(&[web(0), db(5 * MS)], &[db(0), web(20_000)]), "", "they overlap in one");
}

#[test]
fn addresses_that_are_mapped() {
    let leg = |pod: &str, service: &str| {
        let fields = format!("x-forwarded-for: {pod}\r\n");
        let leg = Leg::outbound(&format!("{pod}:40000"), &format!("{service}:80"));
        leg.open().ask(&request(&fields)).answer(&response("", "ok")).close()
    };
    let old = trace(&leg("10.1.0.5", "10.96.0.10").shots(Link::Lo));
    let shots = leg("10.2.0.9", "10.97.0.10").shots(Link::Lo);
    assert_eq!(told(&old, &trace(&shots)).len(), 4, "one gone, one new");
    let map = |given: &[&str]| {
        let given = given.iter().map(|one| one.parse().expect("a map")).collect();
        let addresses = Addresses::new(given).expect("a map");
        told(&old, &trace_with(&shots, &Settings { addresses, ..Settings::default() }))
    };
    assert_eq!(map(&["10.1.0.5=10.2.0.9", "10.96.0.0/16=10.97.0.0/16"]), [""; 0]);
    let told = map(&["10.96.0.0/16=10.97.0.0/16"]).join("\n");
    assert!(told.contains("client: 10.1.0.5 -> 10.2.0.9") && told.contains("x-forwarded-for: 10.1.0.5 -> 10.2.0.9"));
}

#[test]
fn what_was_not_captured_is_not_compared() {
    let leg = || web(40_000, 0).ask(&request("")).answer(&response("", "ok")).close();
    let whole = trace(&shots(&[leg()]));
    // A snaplen, packets lost, a capture begun later.
    let cut: Vec<Shot> = shots(&[leg()]).into_iter().map(|shot| shot.cut(90)).collect();
    let mut lost = shots(&[leg()]);
    lost.remove(3);
    for (what, shots) in [("cut", cut), ("lost", lost)] {
        let partial = trace(&shots);
        assert!(partial.conversations[0].sent.incomplete, "{what}");
        assert_eq!(told(&whole, &partial), [""; 0], "{what}");
        assert_eq!(told(&partial, &whole), [""; 0], "{what}");
    }
    let late = trace(&shots(&[leg()])[3..]);
    let told = told(&whole, &late).join("\n");
    assert!(told.ends_with("handshake: opened -> opened before the capture"), "{told}");
}

#[test]
fn dns_without_ids() {
    let ask = |id: u8, port: u16, last: u8| {
        let question = b"\x03web\x05local\x00\x00\x01\x00\x01";
        let query = [&[id, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], question].concat();
        let answer =
            [&[id, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], question, b"\xc0\x0c\0\x01\0\x01\0\0\0", &[id]].concat();
        let answer = [&answer[..], &[0, 4, 10, 96, 0, last]].concat();
        let (client, server) = (addr(&format!("10.1.0.5:{port}")), addr("10.96.0.53:53"));
        let shots = [
            shot(1_000 * MS, Link::Lo.frame(&Udp::new(client, addr("127.0.0.1:15053"), &query).ip())),
            shot(1_001 * MS, Link::Lo.frame(&Udp::new(server, client, &answer).ip())),
        ];
        trace(&shots)
    };
    assert_eq!(told(&ask(1, 40_000, 10), &ask(2, 50_000, 10)), [""; 0]);
    let told = told(&ask(1, 40_000, 10), &ask(1, 40_000, 11)).join("\n");
    assert!(told.contains("received, message 1 (response A web.local., code 0, 1 records), body"), "{told}");
}

#[test]
fn roles_are_those_of_merge() {
    let lo = db(40_000, 0).close();
    let (peer, stranger) =
        (Leg::direct("10.1.0.5:41000", "10.1.0.6:6379"), Leg::direct("10.9.0.1:1000", "10.9.0.2:80"));
    let inbound = Leg::direct("10.1.0.7:1000", "10.1.0.5:8080").after(MS);
    let wire = [peer.after(20_000).whole(), stranger.after(30_000).whole(), inbound.whole()];
    let job =
        || Job::new().shots(Link::Lo, &lo.shots(Link::Lo)).shots(Link::Eth, &together(&wire.each_ref(), Link::Eth));
    let report: Vec<String> =
        job().run().legs.iter().map(|leg| leg["role"].as_str().unwrap_or_default().to_owned()).collect();
    let read = read(job(), &Settings::default());
    let roles: Vec<String> = read.conversations.iter().map(|conversation| conversation.role.clone()).collect();
    assert_eq!(roles, ["outbound-app", "outbound-peer", "network", "inbound-peer"]);
    assert_eq!(roles, report);
}

#[test]
fn too_much_is_an_error() {
    let legs: Vec<Leg> = (0..20).map(|n| db(40_000 + n, u64::from(n) * MS).close()).collect();
    let outcome = Job::new().shots(Link::Lo, &shots(&legs)).run();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &outcome.bytes).expect("the repaired file");
    let read = |limits: Limits| diff::read(file.path(), "big", &Settings::default(), limits, &Arc::default());
    assert!(read(Limits { conversations: 20, memory: 1 << 20 }).is_ok());
    for (limits, part) in [
        (Limits { conversations: 19, memory: 1 << 20 }, "big: has more than 19 conversations; compare a shorter part"),
        (Limits { conversations: 20, memory: 1 << 10 }, "big: what is compared of it takes more than 0 MiB; compare"),
    ] {
        let error = read(limits).err().expect("too much").to_string();
        assert!(error.starts_with(part), "{error}");
    }
}

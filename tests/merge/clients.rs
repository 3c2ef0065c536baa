//! Legs tied by the proxy's access log, and when a leg from the proxy's own address gets its client's: a wrong address is
//! worse than none.

use crate::common::leg::{START, together};
use crate::common::{Job, Leg, Link, Outcome, Shot, Udp, addr, shot};

const CLIENT: &str = "10.1.0.9:40000";
const POD: &str = "10.1.0.5:8080";
const PROXY: &str = "127.0.0.6:50000";

/// A line of Istio's access log, for the second after [`START`]: a request from `client` over the connection to the
/// application from `proxy`.
fn line(millisecond: u64, duration: u64, proxy: &str, client: &str) -> String {
    format!(
        "[2023-11-14T22:13:20.{millisecond:03}Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 1 {duration} 1 \"-\" \"-\" \
         \"id-{millisecond}\" \"host\" \"{POD}\" inbound|8080|| {proxy} {POD} {client} - default\n"
    )
}

/// The client's leg on eth0 and the proxy's on lo, a request each.
fn legs() -> (Leg, Leg) {
    let near = Leg::direct(CLIENT, POD).after(1_000_000).whole();
    // Between the client's request and the answer to it.
    let far = Leg::direct(PROXY, POD).after(1_035_000).open().ask("GET").answer("200");
    (near, far)
}

/// Merges what eth0 and lo show, with a log.
fn merge(eth0: &[Shot], lo: &[Shot], log: &str) -> Outcome {
    let mut job = Job::new().shots(Link::Eth, eth0).shots(Link::Lo, lo);
    let path = job.folder.path().join("access.log");
    std::fs::write(&path, log).expect("the log is written");
    job.merge.beside.access_logs.push(path);
    let outcome = job.run();
    assert!(outcome.done.unused.is_empty(), "{:?}", outcome.done.unused);
    outcome
}

/// The clients of the legs to the application, as the report has them.
fn clients(outcome: &Outcome) -> Vec<String> {
    let legs = outcome.legs.iter().filter(|leg| leg["role"] == "inbound-app");
    legs.map(|leg| leg["client"].as_str().expect("a client").to_owned()).collect()
}

const NAMED: &str = "10.1.0.9:50000";

#[test]
fn one_client_by_the_log() {
    let (near, far) = legs();
    let outcome = merge(&near.shots(Link::Eth), &far.shots(Link::Lo), &line(1, 2, PROXY, CLIENT));
    assert_eq!(clients(&outcome), [NAMED]);
    let tie: Vec<_> = outcome.legs.iter().map(|leg| leg["tie_filter"].as_str().unwrap_or_default()).collect();
    assert_eq!(tie, ["tcp.stream in {0, 1}"; 2]);
}

#[test]
fn a_leg_keeps_its_address_where_another_conversation_has_the_clients() {
    let (near, far) = legs();
    // Nobody answered it, so that it is no leg that could be tied.
    let other = Leg::direct(NAMED, POD).after(500).syn();
    let outcome = merge(&together(&[&near, &other], Link::Eth), &far.shots(Link::Lo), &line(1, 2, PROXY, CLIENT));
    assert_eq!(clients(&outcome), [PROXY]);
    let ends = outcome.output.ends();
    assert!(ends.contains(&(addr(PROXY), addr(POD))), "{ends:?}");
}

#[test]
fn a_log_that_begins_later_does_not_tell_who_was_served_before() {
    let (near, far) = legs();
    // A second request a long time after the first one, which the log has no line of.
    let mut far = far;
    far.time = START + 500_000_000;
    let far = far.ask("GET").answer("200");
    let outcome = merge(&near.shots(Link::Eth), &far.shots(Link::Lo), &line(499, 3, PROXY, CLIENT));
    assert_eq!(clients(&outcome), [PROXY]);
}

#[test]
fn an_address_that_no_connection_has_is_no_client() {
    let (near, far) = legs();
    // So Envoy writes what x-forwarded-for told it.
    for told in ["192.0.2.7:0", "-"] {
        // The first request is known to be the client's, and the second one nobody's.
        let log = line(1, 2, PROXY, CLIENT) + &line(2, 2, PROXY, told);
        for log in [log, line(1, 2, PROXY, told)] {
            let outcome = merge(&near.shots(Link::Eth), &far.shots(Link::Lo), &log);
            assert_eq!(clients(&outcome), [PROXY], "{told}");
        }
    }
}

#[test]
fn a_connection_in_two_legs_is_not_torn() {
    let (near, far) = legs();
    // It goes on behind a gap in the capture.
    let mut gap = far.clone();
    gap.next = (gap.next.0.wrapping_add(1 << 28), gap.next.1.wrapping_add(1 << 28));
    gap.packets.clear();
    gap.time = START + 400_000_000;
    let gap = gap.ask("GET").answer("200").ask("GET").answer("200");
    let log = line(1, 2, PROXY, CLIENT);
    let outcome = merge(&near.shots(Link::Eth), &together(&[&far, &gap], Link::Lo), &log);
    assert_eq!(clients(&outcome), [PROXY, PROXY]);
}

#[test]
fn a_leg_in_fragments_keeps_its_address() {
    let (near, far) = legs();
    let mut lo = far.shots(Link::Lo);
    // The request in two fragments: the second one has no ports to be found by.
    let whole = far.packets[3].1.clone();
    let mut parts = Udp::new(addr(PROXY), addr(POD), &whole[28..]);
    parts.id = 77;
    let time = lo[3].time;
    let mut fragments = parts.fragments(24);
    for fragment in &mut fragments {
        // Of TCP; its bytes from the ports on.
        fragment[9] = 6;
    }
    fragments[0][20..44].copy_from_slice(&whole[20..44]);
    lo.splice(3..4, fragments.iter().map(|fragment| shot(time, Link::Lo.frame(fragment))));
    let outcome = merge(&near.shots(Link::Eth), &lo, &line(1, 2, PROXY, CLIENT));
    assert_eq!(clients(&outcome), [PROXY]);
}

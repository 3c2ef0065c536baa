//! Legs tied by logs, and repaired by conntrack.

use std::path::PathBuf;

use meshpcap::beside::Files;

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Shot, addr};

fn access_log(files: &mut Files, path: PathBuf) {
    files.access_logs.push(path);
}

fn conntrack(files: &mut Files, path: PathBuf) {
    files.conntrack.push(path);
}

/// A line of Istio's access log. The connections of tests/common begin at 2023-11-14T22:13:20Z.
fn line(milliseconds: u32, upstream_local: &str, upstream: &str, downstream_local: &str, client: &str) -> String {
    format!(
        "[2023-11-14T22:13:20.{milliseconds:03}Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 1 1 \"-\" \"curl\" \
         \"id-{milliseconds}\" \"svc\" \"{upstream}\" cluster {upstream_local} {downstream_local} {client} - default\n"
    )
}

const MILLISECOND: u64 = 1_000_000;

fn column(outcome: &crate::common::Outcome, name: &str) -> Vec<String> {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    outcome.legs.iter().map(|leg| text(&leg[name])).collect()
}

#[test]
fn a_leg_of_one_client_bears_it_and_one_of_several_does_not() {
    let first = Leg::direct("10.1.0.9:50000", "10.1.0.5:8080").open().ask("one").answer("1").close();
    let second =
        Leg::direct("10.1.0.8:50001", "10.1.0.5:8080").after(20 * MILLISECOND).open().ask("2").answer("22").close();
    let third =
        Leg::direct("10.1.0.9:50002", "10.1.0.5:8080").after(40 * MILLISECOND).open().ask("333").answer("3").close();
    let own =
        Leg::direct("127.0.0.6:33000", "10.1.0.5:8080").after(MILLISECOND / 2).open().ask("ONE+").answer("-1").close();
    let pooled =
        Leg::direct("127.0.0.6:33001", "10.1.0.5:8080").after(21 * MILLISECOND).open().ask("TWO+").answer("-22");
    let pooled = pooled.after(41 * MILLISECOND).ask("THREE+").answer("-3").close();
    let log = [
        line(0, "127.0.0.6:33000", "10.1.0.5:8080", "10.1.0.5:8080", "10.1.0.9:50000"),
        line(20, "127.0.0.6:33001", "10.1.0.5:8080", "10.1.0.5:8080", "10.1.0.8:50001"),
        line(40, "127.0.0.6:33001", "10.1.0.5:8080", "10.1.0.5:8080", "10.1.0.9:50002"),
        "this is no line of it\n".to_owned(),
    ];
    let job = || {
        Job::new()
            .shots(Link::Eth, &together(&[&first, &second, &third], Link::Eth))
            .shots(Link::Lo, &together(&[&own, &pooled], Link::Lo))
            .side_file(&log.concat(), access_log)
    };
    let outcome = job().run();
    let (client, pod) = (addr("10.1.0.9:33000"), addr("10.1.0.5:8080"));
    let ends = outcome.output.ends();
    assert!(ends.contains(&(client, pod)) && ends.contains(&(pod, client)));
    assert!(!ends.contains(&(addr("127.0.0.6:33000"), pod)));
    assert!(ends.contains(&(addr("127.0.0.6:33001"), pod)));
    outcome.output.assert_sums();
    let row = |name| column(&outcome, name);
    assert_eq!(row("tie"), ["1", "1", "2", "2", "2"]);
    assert_eq!(row("tie_filter")[..2], ["tcp.stream in {0, 1}", "tcp.stream in {0, 1}"]);
    assert_eq!(row("tie_filter")[2], "tcp.stream in {2, 3, 4}");
    assert_eq!(row("requests"), ["1", "1", "1", "2", "1"]);
    assert_eq!(row("captured_client"), ["null", "127.0.0.6:33000", "null", "null", "null"]);
    assert_eq!(row("real_client")[1], "[\"10.1.0.9\"]");
    assert_eq!(row("real_client")[3], "[\"10.1.0.8\",\"10.1.0.9\"]");
    assert_eq!(outcome.done.unused.len(), 1, "the line that is none");
    let comments: Vec<String> = outcome.output.comments();
    assert_eq!(comments.len(), 5);
    assert!(
        comments[1].starts_with("meshpcap: inbound-app leg, proxy to app: 10.1.0.9:33000 > 10.1.0.5:8080, captured as 127.0.0.6:33000 > 10.1.0.5:8080; tied by the access log, ")
            && comments[1].ends_with(" line 1, 1 request; client 10.1.0.9; tie 1, all its legs: tcp.stream in {0, 1}"),
        "{}",
        comments[1]
    );
    let mut kept = job();
    kept.merge.keep_proxy_address = true;
    assert!(kept.run().output.ends().contains(&(addr("127.0.0.6:33000"), pod)));
}

/// The log has no line of the leg's last request yet: it may be somebody else's.
#[test]
fn a_leg_that_the_log_does_not_cover_keeps_its_address() {
    let own = Leg::direct("127.0.0.6:33000", "10.1.0.5:8080").open().ask("one").answer("1");
    let own = own.after(300 * MILLISECOND).ask("two").answer("2");
    let log = line(0, "127.0.0.6:33000", "10.1.0.5:8080", "10.1.0.5:8080", "10.1.0.9:50000");
    let outcome = Job::new().shots(Link::Lo, &own.shots(Link::Lo)).side_file(&log, access_log).run();
    assert!(outcome.output.ends().iter().all(|(a, b)| [a, b].contains(&&addr("127.0.0.6:33000"))));
}

/// The client happened to use the proxy's port as well: both legs would be one stream.
#[test]
fn two_legs_never_share_their_ends() {
    let wire = Leg::direct("10.1.0.9:33000", "10.1.0.5:8080").open().ask("one").answer("1").close();
    let own = Leg::direct("127.0.0.6:33000", "10.1.0.5:8080")
        .numbers(7, 8)
        .after(MILLISECOND / 2)
        .open()
        .ask("ONE+")
        .answer("-1")
        .close();
    let log = line(0, "127.0.0.6:33000", "10.1.0.5:8080", "10.1.0.5:8080", "10.1.0.9:33000");
    let outcome = Job::new()
        .shots(Link::Eth, &wire.shots(Link::Eth))
        .shots(Link::Lo, &own.shots(Link::Lo))
        .side_file(&log, access_log)
        .run();
    assert_eq!(column(&outcome, "tie_filter")[0], "tcp.stream in {0, 1}");
    assert!(outcome.output.ends().contains(&(addr("127.0.0.6:33000"), addr("10.1.0.5:8080"))));
}

/// What a capture filter `port 15001` keeps, and what conntrack lists.
#[test]
fn a_missing_direction() {
    let leg = Leg::outbound("10.1.0.5:999", "10.96.0.20:6379").port(25463).whole();
    let forward: Vec<Shot> = leg
        .shots(Link::Lo)
        .into_iter()
        .zip(leg.as_captured())
        .filter(|(_, ends)| *ends == leg.captured)
        .map(|(shot, _)| shot)
        .collect();
    let listed = "tcp      6 119 TIME_WAIT src=10.1.0.5 dst=10.96.0.20 sport=999 dport=6379 src=127.0.0.1 dst=10.1.0.5 \
        sport=15001 dport=25463 [ASSURED] mark=0 use=1\n";
    let outcome = Job::new().shots(Link::Lo, &forward).side_file(listed, conntrack).run();
    assert!(outcome.output.ends().iter().all(|ends| *ends == (leg.client, leg.server)));
    assert_eq!(outcome.told(), ["outbound-app repaired conntrack 10.1.0.5:999 10.96.0.20:6379"]);
    assert!(!outcome.summary().contains("left as captured"), "{}", outcome.summary());
    outcome.output.assert_sums();
    let other = listed.replace("dport=25463", "dport=25464");
    let outcome = Job::new().shots(Link::Lo, &forward).side_file(&other, conntrack).run();
    assert_eq!(outcome.told(), ["outbound-app left no-reply 10.1.0.5:25463 127.0.0.1:15001"]);
}

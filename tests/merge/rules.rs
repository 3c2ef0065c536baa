//! Rules beside the packets: the mesh that is found, and what contradicts.

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Outcome};

const MICROSECOND: u64 = 1_000;

/// What the summary says of the rules.
fn said(outcome: &Outcome) -> String {
    let summary = outcome.summary();
    let lines = summary.lines().skip_while(|line| !line.starts_with("nat rules:"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn job(wire: &[&Leg], lo: &[&Leg]) -> Job {
    Job::new().shots(Link::Eth, &together(wire, Link::Eth)).shots(Link::Lo, &together(lo, Link::Lo))
}

#[test]
fn the_mesh_is_found_by_port_and_by_how_the_proxy_connects() {
    let pod = "10.1.0.5";
    let outbound = |listener| Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", listener).whole();
    let inbound = Leg::direct("10.1.0.9:50000", "10.1.0.5:8080").whole();
    let hop = |from: &str, to: &str| Leg::direct(from, to).after(500 * MICROSECOND).whole();
    let of_pod = format!("{pod}:8080");
    let cases = [
        (15001, hop("127.0.0.6:33000", &of_pod), "istio, found from the packets; istio-dns, kuma would fit as well"),
        (
            15001,
            hop("10.1.0.9:33000", &of_pod),
            "istio-tproxy, found from the packets; istio-ambient would fit as well",
        ),
        (4140, hop("10.1.0.5:33000", &of_pod), "linkerd, found from the packets"),
        (
            15001,
            hop("127.0.0.1:33000", "127.0.0.1:8080"),
            "istio-1.9, found from the packets; consul, osm, app-mesh would fit as well",
        ),
    ];
    for (listener, hop, expected) in cases {
        let outcome = job(&[&inbound], &[&outbound(listener), &hop]).run();
        assert_eq!(said(&outcome), format!("nat rules: mesh {expected}\n"));
    }
    let outcome = job(&[], &[&outbound(7777)]).run();
    assert_eq!(said(&outcome), "nat rules: no mesh's default rules explain these redirections (see --rules)\n");
    let outcome = job(&[], &[&outbound(15001)]).run();
    assert_eq!(said(&outcome), "nat rules: mesh istio, found from the packets; 8 others would fit as well\n");
}

#[test]
fn nothing_redirected() {
    let wire = Leg::direct("10.1.0.5:40000", "10.1.0.6:80").whole();
    let plain = "nat rules: nothing was redirected, a plain merge\n";
    let no_lo = "  no packet is from lo: redirected connections show there (capture with -i lo or -i any)\n";
    let outcome = Job::new().shots(Link::Eth, &together(&[&wire], Link::Eth)).run();
    assert_eq!(said(&outcome), format!("{plain}{no_lo}"));
    let lo = Leg::direct("127.0.0.1:40000", "127.0.0.1:9000").whole();
    assert_eq!(said(&job(&[&wire], &[&lo]).run()), plain);
    let said = said(&job(&[&wire], &[&lo]).mesh("linkerd").run());
    let expected = "nat rules: mesh linkerd; no connection to hold against them\n  \
        the rules redirect, but no redirected connection is in the capture\n";
    assert_eq!(said, expected);
}

const RULES: &str = "\
*nat
:OUTPUT ACCEPT [0:0]
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -j REDIRECT --to-ports 15106
-A OUTPUT -p tcp -m tcp --dport 6379 -j RETURN
-A OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15101
COMMIT
";

#[test]
fn a_stale_dump_is_told_with_both_sides_and_overrules_nothing() {
    let as_said = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15101).whole();
    let other_port = Leg::redirected("10.1.0.5:40001", "10.96.0.10:80", 15001).whole();
    let excluded = Leg::redirected("10.1.0.5:40002", "10.96.0.20:6379", 15101).whole();
    let outcome = job(&[], &[&as_said, &other_port, &excluded]).rules(RULES).run();
    let mut expected = [as_said.repaired(), other_port.repaired(), excluded.repaired()].concat();
    let mut ends = outcome.output.ends();
    expected.sort_unstable();
    ends.sort_unstable();
    assert_eq!(ends, expected, "all are repaired");
    assert_eq!(
        said(&outcome),
        "nat rules: rules; 1 connection redirected as they say, 2 not
2 connections against the rules (stale, or another pod's?):
  tcp 10.1.0.5:40001 > 10.96.0.10:80 was redirected to 127.0.0.1:15001, frame 2 of input 2
    the rules: uid 1337: not redirected (rules line 6: -A OUTPUT -m owner --uid-owner 1337 -j RETURN); any other: \
redirected to 127.0.0.1:15101 (rules line 7: -A OUTPUT -p tcp -j REDIRECT --to-ports 15101)
  tcp 10.1.0.5:40002 > 10.96.0.20:6379 was redirected to 127.0.0.1:15101, frame 3 of input 2
    the rules: not redirected (rules line 5: -A OUTPUT -p tcp -m tcp --dport 6379 -j RETURN)
"
    );
    let column = |name: &str| -> Vec<String> {
        outcome.legs.iter().map(|leg| leg[name].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(column("rules"), ["agree", "contradict", "contradict"]);
    assert_eq!(column("rules_say")[0], "-");
    assert_eq!(column("rules_say")[2], "not redirected (rules line 5: -A OUTPUT -p tcp -m tcp --dport 6379 -j RETURN)");
}

#[test]
fn past_the_sidecar() {
    // The application asks, the proxy connects: nothing is wrong with that.
    let asked = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15101).whole();
    let proxys = Leg::direct("10.1.0.5:41000", "10.1.0.6:80").after(300 * MICROSECOND).whole();
    // A second later, somebody connects for nobody.
    let past = Leg::direct("10.1.0.5:42000", "10.1.0.7:80").after(1_000_000 * MICROSECOND).whole();
    // Who is excluded may.
    let excluded = Leg::direct("10.1.0.5:43000", "10.1.0.7:6379").after(2_000_000 * MICROSECOND).whole();
    let outcome = job(&[&proxys, &past, &excluded], &[&asked]).rules(RULES).run();
    let line = |leg: &serde_json::Value| format!("{} {}", leg["client"], leg["rules"]).replace('"', "");
    let rules: Vec<String> = outcome.legs.iter().map(line).collect();
    assert_eq!(rules, ["10.1.0.5:40000 agree", "10.1.0.5:41000 null", "10.1.0.5:42000 bypass", "10.1.0.5:43000 null"]);
    let said = said(&outcome);
    assert!(said.contains("1 connection not redirected, though the rules redirect it"), "{said}");
    let told =
        "tcp 10.1.0.5:42000 > 10.1.0.7:80 went straight to its destination, while nobody was waiting for the proxy";
    assert!(said.contains(told), "{said}");
}

#[test]
fn past_the_sidecar_inbound() {
    let asked = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15101).whole();
    let inbound = Leg::direct("10.1.0.9:50000", "10.1.0.5:8080").whole();
    let hop = Leg::direct("127.0.0.6:33000", "10.1.0.5:8080").after(200 * MICROSECOND).whole();
    let with = job(&[&inbound], &[&asked, &hop]).rules(RULES).run();
    assert_eq!(said(&with), "nat rules: rules; 1 connection redirected as they say\n");
    let without = said(&job(&[&inbound], &[&asked]).rules(RULES).run());
    let told = "tcp 10.1.0.9:50000 > 10.1.0.5:8080 was answered, but the proxy opened no connection to that port on lo";
    assert!(without.contains(told), "{without}");
    assert!(without.contains("redirected to 10.1.0.5:15106 (rules line 4: "), "{without}");
}

/// Nobody but the proxy's user may pass, and this one did: it needs no further evidence.
#[test]
fn rules_without_exception() {
    let rules = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15101\nCOMMIT\n";
    let asked = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15101).whole();
    let local = Leg::direct("10.1.0.5:41000", "10.1.0.5:9000").whole();
    let outcome = job(&[], &[&asked, &local]).rules(rules).run();
    assert_eq!(outcome.legs[1]["rules"], "bypass");
    assert_eq!(outcome.output.ends().len(), 20);
}

/// What is not understood in a rules file decides nothing.
#[test]
fn a_rule_that_is_not_understood() {
    let rules = "*nat\n:OUTPUT ACCEPT [0:0]\n\
        -A OUTPUT -p tcp -m statistic --mode random --probability 0.5 -j RETURN\n\
        -A OUTPUT -p tcp -j REDIRECT --to-ports 15101\nCOMMIT\n";
    let other = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15001).whole();
    let as_said = Leg::redirected("10.1.0.5:40001", "10.96.0.10:80", 15101).whole();
    let outcome = job(&[], &[&other, &as_said]).rules(rules).run();
    let rules: Vec<&serde_json::Value> = outcome.legs.iter().map(|leg| &leg["rules"]).collect();
    assert_eq!(rules, ["contradict", "agree"]);
}

/// Where the captures of another pod are merged as well, its address is a pod's, and not this one's.
#[test]
fn rules_of_one_pod_of_two() {
    let rules = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -o lo -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15101\nCOMMIT\n";
    let call = Leg::redirected("10.1.0.5:40000", "10.1.0.6:8080", 15101).whole();
    let wire = Leg::direct("10.1.0.5:41000", "10.1.0.6:8080").after(100 * MICROSECOND).whole();
    let hop = Leg::direct("127.0.0.6:33000", "10.1.0.6:8080").after(200 * MICROSECOND).whole();
    let outcome = job(&[&wire], &[&call]).shots(Link::Lo, &together(&[&hop], Link::Lo)).rules(rules).run();
    assert_eq!(said(&outcome), "nat rules: rules; 1 connection redirected as they say\n");
    // By itself, what a pod sends to its own address leaves by lo.
    let own = Leg::redirected("10.1.0.5:40000", "10.1.0.5:8080", 15101).whole();
    let outcome = job(&[], &[&own]).rules(rules).run();
    assert!(said(&outcome).contains("1 connection not as they say"), "{}", said(&outcome));
}

/// What lo shows nothing of was perhaps not captured there.
#[test]
fn past_the_sidecar_when_lo_was_captured_no_longer() {
    let asked = Leg::redirected("10.1.0.5:40000", "10.96.0.10:80", 15101).whole();
    let past = Leg::direct("10.1.0.5:42000", "10.1.0.7:80").after(1_000_000 * MICROSECOND).whole();
    let later = Leg::redirected("10.1.0.5:40001", "10.96.0.10:80", 15101).after(2_000_000 * MICROSECOND).whole();
    let doubt = "  lo shows nothing after the last of these was opened: was it captured until then?\n";
    assert!(said(&job(&[&past], &[&asked]).rules(RULES).run()).ends_with(doubt));
    assert!(!said(&job(&[&past], &[&asked, &later]).rules(RULES).run()).contains(doubt));
}

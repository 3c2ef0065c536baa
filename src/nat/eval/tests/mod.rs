//! Verdicts against the kernel's order and its exceptions.

mod views;

use super::*;
use crate::nat::{Interface, Preset};

const POD: &str = "10.244.1.7";

fn host() -> Host {
    let addresses = ["10.244.1.7", "10.244.1.200", "fd00::7"].map(|a| a.parse().expect("an address"));
    Host {
        interfaces: vec![Interface { name: "eth0".to_owned(), addresses: addresses.to_vec() }],
        loopback: vec!["::6".parse().expect("an address")],
    }
}

fn judge(rules: &Ruleset, probe: &str, set: impl FnOnce(&mut Probe)) -> Verdict {
    let mut probe: Probe = probe.parse().expect("a probe");
    set(&mut probe);
    evaluate(rules, &host(), &probe)
}

fn from_user(uid: u32) -> impl FnOnce(&mut Probe) {
    move |probe| (probe.uid, probe.gid, probe.mark) = (Some(uid), Some(uid), Some(0))
}

fn from_wire(probe: &mut Probe) {
    probe.input = Some("eth0".to_owned());
}

/// The views of the only outcome: interface, packets, replies.
fn views(verdict: &Verdict) -> Vec<String> {
    assert_eq!(verdict.outcomes.len(), 1, "{:#?}", verdict.outcomes);
    let line = |v: &View| {
        let replies = v.replies.map_or_else(|| "none".to_owned(), |(from, to)| format!("{from} > {to}"));
        format!("{} {} > {} | {replies}", v.interface, v.packets.0, v.packets.1)
    };
    verdict.outcomes[0].views.iter().map(line).collect()
}

fn rules(text: &str) -> Ruleset {
    Ruleset::read("rules", text.as_bytes(), None).expect("the rules of the test")
}

fn nat_output(list: &[&str]) -> Ruleset {
    let list: String = list.iter().map(|rule| format!("-A {rule}\n")).collect();
    rules(&format!(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n{list}COMMIT\n"
    ))
}

fn only(verdict: &Verdict) -> &Outcome {
    assert_eq!(verdict.outcomes.len(), 1, "{:#?}", verdict.outcomes);
    &verdict.outcomes[0]
}

#[test]
fn an_undecided_verdict_lists_its_outcomes() {
    let rules = Preset::named("istio").expect("a preset").ruleset();
    let verdict = judge(&rules, "tcp 10.244.1.7:4000 -> 10.96.0.50:80", |_| {});
    let found: Vec<_> = verdict
        .outcomes
        .iter()
        .map(|o| {
            let conditions: Vec<String> = o.conditions.iter().map(ToString::to_string).collect();
            (
                conditions.join(", "),
                o.destination.port(),
                o.rule.map(|id| rules.rule(id).text.clone()).unwrap_or_default(),
            )
        })
        .collect();
    let row = |condition: &str, port, rule: &str| (condition.to_owned(), port, rule.to_owned());
    assert_eq!(
        found,
        [
            row("uid 1337", 80, "-A MESH_OUT -m owner --uid-owner 1337 -j RETURN"),
            row("uid not 1337, gid 1337", 80, "-A MESH_OUT -m owner --gid-owner 1337 -j RETURN"),
            row("uid not 1337, gid not 1337", 15001, "-A MESH_TO_OUTBOUND -p tcp -j REDIRECT --to-ports 15001"),
        ]
    );
}

#[test]
fn a_mark_decides_in_ambient() {
    let rules = Preset::named("istio-ambient").expect("a preset").ruleset();
    let verdict = judge(&rules, "tcp 10.244.1.7:4000 -> 10.96.0.50:80", |_| {});
    let by_mark: Vec<_> =
        verdict.outcomes.iter().map(|o| (o.conditions[0].to_string(), o.destination.port())).collect();
    assert_eq!(by_mark.len(), 3);
    assert!(by_mark.contains(&("mark 0x111/0xfff".to_owned(), 80)), "{by_mark:?}");
}

#[test]
fn chains_end_as_in_the_kernel() {
    let end = |list: &[&str]| {
        judge(&nat_output(list), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1)).outcomes[0].destination.port()
    };
    let redirect = "OUTPUT -p tcp -j REDIRECT --to-ports 9";
    assert_eq!(end(&["OUTPUT -j RETURN", redirect]), 80);
    assert_eq!(end(&["OUTPUT -j A", "A -j RETURN", redirect]), 9);
    assert_eq!(end(&["OUTPUT -j A", "A -j ACCEPT", redirect]), 80);
    // After a goto, the chain that went does not go on.
    assert_eq!(end(&["OUTPUT -g A", redirect]), 80);
    assert_eq!(end(&["OUTPUT -j A", redirect, "A -g B", "A -j ACCEPT"]), 9);
    assert_eq!(end(&["OUTPUT -j A", "A -j B", "A -p tcp -j REDIRECT --to-ports 8", "B -j RETURN", redirect]), 8);
}

#[test]
fn circles_of_jumps_end() {
    let verdict =
        judge(&nat_output(&["OUTPUT -j A", "A -j B", "B -j A"]), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
    assert!(matches!(verdict.outcomes[0].fate, Fate::Unknown { .. }));
    let many: Vec<String> = (0..40).map(|n| format!("OUTPUT -m unknown --n {n} -j A")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let verdict = judge(&nat_output(&many), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
    assert!(verdict.incomplete && verdict.outcomes.len() <= OUTCOMES);
}

#[test]
fn what_is_not_understood_makes_the_verdict_unknown() {
    let text = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 9000 -j NFQUEUE --queue-num 0\nCOMMIT\n";
    let fate = |port: u16| {
        let probe = format!("tcp 10.244.1.7:4000 -> 1.2.3.4:{port}");
        judge(&rules(text), &probe, from_user(1)).outcomes[0].fate.clone()
    };
    assert!(matches!(fate(9000), Fate::Unknown { .. }));
    assert_eq!(fate(80), Fate::Sent { interface: "eth0".to_owned() });
    let matched = nat_output(&["OUTPUT -p tcp -m statistic --mode random --probability 0.5 -j REDIRECT --to-ports 9"]);
    assert_eq!(judge(&matched, "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1)).outcomes.len(), 2);
}

#[test]
fn the_first_zone_wins() {
    let text = "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j CT --zone 1\n-A OUTPUT -p udp -j CT --zone 2\nCOMMIT\n";
    assert_eq!(judge(&rules(text), "udp 10.244.1.7:4000 -> 1.2.3.4:53", from_user(1)).outcomes[0].zone, 1);
    let untracked = format!(
        "{}*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j REDIRECT --to-ports 9\nCOMMIT\n",
        text.replace("CT --zone 1", "CT --notrack")
    );
    let verdict = judge(&rules(&untracked), "udp 10.244.1.7:4000 -> 1.2.3.4:53", from_user(1));
    assert_eq!((verdict.outcomes[0].tracked, verdict.outcomes[0].destination.port()), (false, 53));
}

#[test]
fn nat_on_lo_has_happened_before_prerouting() {
    let rules = nat_output(&["PREROUTING -p tcp -j REDIRECT --to-ports 9"]);
    assert_eq!(judge(&rules, "tcp 10.244.1.7:4000 -> 10.244.1.7:80", from_user(1)).outcomes[0].destination.port(), 80);
}

#[test]
fn a_packet_without_a_socket_has_no_owner() {
    let end = |list: &[&str]| {
        let verdict = judge(&nat_output(list), "tcp 10.9.9.9:4000 -> 10.244.1.7:80", from_wire);
        verdict.outcomes[0].destination.port()
    };
    assert_eq!(end(&["PREROUTING -p tcp -m owner --uid-owner 1 -j REDIRECT --to-ports 9"]), 80);
    assert_eq!(end(&["PREROUTING -p tcp -m owner ! --uid-owner 1 -j REDIRECT --to-ports 9"]), 9);
    // nft ends the rule there, negated or not.
    let nft = r#"{"nftables":[{"table":{"family":"ip","name":"t"}},{"chain":{"family":"ip","table":"t","name":"c","type":"nat","hook":"prerouting","prio":-100,"policy":"accept"}},{"rule":{"family":"ip","table":"t","chain":"c","handle":2,"expr":[{"match":{"op":"!=","left":{"meta":{"key":"skuid"}},"right":1}},{"redirect":{"port":9}}]}}]}"#;
    assert_eq!(judge(&rules(nft), "tcp 10.9.9.9:4000 -> 10.244.1.7:80", from_wire).outcomes[0].destination.port(), 80);
}

#[test]
fn policies_and_rejections() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 1 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
    let fate = |port: u16| {
        let probe = format!("tcp 10.9.9.9:4000 -> 10.244.1.7:{port}");
        judge(&rules(text), &probe, from_wire).outcomes[0].fate.clone()
    };
    assert_eq!((fate(1), fate(2)), (Fate::Rejected, Fate::Dropped));
}

#[test]
fn no_route_from_loopback_to_the_wire() {
    let rules = nat_output(&["OUTPUT -p tcp -j DNAT --to-destination 10.0.34.16"]);
    assert_eq!(judge(&rules, "tcp 127.0.0.6:4000 -> 10.244.1.7:80", from_user(1)).outcomes[0].fate, Fate::Dropped);
}

#[test]
fn before_conntrack_a_connection_has_no_mark() {
    let zone = |rule: &str| {
        let text = format!("*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp {rule} -j CT --zone 5\nCOMMIT\n");
        only(&judge(&rules(&text), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1))).zone
    };
    assert_eq!(zone("-m connmark --mark 0x0"), 0);
    assert_eq!(zone("-m connmark ! --mark 0x111/0xfff"), 0);
    assert_eq!(zone("-m conntrack --ctstate INVALID"), 5);
}

#[test]
fn untracked_packets_keep_their_mark() {
    let text = "*raw\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j CT --notrack\nCOMMIT\n*mangle\n:OUTPUT ACCEPT [0:0]\n\
                -A OUTPUT -j CONNMARK --restore-mark\n-A OUTPUT -m mark --mark 0x7 -j DROP\nCOMMIT\n";
    let verdict = judge(&rules(text), "udp 10.244.1.7:4000 -> 1.2.3.4:53", |probe| probe.mark = Some(7));
    assert_eq!(only(&verdict).fate, Fate::Dropped);
}

#[test]
fn a_mapping_to_the_same_place_is_no_dnat() {
    let text = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 80\nCOMMIT\n*filter\n\
                :OUTPUT ACCEPT [0:0]\n-A OUTPUT -m conntrack --ctstate DNAT -j DROP\nCOMMIT\n";
    let fate = |to: &str| only(&judge(&rules(text), &format!("tcp 127.0.0.1:4000 -> {to}"), from_user(1))).fate.clone();
    assert_eq!((fate("127.0.0.1:80"), fate("127.0.0.1:81")), (Fate::Delivered, Fate::Dropped));
}

#[test]
fn ports_that_the_kernel_picks() {
    let end = |rule: &str, port: u16| {
        let verdict = judge(&nat_output(&[rule]), &format!("tcp 10.244.1.7:4000 -> 1.2.3.4:{port}"), from_user(1));
        let found = only(&verdict);
        ((found.source.port(), found.source_last), (found.destination.port(), found.destination_last))
    };
    let range = "OUTPUT -p tcp -j REDIRECT --to-ports 10-20";
    assert_eq!(end(range, 80).1, (10, 20));
    assert_eq!(end(range, 15).1, (15, 15));
    assert_eq!(end(&format!("{range} --random"), 15).1, (10, 20));
    assert_eq!(end("OUTPUT -p tcp -j REDIRECT --random", 80).1, (80, 80));
    assert_eq!(end("POSTROUTING -p tcp -j MASQUERADE --random", 80).0, (1024, 65535));
    // What is said of such a port once holds for the rest of the way.
    let list = [range, "POSTROUTING -p tcp -m tcp --dport 15 -j SNAT --to-source 10.244.1.7:700"];
    let text = nat_output(&list);
    let verdict = judge(&text, "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
    let ends: Vec<_> = verdict
        .outcomes
        .iter()
        .map(|o| (o.conditions[0].to_string(), o.source.port(), o.destination.port(), o.destination_last))
        .collect();
    let row = |condition: &str, source, first, last| (condition.to_owned(), source, first, last);
    let picked = "the port that is picked is 15";
    assert_eq!(ends, [row(picked, 700, 15, 15), row(&format!("not: {picked}"), 4000, 10, 20)]);
}

#[test]
fn masquerade_takes_an_address_that_others_can_reach() {
    let rules = nat_output(&["POSTROUTING -p tcp -j MASQUERADE"]);
    let source = |probe: &str| only(&judge(&rules, probe, from_user(1))).source.to_string();
    assert_eq!(source("tcp 127.0.0.1:4000 -> 127.0.0.1:80"), "10.244.1.7:4000");
    assert_eq!(source("tcp 10.244.1.200:4000 -> 1.2.3.4:80"), "10.244.1.7:4000");
}

#[test]
fn equal_questions_get_equal_answers_unless_they_cannot() {
    let outcomes = |list: &[&str]| {
        let verdict = judge(&nat_output(list), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
        verdict.outcomes.iter().map(|o| o.destination.port()).collect::<Vec<_>>()
    };
    let twice = |test: &str| {
        let (jump, end) = (format!("OUTPUT -p tcp {test} -j A"), format!("A -p tcp {test} -j REDIRECT --to-ports 9"));
        outcomes(&[&jump, &end, "A -p tcp -j REDIRECT --to-ports 8"])
    };
    assert_eq!(twice("-m set --match-set x dst"), [9, 80]);
    assert_eq!(twice("-m statistic --mode random --probability 0.5"), [9, 8, 80]);
    // After a translation, another packet is asked about.
    let list = ["OUTPUT -p tcp -m set --match-set x dst -j REDIRECT --to-ports 9"];
    let set = format!(
        "*nat\n:OUTPUT ACCEPT [0:0]\n-A {}\nCOMMIT\n*filter\n:OUTPUT ACCEPT [0:0]\n\
         -A OUTPUT -m set --match-set x dst -j DROP\nCOMMIT\n",
        list[0]
    );
    let verdict = judge(&rules(&set), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
    assert_eq!(verdict.outcomes.iter().filter(|o| o.fate == Fate::Delivered).count(), 1);
}

#[test]
fn translations_of_which_too_little_is_known() {
    let rules = nat_output(&["PREROUTING -p tcp -j REDIRECT --to-ports 9"]);
    let fate = |interface: &str| {
        let probe = "tcp 10.9.9.9:4000 -> 10.244.1.7:80";
        only(&judge(&rules, probe, |probe| probe.input = Some(interface.to_owned()))).fate.clone()
    };
    assert_eq!(fate("eth0"), Fate::Delivered);
    assert!(matches!(fate("eth1"), Fate::Unknown { .. }));
    let text = "*mangle\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j TPROXY --on-port 9\nCOMMIT\n";
    let verdict = judge(&super::tests::rules(text), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", from_user(1));
    assert!(matches!(only(&verdict).fate, Fate::Unknown { .. }));
}

#[test]
fn the_rules_of_all_outcomes_together_are_bounded() {
    let mut text = "*nat\n:OUTPUT ACCEPT [0:0]\n".to_owned();
    for n in 0..40 {
        text += &format!("-A OUTPUT -m mark --mark {n} -j RETURN\n");
    }
    text += &"-A OUTPUT -d 9.9.9.9/32 -j RETURN\n".repeat(15_000);
    let verdict = judge(&rules(&(text + "COMMIT\n")), "tcp 10.244.1.7:4000 -> 1.2.3.4:80", |_| {});
    let looked_at: usize = verdict.outcomes.iter().map(|o| o.walk.len()).sum();
    assert!(looked_at < ALL_RULES + 2 * RULES, "{looked_at}");
}

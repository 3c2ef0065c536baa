//! Verdicts against what was measured with tcpdump under each mesh's rules, and against the kernel's exceptions.

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

/// mesh, user, probe, the one interface where it shows.
#[test]
fn what_tcpdump_shows_of_connections_that_the_pod_opens() {
    let table = [
        (
            "istio",
            1000,
            "tcp 10.244.1.7:4000 -> 10.96.0.50:80",
            "lo 10.244.1.7:4000 > 127.0.0.1:15001 | 10.96.0.50:80 > 10.244.1.7:4000",
        ),
        (
            "istio",
            1337,
            "tcp 10.244.1.7:4000 -> 10.244.2.9:80",
            "eth0 10.244.1.7:4000 > 10.244.2.9:80 | 10.244.2.9:80 > 10.244.1.7:4000",
        ),
        (
            "istio",
            1337,
            "tcp 127.0.0.6:4000 -> 10.244.1.7:8080",
            "lo 127.0.0.6:4000 > 10.244.1.7:8080 | 10.244.1.7:8080 > 127.0.0.6:4000",
        ),
        (
            "istio",
            1337,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:8080",
            "lo 10.244.1.7:4000 > 127.0.0.1:15006 | 10.244.1.7:8080 > 10.244.1.7:4000",
        ),
        (
            "istio",
            1000,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:8080",
            "lo 10.244.1.7:4000 > 10.244.1.7:8080 | 10.244.1.7:8080 > 10.244.1.7:4000",
        ),
        (
            "istio",
            1000,
            "tcp 127.0.0.1:4000 -> 127.0.0.1:8080",
            "lo 127.0.0.1:4000 > 127.0.0.1:8080 | 127.0.0.1:8080 > 127.0.0.1:4000",
        ),
        (
            "istio",
            1000,
            "tcp [fd00::7]:4000 -> [fd00:96::50]:80",
            "lo [fd00::7]:4000 > [::1]:15001 | [fd00:96::50]:80 > [fd00::7]:4000",
        ),
        (
            "istio",
            1337,
            "tcp [::6]:4000 -> [fd00::7]:8080",
            "lo [::6]:4000 > [fd00::7]:8080 | [fd00::7]:8080 > [::6]:4000",
        ),
        (
            "istio-dns",
            1000,
            "udp 10.244.1.7:4000 -> 10.96.0.10:53",
            "lo 10.244.1.7:4000 > 127.0.0.1:15053 | 10.96.0.10:53 > 10.244.1.7:4000",
        ),
        (
            "istio-dns",
            1337,
            "udp 10.244.1.7:4000 -> 10.96.0.10:53",
            "eth0 10.244.1.7:4000 > 10.96.0.10:53 | 10.96.0.10:53 > 10.244.1.7:4000",
        ),
        (
            "istio-ambient",
            0,
            "tcp 10.244.1.7:4000 -> 10.96.0.50:80",
            "lo 10.244.1.7:4000 > 127.0.0.1:15001 | 10.96.0.50:80 > 10.244.1.7:4000",
        ),
        (
            "istio-ambient",
            0,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:80",
            "lo 10.244.1.7:4000 > 10.244.1.7:80 | 10.244.1.7:80 > 10.244.1.7:4000",
        ),
        (
            "linkerd",
            1000,
            "tcp 10.244.1.7:4000 -> 10.96.0.50:80",
            "lo 10.244.1.7:4000 > 127.0.0.1:4140 | 10.96.0.50:80 > 10.244.1.7:4000",
        ),
        (
            "linkerd",
            2102,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:8080",
            "lo 10.244.1.7:4000 > 10.244.1.7:8080 | 10.244.1.7:8080 > 10.244.1.7:4000",
        ),
        (
            "consul",
            1000,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:8080",
            "lo 10.244.1.7:4000 > 127.0.0.1:15001 | 10.244.1.7:8080 > 10.244.1.7:4000",
        ),
        (
            "consul",
            1000,
            "udp 127.0.0.1:4000 -> 127.0.0.1:53",
            "lo 127.0.0.1:4000 > 127.0.0.1:8600 | 127.0.0.1:53 > 127.0.0.1:4000",
        ),
        (
            "app-mesh",
            1000,
            "tcp 10.244.1.7:4000 -> 10.244.1.7:8080",
            "lo 10.244.1.7:4000 > 10.244.1.7:8080 | 10.244.1.7:8080 > 10.244.1.7:4000",
        ),
    ];
    for (mesh, uid, probe, expected) in table {
        let rules = Preset::named(mesh).expect("a preset").ruleset();
        assert_eq!(views(&judge(&rules, probe, from_user(uid))), [expected], "{mesh} {uid} {probe}");
    }
}

#[test]
fn inbound_redirects_do_not_show() {
    let rules = Preset::named("istio").expect("a preset").ruleset();
    let verdict = judge(&rules, "tcp 10.244.2.9:4000 -> 10.244.1.200:8080", from_wire);
    let shown = "eth0 10.244.2.9:4000 > 10.244.1.200:8080 | 10.244.1.200:8080 > 10.244.2.9:4000";
    assert_eq!(views(&verdict), [shown]);
    // The primary address of the interface, not the one that was asked for.
    assert_eq!(verdict.outcomes[0].destination.to_string(), format!("{POD}:15006"));
    let excluded = judge(&rules, "tcp 10.244.2.9:4000 -> 10.244.1.7:15021", from_wire);
    assert_eq!(excluded.outcomes[0].destination.to_string(), "10.244.1.7:15021");
}

#[test]
fn dns_capture_of_istio_1_8_changes_the_source_too() {
    let rules = nat_output(&[
        "OUTPUT -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:15053",
        "POSTROUTING -p udp -m udp --dport 15053 -j SNAT --to-source 127.0.0.1",
    ]);
    let verdict = judge(&rules, "udp 10.244.1.7:4000 -> 10.96.0.10:53", from_user(1));
    assert_eq!(views(&verdict), ["lo 127.0.0.1:4000 > 127.0.0.1:15053 | 10.96.0.10:53 > 10.244.1.7:4000"]);
}

#[test]
fn osm_translates_loopback_to_the_pod() {
    let rules = nat_output(&[
        "OUTPUT -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500 -j DNAT --to-destination 10.244.1.7",
    ]);
    let verdict = judge(&rules, "tcp 127.0.0.1:4000 -> 127.0.0.1:8080", from_user(1500));
    assert_eq!(views(&verdict), ["lo 127.0.0.1:4000 > 10.244.1.7:8080 | 127.0.0.1:8080 > 127.0.0.1:4000"]);
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
    assert!(matches!(verdict.outcomes[0].fate, Fate::Unknown));
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
    assert!(matches!(fate(9000), Fate::Unknown));
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

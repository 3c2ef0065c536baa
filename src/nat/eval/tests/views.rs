//! What tcpdump shows under each mesh's rules, as it was measured, and what is assumed.

use super::*;

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
fn where_a_packet_stops_there_are_no_replies() {
    let text = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n";
    let verdict = judge(&rules(text), "tcp 10.9.9.9:4000 -> 10.244.1.7:80", from_wire);
    assert_eq!(views(&verdict), ["eth0 10.9.9.9:4000 > 10.244.1.7:80 | none"]);
}

#[test]
fn what_is_taken_for_granted_is_said() {
    let assumes = |mesh: &str, probe: &str, set: fn(&mut Probe)| {
        let rules = Preset::named(mesh).expect("a preset").ruleset();
        only(&judge(&rules, probe, set)).assumes.join("; ")
    };
    let outgoing = |probe: &mut Probe| (probe.uid, probe.gid, probe.mark) = (Some(1), Some(1), Some(0));
    assert_eq!(assumes("istio", "tcp 10.244.1.7:4000 -> 10.96.0.1:80", outgoing), "");
    let own = assumes("istio-tproxy", "tcp 10.9.9.9:4000 -> 10.244.1.7:80", from_wire);
    assert_eq!(own, "a transparent socket listens on port 15006");
    let foreign = assumes("istio-tproxy", "tcp 10.9.9.9:4000 -> 10.99.0.1:80", from_wire);
    assert!(foreign.contains("ip rule and ip route deliver packets with mark 0x539 to the pod itself"), "{foreign}");
    let rules = Preset::named("istio").expect("a preset").ruleset();
    let mut pod = host();
    pod.interfaces.push(Interface { name: "br0".to_owned(), addresses: vec!["10.9.0.1".parse().expect("an address")] });
    let probe: Probe = "tcp 10.7.7.7:4000 -> 10.9.0.1:80".parse().expect("a probe");
    let probe = Probe { input: Some("br0".to_owned()), ..probe };
    assert_eq!(only(&evaluate(&rules, &pod, &probe)).assumes, ["the replies leave by br0, where the packets came in"]);
    // What TPROXY could take are replies that come in.
    assert!(assumes("istio-tproxy", "tcp 10.244.1.7:4000 -> 10.244.1.7:80", outgoing).contains("let the replies pass"));
    // The zones of the DNS rules are for UDP.
    assert_eq!(assumes("kuma", "tcp 10.244.1.7:4000 -> 10.96.0.1:80", outgoing), "");
    assert!(assumes("kuma", "udp 10.244.1.7:4000 -> 10.96.0.1:53", outgoing).contains("let the replies pass"));
}

#[test]
fn replies_of_what_passes_through_and_of_tproxy() {
    let rules = nat_output(&[
        "PREROUTING -i br0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.50.0.1:8080",
        "POSTROUTING -o eth0 -p tcp -j MASQUERADE",
    ]);
    let mut pod = host();
    pod.interfaces.push(Interface { name: "br0".to_owned(), addresses: vec!["10.9.0.1".parse().expect("an address")] });
    let probe: Probe = "tcp 10.9.0.5:4000 -> 10.9.0.1:80".parse().expect("a probe");
    let verdict = evaluate(&rules, &pod, &Probe { input: Some("br0".to_owned()), ..probe });
    assert_eq!(
        views(&verdict),
        [
            "br0 10.9.0.5:4000 > 10.9.0.1:80 | 10.9.0.1:80 > 10.9.0.5:4000",
            "eth0 10.244.1.7:4000 > 10.50.0.1:8080 | 10.50.0.1:8080 > 10.244.1.7:4000",
        ]
    );
    let tproxy = Preset::named("istio-tproxy").expect("a preset").ruleset();
    let verdict = judge(&tproxy, "tcp 10.9.9.9:4000 -> 10.244.1.7:8080", from_wire);
    assert_eq!(views(&verdict), ["eth0 10.9.9.9:4000 > 10.244.1.7:8080 | 10.244.1.7:8080 > 10.9.9.9:4000"]);
}

/// Rules of one IP version say nothing of the other.
#[test]
fn no_rules_of_a_version_were_given() {
    let text = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let rules = Ruleset::read("rules", text.as_bytes(), Some(Family::V4)).expect("rules");
    let assumes = |probe: &str| only(&judge(&rules, probe, |_| ())).assumes.join("; ");
    assert!(assumes("tcp [fd00::7]:4000 -> [fd00::9]:80").contains("there are no IPv6 rules: none were given"));
    assert!(!assumes("tcp 10.244.1.7:4000 -> 10.96.0.1:80").contains("none were given"));
}

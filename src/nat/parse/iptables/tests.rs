//! Lines of `iptables-save`, and what is read from them.

use super::*;
use crate::nat::numbers::Numbers;
use crate::nat::ruleset::{Match, Register, States, Target, Test};

fn read(text: &str) -> Ruleset {
    Ruleset::read("rules", text.as_bytes(), None).expect("a table of the test")
}

/// The steps of one rule in a table that has a chain `USER`.
fn steps(rule: &str) -> Vec<Step> {
    let text = format!("*mangle\n:OUTPUT ACCEPT [0:0]\n:USER - [0:0]\n-A OUTPUT {rule}\nCOMMIT\n");
    read(&text).tables[0].chains[0].rules[0].steps.clone()
}

fn one(rule: &str) -> (bool, Test) {
    match steps(rule).as_slice() {
        [Step::Match(Match { negated, test, .. })] => (*negated, test.clone()),
        [Step::Match(Match { negated: false, test: Test::Tracked, .. }), Step::Match(Match { negated, test, .. })] => {
            assert!(matches!(test, Test::Mark(Register::Connection, ..)), "{rule}");
            (*negated, test.clone())
        }
        other => panic!("{rule}: {other:?}"),
    }
}

#[test]
fn matches() {
    let ranges = |r: &[(u32, u32)]| Numbers::from_ranges(r.to_vec());
    let table = [
        ("-p tcp", false, Test::Protocol(Numbers::one(6))),
        ("! -p 17", true, Test::Protocol(Numbers::one(17))),
        ("! -o lo", true, Test::Out("lo".to_owned(), false)),
        ("-i br+", false, Test::In("br".to_owned(), true)),
        ("-i +", false, Test::In(String::new(), true)),
        ("-m tcp ! --dport 15008", true, Test::DestinationPort(Numbers::one(15008))),
        ("-m tcp --dport ! 15008", true, Test::DestinationPort(Numbers::one(15008))),
        ("-m udp --sport 53:60", false, Test::SourcePort(ranges(&[(53, 60)]))),
        ("-m tcp --dport 1024:", false, Test::DestinationPort(ranges(&[(1024, 65535)]))),
        ("-m multiport --dports 53,3000:5000", false, Test::DestinationPort(ranges(&[(53, 53), (3000, 5000)]))),
        ("-m multiport ! --dports 53,15008", true, Test::DestinationPort(ranges(&[(53, 53), (15008, 15008)]))),
        ("-m multiport --ports 1,2", false, Test::EitherPort(ranges(&[(1, 2)]))),
        ("-m owner --uid-owner 1337", false, Test::Uid(Numbers::one(1337))),
        ("-m owner ! --gid-owner 202", true, Test::Gid(Numbers::one(202))),
        ("-m owner --uid-owner 106-108", false, Test::Uid(ranges(&[(106, 108)]))),
        ("-m owner --socket-exists", false, Test::HasSocket),
        ("-m mark --mark 0x539", false, Test::Mark(Register::Packet, 0x539, u32::MAX)),
        ("-m mark ! --mark 0x53a/0xfff", true, Test::Mark(Register::Packet, 0x53a, 0xfff)),
        ("-m connmark --mark 0x111/0xfff", false, Test::Mark(Register::Connection, 0x111, 0xfff)),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", false, Test::State(States(12))),
        ("-m conntrack ! --ctstate INVALID", true, Test::State(States::INVALID)),
        ("-m state --state ESTABLISHED", false, Test::State(States::ESTABLISHED)),
        ("-m socket", false, Test::Socket),
        ("-m addrtype ! --dst-type LOCAL", true, Test::Local(false)),
        ("-m addrtype --src-type LOCAL", false, Test::Local(true)),
        ("-m tcp --tcp-flags FIN,SYN,RST,ACK SYN", false, Test::TcpFlags(0x17, 0x02)),
        ("-m set --match-set NAME dst", false, Test::Unknown("-m set --match-set NAME dst".to_owned())),
        ("-m owner --gid-owner 5 --suppl-groups", false, Test::Unknown("--gid-owner 5 --suppl-groups".to_owned())),
        ("-p vrrp", false, Test::Protocol(Numbers::one(112))),
        ("-m conntrack ! --ctdir REPLY", true, Test::Unknown("--ctdir REPLY".to_owned())),
    ];
    for (rule, negated, test) in table {
        assert_eq!(one(rule), (negated, test), "{rule}");
    }
    for nothing in
        ["-p all", "-m tcp", "-m comment --comment \"it\\'s: a (comment), \\\"quoted\\\"\"", "-m comment --comment hi"]
    {
        assert_eq!(steps(nothing), [], "{nothing}");
    }
    assert_eq!(steps("-m owner ! --gid-owner 1001 -m owner ! --gid-owner 202").len(), 2);
}

#[test]
fn addresses() {
    let table = [
        ("-d 1.1.1.1/32", "1.1.1.1", true),
        ("-d 1.1.1.1/32", "1.1.1.2", false),
        ("-d 127.0.0.0/8", "127.3.2.1", true),
        ("-s 10.0.1.0/255.0.255.0", "10.9.1.7", true),
        ("-s 10.0.1.0/255.0.255.0", "10.9.2.7", false),
        ("-d ::127.0.0.53/128", "::7f00:35", true),
        ("-d ::/64", "::1:2:3:4", true),
        ("-d ::/64", "0:0:0:1::", false),
        ("-d 0.0.0.0/0", "8.8.8.8", true),
        ("-d 1.0.0.1,2.0.0.0/8", "2.3.4.5", true),
        ("-m iprange --dst-range 10.0.0.5-10.0.0.9", "10.0.0.7", true),
        ("-m iprange --dst-range 10.0.0.5-10.0.0.9", "10.0.0.10", false),
    ];
    for (rule, address, expected) in table {
        let (Test::Source(addresses) | Test::Destination(addresses)) = one(rule).1 else { panic!("{rule}") };
        assert_eq!(addresses.contains(address.parse().expect("an address of the table")), expected, "{rule} {address}");
    }
}

#[test]
fn targets() {
    use crate::nat::ruleset::Change;
    let to = |address: &str, ports| Target { address: address.parse().ok(), ports, random: false };
    let mark = |register, keep, other, flip| Action::Mark(Change { register, keep, other, flip });
    let (packet, connection) = (Register::Packet, Register::Connection);
    let table = [
        ("ACCEPT", Action::Accept),
        ("RETURN", Action::Return),
        ("USER", Action::Jump(1)),
        ("REJECT --reject-with icmp6-port-unreachable", Action::Reject),
        ("REDIRECT --to-ports 15001", Action::Redirect(to("", Some((15001, 15001))))),
        ("REDIRECT", Action::Redirect(to("", None))),
        ("REDIRECT --to-ports 10-20", Action::Redirect(to("", Some((10, 20))))),
        ("DNAT --to-destination 127.0.0.1:15053", Action::Dnat(to("127.0.0.1", Some((15053, 15053))))),
        ("DNAT --to-destination 10.244.1.7", Action::Dnat(to("10.244.1.7", None))),
        ("DNAT --to-destination [::1]:8600", Action::Dnat(to("::1", Some((8600, 8600))))),
        ("DNAT --to-destination fd00::1", Action::Dnat(to("fd00::1", None))),
        ("DNAT --to-destination 10.0.0.1-10.0.0.9", Action::Unknown("DNAT to 10.0.0.1-10.0.0.9".to_owned())),
        ("SNAT --to-source 127.0.0.1", Action::Snat(to("127.0.0.1", None))),
        ("MASQUERADE --random", Action::Masquerade(Target { random: true, ..Target::default() })),
        ("MARK --set-xmark 0x53a/0xffffffff", mark(packet, 0, None, 0x53a)),
        ("MARK --or-mark 0x10", mark(packet, !0x10, None, 0x10)),
        ("CONNMARK --set-xmark 0x111/0xfff", mark(connection, !0xfff, None, 0x111)),
        ("CONNMARK --save-mark --nfmask 0xff --ctmask 0xfff", mark(connection, !0xfff, Some((packet, 0xff)), 0)),
        ("CONNMARK --restore-mark", mark(packet, 0, Some((connection, u32::MAX)), 0)),
        ("CT --zone 2", Action::Zone(2)),
        ("CT --notrack", Action::Notrack),
        (
            "DNAT --to-destination 10.0.0.1:5000-5010/6000",
            Action::Unknown("DNAT to 10.0.0.1:5000-5010/6000".to_owned()),
        ),
        ("CONNMARK --set-xmark 0x1/0x1 --left-shift-mark 2", Action::Unknown("CONNMARK".to_owned())),
        ("CT --zone mark", Action::Unknown("CT --zone mark".to_owned())),
        ("CT --zone-orig 1", Action::Unknown("CT".to_owned())),
        ("CT --helper ftp", Action::Unknown("CT".to_owned())),
        ("LOG --log-prefix \"a b\" --log-level 7", Action::Nothing),
        ("NFQUEUE --queue-num 0 --queue-bypass", Action::Unknown("NFQUEUE".to_owned())),
    ];
    for (target, action) in table {
        assert_eq!(steps(&format!("-j {target}")), [Step::Do(action)], "{target}");
    }
    assert_eq!(steps("-g USER"), [Step::Do(Action::Goto(1))]);
    let tproxy = steps("-p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff");
    let change = Some(Change { register: packet, keep: 0, other: None, flip: 0x539 });
    let to = Target { ports: Some((15006, 15006)), ..Target::default() };
    assert_eq!(tproxy[1], Step::Do(Action::Tproxy { family: None, to, change, ends: true }));
}

#[test]
fn a_listing_without_table_names() {
    let text = "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n-N A\n-A OUTPUT -j A\n\
                -P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-A OUTPUT -p udp -j CT --zone 1\n";
    let names: Vec<_> = read(text).tables.into_iter().map(|t| t.name).collect();
    assert_eq!(names, ["nat", "raw"]);
}

#[test]
fn counters_and_the_order_of_chains_do_not_matter() {
    let plain = read("*nat\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n-A OUTPUT -j A\n-A A -j RETURN\nCOMMIT\n");
    let counted =
        read("*nat\n:A - [0:0]\n:OUTPUT ACCEPT [7:8]\n[1:60] -A A -j RETURN\n[2:90] -A OUTPUT -j A\nCOMMIT\n");
    assert_eq!(plain.tables[0].chains[0].rules[0].text, counted.tables[0].chains[1].rules[0].text);
}

#[test]
fn the_family_is_found() {
    let family = |name: &str, text: &str, given| {
        let ruleset = Ruleset::read(name, text.as_bytes(), given).expect("a table of the test");
        (ruleset.tables[0].v6, ruleset.notes.len())
    };
    let table = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 4140\nCOMMIT\n";
    assert_eq!(family("a", table, None), (false, 1));
    assert_eq!(family("a", table, Some(Family::V6)), (true, 0));
    assert_eq!(family("pod-v6.rules", table, None), (true, 1));
    let header = format!("# Generated by ip6tables-nft-save v1.8.9 (nf_tables)\n{table}");
    assert_eq!(family("a", &header, None), (true, 0));
    let shown = table.replace("-p tcp", "! -d ::1/128 -p tcp");
    assert_eq!(family("a", &shown, None), (true, 0));
    let shown = table.replace("-p tcp", "-p tcp -d 10.0.0.0/8");
    assert_eq!(family("pod-v6.rules", &shown, None), (false, 0));
}

#[test]
fn a_rule_behind_commit_is_outside_of_a_table() {
    let text = "*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n-A OUTPUT -j RETURN\n";
    let error = Ruleset::read("rules", text.as_bytes(), None).expect_err("a bad line").to_string();
    assert!(error.contains("line 4: a rule outside of a table"), "{error}");
}

#[test]
fn what_a_save_does_not_show_is_noted() {
    let noted = |text: &str| {
        let notes = read(text).notes;
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes[0].what.clone()
    };
    let table = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 1.1.1.1/32 -j RETURN\nCOMMIT\n";
    let warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n";
    assert!(noted(&format!("{table}{warning}")).contains("iptables-legacy-save"));
    let other = "# Table `nat' is incompatible, use 'nft' tool.\n";
    assert!(noted(&format!("{other}{table}")).contains("nft -j list table"));
    assert!(noted("# Generated by iptables-save v1.8.9 on Mon\n# Completed\n").contains("no rules"));
    assert!(noted("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n").contains("no rules"));
}

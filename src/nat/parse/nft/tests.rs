//! Objects of `nft -j`, and what is read from them.

use serde_json::{Value, json};

use crate::nat::numbers::Numbers;
use crate::nat::ruleset::{Action, Change, Family, Match, Register, Ruleset, States, Step, Target, Test};

fn read_rule(expr: Value) -> (Vec<Step>, String, usize) {
    let text = json!({"nftables": [
        {"table": {"family": "inet", "name": "t"}},
        {"chain": {"family": "inet", "table": "t", "name": "user"}},
        {"chain": {"family": "inet", "table": "t", "name": "c", "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
        {"set": {"family": "inet", "table": "t", "name": "s", "elem": ["10.0.0.1", {"prefix": {"addr": "10.1.0.0", "len": 16}}]}},
        {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 9, "expr": expr}},
    ]});
    let ruleset = Ruleset::read("x", text.to_string().as_bytes(), None).expect("a table of the test");
    let rule = &ruleset.tables[0].chains[1].rules[0];
    (rule.steps.clone(), rule.text.clone(), ruleset.notes.len())
}

#[test]
fn matches_with_what_they_imply() {
    let last = |expr: Value| match read_rule(json!([expr])) {
        (steps, _, 0) => match steps.last() {
            Some(Step::Match(m)) => (m.negated, m.test.clone(), steps.len()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let payload = |protocol: &str, field: &str, op: &str, right: Value| json!({"match": {"op": op, "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}});
    let meta = |key: &str, op: &str, right: Value| json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}});
    let ranges = |r: &[(u32, u32)]| Numbers::from_ranges(r.to_vec());
    assert_eq!(
        last(payload("tcp", "dport", "!=", json!({"set": [53, 15008]}))),
        (true, Test::DestinationPort(ranges(&[(53, 53), (15008, 15008)])), 2)
    );
    assert_eq!(
        last(payload("tcp", "dport", "==", json!({"range": [22000, 22500]}))),
        (false, Test::DestinationPort(ranges(&[(22000, 22500)])), 2)
    );
    assert_eq!(last(payload("udp", "sport", "<", json!(10))), (false, Test::SourcePort(ranges(&[(0, 9)])), 2));
    assert_eq!(last(meta("skuid", "!=", json!(1337))), (true, Test::Uid(Numbers::one(1337)), 2));
    assert_eq!(last(meta("l4proto", "==", json!("tcp"))), (false, Test::Protocol(Numbers::one(6)), 1));
    assert_eq!(last(meta("nfproto", "==", json!("ipv6"))), (false, Test::Family(Family::V6), 1));
    assert_eq!(last(meta("iifname", "==", json!("br*"))), (false, Test::In("br".to_owned(), true), 1));
    assert_eq!(last(meta("mark", "!=", json!(1338))), (true, Test::Mark(Register::Packet, 1338, u32::MAX), 1));
    let masked = json!({"match": {"op": "!=", "left": {"&": [{"meta": {"key": "mark"}}, 4095]}, "right": 1337}});
    assert_eq!(last(masked), (true, Test::Mark(Register::Packet, 1337, 4095), 1));
    let states = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
    assert_eq!(last(states), (false, Test::State(States(12)), 1));
    // One of the flags; `syn` alone is the same.
    let flags = |op: &str, right: Value| payload("tcp", "flags", op, right);
    assert_eq!(last(flags("in", json!(["syn", "ack"]))), (true, Test::TcpFlags(0x12, 0), 2));
    assert_eq!(last(flags("==", json!("syn"))), (false, Test::TcpFlags(0xff, 2), 2));
    let ct_mark = json!({"match": {"op": "!=", "left": {"ct": {"key": "mark"}}, "right": 273}});
    assert_eq!(last(ct_mark), (true, Test::Mark(Register::Connection, 273, u32::MAX), 2));
    let fib = json!({"match": {"op": "!=", "left": {"fib": {"result": "type", "flags": "daddr"}}, "right": "local"}});
    assert_eq!(last(fib), (true, Test::Local(false), 1));
    let (_, Test::Destination(named), _) = last(payload("ip", "daddr", "==", json!("@s"))) else {
        panic!("no addresses")
    };
    assert!(
        named.contains("10.1.2.3".parse().expect("an address"))
            && !named.contains("10.0.0.2".parse().expect("an address"))
    );
}

#[test]
fn statements() {
    let only_action = |expr: Value| match read_rule(json!([expr])).0.pop() {
        Some(Step::Do(action)) => action,
        other => panic!("{other:?}"),
    };
    let mark = |register, keep, other, flip| Action::Mark(Change { register, keep, other, flip });
    let ports = |port| Some((port, port));
    assert_eq!(
        only_action(json!({"redirect": {"port": 15001}})),
        Action::Redirect(Target { ports: ports(15001), ..Target::default() })
    );
    assert_eq!(
        only_action(json!({"dnat": {"family": "ip6", "addr": "::1", "port": 8600}})),
        Action::Dnat(Target { address: "::1".parse().ok(), ports: ports(8600), random: false })
    );
    assert_eq!(only_action(json!({"jump": {"target": "user"}})), Action::Jump(0));
    assert_eq!(only_action(json!({"mangle": {"key": {"ct": {"key": "zone"}}, "value": 2}})), Action::Zone(2));
    assert_eq!(only_action(json!({"mangle": {"key": {"meta": {"key": "nftrace"}}, "value": 1}})), Action::Nothing);
    let one_way = json!({"mangle": {"key": {"ct": {"key": "zone", "dir": "original"}}, "value": 2}});
    assert!(matches!(only_action(one_way), Action::Unknown(_)));
    let ct_mark = json!({"ct": {"key": "mark"}});
    let set = |value: Value| only_action(json!({"mangle": {"key": ct_mark, "value": value}}));
    assert_eq!(
        set(json!({"meta": {"key": "mark"}})),
        mark(Register::Connection, 0, Some((Register::Packet, u32::MAX)), 0)
    );
    assert_eq!(
        set(json!({"|": [{"&": [ct_mark, 4294963473u32]}, 273]})),
        mark(Register::Connection, 4294963473 & !273, None, 273)
    );
}

#[test]
fn rules_read_like_nft() {
    let text = read_rule(json!([
        {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "lo"}},
        {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "127.0.0.1"}},
        {"counter": {"packets": 0, "bytes": 0}},
        {"redirect": {"port": 15006}},
    ]))
    .1;
    assert_eq!(text, "oifname lo ip daddr != 127.0.0.1 redirect to :15006");
}

#[test]
fn what_is_not_known_is_kept() {
    let (steps, _, notes) =
        read_rule(json!([{"match": {"op": "==", "left": {"rt": {"key": "mtu"}}, "right": 5}}, {"queue": null}]));
    assert_eq!(notes, 2);
    assert!(matches!(&steps[0], Step::Match(Match { test: Test::Unknown(_), .. })));
    assert!(matches!(&steps[1], Step::Do(Action::Unknown(_))));
}

#[test]
fn opaque_rules_are_refused_with_the_command() {
    let text = json!({"nftables": [
        {"table": {"family": "ip", "name": "nat"}},
        {"chain": {"family": "ip", "table": "nat", "name": "A"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "A", "handle": 6, "expr": [{"xt": {"type": "target", "name": "REDIRECT"}}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "A", "handle": 7, "expr": [{"xt": null}]}},
    ]});
    let error = Ruleset::read("x", text.to_string().as_bytes(), None).expect_err("opaque").to_string();
    for part in ["2 rules", "iptables-save", "ip nat A handle 6"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn chains_that_the_kernel_does_not_walk() {
    let chain = |flags: Value, hook: &str| {
        let text = json!({"nftables": [
            {"table": {"family": "inet", "name": "t", "flags": flags}},
            {"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": hook, "prio": 0}},
            {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 2, "expr": [{"drop": null}]}},
        ]});
        let ruleset = Ruleset::read("x", text.to_string().as_bytes(), None).expect("a table of the test");
        (ruleset.tables[0].chains[0].base.is_some(), ruleset.notes.len())
    };
    assert_eq!(chain(json!([]), "output"), (true, 0));
    assert_eq!(chain(json!(["dormant"]), "output"), (false, 0));
    assert_eq!(chain(json!("dormant"), "output"), (false, 0));
    assert_eq!(chain(json!([]), "ingress"), (false, 1));
}

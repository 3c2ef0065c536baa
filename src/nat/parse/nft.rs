//! The output of `nft -j list ruleset` (libnftables-json(5)).

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::nft_text::{self, only};
use super::numbers::Numbers;
use super::options::{addresses, protocol, tcp_flags};
use super::{BadLine, Error};
use crate::nat::ruleset::{
    Action, Addresses, Base, Chain, Change, Family, Hook, Kind, Match, Note, Place, Policy, Register, Rule, Ruleset,
    States, Step, Table, Target, Test,
};

/// Names of sets (table, set) with their elements.
type Sets = HashMap<(String, String), Vec<Value>>;

/// Reads a file.
pub(super) fn read(name: &str, text: &str) -> Result<Ruleset, Error> {
    let not_rules = |what: String| Error::NotRules { file: name.to_owned(), what };
    let json: Value = serde_json::from_str(text).map_err(|e| not_rules(format!("the JSON is broken: {e}")))?;
    let Some(list) = json.get("nftables").and_then(Value::as_array) else {
        return Err(not_rules("it is JSON, but not that of nft -j list ruleset".to_owned()));
    };
    let mut reader = Reader {
        ruleset: Ruleset { files: vec![name.to_owned()], ..Ruleset::default() },
        tables: HashMap::new(),
        chains: HashMap::new(),
        sets: HashMap::new(),
        bad: Vec::new(),
        opaque: Vec::new(),
    };
    // Chains and sets first: rules refer to those that come later.
    for (kind, object) in list.iter().filter_map(only) {
        let read = match kind {
            "table" => reader.table(object),
            "chain" => reader.chain(object),
            "set" => reader.set(object),
            _ => Some(()),
        };
        if read.is_none() {
            reader.bad.push(BadLine::new(kind, &object.to_string(), "a part is missing or makes no sense"));
        }
    }
    for (_, object) in list.iter().filter_map(only).filter(|(kind, _)| *kind == "rule") {
        reader.rule(object);
    }
    if !reader.opaque.is_empty() {
        return Err(Error::Opaque { file: name.to_owned(), rules: reader.opaque });
    }
    if reader.bad.is_empty() {
        Ok(reader.ruleset)
    } else {
        Err(Error::Lines { file: name.to_owned(), lines: reader.bad })
    }
}

struct Reader {
    ruleset: Ruleset,
    /// From family and name to an index; tables that see no IP are not there.
    tables: HashMap<String, usize>,
    /// From table and name to an index.
    chains: HashMap<(usize, String), usize>,
    sets: Sets,
    bad: Vec<BadLine>,
    /// Rules of iptables-nft.
    opaque: Vec<String>,
}

/// The key of the table that an object belongs to.
fn table_key(object: &Value, name: &str) -> Option<String> {
    Some(format!("{} {}", object.get("family")?.as_str()?, object.get(name)?.as_str()?))
}

impl Reader {
    fn table(&mut self, object: &Value) -> Option<()> {
        let (v4, v6) = match object.get("family")?.as_str()? {
            "ip" => (true, false),
            "ip6" => (false, true),
            "inet" => (true, true),
            // arp, bridge, netdev: not in the way of a pod's connections.
            _ => return Some(()),
        };
        let name = object.get("name")?.as_str()?.to_owned();
        self.tables.insert(table_key(object, "name")?, self.ruleset.tables.len());
        self.ruleset.tables.push(Table { v4, v6, name, chains: Vec::new() });
        Some(())
    }

    fn chain(&mut self, object: &Value) -> Option<()> {
        let key = table_key(object, "table")?;
        let Some(&table) = self.tables.get(&key) else {
            return matches!(key.split(' ').next(), Some("arp" | "bridge" | "netdev")).then_some(());
        };
        let name = object.get("name")?.as_str()?.to_owned();
        let base = match object.get("hook") {
            None => None,
            Some(hook) => Some(Base {
                hook: Hook::from_name(hook.as_str()?)?,
                kind: match object.get("type")?.as_str()? {
                    "nat" => Kind::Nat,
                    "route" => Kind::Route,
                    _ => Kind::Filter,
                },
                priority: i32::try_from(object.get("prio")?.as_i64()?).ok()?,
                policy: match object.get("policy").and_then(Value::as_str) {
                    Some("drop") => Policy::Drop,
                    _ => Policy::Accept,
                },
            }),
        };
        let chains = &mut self.ruleset.tables[table].chains;
        self.chains.insert((table, name.clone()), chains.len());
        chains.push(Chain { name, base, rules: Vec::new() });
        Some(())
    }

    fn set(&mut self, object: &Value) -> Option<()> {
        let name = object.get("name")?.as_str()?.to_owned();
        let elements = object.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
        self.sets.insert((table_key(object, "table")?, name), elements);
        Some(())
    }

    fn rule(&mut self, object: &Value) {
        let handle = object.get("handle").and_then(Value::as_u64);
        let place = Place { file: 0, line: None, handle };
        let key = table_key(object, "table");
        let Some(&table) = key.as_ref().and_then(|key| self.tables.get(key)) else {
            return;
        };
        let key = key.unwrap_or_default();
        let expressions = object.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = nft_text::rule(expressions);
        let chain_name = object.get("chain").and_then(Value::as_str).unwrap_or_default();
        let whereabouts = format!("{key} {chain_name} {place}");
        let Some(&chain) = self.chains.get(&(table, chain_name.to_owned())) else {
            self.bad.push(BadLine::new(whereabouts, &text, "there is no such chain"));
            return;
        };
        if expressions.iter().any(|e| e.get("xt").is_some()) {
            self.opaque.push(whereabouts);
            return;
        }
        let mut steps = Vec::new();
        for expression in expressions {
            let shown = nft_text::statement(expression).unwrap_or_else(|| expression.to_string());
            let chains = |name: &str| self.chains.get(&(table, name.to_owned())).copied();
            let context = Context { sets: &self.sets, table: &key };
            match context.statement(expression, &shown, &chains, &mut steps) {
                Some(()) => {}
                None => {
                    self.ruleset.notes.push(Note { place, what: format!("`{shown}` is not understood") });
                    let is_match = expression.get("match").is_some();
                    steps.push(if is_match {
                        Step::Match(Match { negated: false, test: Test::Unknown(shown.clone()), text: shown })
                    } else {
                        Step::Do(Action::Unknown(shown))
                    });
                }
            }
        }
        self.ruleset.tables[table].chains[chain].rules.push(Rule { place, text, steps });
    }
}

/// What the expressions of a rule refer to.
struct Context<'a> {
    sets: &'a Sets,
    table: &'a str,
}

impl Context<'_> {
    /// The steps of a statement; none if it is not understood.
    fn statement(
        &self,
        statement: &Value,
        shown: &str,
        chains: &dyn Fn(&str) -> Option<usize>,
        steps: &mut Vec<Step>,
    ) -> Option<()> {
        let (name, body) = only(statement)?;
        let action = match name {
            "match" => return self.matching(body, shown, steps),
            "counter" | "log" | "comment" => return Some(()),
            "accept" => Action::Accept,
            "drop" => Action::Drop,
            "reject" => Action::Reject,
            "return" => Action::Return,
            "continue" => return Some(()),
            "jump" => Action::Jump(chains(body.get("target")?.as_str()?)?),
            "goto" => Action::Goto(chains(body.get("target")?.as_str()?)?),
            "redirect" => Action::Redirect(target(body)?),
            "masquerade" => Action::Masquerade(target(body)?),
            "dnat" | "snat" => {
                if let Some(family) = family(body) {
                    steps.push(implied(Test::Family(family), shown));
                }
                if name == "dnat" { Action::Dnat(target(body)?) } else { Action::Snat(target(body)?) }
            }
            "tproxy" => Action::Tproxy { family: family(body), to: target(body)?, change: None, ends: false },
            "notrack" => Action::Notrack,
            "mangle" => {
                let (key, value) = (body.get("key")?, body.get("value")?);
                match (register(key), key.get("ct").and_then(|ct| ct.get("key")).and_then(Value::as_str)) {
                    (Some(register), _) => Action::Mark(change(register, value)?),
                    (None, Some("zone")) => Action::Zone(u16::try_from(value.as_u64()?).ok()?),
                    _ => return None,
                }
            }
            _ => return None,
        };
        steps.push(Step::Do(action));
        Some(())
    }

    fn matching(&self, body: &Value, shown: &str, steps: &mut Vec<Step>) -> Option<()> {
        let op = body.get("op")?.as_str()?;
        let (kind, left) = only(body.get("left")?)?;
        let right = body.get("right")?;
        let key = |value: &Value| value.get("key").and_then(Value::as_str).map(str::to_owned);
        let mut negated = op == "!=";
        let test = match kind {
            "payload" => {
                let (protocol_name, field) = (left.get("protocol")?.as_str()?, left.get("field")?.as_str()?);
                match (protocol_name, field) {
                    ("ip" | "ip6", "saddr" | "daddr") => {
                        let family = if protocol_name == "ip" { Family::V4 } else { Family::V6 };
                        steps.push(implied(Test::Family(family), shown));
                        let list = self.addresses(op, right)?;
                        if field == "saddr" { Test::Source(list) } else { Test::Destination(list) }
                    }
                    ("ip", "protocol") | ("ip6", "nexthdr") => {
                        let family = if protocol_name == "ip" { Family::V4 } else { Family::V6 };
                        steps.push(implied(Test::Family(family), shown));
                        Test::Protocol(self.numbers(op, right, &protocol)?)
                    }
                    ("tcp" | "udp" | "th", "sport" | "dport") => {
                        if let Some(number) = protocol(protocol_name) {
                            steps.push(implied(Test::Protocol(Numbers::one(number)), shown));
                        }
                        let list = self.numbers(op, right, &|_| None)?;
                        if field == "sport" { Test::SourcePort(list) } else { Test::DestinationPort(list) }
                    }
                    ("tcp", "flags") => {
                        steps.push(implied(Test::Protocol(Numbers::one(6)), shown));
                        // `tcp flags syn` is true if the flag is set, `tcp flags == syn` if it alone is.
                        let flags = flags(right)?;
                        if op == "in" { Test::TcpFlags(flags, flags) } else { Test::TcpFlags(0xff, flags) }
                    }
                    _ => return None,
                }
            }
            "meta" => match key(left)?.as_str() {
                "l4proto" => Test::Protocol(self.numbers(op, right, &protocol)?),
                "nfproto" => Test::Family(if right.as_str()? == "ipv6" { Family::V6 } else { Family::V4 }),
                "protocol" => Test::Family(match right.as_str()? {
                    "ip" => Family::V4,
                    "ip6" => Family::V6,
                    _ => return None,
                }),
                name @ ("iifname" | "iif" | "oifname" | "oif") => {
                    let test = if name.starts_with('i') { Test::In } else { Test::Out };
                    let right = right.as_str()?;
                    match right.strip_suffix('*') {
                        Some(prefix) => test(prefix.to_owned(), true),
                        None => test(right.to_owned(), false),
                    }
                }
                name @ ("skuid" | "skgid") => {
                    // Without a socket the rule ends here, negated or not (`nft_meta.c`).
                    steps.push(implied(Test::HasSocket, shown));
                    let list = self.numbers(op, right, &|name| (name == "root").then_some(0))?;
                    if name == "skuid" { Test::Uid(list) } else { Test::Gid(list) }
                }
                "mark" => Test::Mark(Register::Packet, number(right)?, u32::MAX),
                _ => return None,
            },
            "ct" => match key(left)?.as_str() {
                "state" => {
                    let names =
                        right.as_array().cloned().or_else(|| right.get("set").and_then(Value::as_array).cloned());
                    let names = names.unwrap_or_else(|| vec![right.clone()]);
                    let state = |name: &Value| name.as_str().and_then(States::from_name);
                    let states: Vec<States> = names.iter().map(state).collect::<Option<_>>()?;
                    Test::State(States(states.iter().fold(0, |all, state| all | state.0)))
                }
                "mark" => Test::Mark(Register::Connection, number(right)?, u32::MAX),
                _ => return None,
            },
            "fib" if left.get("result")?.as_str()? == "type" && right.as_str() == Some("local") => {
                match left.get("flags")? {
                    flags if flags.as_str() == Some("daddr") || flags[0] == "daddr" && flags[1].is_null() => {
                        Test::Local(false)
                    }
                    flags if flags.as_str() == Some("saddr") || flags[0] == "saddr" && flags[1].is_null() => {
                        Test::Local(true)
                    }
                    _ => return None,
                }
            }
            "&" => match (register(&left[0]), left[0].get("payload")) {
                (Some(register), _) => Test::Mark(register, number(right)?, number(&left[1])?),
                (None, Some(payload)) if payload["protocol"] == "tcp" && payload["field"] == "flags" => {
                    steps.push(implied(Test::Protocol(Numbers::one(6)), shown));
                    Test::TcpFlags(flags(&left[1])?, flags(right)?)
                }
                _ => return None,
            },
            _ => return None,
        };
        match (op, &test) {
            ("==" | "!=" | "in", _) => {}
            // Turned into a set already.
            ("<" | ">" | "<=" | ">=", Test::SourcePort(_) | Test::DestinationPort(_) | Test::Uid(_) | Test::Gid(_)) => {
                negated = false;
            }
            _ => return None,
        }
        steps.push(Step::Match(Match { negated, test, text: shown.to_owned() }));
        Some(())
    }

    /// The elements on the right side of a match: one, a list, an anonymous or a named set.
    fn elements<'v>(&'v self, right: &'v Value) -> Option<Vec<&'v Value>> {
        let unwrap = |element: &'v Value| element.get("elem").and_then(|e| e.get("val")).unwrap_or(element);
        let list = match right {
            Value::String(name) if name.starts_with('@') => {
                self.sets.get(&(self.table.to_owned(), name[1..].to_owned()))?.as_slice()
            }
            Value::Array(list) => list.as_slice(),
            Value::Object(_) if right.get("set").is_some() => match &right["set"] {
                Value::Array(list) => list.as_slice(),
                one => std::slice::from_ref(one),
            },
            one => std::slice::from_ref(one),
        };
        Some(list.iter().map(unwrap).collect())
    }

    fn numbers(&self, op: &str, right: &Value, name: &dyn Fn(&str) -> Option<u32>) -> Option<Numbers> {
        let one = |value: &Value| number(value).or_else(|| value.as_str().and_then(name));
        if let "<" | ">" | "<=" | ">=" = op {
            let n = one(right)?;
            return Some(Numbers::from_ranges(match op {
                "<" => n.checked_sub(1).map(|last| (0, last)).into_iter().collect(),
                "<=" => vec![(0, n)],
                ">" => n.checked_add(1).map(|first| (first, u32::MAX)).into_iter().collect(),
                _ => vec![(n, u32::MAX)],
            }));
        }
        let range = |value: &Value| match value.get("range") {
            Some(range) => Some((one(&range[0])?, one(&range[1])?)),
            None => one(value).map(|n| (n, n)),
        };
        Some(Numbers::from_ranges(self.elements(right)?.into_iter().map(range).collect::<Option<_>>()?))
    }

    fn addresses(&self, op: &str, right: &Value) -> Option<Addresses> {
        if !matches!(op, "==" | "!=" | "in") {
            return None;
        }
        let one = |value: &Value| -> Option<Addresses> {
            if let Some(range) = value.get("range") {
                let end = |index: usize| range[index].as_str()?.parse::<IpAddr>().ok();
                return Some(Addresses(vec![(end(0)?, end(1)?, u128::MAX)]));
            }
            let text = match value.get("prefix") {
                Some(prefix) => format!("{}/{}", prefix["addr"].as_str()?, prefix["len"].as_u64()?),
                None => value.as_str()?.to_owned(),
            };
            addresses(&text, &mut None).ok()
        };
        let lists = self.elements(right)?.into_iter().map(one).collect::<Option<Vec<_>>>()?;
        Some(Addresses(lists.into_iter().flat_map(|list| list.0).collect()))
    }
}

/// A test that nft makes before the one that is printed.
fn implied(test: Test, shown: &str) -> Step {
    Step::Match(Match { negated: false, test, text: shown.to_owned() })
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

/// TCP flags: a name, a number, a list, or names joined by `|`.
fn flags(value: &Value) -> Option<u8> {
    match value {
        Value::String(name) => tcp_flags(name).ok(),
        Value::Number(_) => u8::try_from(value.as_u64()?).ok(),
        Value::Array(list) => list.iter().try_fold(0, |all, flag| {
            let name = flag.as_str()?;
            Some(all | tcp_flags(name).ok()?)
        }),
        _ => value.get("|")?.as_array()?.iter().try_fold(0, |all, flag| {
            let name = flag.as_str()?;
            Some(all | tcp_flags(name).ok()?)
        }),
    }
}

/// The mark that `meta mark` or `ct mark` is.
fn register(value: &Value) -> Option<Register> {
    match only(value)? {
        ("meta", key) if key["key"] == "mark" => Some(Register::Packet),
        ("ct", key) if key["key"] == "mark" => Some(Register::Connection),
        _ => None,
    }
}

/// `mark set VALUE`, where the value is a number, a mark, or a mark with numbers under `&`, `|` and `^`.
fn change(target: Register, value: &Value) -> Option<Change> {
    if let Some(flip) = number(value) {
        return Some(Change { register: target, keep: 0, other: None, flip });
    }
    // The source's bits that stay, and the bits that are flipped after that.
    let mut operations = Vec::new();
    let mut inner = value;
    let source = loop {
        if let Some(source) = register(inner) {
            break source;
        }
        let (op, operands) = only(inner).filter(|_| operations.len() < 16)?;
        operations.push((op, number(&operands[1])?));
        inner = &operands[0];
    };
    let (mut mask, mut flip) = (u32::MAX, 0);
    for (op, operand) in operations.into_iter().rev() {
        match op {
            "&" => (mask, flip) = (mask & operand, flip & operand),
            "|" => (mask, flip) = (mask & !operand, flip & !operand | operand),
            "^" => flip ^= operand,
            _ => return None,
        }
    }
    Some(if source == target {
        Change { register: target, keep: mask, other: None, flip }
    } else {
        Change { register: target, keep: 0, other: Some((source, mask)), flip }
    })
}

fn family(body: &Value) -> Option<Family> {
    match body.get("family").and_then(Value::as_str) {
        Some("ip") => Some(Family::V4),
        Some("ip6") => Some(Family::V6),
        _ => None,
    }
}

/// Address and port of a translation.
fn target(body: &Value) -> Option<Target> {
    let address = match body.get("addr") {
        Some(address) => Some(address.as_str()?.parse().ok()?),
        None => None,
    };
    let port = |value: &Value| number(value).and_then(|n| u16::try_from(n).ok());
    let mut ports = match body.get("port") {
        None => None,
        Some(value) => match value.get("range") {
            Some(range) => Some((port(&range[0])?, port(&range[1])?)),
            None => port(value).map(|p| (p, p)).map(Some)?,
        },
    };
    let has = |flag: &str, flags: &Value| {
        flags == flag || flags.as_array().is_some_and(|list| list.iter().any(|f| f == flag))
    };
    if body.get("flags").is_some_and(|flags| has("random", flags) || has("fully-random", flags)) {
        ports = ports.or(Some((1, u16::MAX)));
    }
    Some(Target { address, ports })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let states =
            json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
        assert_eq!(last(states), (false, Test::State(States(12)), 1));
        let fib =
            json!({"match": {"op": "!=", "left": {"fib": {"result": "type", "flags": "daddr"}}, "right": "local"}});
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
            Action::Redirect(Target { address: None, ports: ports(15001) })
        );
        assert_eq!(
            only_action(json!({"dnat": {"family": "ip6", "addr": "::1", "port": 8600}})),
            Action::Dnat(Target { address: "::1".parse().ok(), ports: ports(8600) })
        );
        assert_eq!(only_action(json!({"jump": {"target": "user"}})), Action::Jump(0));
        assert_eq!(only_action(json!({"mangle": {"key": {"ct": {"key": "zone"}}, "value": 2}})), Action::Zone(2));
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
}

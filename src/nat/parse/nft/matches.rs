//! What nft's rules ask for.

use std::net::IpAddr;

use serde_json::Value;

use super::text::only;
use super::{Context, number, register};
use crate::nat::numbers::Numbers;
use crate::nat::parse::values::{addresses, interface, protocol, tcp_flags};
use crate::nat::ruleset::{Addresses, Family, Match, Register, States, Step, Test};

impl Context<'_> {
    pub(super) fn matching(&self, body: &Value, shown: &str, steps: &mut Vec<Step>) -> Option<()> {
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
                        // `tcp flags syn,ack` is true if one of them is set, `tcp flags == syn` if it alone is.
                        let flags = flags(right)?;
                        negated ^= op == "in";
                        if op == "in" { Test::TcpFlags(flags, 0) } else { Test::TcpFlags(0xff, flags) }
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
                    interface(right.as_str()?, '*', if name.starts_with('i') { Test::In } else { Test::Out })
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
                "mark" => {
                    steps.push(implied(Test::Tracked, shown));
                    Test::Mark(Register::Connection, number(right)?, u32::MAX)
                }
                _ => return None,
            },
            "fib" if left.get("result")?.as_str()? == "type" && right.as_str() == Some("local") => {
                let flags = left.get("flags")?;
                let address = match flags.as_array().map(Vec::as_slice) {
                    Some([only]) => only,
                    Some(_) => return None,
                    None => flags,
                };
                match address.as_str()? {
                    "daddr" => Test::Local(false),
                    "saddr" => Test::Local(true),
                    _ => return None,
                }
            }
            "&" => match (register(&left[0]), left[0].get("payload")) {
                (Some(register), _) => {
                    if register == Register::Connection {
                        steps.push(implied(Test::Tracked, shown));
                    }
                    Test::Mark(register, number(right)?, number(&left[1])?)
                }
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
pub(super) fn implied(test: Test, shown: &str) -> Step {
    Step::Match(Match { negated: false, test, text: shown.to_owned() })
}

/// TCP flags: a name, a number, a list, or names joined by `|`.
fn flags(value: &Value) -> Option<u8> {
    match value {
        Value::String(name) => tcp_flags(name).ok(),
        Value::Number(_) => u8::try_from(value.as_u64()?).ok(),
        _ => {
            let mut list = value.as_array().or_else(|| value.get("|")?.as_array())?.iter();
            list.try_fold(0, |all, flag| Some(all | tcp_flags(flag.as_str()?).ok()?))
        }
    }
}

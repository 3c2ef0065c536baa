//! The output of `nft -j list ruleset` (libnftables-json(5)).

mod matches;
mod statements;
mod text;

use std::collections::HashMap;

use serde_json::Value;

use self::text::only;
use super::{BadLines, Error, MOST_RULES, shortened};
use crate::nat::ruleset::{
    Action, Base, Chain, Hook, Kind, Match, Note, Place, Policy, Register, Rule, Ruleset, Step, Table, Test,
};

/// Names of sets (table, set) with their elements.
type Sets = HashMap<(String, String), Vec<Value>>;

/// Reads a file.
pub(super) fn read(name: &str, text: &str) -> Result<Ruleset, Error> {
    let not_rules = |what: String| Error::NotRules { file: name.to_owned(), what };
    // A rule has about ten objects; each takes a hundred times its text in memory.
    if text.bytes().filter(|octet| *octet == b'{').count() > 2 * MOST_RULES {
        return Err(not_rules(format!("it has more than {} objects", 2 * MOST_RULES)));
    }
    let json: Value = serde_json::from_str(text).map_err(|e| not_rules(format!("the JSON is broken: {e}")))?;
    let Some(list) = json.get("nftables").and_then(Value::as_array) else {
        return Err(not_rules("it is JSON, but not that of nft -j list ruleset".to_owned()));
    };
    let mut reader = Reader {
        ruleset: Ruleset { files: vec![name.to_owned()], ..Ruleset::default() },
        tables: HashMap::new(),
        chains: HashMap::new(),
        sets: HashMap::new(),
        dormant: Vec::new(),
        bad: BadLines::default(),
        opaque: Vec::new(),
    };
    if list.iter().filter_map(only).any(|(kind, _)| matches!(kind, "add" | "create" | "insert" | "replace")) {
        return Err(not_rules("it is commands for nft -j -f: run nft -j list ruleset where they have run".to_owned()));
    }
    if list.len() > MOST_RULES {
        return Err(not_rules(format!("it has more than {MOST_RULES} rules and chains")));
    }
    // Chains and sets first: rules refer to those that come later.
    for (kind, object) in list.iter().filter_map(only) {
        let read = match kind {
            "table" => reader.table(object),
            "chain" => reader.chain(object),
            "set" => reader.set(object),
            _ => Some(()),
        };
        if read.is_none() {
            reader.bad.add(kind, &object.to_string(), "a part is missing or makes no sense");
        }
    }
    for (_, object) in list.iter().filter_map(only).filter(|(kind, _)| *kind == "rule") {
        reader.rule(object);
    }
    if !reader.opaque.is_empty() {
        return Err(Error::Opaque { file: name.to_owned(), rules: reader.opaque });
    }
    if reader.bad.is_none() && !list.iter().filter_map(only).any(|(kind, _)| kind == "rule") {
        reader.ruleset.notes.push(Note { place: Place::default(), what: "there are no rules in it".to_owned() });
    }
    reader.bad.or(name, reader.ruleset)
}

struct Reader {
    ruleset: Ruleset,
    /// From family and name to an index; tables that see no IP are not there.
    tables: HashMap<String, usize>,
    /// From table and name to an index.
    chains: HashMap<(usize, String), usize>,
    sets: Sets,
    /// Indices of tables.
    dormant: Vec<usize>,
    bad: BadLines,
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
        // The kernel does not look at the chains of a table that sleeps.
        if object
            .get("flags")
            .is_some_and(|f| f == "dormant" || f.as_array().is_some_and(|f| f.contains(&"dormant".into())))
        {
            self.dormant.push(self.ruleset.tables.len());
        }
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
            _ if self.dormant.contains(&table) => None,
            Some(hook) if hook == "ingress" || hook == "egress" => {
                let what = format!("chain {name}: the hook {} is not understood", hook.as_str().unwrap_or_default());
                self.ruleset.notes.push(Note { place: Place::default(), what });
                None
            }
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
        let text = text::rule(expressions);
        let chain_name = object.get("chain").and_then(Value::as_str).unwrap_or_default();
        let whereabouts = format!("{key} {chain_name} {place}");
        let Some(&chain) = self.chains.get(&(table, chain_name.to_owned())) else {
            self.bad.add(whereabouts, &text, "there is no such chain");
            return;
        };
        if expressions.iter().any(|e| e.get("xt").is_some()) {
            self.opaque.push(whereabouts);
            return;
        }
        let mut steps = Vec::new();
        for expression in expressions {
            let shown = text::statement(expression).unwrap_or_else(|| expression.to_string());
            let chains = |name: &str| self.chains.get(&(table, name.to_owned())).copied();
            let context = Context { sets: &self.sets, table: &key };
            match context.statement(expression, &shown, &chains, &mut steps) {
                Some(()) => {}
                None => {
                    self.ruleset.notes.push(Note { place, what: format!("`{}` is not understood", shortened(&shown)) });
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

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

/// The mark that `meta mark` or `ct mark` is.
fn register(value: &Value) -> Option<Register> {
    match only(value)? {
        ("meta", key) if key["key"] == "mark" => Some(Register::Packet),
        ("ct", key) if key["key"] == "mark" => Some(Register::Connection),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

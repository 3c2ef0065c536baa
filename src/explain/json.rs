//! A verdict as JSON.

use serde::{Deserialize, Serialize};

use crate::nat::{Event, Fate, Outcome, Probe, RuleId, Ruleset, Seen, Step, Verdict};

/// A line of `--probes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The packet: `tcp 10.0.0.1:40000 -> 10.0.0.2:80`.
    probe: String,
    uid: Option<u32>,
    gid: Option<u32>,
    mark: Option<u32>,
    #[serde(rename = "in")]
    input: Option<String>,
    out: Option<String>,
    socket: Option<bool>,
}

impl Line {
    /// The probe of a line; what the line leaves out is taken from `common`.
    pub fn probe(&self, common: &Probe) -> Result<Probe, String> {
        let probe: Probe = self.probe.parse()?;
        let probe = Probe {
            uid: self.uid.or(common.uid),
            gid: self.gid.or(common.gid),
            mark: self.mark.or(common.mark),
            input: self.input.clone().or_else(|| common.input.clone()),
            output: self.out.clone().or_else(|| common.output.clone()),
            socket: self.socket.or(common.socket),
            ..probe
        };
        let of_senders = [("uid", probe.uid.is_some()), ("gid", probe.gid.is_some()), ("out", probe.output.is_some())];
        match (probe.input.as_deref(), of_senders.into_iter().find(|(_, given)| *given)) {
            (Some("lo"), _) => Err("`in` is lo: what comes in by lo was sent by the pod; leave it out".to_owned()),
            (Some(_), Some((name, _))) => {
                Err(format!("`in` and `{name}`: what comes in was sent by no socket of the pod"))
            }
            _ => Ok(probe),
        }
    }
}

#[derive(Debug, Serialize)]
struct VerdictRow {
    probe: String,
    uid: Option<u32>,
    gid: Option<u32>,
    mark: Option<u32>,
    r#in: Option<String>,
    out: Option<String>,
    socket: Option<bool>,
    incomplete: bool,
    outcomes: Vec<OutcomeRow>,
}

#[derive(Debug, Serialize)]
struct OutcomeRow {
    conditions: Vec<String>,
    fate: String,
    why: Option<String>,
    assumes: Vec<String>,
    rule: Option<RuleRow>,
    source: String,
    source_last_port: u16,
    destination: String,
    destination_last_port: u16,
    socket_address: Option<String>,
    socket_port: Option<u16>,
    interface: Option<String>,
    tracked: bool,
    zone: u16,
    connection_mark: Option<u32>,
    interfaces: Vec<ViewRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    walk: Option<Vec<EventRow>>,
}

#[derive(Debug, Serialize)]
struct RuleRow {
    file: String,
    line: Option<u32>,
    handle: Option<u64>,
    table: String,
    chain: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct ViewRow {
    name: String,
    packets: [String; 2],
    replies: Option<[String; 2]>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum EventRow {
    Hook { name: String, r#in: String, out: String },
    Chain { table: String, chain: String },
    Skipped { table: String, chain: String, because: String },
    Rule { rule: RuleRow, depth: usize, matched: bool, test: Option<String>, because: Option<String> },
    Policy { table: String, chain: String, policy: String },
    Translated { source: String, destination: String },
    Routed { interface: String },
}

/// A verdict as JSON, in one line if it is brief; then the walk is left out.
pub fn verdict(rules: &Ruleset, probe: &Probe, verdict: &Verdict, brief: bool) -> String {
    let row = VerdictRow {
        probe: probe.to_string(),
        uid: probe.uid,
        gid: probe.gid,
        mark: probe.mark,
        r#in: probe.input.clone(),
        out: probe.output.clone(),
        socket: probe.socket,
        incomplete: verdict.incomplete,
        outcomes: verdict.outcomes.iter().map(|o| outcome(rules, o, brief)).collect(),
    };
    let printed = if brief { serde_json::to_string(&row) } else { serde_json::to_string_pretty(&row) };
    // Strings, numbers and lists of them always have a JSON form.
    printed.unwrap_or_default()
}

fn outcome(rules: &Ruleset, outcome: &Outcome, brief: bool) -> OutcomeRow {
    let pair = |(a, b): (std::net::SocketAddr, std::net::SocketAddr)| [a.to_string(), b.to_string()];
    let (socket_address, socket_port) = match &outcome.fate {
        Fate::Proxied { address, port } => (address.map(|a| a.to_string()), Some(*port)),
        _ => (None, None),
    };
    OutcomeRow {
        conditions: outcome.conditions.iter().map(ToString::to_string).collect(),
        fate: outcome.fate.name().to_owned(),
        why: match &outcome.fate {
            Fate::Unknown { why } => Some(why.clone()),
            _ => outcome.why.clone(),
        },
        assumes: outcome.assumes.clone(),
        rule: outcome.rule.map(|id| rule(rules, id)),
        source: outcome.source.to_string(),
        source_last_port: outcome.source_last,
        destination: outcome.destination.to_string(),
        destination_last_port: outcome.destination_last,
        socket_address,
        socket_port,
        interface: if let Fate::Sent { interface } = &outcome.fate { Some(interface.clone()) } else { None },
        tracked: outcome.tracked,
        zone: outcome.zone,
        connection_mark: outcome.connection_mark,
        interfaces: outcome
            .views
            .iter()
            .map(|v| ViewRow { name: v.interface.clone(), packets: pair(v.packets), replies: v.replies.map(pair) })
            .collect(),
        walk: (!brief).then(|| outcome.walk.iter().map(|e| event(rules, e)).collect()),
    }
}

fn rule(rules: &Ruleset, id: RuleId) -> RuleRow {
    let found = rules.rule(id);
    RuleRow {
        file: rules.files.get(found.place.file).cloned().unwrap_or_default(),
        line: found.place.line,
        handle: found.place.handle,
        table: rules.tables[id.table].name.clone(),
        chain: rules.chain(id.table, id.chain).name.clone(),
        text: found.text.clone(),
    }
}

fn event(rules: &Ruleset, event: &Event) -> EventRow {
    let names = |table: usize, chain: usize| (rules.tables[table].name.clone(), rules.chain(table, chain).name.clone());
    match event {
        Event::Hook(hook, input, output) => {
            EventRow::Hook { name: hook.name().to_owned(), r#in: input.clone(), out: output.clone() }
        }
        Event::Chain(table, chain) => {
            let (table, chain) = names(*table, *chain);
            EventRow::Chain { table, chain }
        }
        Event::Skipped(table, chain, because) => {
            let (table, chain) = names(*table, *chain);
            EventRow::Skipped { table, chain, because: (*because).to_owned() }
        }
        Event::Rule(id, depth, seen) => {
            let (test, because) = match seen {
                Seen::Matched => (None, None),
                Seen::Failed(step, because) => (super::test_text(rules, *id, *step), Some(because.clone())),
            };
            EventRow::Rule { rule: rule(rules, *id), depth: *depth, matched: *seen == Seen::Matched, test, because }
        }
        Event::Policy(t, c) => {
            let (table, chain) = names(*t, *c);
            let policy = rules.chain(*t, *c).base.map_or("", |base| base.policy.name()).to_owned();
            EventRow::Policy { table, chain, policy }
        }
        Event::Translated(source, destination) => {
            EventRow::Translated { source: source.to_string(), destination: destination.to_string() }
        }
        Event::Routed(interface) => EventRow::Routed { interface: interface.clone() },
    }
}

/// The text of the test in a step.
pub(super) fn step_text(step: &Step) -> Option<String> {
    match step {
        Step::Match(test) => Some(test.text.clone()),
        Step::Do(_) => None,
    }
}

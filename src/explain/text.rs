//! A verdict for people: first what happens, then what tcpdump shows, then each rule.

use std::io::{self, Write};

use crate::nat::{Event, Fate, Outcome, Probe, RuleId, Ruleset, Seen, Verdict};

/// Writes a verdict.
pub(super) fn verdict(rules: &Ruleset, probe: &Probe, verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let known = [
        probe.uid.map(|uid| format!("uid {uid}")),
        probe.gid.map(|gid| format!("gid {gid}")),
        probe.mark.map(|mark| format!("mark {mark:#x}")),
    ];
    let from = match &probe.input {
        Some(interface) => format!("comes in by {interface}"),
        None => "sent by a socket of the pod".to_owned(),
    };
    let known: Vec<String> = std::iter::once(from).chain(known.into_iter().flatten()).collect();
    writeln!(out, "{probe}   {}", known.join(", "))?;
    let several = verdict.outcomes.len() > 1;
    for (index, outcome) in verdict.outcomes.iter().enumerate() {
        let last = several && index + 1 == verdict.outcomes.len() && !verdict.incomplete;
        writeln!(out, "  {}{}", conditions(outcome, last), headline(rules, probe, outcome))?;
    }
    if verdict.incomplete {
        writeln!(out, "  and more outcomes: too much is not known; give --uid, --gid or --mark")?;
    }
    for (index, outcome) in verdict.outcomes.iter().enumerate() {
        let last = several && index + 1 == verdict.outcomes.len() && !verdict.incomplete;
        writeln!(out)?;
        if several {
            writeln!(out, "{}", conditions(outcome, last).trim_end())?;
        }
        views(outcome, out)?;
        writeln!(out)?;
        walk(rules, &outcome.walk, out)?;
    }
    Ok(())
}

/// `uid 1337: `, or nothing if there are no conditions.
fn conditions(outcome: &Outcome, last: bool) -> String {
    if last {
        return "any other: ".to_owned();
    }
    let all: Vec<String> = outcome.conditions.iter().map(ToString::to_string).collect();
    if all.is_empty() { String::new() } else { format!("{}: ", all.join(", ")) }
}

/// What happens and which rule decided: `REDIRECT to 127.0.0.1:15001 in rules.txt line 25: -A ...`.
fn headline(rules: &Ruleset, probe: &Probe, outcome: &Outcome) -> String {
    let port = |address: std::net::SocketAddr, last: u16| {
        if last == address.port() { address.to_string() } else { format!("{address}-{last}") }
    };
    let mut parts = Vec::new();
    if outcome.destination.ip() != probe.destination.ip() || outcome.destination.port() != probe.destination.port() {
        parts.push(format!("redirected to {}", port(outcome.destination, outcome.destination_last)));
    }
    if outcome.source != probe.source {
        parts.push(format!("with the source {}", port(outcome.source, outcome.source_last)));
    }
    if outcome.zone != 0 {
        parts.push(format!("in conntrack zone {}", outcome.zone));
    }
    match &outcome.fate {
        Fate::Delivered if parts.is_empty() => parts.push("not redirected, to a socket of the pod".to_owned()),
        Fate::Sent { interface } if outcome.destination == probe.destination => {
            parts.insert(0, format!("not redirected, out by {interface}"));
        }
        Fate::Sent { interface } => parts.push(format!("out by {interface}")),
        Fate::Proxied { port, .. } => {
            parts.push(format!("to the transparent socket on port {port}, addresses unchanged"))
        }
        Fate::Dropped => parts = vec!["dropped".to_owned()],
        Fate::Rejected => parts = vec!["rejected".to_owned()],
        Fate::Unknown => parts = vec![format!("not known: {}", outcome.why.as_deref().unwrap_or_default())],
        Fate::Delivered => {}
    }
    let by = match outcome.rule {
        Some(id) => format!(", by {}: {}", rules.whereabouts(rules.rule(id).place), rules.rule(id).text),
        None if outcome.fate == Fate::Dropped => ", by the policy of the chain".to_owned(),
        None => ", no rule decides".to_owned(),
    };
    parts.join(", ") + &by
}

fn views(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    for view in &outcome.views {
        let (packets, replies) = (view.packets, view.replies);
        writeln!(out, "  tcpdump on {}: {} > {}", view.interface, packets.0, packets.1)?;
        if let Some((from, to)) = replies {
            writeln!(out, "  {:width$}  {from} > {to}", "replies", width = 11 + view.interface.len())?;
        }
    }
    Ok(())
}

fn walk(rules: &Ruleset, events: &[Event], out: &mut dyn Write) -> io::Result<()> {
    let chain = |table: usize, chain: usize| format!("{} {}", rules.tables[table].name, rules.chain(table, chain).name);
    for event in events {
        match event {
            Event::Hook(hook, input, output) => {
                let interface =
                    |word: &str, name: &str| if name.is_empty() { String::new() } else { format!(" {word} {name}") };
                writeln!(out, "  {}{}{}", hook.name(), interface("in", input), interface("out", output))?;
            }
            Event::Chain(t, c) => writeln!(out, "    {}", chain(*t, *c))?,
            Event::Skipped(t, c, why) => writeln!(out, "    {}: skipped, {why}", chain(*t, *c))?,
            Event::Rule(id, depth, seen) => rule(rules, *id, *depth, seen, out)?,
            Event::Policy(t, c) => {
                let policy = rules.chain(*t, *c).base.map_or("", |base| base.policy.name());
                writeln!(out, "      end: policy {policy}")?;
            }
            Event::Translated(source, destination) => writeln!(out, "      now {source} > {destination}")?,
            Event::Routed(interface) => writeln!(out, "  routed to {interface}")?,
        }
    }
    Ok(())
}

fn rule(rules: &Ruleset, id: RuleId, depth: usize, seen: &Seen, out: &mut dyn Write) -> io::Result<()> {
    let found = rules.rule(id);
    let indent = 6 + 2 * depth;
    match seen {
        Seen::Matched => writeln!(out, "{:indent$}* {} {}", "", found.place, found.text),
        Seen::Failed(step, why) => {
            let test = super::test_text(rules, id, *step).unwrap_or_default();
            writeln!(out, "{:indent$}- {} {}", "", found.place, found.text)?;
            writeln!(out, "{:indent$}    no: {test}, but {why}", "")
        }
    }
}

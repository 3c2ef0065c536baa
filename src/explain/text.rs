//! A verdict for people: first what happens and what tcpdump shows of it, then each rule on the way.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;

use crate::nat::{Event, Fate, Host, Outcome, Probe, RuleId, Ruleset, Seen, Verdict};

/// Writes a verdict. `guessed` says that the host is the one that the probe shows.
pub(super) fn verdict(
    rules: &Ruleset,
    host: &Host,
    guessed: bool,
    probe: &Probe,
    verdict: &Verdict,
    out: &mut dyn Write,
) -> io::Result<()> {
    head(host, guessed, probe, out)?;
    let several = verdict.outcomes.len() > 1;
    let name = |index: usize| {
        let last = several && index + 1 == verdict.outcomes.len() && !verdict.incomplete;
        conditions(&verdict.outcomes[index], last)
    };
    for (index, outcome) in verdict.outcomes.iter().enumerate() {
        writeln!(out)?;
        match name(index) {
            Some(name) => writeln!(out, "{}: {}", clean(&name), headline(probe, outcome))?,
            None => writeln!(out, "{}", headline(probe, outcome))?,
        }
        details(rules, outcome, out)?;
    }
    writeln!(out)?;
    if verdict.incomplete {
        writeln!(out, "There are more cases: too much is not known. --uid, --gid and --mark decide some.")?;
    } else if several {
        writeln!(out, "The probe does not say which case it is; --uid, --gid and --mark do.")?;
    }
    writeln!(out, "The way through the rules; * marks those that apply, - those that do not:")?;
    for (index, outcome) in verdict.outcomes.iter().enumerate() {
        let before = index.checked_sub(1).map_or(&[][..], |before| &verdict.outcomes[before].walk);
        if let Some(name) = name(index) {
            writeln!(out, "\n{}:", clean(&name))?;
        }
        walk(rules, before, &outcome.walk, out)?;
    }
    Ok(())
}

/// The probe, what is known of its sender, and the pod that it meets.
fn head(host: &Host, guessed: bool, probe: &Probe, out: &mut dyn Write) -> io::Result<()> {
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
    writeln!(out, "{probe}, {}", clean(&known.join(", ")))?;
    let interfaces = host.interfaces.iter().map(|i| (i.name.as_str(), &i.addresses));
    let lo = Some(("lo", &host.loopback)).filter(|_| !host.loopback.is_empty());
    let addresses: Vec<String> = interfaces
        .chain(lo)
        .map(|(name, addresses)| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} {}", if addresses.is_empty() { "without address".to_owned() } else { addresses.join(" ") })
        })
        .collect();
    let source = if guessed { " (as the probe shows; --address says otherwise)" } else { "" };
    writeln!(out, "the pod: {}{source}", clean(&addresses.join(", ")))
}

/// `uid 1337`, or nothing if there are no conditions.
fn conditions(outcome: &Outcome, last: bool) -> Option<String> {
    if last {
        return Some("any other".to_owned());
    }
    let all: Vec<String> = outcome.conditions.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What happens, in a line.
fn headline(probe: &Probe, outcome: &Outcome) -> String {
    let ports = |end: SocketAddr, last: u16| {
        if last == end.port() { end.to_string() } else { format!("{end}-{last}") }
    };
    let mut parts = Vec::new();
    if outcome.destination != probe.destination {
        parts.push(format!("redirected to {}", ports(outcome.destination, outcome.destination_last)));
    } else if !matches!(outcome.fate, Fate::Proxied { .. }) {
        parts.push("not redirected".to_owned());
    }
    if outcome.source != probe.source {
        parts.push(format!("with the source {}", ports(outcome.source, outcome.source_last)));
    }
    match &outcome.fate {
        Fate::Delivered if outcome.destination == probe.destination => parts.push("stays in the pod".to_owned()),
        Fate::Delivered => {}
        Fate::Sent { interface } => parts.push(format!("leaves by {interface}")),
        Fate::Proxied { address, port } => {
            let socket = address.map_or_else(|| format!("port {port}"), |a| SocketAddr::new(a, *port).to_string());
            parts.insert(0, format!("given to the transparent socket on {socket}, addresses unchanged"));
        }
        Fate::Dropped => {
            parts = vec![outcome.why.as_deref().map_or_else(|| "dropped".to_owned(), |why| format!("dropped: {why}"))];
        }
        Fate::Rejected => parts = vec!["rejected, and its sender is told".to_owned()],
        Fate::Unknown { why } => parts = vec![format!("not known: {why}")],
    }
    if outcome.zone != 0 {
        parts.push(format!("conntrack zone {}", outcome.zone));
    }
    if !outcome.tracked && !matches!(outcome.fate, Fate::Dropped | Fate::Rejected | Fate::Unknown { .. }) {
        parts.push("not tracked".to_owned());
    }
    clean(&parts.join(", ")).into_owned()
}

/// The rule that decided, what tcpdump shows, and what was assumed.
fn details(rules: &Ruleset, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let policy = outcome.walk.iter().rev().find_map(|event| match event {
        Event::Policy(table, chain) => Some(format!("policy of {}", chain_name(rules, *table, *chain))),
        _ => None,
    });
    match (outcome.rule, &outcome.fate) {
        (Some(id), _) => {
            let rule = rules.rule(id);
            writeln!(out, "  by {}: {}", clean(&rules.whereabouts(rule.place)), clean(&rule.text))?;
        }
        (None, Fate::Dropped) if outcome.why.is_none() => {
            writeln!(out, "  by the {}", policy.unwrap_or_default())?;
        }
        (None, Fate::Dropped | Fate::Unknown { .. }) => {}
        (None, _) => writeln!(out, "  no rule decides")?,
    }
    for view in &outcome.views {
        let name = clean(&view.interface);
        writeln!(out, "  tcpdump on {name}: {} > {}", view.packets.0, view.packets.1)?;
        let width = 11 + name.chars().count();
        match view.replies {
            Some((from, to)) => writeln!(out, "  {:width$}  {from} > {to}", "replies")?,
            None => {
                let what = match outcome.fate {
                    Fate::Unknown { .. } => "not known",
                    Fate::Rejected => "none but the rejection",
                    _ => "none",
                };
                writeln!(out, "  {:width$}  {what}", "replies")?;
            }
        }
    }
    for assumed in &outcome.assumes {
        writeln!(out, "  assumed: {}", clean(assumed))?;
    }
    Ok(())
}

/// The way through the rules; what it has in common with the way before is left out.
fn walk(rules: &Ruleset, before: &[Event], events: &[Event], out: &mut dyn Write) -> io::Result<()> {
    let common = events.iter().zip(before).take_while(|(a, b)| a == b).count();
    if common > 0 {
        writeln!(out, "  as above, then")?;
    }
    for event in &events[common..] {
        match event {
            Event::Hook(hook, input, output) => {
                let interface =
                    |word: &str, name: &str| if name.is_empty() { String::new() } else { format!(" {word} {name}") };
                let (input, output) = (interface("in", input), interface("out", output));
                writeln!(out, "  {}{}{}", hook.name(), clean(&input), clean(&output))?;
            }
            Event::Chain(t, c) => writeln!(out, "    {}", chain_name(rules, *t, *c))?,
            Event::Skipped(t, c, why) => writeln!(out, "    {}: skipped, {why}", chain_name(rules, *t, *c))?,
            Event::Rule(id, depth, seen) => rule(rules, *id, *depth, seen, out)?,
            Event::Policy(t, c) => {
                let policy = rules.chain(*t, *c).base.map_or("", |base| base.policy.name());
                writeln!(out, "      end: policy {policy}")?;
            }
            Event::Translated(source, destination) => writeln!(out, "      now {source} > {destination}")?,
            Event::Routed(interface) => writeln!(out, "  routed to {}", clean(interface))?,
        }
    }
    Ok(())
}

fn chain_name(rules: &Ruleset, table: usize, chain: usize) -> String {
    clean(&format!("{} {}", rules.tables[table].name, rules.chain(table, chain).name)).into_owned()
}

fn rule(rules: &Ruleset, id: RuleId, depth: usize, seen: &Seen, out: &mut dyn Write) -> io::Result<()> {
    let found = rules.rule(id);
    let indent = 6 + 2 * depth;
    let text = clean(&found.text);
    match seen {
        Seen::Matched => writeln!(out, "{:indent$}* {} {text}", "", found.place),
        Seen::Failed(step, why) => {
            let test = super::test_text(rules, id, *step).unwrap_or_default();
            writeln!(out, "{:indent$}- {} {text}", "", found.place)?;
            writeln!(out, "{:indent$}    no: {}, but {}", "", clean(&test), clean(why))
        }
    }
}

/// A text that comes from a rules file, without what could drive a terminal.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::evaluate;

    fn explained(rules: &str, probe: &str, set: impl FnOnce(&mut Probe)) -> String {
        let rules = Ruleset::read("rules", rules.as_bytes(), None).expect("rules");
        let mut probe: Probe = probe.parse().expect("a probe");
        set(&mut probe);
        let host = Host::of(&probe);
        let mut out = Vec::new();
        verdict(&rules, &host, true, &probe, &evaluate(&rules, &host, &probe), &mut out).expect("memory is written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn one_answer() {
        let text = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
        let printed = explained(text, "tcp 10.0.0.1:4000 -> 10.0.0.2:80", |probe| probe.mark = Some(0));
        let expected = "\
tcp 10.0.0.1:4000 -> 10.0.0.2:80, sent by a socket of the pod, mark 0x0
the pod: eth0 10.0.0.1 (as the probe shows; --address says otherwise)

redirected to 127.0.0.1:15001
  by rules line 4: -A OUTPUT -p tcp -j REDIRECT --to-ports 15001
  tcpdump on lo: 10.0.0.1:4000 > 127.0.0.1:15001
  replies        10.0.0.2:80 > 10.0.0.1:4000

The way through the rules; * marks those that apply, - those that do not:
  OUTPUT out eth0
    nat OUTPUT
      - line 3 -A OUTPUT -p udp -j RETURN
          no: -p udp, but it is tcp
      * line 4 -A OUTPUT -p tcp -j REDIRECT --to-ports 15001
      now 10.0.0.1:4000 > 127.0.0.1:15001
  routed to lo
  POSTROUTING out lo
  PREROUTING in lo
  INPUT in lo
";
        assert_eq!(printed, expected);
    }

    #[test]
    fn a_policy_and_what_a_dropped_packet_shows() {
        let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp -j ACCEPT\nCOMMIT\n";
        let printed = explained(text, "tcp 10.0.0.9:1 -> 10.0.0.1:80", |probe| probe.input = Some("eth0".to_owned()));
        for line in ["dropped\n  by the policy of filter INPUT\n", "replies          none"] {
            assert!(printed.contains(line), "{printed}");
        }
    }

    #[test]
    fn the_wire_does_not_reach_loopback() {
        let text =
            "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j DNAT --to-destination 127.0.0.1:9\nCOMMIT\n";
        let printed = explained(text, "tcp 10.0.0.9:1 -> 10.0.0.1:80", |probe| probe.input = Some("eth0".to_owned()));
        assert!(printed.contains("dropped: no route leads from the wire to 127.0.0.1\n"), "{printed}");
        assert!(printed.contains("assumed: net.ipv4.conf.*.route_localnet is off\n"), "{printed}");
    }

    #[test]
    fn rules_do_not_drive_the_terminal() {
        let text = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.0.0.2/32 -m comment --comment \"\u{1b}[2J\" -j RETURN\nCOMMIT\n";
        let printed = explained(text, "tcp 10.0.0.1:4000 -> 10.0.0.2:80", |_| {});
        assert!(printed.contains("-j RETURN") && !printed.contains('\u{1b}'), "{printed:?}");
    }
}

//! Whether rules could keep replies away, or keep conntrack from translating them back.
//!
//! A verdict walks the first packet. Its replies are taken to pass raw, mangle and filter; where a rule there could see
//! to the contrary, the outcome says that this was assumed.

use super::{Fate, Outcome};
use crate::nat::numbers::Numbers;
use crate::nat::probe::{Host, Probe};
use crate::nat::ruleset::{Action, Addresses, Family, Kind, Match, Policy, Rule, Ruleset, Step, Test};

/// What an outcome says then.
pub(super) const ASSUMED: &str = "rules of raw, mangle and filter let the replies pass, in the same conntrack zone";

/// Whether there is a rule or a policy that can stop the replies of an outcome, or change how conntrack sees them.
pub(super) fn may_be_stopped(rules: &Ruleset, probe: &Probe, outcome: &Outcome) -> bool {
    let tables = rules.tables.iter().filter(|table| table.sees(Family::of(probe.source.ip())));
    tables.flat_map(|table| &table.chains).any(|chain| {
        let drops = chain.base.is_some_and(|base| base.kind != Kind::Nat && base.policy == Policy::Drop);
        drops || chain.rules.iter().any(|rule| stops(rule, probe, outcome))
    })
}

/// The interface of a packet that comes in, if replies could leave by another: by the first one, if no route says
/// otherwise.
pub(super) fn elsewhere<'a>(host: &Host, probe: &'a Probe) -> Option<&'a str> {
    let input = probe.input.as_deref()?;
    host.interfaces.first().is_some_and(|first| first.name != input).then_some(input)
}

fn stops(rule: &Rule, probe: &Probe, outcome: &Outcome) -> bool {
    use Action::{Drop, Notrack, Reject, Tproxy, Unknown, Zone};
    // Replies from the wire and on lo meet PREROUTING, where TPROXY can take them.
    let come_in = probe.input.is_none() || matches!(outcome.fate, Fate::Sent { .. });
    let mut possible = true;
    for step in &rule.steps {
        match step {
            Step::Match(test) => possible &= may_hold(test, probe, outcome),
            Step::Do(Drop | Reject | Notrack | Zone(_) | Unknown(_)) => return possible,
            Step::Do(Tproxy { .. }) if come_in => return possible,
            Step::Do(_) => {}
        }
    }
    false
}

/// Whether a test can hold for a reply, before it is translated back, after that, or half way.
fn may_hold(test: &Match, probe: &Probe, outcome: &Outcome) -> bool {
    let holds = |found: bool| found != test.negated;
    let from = [outcome.destination.ip(), probe.destination.ip()];
    let to = [outcome.source.ip(), probe.source.ip()];
    let addresses = |set: &Addresses, ends: [_; 2]| ends.into_iter().any(|end| holds(set.contains(end)));
    let ports = |set: &Numbers, first: u16, last: u16, original: u16| {
        first != last || [first, original].into_iter().any(|port| holds(set.contains(port.into())))
    };
    match &test.test {
        Test::Protocol(numbers) => holds(numbers.contains(probe.protocol.number().into())),
        Test::Source(set) => addresses(set, from),
        Test::Destination(set) => addresses(set, to),
        Test::SourcePort(set) => {
            ports(set, outcome.destination.port(), outcome.destination_last, probe.destination.port())
        }
        Test::DestinationPort(set) => ports(set, outcome.source.port(), outcome.source_last, probe.source.port()),
        _ => true,
    }
}

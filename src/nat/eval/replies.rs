//! Whether rules could keep replies away, or keep conntrack from translating them back.
//!
//! A verdict walks the first packet. Its replies are taken to pass raw, mangle and filter; where a rule there could see
//! to the contrary, the outcome says that this was assumed.

use crate::nat::model::Protocol;
use crate::nat::parse::numbers::Numbers;
use crate::nat::probe::Probe;
use crate::nat::ruleset::{Action, Family, Kind, Policy, Rule, Ruleset, Step, Test};

/// What an outcome says then.
pub(super) const ASSUMED: &str = "rules of raw, mangle and filter let the replies pass, in the same conntrack zone";

/// Whether there is a rule or a policy that can stop packets of a probe's kind, or change how conntrack sees them.
pub(super) fn may_stop(rules: &Ruleset, probe: &Probe) -> bool {
    let tables = rules.tables.iter().filter(|table| table.sees(Family::of(probe.source.ip())));
    tables.flat_map(|table| &table.chains).any(|chain| {
        let drops = chain.base.is_some_and(|base| base.kind != Kind::Nat && base.policy == Policy::Drop);
        drops || chain.rules.iter().any(|rule| stops(rule, probe.protocol))
    })
}

fn stops(rule: &Rule, protocol: Protocol) -> bool {
    let number = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let is_for = |numbers: &Numbers, negated| numbers.contains(number) != negated;
    rule.steps.iter().all(|step| match step {
        Step::Match(found) => match &found.test {
            Test::Protocol(numbers) => is_for(numbers, found.negated),
            _ => true,
        },
        Step::Do(_) => true,
    }) && rule.steps.iter().any(|step| {
        use Action::{Drop, Notrack, Reject, Unknown, Zone};
        matches!(step, Step::Do(Drop | Reject | Notrack | Zone(_) | Unknown(_)))
    })
}

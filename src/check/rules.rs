//! Connections against the nat rules that were given.

use super::{Context, Draft};
use crate::audit::Agreement;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    for (number, fact) in context.facts.iter().enumerate() {
        let (code, what, todo) = match fact.agreement {
            Some(Agreement::Bypasses(told)) => {
                ("bypass", format!("it went past the proxy, though the rules redirect it: {}", told.rules), BYPASS_TODO)
            }
            Some(Agreement::Contradicts(told)) => (
                "stale-rules",
                format!("it was redirected to {} as the rules cannot do it: {}", fact.captured().1, told.rules),
                "dump the rules of this pod again, at the time of the capture (iptables-save in its network namespace)",
            ),
            _ => continue,
        };
        found.push(Draft::new(code, &[number], what, todo).at(fact.first()));
    }
    for past in context.audit.iter().flat_map(|audit| audit.past()) {
        let at = context.facts.iter().position(|fact| fact.leg.forward.number == past.conversation);
        let Some(number) = at else { continue };
        let what = format!(
            "it was answered without the proxy, which opened no connection to that port on lo, though the rules redirect \
             it: {}",
            past.told.rules
        );
        let places = context.facts[number].first();
        found.push(Draft::new("bypass", &[number], what, BYPASS_TODO).at(places));
    }
}

const BYPASS_TODO: &str = "see whether the rules were there when it was opened (istio-init, CNI race), or the process runs as the \
                           proxy's user; in either case it had no mTLS and no policy";

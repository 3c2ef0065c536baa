//! Connections against the nat rules that were given.

use super::{Context, Draft};
use crate::audit::Agreement;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    for (number, fact) in context.facts.iter().enumerate() {
        let (code, what, todo) = match fact.agreement {
            Some(Agreement::Bypasses(told)) => {
                let what = format!("it went past the proxy, though the rules redirect it: {}", told.rules);
                found.push(bypass(context, number, what, told.is_certain));
                continue;
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
            "it was answered, and the proxy opened no connection to that port on lo, though the rules redirect it: {}; it \
             went past the proxy, or the proxy answered by itself",
            past.told.rules
        );
        found.push(bypass(context, number, what, past.told.is_certain));
    }
}

/// A connection that went past the proxy, or of which lo shows nothing because it was not captured at that time. `is_sure` if the
/// packets leave no other explanation but that.
fn bypass(context: &Context<'_>, number: usize, mut what: String, is_sure: bool) -> Draft {
    let fact = &context.facts[number];
    let is_covered = context.audit.is_some_and(|audit| audit.covers(fact.leg));
    let todo = match is_covered {
        true => {
            "see whether the rules were there when it was opened (istio-init, CNI race), or the process runs as the proxy's \
             user; in either case it had no mTLS and no policy"
        }
        false => {
            what.push_str("; lo shows nothing from when it was opened on, or nothing before");
            "see whether lo was captured all the time; if it was, whether the rules were there when it was opened (istio-init, \
             CNI race), or the process runs as the proxy's user: then it had no mTLS and no policy"
        }
    };
    Draft::new("bypass", &[number], what, todo).likely(!is_covered || !is_sure).at(fact.first())
}

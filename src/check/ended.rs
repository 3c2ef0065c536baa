//! Who ended it: resets, and requests that nobody answered, across the legs of one call.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::collect::Seen;
use super::facts::{Fact, after};
use super::{Context, Draft};
use crate::nat::Role;

/// How far apart ends of legs of one call are that follow from each other: 1 s, in nanoseconds.
const FOLLOWS: u64 = 1_000_000_000;

/// A request without a response is told after so long: 1 s, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    let facts = context.facts;
    let mut ties: HashMap<u64, Vec<usize>, RandomState> = HashMap::default();
    for (number, fact) in facts.iter().enumerate() {
        if let Some((tie, _)) = fact.tied.tie {
            ties.entry(tie).or_default().push(number);
        }
    }
    let refusals = Refusals::of(facts);
    for (number, fact) in facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp()) {
        if let Some(draft) = invalid(number, fact) {
            found.push(draft);
            continue;
        }
        let mates = fact.tied.tie.as_ref().and_then(|(tie, _)| ties.get(tie)).map_or(&[][..], Vec::as_slice);
        match reset_of(fact) {
            Some(reset) => found.extend(reset_first(facts, number, reset, mates, &refusals)),
            None => found.extend(no_response(context, number, fact)),
        }
    }
}

/// A reset for which its sender's socket is not to blame: the packet that it answers went past the translation.
fn invalid(number: usize, fact: &Fact<'_>) -> Option<Draft> {
    // Of a redirected leg, the listener's own packets show in the forward half: what was not translated back.
    let past = fact.forward.end(!fact.leg.forward.client_is_first);
    let is_redirected = fact.captured() != (fact.leg.client, fact.leg.server);
    if is_redirected && past.first_data.is_some() && fact.client.refusal.is_some() {
        let refusal = fact.client.refusal?;
        let what = format!(
            "a packet of the proxy was not translated back: it came from {}, where {} has no connection, and was answered \
             by a reset",
            fact.captured().1,
            fact.whose(true)
        );
        let draft = Draft::new("invalid-packet-reset", &[number], what, INVALID_TODO);
        return Some(draft.at([refusal.packet, refusal.reset]));
    }
    let refusal = fact.server.refusal.filter(|_| fact.leg.role == Role::InboundPeer)?;
    let is_open = fact.server.syn_ack.is_some() || fact.server.first_data.is_some();
    // Its own socket would not answer any more.
    let is_other_socket = fact.server.lived_on;
    if !is_open
        || fact.client.fin.is_some_and(|fin| fin < refusal.reset)
        || !(is_other_socket || refusal.is_out_of_order)
    {
        return None;
    }
    let what = format!(
        "a packet of the peer was answered by a reset from {}, though the proxy's connection was open{}: conntrack took it \
         for INVALID, nat did not redirect it, and the application's own port refused it",
        fact.leg.server,
        if is_other_socket { " and went on" } else { "" }
    );
    let draft = Draft::new("invalid-packet-reset", &[number], what, INVALID_TODO).likely(!is_other_socket);
    Some(draft.at([refusal.packet, refusal.reset]))
}

const INVALID_TODO: &str = "have INVALID packets dropped instead (Istio: INVALID_DROP, in 1.13 DROP_INVALID, in proxyMetadata; else iptables -t mangle -A PREROUTING \
                            -m conntrack --ctstate INVALID -j DROP), or set net.netfilter.nf_conntrack_tcp_be_liberal=1";

/// The first reset of a leg that was open, and whether the client sent it.
fn reset_of(fact: &Fact<'_>) -> Option<(Seen, bool)> {
    let client = fact.client_reset().map(|seen| (seen, true));
    let server = fact.server.rst.map(|seen| (seen, false));
    let (seen, is_client) = [client, server].into_iter().flatten().min()?;
    let is_open = fact.is_answered() || fact.client.acked.is_some() || fact.client.syn.is_none();
    // What comes after both said goodbye ends nothing.
    let is_over = [fact.client.fin, fact.server.fin].iter().all(|fin| fin.is_some_and(|fin| fin < seen));
    (is_open && !is_over && !fact.is_refused()).then_some((seen, is_client))
}

/// Legs that were refused, by when. No octet ties such a leg to the one on the other side of the proxy.
struct Refusals(Vec<(Seen, usize)>);

impl Refusals {
    fn of(facts: &[Fact<'_>]) -> Refusals {
        let refused = facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp() && fact.is_refused());
        let mut all: Vec<_> = refused.filter_map(|(number, fact)| Some((fact.server.rst?, number))).collect();
        all.sort_unstable();
        Refusals(all)
    }

    /// The one that the proxy met while it had a leg to serve, if there is no other that it can have been.
    fn met(&self, facts: &[Fact<'_>], fact: &Fact<'_>, reset: Seen) -> Option<(Seen, usize)> {
        let other_side = match fact.leg.role {
            Role::InboundPeer => Role::InboundApp,
            Role::OutboundApp => Role::OutboundPeer,
            _ => return None,
        };
        let first = fact.first()?;
        let start =
            self.0.partition_point(|(seen, _)| *seen < first || reset.time.0.saturating_sub(seen.time.0) > FOLLOWS);
        let met = self.0.get(start..)?.iter().take_while(|(seen, _)| *seen < reset);
        let mut met = met.filter(|(_, other)| facts[*other].leg.role == other_side);
        match (met.next(), met.next()) {
            (Some(only), None) => Some(*only),
            _ => None,
        }
    }
}

fn reset_first(
    facts: &[Fact<'_>],
    number: usize,
    (seen, is_client): (Seen, bool),
    mates: &[usize],
    refusals: &Refusals,
) -> Option<Draft> {
    let fact = &facts[number];
    let earlier = mates.iter().filter(|mate| **mate != number).filter_map(|&mate| {
        let (ended, by_client) = ended(&facts[mate])?;
        (ended < seen && seen.time.0.saturating_sub(ended.time.0) <= FOLLOWS).then_some((ended, by_client, mate))
    });
    let cause = earlier.min_by_key(|(ended, ..)| *ended);
    let met = if cause.is_none() && !is_client { refusals.met(facts, fact, seen) } else { None };
    let (who, place, legs) = match (cause, met) {
        (None, Some((refused, other))) => {
            let told =
                format!("{} had refused its connection to {}", facts[other].whose(false), facts[other].leg.server);
            (format!("{} reset it first, after {told}", fact.whose(is_client)), Some(refused), vec![number, other])
        }
        (Some((ended, by_client, mate)), _) => {
            let whose = facts[mate].whose(by_client);
            let how = if facts[mate].client_reset() == Some(ended) || facts[mate].server.rst == Some(ended) {
                "reset"
            } else {
                "closed"
            };
            let other = format!(
                "{whose} {how} the {} leg first, {} passed it on",
                facts[mate].leg.role.name(),
                fact.whose(is_client)
            );
            (other, Some(ended), vec![number, mate])
        }
        (None, None) => (format!("{} reset it first", fact.whose(is_client)), None, vec![number]),
    };
    let asked = fact.client.last_data;
    let is_unanswered = asked.is_some_and(|asked| fact.server.last_data.is_none_or(|last| last < asked));
    // Who said goodbye waits for no response.
    let waits = fact.client.fin.is_none_or(|fin| seen < fin);
    let places = [Some(seen), place].into_iter().flatten();
    if is_unanswered && waits && !is_client {
        let since = asked.map_or(String::new(), |asked| after(asked, seen.time));
        let what = format!("reset {since} after a request, before any response to it: {who}{}", fact.logged());
        let todo = "look at the one that reset it first: a crash or restart, an idle timeout shorter than the proxy's, a \
                    refused protocol (plaintext where TLS is required)";
        return Some(Draft::new("reset-unanswered", &legs, what, todo).at(places.chain(asked)).likely(met.is_some()));
    }
    let what = format!("the connection ended with a reset: {who}{}", fact.logged());
    let todo = "nothing if it had done its work; else look at the one that reset it first";
    Some(Draft::new("connection-reset", &legs, what, todo).at(places).likely(met.is_some()))
}

/// The packet that ended a leg first, and whether its client sent it.
fn ended(fact: &Fact<'_>) -> Option<(Seen, bool)> {
    let of = |seen: Option<Seen>, is_client| seen.map(|seen| (seen, is_client));
    [of(fact.client_reset(), true), of(fact.server.rst, false), of(fact.client.fin, true), of(fact.server.fin, false)]
        .into_iter()
        .flatten()
        .min()
}

/// A request, a long time, and no response until somebody gave up.
fn no_response(context: &Context<'_>, number: usize, fact: &Fact<'_>) -> Option<Draft> {
    let asked = fact.client.first_data?;
    if fact.client.syn.is_none() || fact.server.first_data.is_some() || !fact.is_two_sided() {
        return None;
    }
    let (end, how) = match ended(fact) {
        Some((seen, is_client)) => (seen.time, format!("{} closed it then", fact.whose(is_client))),
        None => (context.collector.end, "the capture ends then".to_owned()),
    };
    if end.0.saturating_sub(asked.time.0) < PATIENCE {
        return None;
    }
    let what =
        format!("{} sent nothing in {} after a request: {how}{}", fact.whose(false), after(asked, end), fact.logged());
    let todo =
        "look for the leg on the other side of the one that did not answer; nothing if the protocol has no responses";
    Some(Draft::new("no-response", &[number], what, todo).at([asked]))
}

//! Connections that did not come about: SYNs that met another connection, that nobody answered, that were refused.

use super::collect::Challenge;
use super::facts::{Fact, after, count};
use super::{Context, Draft};
use crate::capture::Timestamp;

/// A SYN that has been without its own answer for this long is not answered by what came first: 500 ms, in nanoseconds.
const LATE: u64 = 500_000_000;

/// How long a SYN has to be without an answer: 1 s, when the kernel sends it again.
const PATIENCE: u64 = 1_000_000_000;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    for (number, fact) in context.facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp()) {
        if fact.client.syn.is_none() {
            continue;
        }
        match fact.forward.challenge {
            Some(challenge) if is_met(fact, &challenge, context.collector.end) => {
                found.push(met(context, number, fact, &challenge))
            }
            _ if fact.is_refused() => found.push(refused(number, fact)),
            _ => found.extend(unanswered(number, fact, context.collector.end)),
        }
    }
}

/// Whether a SYN came about in spite of what answered it first: by another SYN, late, or not at all.
fn is_met(fact: &Fact<'_>, challenge: &Challenge, end: Timestamp) -> bool {
    let was_sent_again = fact.client.last_syn.is_some_and(|last| challenge.seen < last);
    let since = |until: Timestamp| fact.client.syn.map_or(0, |syn| until.0.saturating_sub(syn.time.0));
    match fact.server.syn_ack {
        Some(answer) => challenge.seen < answer && (was_sent_again || since(answer.time) >= LATE),
        None => was_sent_again || since(end) >= LATE,
    }
}

/// A SYN that another connection answered.
fn met(context: &Context<'_>, number: usize, fact: &Fact<'_>, challenge: &Challenge) -> Draft {
    let syn = fact.client.syn.into_iter().chain([challenge.seen]).chain(fact.client.rst).chain(fact.client.last_syn);
    let outcome = match fact.server.syn_ack {
        Some(at) => format!("it came about {} later", fact.client.syn.map_or(String::new(), |syn| after(syn, at.time))),
        None => "it never came about".to_owned(),
    };
    let from = challenge.from;
    let is_of = |other: &Fact<'_>| {
        [other.leg.forward.number, other.leg.reply.number].contains(&u64::from(challenge.conversation))
    };
    let mut others = context.facts.iter().enumerate().filter(|(other, _)| *other != number);
    // Its own server, or the listener that it was redirected to; or an address of which no other packet was captured
    // before: nobody uses the connection that is in the way any more.
    let is_own = from == fact.leg.server || from == fact.captured().1;
    let other_end = context.collector.conversation(u64::from(challenge.conversation));
    let began = [other_end.end(false).first, other_end.end(true).first].into_iter().flatten().min();
    if is_own || began.is_none_or(|began| fact.client.syn.is_some_and(|syn| syn < began)) {
        let what = format!(
            "the SYN was answered by an ACK from {from} that belongs to an earlier connection of the same port: \
             {outcome}{}",
            fact.logged()
        );
        let todo = "find who keeps the old connection half closed (ss -tan state fin-wait-2, close-wait in the pod) and \
                    let it end: close in the application, an idle timeout in the proxy";
        return Draft::new("half-closed-connection", &[number], what, todo).at(syn).likely(!is_own);
    }
    let other = others.find(|(_, other)| is_of(other)).map(|(other, _)| other);
    let what = format!(
        "the SYN was answered by an ACK of another connection of the same port, to {from}: after redirection both have \
         one address and port: {outcome}{}",
        fact.logged()
    );
    let todo = "do not reuse a source port for several destinations (SO_REUSEADDR with bind, a small \
                ip_local_port_range), or take one of the destinations out of the redirection";
    let legs: Vec<usize> = [Some(number), other].into_iter().flatten().collect();
    Draft::new("port-collision", &legs, what, todo).at(syn)
}

fn refused(number: usize, fact: &Fact<'_>) -> Draft {
    let what = format!("{} refused the connection{}", fact.whose(false), fact.logged());
    let todo = "see whether something listens there, and on that address (ss -tln)";
    Draft::new("connection-refused", &[number], what, todo).at(fact.client.syn.into_iter().chain(fact.server.rst))
}

fn unanswered(number: usize, fact: &Fact<'_>, end: Timestamp) -> Option<Draft> {
    let (syn, last) = fact.client.syn.zip(fact.client.last_syn)?;
    let was_sent_again = fact.client.syns > 1 || end.0.saturating_sub(last.time.0) >= PATIENCE;
    // Who acknowledges something was answered; it is not in the capture.
    if fact.server.packets > 0 || fact.client.acked.is_some() || !was_sent_again {
        return None;
    }
    let until = if fact.client.rst.is_some() { fact.client.last.time } else { end };
    let what = format!(
        "{} did not answer: {} in {}{}",
        fact.whose(false),
        count(u64::from(fact.client.syns), "SYN"),
        after(syn, until),
        fact.logged()
    );
    let todo = match fact.is_inside() {
        true => "see whether the listener's queue is full (nstat -az TcpExtListenOverflows) and the process runs",
        false => "see whether a network policy or firewall drops it on the way, and whether the address still exists",
    };
    Some(Draft::new("unanswered-syn", &[number], what, todo).at([syn, last]))
}

//! Which side is slow: data sent again, and windows that stay closed.

use super::collect::End;
use super::facts::{Fact, after, count, span};
use super::{Context, Draft};

/// A window that is closed for less than this is flow control at work: 200 ms, in nanoseconds.
const STALL: u64 = 200_000_000;

/// The kernel sends what is lost again after its retransmission timeout, 200 ms at least (`TCP_RTO_MIN`); before that, it
/// probes whether an acknowledgment is only late. Less what clocks are off, in nanoseconds.
const LOST: u64 = 150_000_000;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    for (number, fact) in context.facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp()) {
        found.extend(late_handshake(number, fact));
        for is_client in [true, false] {
            let (sender, receiver) = if is_client { (fact.client, fact.server) } else { (fact.server, fact.client) };
            found.extend(again(number, fact, sender, is_client));
            found.extend(stall(number, fact, receiver, is_client, context));
        }
    }
}

/// A SYN that was answered when it was sent again.
fn late_handshake(number: usize, fact: &Fact<'_>) -> Option<Draft> {
    let (syn, answer) = fact.client.syn.zip(fact.server.syn_ack)?;
    let is_late = fact.client.syns > 1 && fact.client.last_syn.is_some_and(|last| last < answer);
    if !is_late || fact.forward.challenge.is_some() || is_twice(fact) {
        return None;
    }
    let whose = fact.whose(false);
    let what = format!(
        "{whose} answered the handshake after {}, when its SYN had been sent {}",
        after(syn, answer.time),
        count(u64::from(fact.client.syns), "time")
    );
    let draft = match fact.is_inside() {
        true => Draft::new(
            "loopback-retransmission",
            &[number],
            what,
            format!(
                "see why {whose} accepts slowly: its listener's queue is full (nstat -az TcpExtListenOverflows), or packets are dropped by rules"
            ),
        ),
        false => Draft::new(
            "retransmission",
            &[number],
            what,
            "see whether the network loses packets on the way, or the server's queue is full",
        ),
    };
    Some(draft.at([syn, answer]))
}

/// Whether two captures on the wire show it: what comes twice need not have been sent twice.
fn is_twice(fact: &Fact<'_>) -> bool {
    fact.forward.has_several && !fact.is_inside()
}

fn again(number: usize, fact: &Fact<'_>, sender: &End, is_client: bool) -> Option<Draft> {
    let first = sender.first_again.filter(|_| !is_twice(fact))?;
    // Nobody acknowledges what comes to a connection that is gone.
    let is_gone = [fact.client.rst, fact.server.rst].into_iter().flatten().any(|reset| reset < first);
    if is_gone || fact.is_inside() && sender.waited < LOST {
        return None;
    }
    let (from, to) = (fact.whose(is_client), fact.whose(!is_client));
    let segments = count(u64::from(sender.again), "segment");
    let draft = match fact.is_inside() {
        true => {
            let what = format!("{from} had to send {segments} again to {to}, though loopback loses nothing by itself");
            let todo = format!(
                "see what drops packets inside the pod: nat or filter rules, conntrack's INVALID (conntrack -S), or a \
                 full receive queue of {to}"
            );
            Draft::new("loopback-retransmission", &[number], what, todo)
        }
        false => {
            let what = format!("{from} had to send {segments} again to {to}");
            let todo = "compare with a capture of the other pod: packets are lost on the way, or acknowledged late";
            Draft::new("retransmission", &[number], what, todo)
        }
    };
    Some(draft.at([first]))
}

/// The receiver of what an end sends does not read.
fn stall(number: usize, fact: &Fact<'_>, receiver: &End, is_client: bool, context: &Context<'_>) -> Option<Draft> {
    // What comes after the end of a connection says nothing of its window.
    let until = match [fact.client.rst, fact.server.rst].into_iter().flatten().min() {
        Some(reset) => reset.time,
        None => context.collector.end,
    };
    let (stall, seen) = receiver.longest_stall(until).filter(|(stall, _)| *stall >= STALL)?;
    let (from, to) = (fact.whose(is_client), fact.whose(!is_client));
    let what = format!("{to} did not read for {}: its window was closed, and {from} had to wait", span(stall));
    let todo = format!("see why {to} does not read: it is busy, or waits for its own other side");
    Some(Draft::new("zero-window", &[number], what, todo).at([seen]))
}

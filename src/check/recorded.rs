//! What the capture itself lacks: directions that a filter lost, packets that were dropped, packets that were cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::collect::Seen;
use super::facts::{Fact, count};
use super::{Context, Draft};
use crate::flow::{Outcome, Reason};

/// Packets of a connection that began before the capture, until its missing direction is told.
const PACKETS: u64 = 4;

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    one_direction(context, found);
    for (number, fact) in context.facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp() && fact.is_two_sided()) {
        found.extend(gap(number, fact));
    }
    dropped(context, found);
    let cut = context.collector.cut;
    if cut > 0 {
        let what = format!("{} cut by the snaplen: what they carried is not in the capture", were(cut));
        let todo = "capture without -s, or with -s 0";
        found.push(Draft::new("snaplen", &[], what, todo).at(context.collector.first_cut));
    }
}

fn were(packets: u64) -> String {
    format!("{} {}", count(packets, "packet"), if packets == 1 { "was" } else { "were" })
}

/// Legs of which only one direction is there, though the other must have been: together, by where they go to.
fn one_direction(context: &Context<'_>, found: &mut Vec<Draft>) {
    let mut lost: BTreeMap<(bool, SocketAddr), Vec<usize>> = BTreeMap::new();
    for (number, fact) in context.facts.iter().enumerate().filter(|(_, fact)| fact.is_tcp()) {
        if let Some(lacks_server) = lacks(fact) {
            let to = if fact.is_inside() && lacks_server { fact.captured().1 } else { fact.leg.server };
            lost.entry((lacks_server, to)).or_default().push(number);
        }
    }
    for ((lacks_server, to), legs) in lost {
        let facts = legs.iter().filter_map(|leg| context.facts.get(*leg));
        let is_redirected = facts.clone().any(|fact| fact.leg.outcome == Outcome::Left(Reason::NoReply));
        let places: Vec<Seen> = facts.filter_map(Fact::first).collect();
        let connections = count(legs.len() as u64, "connection");
        let what = match (lacks_server, is_redirected) {
            (true, true) => format!(
                "all replies of {connections} to {to} are missing: a filter such as `port {}` loses them, since they bear \
                 the service's own address and port",
                to.port()
            ),
            (true, false) => format!("all that the server sent is missing of {connections} to {to}"),
            (false, _) => format!("all that the client sent is missing of {connections} to {to}"),
        };
        let todo = "capture again without a filter, or with one that keeps both directions (meshpcap plan prints it)";
        found.push(Draft::new("one-direction", &legs, what, todo).at(places));
    }
}

/// Whether a leg lacks what its server sent, or what its client did; none if it lacks neither.
fn lacks(fact: &Fact<'_>) -> Option<bool> {
    let (client, server) = (fact.client, fact.server);
    // A reset for want of a socket is no proof: it echoes what it answers.
    let has_answered =
        |end: &super::collect::End| end.acked.is_some() && (end.first_data.is_some() || end.fin.is_some());
    if server.packets == 0 && has_answered(client) && (client.syn.is_some() || client.packets >= PACKETS) {
        return Some(true);
    }
    let is_client_missing = client.packets == 0
        && has_answered(server)
        && (server.syn_ack.is_some() || server.packets >= PACKETS)
        && fact.leg.outcome != Outcome::Left(Reason::Ambiguous);
    is_client_missing.then_some(false)
}

/// Octets that were acknowledged and are not in the capture.
fn gap(number: usize, fact: &Fact<'_>) -> Option<Draft> {
    let ways = [(fact.client, fact.server, true), (fact.server, fact.client, false)];
    let mut places = Vec::new();
    let mut words = Vec::new();
    for (end, other, is_client) in ways {
        let gaps: Vec<_> = end.lost(other).collect();
        let inside: u64 = gaps.iter().map(|gap| u64::from(gap.end.wrapping_sub(gap.start))).sum();
        // Behind all that was captured, a FIN counts as one.
        let behind = u64::from(end.lost_behind(other));
        let is_end = behind > 1 && end.first_data.is_some();
        let octets = inside + if is_end { behind } else { 0 };
        if octets > 0 {
            words.push(format!("{} of {}", count(octets, "octet"), fact.whose(is_client)));
            places.extend(gaps.iter().map(|gap| gap.behind));
            places.extend(Some(end.last).filter(|_| is_end));
        }
    }
    if words.is_empty() {
        return None;
    }
    let what = format!("the capture lacks {}: they were acknowledged, so they arrived", words.join(" and "));
    let todo = "give tcpdump a larger buffer (-B 16384), write to a faster disk, or cut packets (-s 256)";
    Some(Draft::new("capture-gap", &[number], what, todo).at(places))
}

/// What the kernel says that it dropped.
fn dropped(context: &Context<'_>, found: &mut Vec<Draft>) {
    let mut all: Vec<_> = context.collector.dropped.iter().collect();
    all.sort_unstable_by_key(|(place, _)| **place);
    for ((input, interface), dropped) in all {
        let packets = dropped.counted.max(dropped.between);
        let name = context.inputs.get(usize::from(*input)).map_or("", String::as_str);
        let what =
            format!("{} dropped while capturing, by what {name} says of its interface {interface}", were(packets));
        let todo =
            "give the capturing program a larger buffer (tcpdump -B 16384, dumpcap -B 16), or cut packets (-s 256)";
        found.push(Draft::new("packets-dropped", &[], what, todo).at(dropped.first));
    }
}

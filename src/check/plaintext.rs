//! Plaintext among mTLS: connections that lack what their neighbours have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::collect::{End, Speech};
use super::facts::{Fact, count};
use super::{Context, Draft};
use crate::nat::Role;
use crate::ports::{self, Kind};

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    for role in [Role::OutboundPeer, Role::InboundPeer] {
        let mut by_port: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (number, fact) in context.facts.iter().enumerate() {
            let port = fact.leg.server.port();
            if fact.is_tcp() && fact.leg.role == role && fact.client.syn.is_some() && !is_control(port) {
                by_port.entry(port).or_default().push(number);
            }
        }
        for legs in by_port.into_values() {
            among(context, role, &legs, found);
        }
    }
}

/// Whether the mesh itself speaks at a port: metrics and health are plaintext by design.
fn is_control(port: u16) -> bool {
    ports::find(None, Some(port)).any(|row| row.kind == Kind::Control && row.mesh == "istio")
}

/// The plaintext ones of connections to one port.
fn among(context: &Context<'_>, role: Role, legs: &[usize], found: &mut Vec<Draft>) {
    let facts = || legs.iter().filter_map(|&leg| context.facts.get(leg).map(|fact| (leg, fact)));
    let of = |speech: Speech| facts().filter(move |(_, fact)| fact.client.speech == speech);
    let tls: Vec<IpAddr> = of(Speech::Tls).map(|(_, fact)| fact.leg.server.ip()).collect();
    if tls.is_empty() {
        return;
    }
    let others = |what: &str| {
        let (many, is) = (tls.len() as u64, if tls.len() == 1 { "is" } else { "are" });
        format!("{} to this port {is} TLS", count(many, what))
    };
    // A port that answers some plaintext is not strict.
    let answers = of(Speech::Plain).any(|(_, fact)| fact.server.first_data.is_some());
    for (number, fact) in of(Speech::Plain) {
        let is_same = tls.contains(&fact.leg.server.ip());
        let places = fact.client.first_data;
        let draft = match role {
            Role::OutboundPeer if is_asked_for(context, fact) => {
                let what = format!(
                    "the application called {} by its own address, and the proxy passed it on in plaintext, while {}",
                    fact.leg.server,
                    others("connection")
                );
                let todo = "call the service by its name, or declare the addresses (ServiceEntry, headless Service)";
                Draft::new("plaintext-passthrough", &[number], what, todo)
            }
            Role::OutboundPeer => {
                let what =
                    format!("the proxy spoke plaintext to {}, while {}", fact.leg.server, others("other connection"));
                let todo = "see whether that pod has a sidecar and the mesh knows it (istioctl proxy-config endpoints), and \
                            whether a DestinationRule turns TLS off";
                Draft::new("plaintext-out", &[number], what, todo).likely(!is_same)
            }
            _ => {
                let (code, how) = match is_refused(fact) && !answers {
                    true => ("plaintext-refused", "the proxy ended it without a word"),
                    false => ("plaintext-in", "strict mTLS would refuse it"),
                };
                let what = format!(
                    "{} spoke plaintext to {}, while {}: {how}",
                    fact.leg.client.ip(),
                    fact.leg.server,
                    others("other connection")
                );
                let todo = "give the caller a sidecar, or keep this port PERMISSIVE on purpose (PeerAuthentication)";
                Draft::new(code, &[number], what, todo)
            }
        };
        found.push(draft.at(places));
    }
}

/// Whether an application asked the proxy for the very address.
fn is_asked_for(context: &Context<'_>, fact: &Fact<'_>) -> bool {
    let is_it = |other: &Fact<'_>| {
        other.leg.role == Role::OutboundApp
            && other.leg.server == fact.leg.server
            && other.leg.first_time <= fact.leg.first_time
    };
    context.facts.iter().any(is_it)
}

/// Whether the proxy ended it without a word.
fn is_refused(fact: &Fact<'_>) -> bool {
    let ended = |end: &End| [end.rst, end.fin].into_iter().flatten().min();
    let (server, client) = (ended(fact.server), ended(fact.client));
    fact.server.first_data.is_none() && server.is_some_and(|server| client.is_none_or(|client| server < client))
}

//! The comment on the first packet of a leg that was changed or tied: what it is, how it was captured, why it was changed,
//! and how to see all legs of its call.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::flow::{Evidence, Leg, Outcome, Place};
use crate::tie::{self, Tied};

/// Octets of a display filter that a comment repeats, at most; the report has it in any case.
const FILTER: usize = 400;

/// The comment of a leg; `captured` are client and server as captured, where its client is why they are others now.
///
/// `captured as` tells how to undo the change: every packet of the leg from its client bore these addresses.
pub(crate) fn of(leg: &Leg, captured: Option<(SocketAddr, SocketAddr)>, tied: &Tied) -> String {
    let (role, meaning) = (leg.role.name(), leg.role.meaning());
    let mut text = format!("meshpcap: {role} leg, {meaning}: {} > {}", leg.client, leg.server);
    // Writing to a string cannot fail.
    if let Some((source, destination)) = captured.or(leg.captured()) {
        let _ = write!(text, ", captured as {source} > {destination}");
    }
    if let Outcome::Repaired { evidence, .. } = leg.outcome {
        let _ = write!(text, "; evidence: {}", told(&evidence));
    }
    if let Some(evidence) = &tied.evidence {
        let requests = if tied.requests == 1 { "1 request".to_owned() } else { format!("{} requests", tied.requests) };
        let _ = write!(text, "; tied by {}, {requests}", tie_told(evidence));
    }
    match tied.clients.as_slice() {
        [] => {}
        [client] => {
            let _ = write!(text, "; client {client}");
        }
        [first, rest @ ..] => {
            let _ = write!(text, "; clients {first} and {} more", rest.len());
        }
    }
    if let Some((number, filter)) = &tied.tie {
        let _ = write!(text, "; tie {number}");
        if let Some(filter) = filter.as_ref().filter(|filter| filter.len() <= FILTER) {
            let _ = write!(text, ", all its legs: {filter}");
        }
    }
    text
}

/// What a tie rests on, in words.
fn tie_told(evidence: &tie::Evidence) -> String {
    match evidence {
        tie::Evidence::AccessLog { file, line } => format!("the access log, {file} line {line}"),
        tie::Evidence::Bytes => "octets, which no other two legs share".to_owned(),
        tie::Evidence::Elimination => "octets, and all other legs that share them belong elsewhere".to_owned(),
        tie::Evidence::Exchanges => "exchanges that fit into each other in time and size".to_owned(),
    }
}

/// The evidence in words.
fn told(evidence: &Evidence) -> String {
    let (forward, reply) = evidence.places();
    let reply = reply.unwrap_or(forward);
    match evidence {
        Evidence::Handshake { refused: false, .. } => {
            format!("handshake, SYN in {} and SYN-ACK that acknowledges it in {}", at(forward), at(reply))
        }
        Evidence::Handshake { refused: true, .. } => {
            format!("handshake, SYN in {} and RST that acknowledges it in {}", at(forward), at(reply))
        }
        Evidence::Sequence { echo, .. } => {
            let echo = if *echo { ", with timestamp echo" } else { "" };
            format!("sequence numbers of both directions fit{echo}, {} and {}", at(forward), at(reply))
        }
        Evidence::Conntrack { listing, line, .. } => {
            format!("conntrack, line {line} of listing {}; no reply is in the capture", listing + 1)
        }
        Evidence::Dns { .. } => {
            format!("DNS ID and question, query in {} and response in {}", at(forward), at(reply))
        }
    }
}

fn at(place: Place) -> String {
    format!("frame {} of input {}", place.frame, place.input + 1)
}

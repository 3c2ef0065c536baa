//! The comment on the first packet of a repaired leg: what it is, how it was captured, why it was changed.

use crate::flow::{Evidence, Leg, Outcome, Place};

/// The comment of a leg; empty for one that was not repaired.
///
/// `captured as` tells how to undo the repair: every packet of the leg from its client bore these addresses.
pub(crate) fn of(leg: &Leg) -> String {
    let Outcome::Repaired { source, destination, evidence } = leg.outcome else { return String::new() };
    format!(
        "meshpcap: {} leg, {}: {} > {}, captured as {source} > {destination}; evidence: {}",
        leg.role.name(),
        leg.role.meaning(),
        leg.client,
        leg.server,
        told(&evidence),
    )
}

/// The evidence in words.
fn told(evidence: &Evidence) -> String {
    let (forward, reply) = evidence.places();
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
        Evidence::Dns { .. } => {
            format!("DNS ID and question, query in {} and response in {}", at(forward), at(reply))
        }
    }
}

fn at(place: Place) -> String {
    format!("frame {} of input {}", place.frame, place.input + 1)
}

//! The comment on the first packet of a leg that was changed or tied: what it is, how it was captured, why it was changed,
//! and how to see all legs of its call.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{Evidence, Leg, Outcome, Place};
use crate::tie::{self, Tied};

/// Octets of a display filter that a comment repeats, at most; the report has it in any case.
const FILTER: usize = 400;

/// Octets of most comments, at most.
const USUAL: usize = 512;

/// The comment of a leg; `captured` are client and server as captured, where its client is why they are others now.
///
/// `captured as` tells how to undo the change: every packet of the leg from its client bore these addresses.
pub(crate) fn of(leg: &Leg, captured: Option<(SocketAddr, SocketAddr)>, tied: &Tied) -> String {
    let mut text = Text(String::with_capacity(USUAL));
    text.words(&["meshpcap: ", leg.role.name(), " leg, ", leg.role.meaning(), ": "]);
    text.ends(leg.client, leg.server);
    if let Some((source, destination)) = captured.or(leg.captured()) {
        text.word(", captured as ");
        text.ends(source, destination);
    }
    if let Outcome::Repaired { evidence, .. } = leg.outcome {
        text.word("; evidence: ");
        text.evidence(&evidence);
    }
    if let Some(evidence) = &tied.evidence {
        text.word("; tied by ");
        text.tied_by(evidence);
        text.word(", ");
        text.number(tied.requests);
        text.word(if tied.requests == 1 { " request" } else { " requests" });
    }
    match tied.clients.as_slice() {
        [] => {}
        [client] => {
            text.word("; client ");
            text.address(*client);
        }
        [first, rest @ ..] => {
            text.word("; clients ");
            text.address(*first);
            text.word(" and ");
            text.number(rest.len() as u64);
            text.word(" more");
        }
    }
    if let Some((number, filter)) = &tied.tie {
        text.word("; tie ");
        text.number(*number);
        if let Some(filter) = filter.as_ref().filter(|filter| filter.len() <= FILTER) {
            text.words(&[", all its legs: ", filter]);
        }
    }
    text.0
}

/// A comment that is being written. Each leg has one, so it is put together without what `format!` asks of each part.
struct Text(String);

impl Text {
    fn word(&mut self, word: &str) {
        self.0.push_str(word);
    }

    fn words(&mut self, words: &[&str]) {
        words.iter().for_each(|word| self.word(word));
    }

    fn number(&mut self, number: u64) {
        self.word(itoa::Buffer::new().format(number));
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                self.number(first.into());
                for octet in rest {
                    self.word(".");
                    self.number(octet.into());
                }
            }
            IpAddr::V6(address) => self.word(&address.to_string()),
        }
    }

    /// One end of a connection, as RFC 5952, section 6 writes it.
    fn end(&mut self, end: SocketAddr) {
        if end.is_ipv6() {
            return self.word(&end.to_string());
        }
        self.address(end.ip());
        self.word(":");
        self.number(end.port().into());
    }

    fn ends(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.end(source);
        self.word(" > ");
        self.end(destination);
    }

    fn at(&mut self, place: Place) {
        self.word("frame ");
        self.number(place.frame);
        self.word(" of input ");
        self.number(u64::from(place.input) + 1);
    }

    /// What a tie rests on, in words.
    fn tied_by(&mut self, evidence: &tie::Evidence) {
        match evidence {
            tie::Evidence::AccessLog { file, line } => {
                self.words(&["the access log, ", file, " line "]);
                self.number(*line);
            }
            tie::Evidence::Bytes => self.word("octets, which no other two legs share"),
            tie::Evidence::Elimination => self.word("octets, and all other legs that share them belong elsewhere"),
            tie::Evidence::Exchanges => self.word("exchanges that fit into each other in time and size"),
        }
    }

    /// The evidence of a repair, in words.
    fn evidence(&mut self, evidence: &Evidence) {
        let (forward, reply) = evidence.places();
        let (before, between) = match evidence {
            Evidence::Handshake { refused: false, .. } => {
                ("handshake, SYN in ", " and SYN-ACK that acknowledges it in ")
            }
            Evidence::Handshake { refused: true, .. } => ("handshake, SYN in ", " and RST that acknowledges it in "),
            Evidence::Sequence { echo: false, .. } => ("sequence numbers of both directions fit, ", " and "),
            Evidence::Sequence { echo: true, .. } => {
                ("sequence numbers of both directions fit, with timestamp echo, ", " and ")
            }
            Evidence::Dns { .. } => ("DNS ID and question, query in ", " and response in "),
            Evidence::Conntrack { listing, line, .. } => {
                self.word("conntrack, line ");
                self.number(*line);
                self.word(" of listing ");
                self.number(u64::from(*listing) + 1);
                return self.word("; no reply is in the capture");
            }
        };
        self.word(before);
        self.at(forward);
        self.word(between);
        self.at(reply.unwrap_or(forward));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_written_as_everywhere_else() {
        for end in ["0.0.0.0:0", "255.255.255.255:65535", "10.1.2.30:15001", "[::1]:80", "[2001:db8::ff]:443"] {
            let end: SocketAddr = end.parse().expect("an address and a port");
            let mut text = Text(String::new());
            text.ends(end, end);
            text.word(" ");
            text.address(end.ip());
            assert_eq!(text.0, format!("{end} > {end} {}", end.ip()));
        }
    }
}

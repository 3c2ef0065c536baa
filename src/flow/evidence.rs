//! Why a leg was repaired, or why it was not.

use super::half::PackedPlace;
use super::segment::Place;

/// What a translation was accepted on, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The reply half acknowledges the SYN of the forward half.
    Handshake {
        /// The SYN.
        syn: Place,
        /// The SYN-ACK, or the RST that refused it.
        answer: Place,
        /// Whether the answer was a RST.
        refused: bool,
    },
    /// The capture began mid-stream: sequence and acknowledgment numbers of both halves fit each other.
    Sequence {
        /// A segment of the forward half.
        forward: Place,
        /// The segment of the reply half that fits it.
        reply: Place,
        /// Whether one of the numbers only lies within the window, and a timestamp echo proves the rest.
        echo: bool,
    },
    /// A DNS response repeats the ID and the question of the query.
    Dns {
        /// The query.
        query: Place,
        /// The response.
        reply: Place,
    },
    /// No reply is in the capture, and conntrack lists the connection.
    Conntrack {
        /// The first packet of the forward half.
        forward: Place,
        /// The listing, from 0.
        listing: u16,
        /// The line, from 1.
        line: u64,
    },
}

impl Evidence {
    /// The name as the report writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Evidence::Handshake { .. } => "handshake",
            Evidence::Sequence { echo: false, .. } => "sequence",
            Evidence::Sequence { echo: true, .. } => "sequence+timestamps",
            Evidence::Dns { .. } => "dns",
            Evidence::Conntrack { .. } => "conntrack",
        }
    }

    /// The two packets that prove the leg: of the forward half, of the reply half if it was captured.
    pub fn places(&self) -> (Place, Option<Place>) {
        match *self {
            Evidence::Handshake { syn, answer, .. } => (syn, Some(answer)),
            Evidence::Sequence { forward, reply, .. } => (forward, Some(reply)),
            Evidence::Dns { query, reply } => (query, Some(reply)),
            Evidence::Conntrack { forward, .. } => (forward, None),
        }
    }
}

/// An [`Evidence`] in 24 octets: the places of both packets, and what they are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PackedEvidence {
    places: [PackedPlace; 2],
    kind: Kind,
    /// Whether an answer was a RST, or an echo proves the rest.
    is_special: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Handshake,
    Sequence,
    Dns,
    /// The listing and its line stand where the other packet does.
    Conntrack,
}

impl From<Evidence> for PackedEvidence {
    fn from(evidence: Evidence) -> PackedEvidence {
        let (kind, a, b, is_special) = match evidence {
            Evidence::Handshake { syn, answer, refused } => (Kind::Handshake, syn, answer, refused),
            Evidence::Sequence { forward, reply, echo } => (Kind::Sequence, forward, reply, echo),
            Evidence::Dns { query, reply } => (Kind::Dns, query, reply, false),
            Evidence::Conntrack { forward, listing, line } => {
                (Kind::Conntrack, forward, Place { input: listing, frame: line }, false)
            }
        };
        PackedEvidence { places: [a.into(), b.into()], kind, is_special }
    }
}

impl From<PackedEvidence> for Evidence {
    fn from(packed: PackedEvidence) -> Evidence {
        let PackedEvidence { places, kind, is_special } = packed;
        let [a, b] = places.map(Place::from);
        match kind {
            Kind::Handshake => Evidence::Handshake { syn: a, answer: b, refused: is_special },
            Kind::Sequence => Evidence::Sequence { forward: a, reply: b, echo: is_special },
            Kind::Dns => Evidence::Dns { query: a, reply: b },
            Kind::Conntrack => Evidence::Conntrack { forward: a, listing: b.input, line: b.frame },
        }
    }
}

/// Why a leg to a listener of the proxy, or half a leg, stays as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The capture holds no reply half that fits.
    NoReply,
    /// Only one direction of a leg that may be a reply half; no forward half fits.
    OneDirection,
    /// More than one half fits.
    Ambiguous,
    /// Both directions bear the listener's own address: sent there directly.
    Direct,
    /// The look-ahead ended before the proof came.
    LookAhead,
    /// Forgotten to stay within memory, before the proof came.
    Evicted,
}

impl Reason {
    /// The name as the report writes it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoReply => "no-reply",
            Reason::OneDirection => "one-direction",
            Reason::Ambiguous => "ambiguous",
            Reason::Direct => "direct",
            Reason::LookAhead => "look-ahead",
            Reason::Evicted => "evicted",
        }
    }

    /// What the name means.
    pub fn meaning(self) -> &'static str {
        match self {
            Reason::NoReply => {
                "no reply in the capture fits (were replies lost to a capture filter on the proxy's port?)"
            }
            Reason::OneDirection => "only one direction is in the capture, and no redirected half fits it",
            Reason::Ambiguous => "more than one answer fits",
            Reason::Direct => "sent to the proxy's port directly, not redirected",
            Reason::LookAhead => "the proof came later than the look-ahead allows (see --lookahead)",
            Reason::Evicted => "forgotten to stay within memory before the proof came",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_comes_back_as_it_was() {
        let (a, b) = (Place { input: 1, frame: 70_000 }, Place { input: 65_535, frame: 3 });
        for evidence in [
            Evidence::Handshake { syn: a, answer: b, refused: true },
            Evidence::Handshake { syn: b, answer: a, refused: false },
            Evidence::Sequence { forward: a, reply: b, echo: true },
            Evidence::Sequence { forward: a, reply: b, echo: false },
            Evidence::Dns { query: b, reply: a },
            Evidence::Conntrack { forward: a, listing: 7, line: 1 << 40 },
        ] {
            assert_eq!(Evidence::from(PackedEvidence::from(evidence)), evidence);
        }
    }
}

//! Who waits for the proxy: a proxy opens a connection because somebody asked it for something, so one that is opened
//! while nobody did is the proxy's own business, or went past it.

use super::key::Side;
use super::record::{Record, State};
use super::segment::{Content, Segment, flags};
use crate::capture::Timestamp;
use crate::packet::Origin;

/// How long after the last packet of clients that were all answered a proxy may still connect to a server for one.
const ANSWERING: u64 = 10_000_000;

/// What is asked of the proxy, by applications on loopback and by peers on the wire.
#[derive(Default)]
pub(super) struct Requests {
    /// Since when loopback is captured.
    listening: Option<Timestamp>,
    loopback: Asked,
    wire: Asked,
}

/// What a packet says to the other end.
pub(super) struct Said {
    pub time: Timestamp,
    /// TCP's control bits.
    pub control: u8,
    pub data_len: u32,
}

impl Said {
    pub fn of(segment: &Segment) -> Said {
        let control = if let Content::Tcp { flags: f, .. } = segment.content { f } else { 0 };
        Said { time: segment.time, control, data_len: segment.data_len }
    }
}

/// Requests on one side of the proxy.
#[derive(Default)]
struct Asked {
    /// When a client last sent something.
    last: Option<Timestamp>,
    /// How many clients have sent something that was not answered yet.
    unanswered: usize,
}

impl Asked {
    fn is_quiet(&self, now: Timestamp) -> bool {
        self.unanswered == 0 && self.last.is_none_or(|last| now.0.saturating_sub(last.0) > ANSWERING)
    }
}

impl Requests {
    /// Takes in a packet that an end sent, if it says something to the proxy. If it answers what another conversation asked,
    /// that is returned: a forward half, where it is to be [noted](Requests::note) as no client's.
    #[inline]
    pub fn hear(&mut self, record: &mut Record, side: Side, said: &Said) -> Option<u32> {
        match record.state {
            State::Answering { forward } => return Some(forward),
            // What may be whole is no request yet.
            State::Whole | State::Open if record.origin != Origin::Network => {}
            _ => self.note(record, said, record.client() == Some(side)),
        }
        None
    }

    /// Takes in a packet of a conversation; `from_client` if its client sent it.
    #[inline]
    pub fn note(&mut self, record: &mut Record, said: &Said, from_client: bool) {
        let asked = if record.origin == Origin::Network {
            &mut self.wire
        } else {
            self.listening = self.listening.or(Some(said.time));
            &mut self.loopback
        };
        let control = said.control;
        let (opens, resets) = (control & flags::SYN != 0, control & flags::RST != 0);
        let ends = resets || !from_client && control & flags::FIN != 0;
        if from_client {
            asked.last = Some(said.time);
        }
        // An acknowledgment alone neither asks nor answers, and a SYN-ACK says only that the proxy is there.
        if said.data_len > 0 || ends || opens && from_client {
            let waits = from_client && !ends;
            asked.unanswered = asked.unanswered + usize::from(waits) - usize::from(record.unanswered);
            record.unanswered = waits;
        }
    }

    /// A conversation asks for nothing any more.
    pub fn forget(&mut self, record: &mut Record) {
        if std::mem::take(&mut record.unanswered) {
            let asked = if record.origin == Origin::Network { &mut self.wire } else { &mut self.loopback };
            asked.unanswered -= 1;
        }
    }
}

/// Whether a packet opens a connection for which nobody asked, as far as loopback is captured: on the wire, no application
/// did; on loopback, no peer either.
pub(super) fn opens_unasked(requests: &Requests, segment: &Segment, state: State) -> bool {
    let control = if let Content::Tcp { flags: f, .. } = segment.content { f } else { 0 };
    let is_captured = requests.listening.is_some_and(|since| since < segment.time);
    if control & (flags::SYN | flags::ACK) != flags::SYN || !is_captured {
        return false;
    }
    let is_quiet = requests.loopback.is_quiet(segment.time);
    match segment.origin {
        Origin::Network => is_quiet,
        _ => is_quiet && state == State::Open && requests.wire.is_quiet(segment.time),
    }
}

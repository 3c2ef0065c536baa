//! Which headers Wireshark's numbers of streams can depend on: few of each conversation.
//!
//! What comes in is every packet of the first pass; what goes out is [`Headers`], for the numbers to be counted by when it is
//! known how packets leave.

use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;

use super::pages::Pages;
use super::spools::{Counted, Headers};
use crate::flow::flags;
use crate::nat::Protocol;
use crate::output::{Datagrams, Frame, Header};
use crate::packet::{Ip, Transport, View};

/// What the headers that an end sent have told, once they were counted. Each end for itself: where what
/// one sends is translated, what the other one sends can be another conversation in the output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known(u8);

impl Known {
    /// Of each end: the number that it counts from.
    const OWN: u8 = 1;
    /// The other end's, by the acknowledgment.
    const OTHER: u8 = 2;
    /// Bits of an end.
    const ENDS: [u8; 2] = [0, 2];

    /// Whether nothing more can be learned from what an end sends, but for SYNs.
    fn is_all(self, from_first: bool) -> bool {
        self.0 >> Known::ENDS[usize::from(from_first)] & (Known::OWN | Known::OTHER) == Known::OWN | Known::OTHER
    }

    fn learn(&mut self, from_first: bool, header: &Header) {
        let is_udp = header.protocol == Protocol::Udp;
        if !is_udp && header.control & (flags::SYN | flags::ACK) == flags::SYN {
            // It may be another stream: nothing is known of that.
            *self = Known::default();
        }
        let tells_other = is_udp || header.control & flags::ACK != 0;
        let bits = Known::OWN | if tells_other { Known::OTHER } else { 0 };
        self.0 |= bits << Known::ENDS[usize::from(from_first)];
    }
}

/// The headers that count, as they come.
#[derive(Default)]
pub(super) struct Counting {
    pub headers: Headers,
    datagrams: Datagrams<Counted>,
    /// Of each conversation that is not over: which of its headers do not count any more.
    known: Pages<Known>,
    /// The same of conversations that another input showed first, by input.
    known_of_others: HashMap<(u32, u16), Known, RandomState>,
}

impl Counting {
    /// Keeps the header of a packet, if Wireshark's numbers can depend on it. Of a connection that another input shows
    /// first (`of_other`), they can if this input's packets are kept.
    #[inline(always)]
    pub fn packet(
        &mut self,
        view: &View,
        frame: &Frame<'_>,
        owner: Option<(u32, bool)>,
        of_other: bool,
        is_copy: bool,
    ) -> io::Result<()> {
        let Some(ip) = &view.ip else { return Ok(()) };
        if let (Transport::Tcp(tcp), Some((conversation, from_first)), None, false) =
            (&view.transport, owner, ip.fragment, of_other)
            && tcp.flags & flags::SYN == 0
            && self.known.get(conversation).is_all(from_first)
        {
            return Ok(());
        }
        self.take(view, ip, frame, owner, of_other, is_copy)
    }

    #[inline(never)]
    fn take(
        &mut self,
        view: &View,
        ip: &Ip,
        frame: &Frame<'_>,
        owner: Option<(u32, bool)>,
        of_other: bool,
        is_copy: bool,
    ) -> io::Result<()> {
        let counted = |header| Counted { header, owner, input: frame.input, is_copy };
        let read = self.datagrams.read(ip, || Header::of(view, ip, frame.bytes).map(counted));
        let Some(read) = read else { return Ok(()) };
        if let (Some((conversation, from_first)), false) = (read.owner, read.header.is_quoted) {
            let of_other = of_other.then_some((conversation, read.input));
            let mut known = match of_other {
                Some(key) => self.known_of_others.get(&key).copied().unwrap_or_default(),
                None => self.known.get(conversation),
            };
            let opens = read.header.protocol == Protocol::Tcp && read.header.control & flags::SYN != 0;
            if known.is_all(from_first) && !opens {
                return Ok(());
            }
            known.learn(from_first, &read.header);
            match of_other {
                Some(key) => _ = self.known_of_others.insert(key, known),
                None => self.known.set(conversation, known),
            }
        }
        self.headers.push(&read)
    }

    /// No more packets of a conversation come.
    pub fn forget(&mut self, conversation: u32) {
        self.known.set(conversation, Known::default());
    }

    /// Octets in use, or soon to be.
    pub fn memory(&self) -> usize {
        // A table is at most half empty when it has grown.
        self.known.memory() + 2 * self.known_of_others.len() * (size_of::<((u32, u16), Known)>() + 1)
    }
}

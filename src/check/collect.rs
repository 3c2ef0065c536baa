//! The first pass: what findings need of each TCP conversation, collected while packets go by.
//!
//! What comes in is segments as captured, in order; what goes out is a [`Conversation`] for each, with the places of the
//! packets that findings point to. Memory: [`CONVERSATIONS`] records of a fixed size.

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::flow::flags;

/// Conversations that are looked at, at most. Past this, those that are there are still followed.
pub const CONVERSATIONS: usize = 262_144;

/// Segments that were never captured, of one direction: so many gaps are followed at once.
const GAPS: usize = 4;

/// SYNs that wait for their answer and are followed, at most.
const PENDING: usize = 16;

/// How long after a SYN an answer of another connection can be one to it: 5 ms, in nanoseconds.
const ANSWERING: u64 = 5_000_000;

/// Data that comes again earlier than this after the last was sent out of order, not again (tshark's bound as well).
const REORDERED: u64 = 3_000_000;

/// A SYN that two inputs show is captured so far apart at most: clocks of two machines. It is sent again later than that.
const APART: u64 = 500_000_000;

/// Larger steps between sequence numbers than this are no gaps.
const LARGEST_GAP: u32 = 1 << 30;

/// A packet, and when it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Which of the packets that were read, from 0.
    pub ordinal: u64,
    /// When.
    pub time: Timestamp,
    /// See [`mark`].
    pub mark: u32,
}

/// What is the same in two captures of one segment, and hardly in two segments.
pub fn mark(seq: u32, ack: u32, flags: u8, data_len: u32) -> u32 {
    let folded = u64::from(seq) << 32 | u64::from(ack.rotate_left(7) ^ data_len ^ u32::from(flags) << 24);
    // The golden ratio: neighbours end up far apart.
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// What an end said first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// Nothing, or nothing that was captured.
    #[default]
    Nothing,
    /// A TLS record.
    Tls,
    /// Something else.
    Plain,
}

/// Octets that were not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first sequence number, and the one behind the last.
    pub start: u32,
    /// See `start`.
    pub end: u32,
    /// The packet behind the gap.
    pub behind: Seen,
}

/// A reset that answers a packet for which there was no socket: without ACK, its sequence number is what that packet
/// acknowledged (RFC 9293, section 3.10.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The packet.
    pub packet: Seen,
    /// The reset.
    pub reset: Seen,
    /// Whether the packet was not the next one that the other end waited for.
    pub is_out_of_order: bool,
}

/// An acknowledgment of another connection where a SYN-ACK was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The acknowledgment.
    pub seen: Seen,
    /// The end that sent it, as captured.
    pub from: SocketAddr,
    /// Its conversation.
    pub conversation: u32,
}

/// One end of a conversation: what it sent.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// SYNs without ACK: the first, the last, and how many.
    pub syn: Option<Seen>,
    /// See `syn`.
    pub last_syn: Option<Seen>,
    /// See `syn`.
    pub syns: u32,
    isn: u32,
    /// The input that showed the last SYN.
    syn_input: u16,
    /// The first SYN-ACK.
    pub syn_ack: Option<Seen>,
    /// The first FIN.
    pub fin: Option<Seen>,
    /// The first RST.
    pub rst: Option<Seen>,
    /// What the first RST acknowledges, where no SYN-ACK came before it: a SYN, if the number fits.
    refused: Option<u32>,
    /// The first RST that answers a packet for which there was no socket.
    pub refusal: Option<Refusal>,
    /// Whether anything but resets came after its first RST.
    pub lived_on: bool,
    /// The first data, and what it was.
    pub first_data: Option<Seen>,
    /// See `first_data`.
    pub speech: Speech,
    /// When data was sent last.
    pub last_data: Option<Seen>,
    /// Packets.
    pub packets: u64,
    /// Its first packet.
    pub first: Option<Seen>,
    /// Its last packet.
    pub last: Seen,
    /// The number behind the last octet that was sent.
    pub next: Option<u32>,
    /// The highest acknowledgment number.
    pub acked: Option<u32>,
    gaps: [Option<Gap>; GAPS],
    /// Segments of data that were sent again, and the first of them.
    pub again: u32,
    /// See `again`.
    pub first_again: Option<Seen>,
    /// The longest time that one of them came after the last data, of those that were not acknowledged yet.
    pub waited: u64,
    closed: Option<Seen>,
    /// The longest time that its window was closed, and since when.
    pub stall: u64,
    /// See `stall`.
    pub stalled: Option<Seen>,
    /// Sequence and acknowledgment numbers of the last packet.
    last_numbers: (u32, u32),
}

/// A TCP conversation as captured: the ends by whether they are the lower one, no before yes.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    ends: [End; 2],
    /// Who answered its SYN in the place of the server.
    pub challenge: Option<Challenge>,
    /// The input that showed it first.
    input: u16,
    /// Whether another one shows packets of it as well: then what comes twice need not have been sent twice.
    pub has_several: bool,
}

impl Conversation {
    /// The end that is the lower one, or the other.
    pub fn end(&self, is_first: bool) -> &End {
        &self.ends[usize::from(is_first)]
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its conversation, and which of its ends sent it.
    pub conversation: u32,
    /// See `conversation`.
    pub from_first: bool,
    /// The input that shows it.
    pub input: u16,
    /// Where it stands.
    pub seen: Seen,
    /// Source and destination as captured.
    pub ends: (SocketAddr, SocketAddr),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// The window, not scaled.
    pub window: u16,
    /// What was captured of its data.
    pub data: &'a [u8],
    /// Octets of data.
    pub data_len: u32,
}

/// A SYN that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    conversation: u32,
    client: SocketAddr,
    isn: u32,
    time: Timestamp,
}

/// What the kernel said of an interface: packets that it dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// By the interface, by the operating system: the last counts told.
    pub counted: u64,
    /// Sum of what single packets say was dropped before them.
    pub between: u64,
    /// The first packet that says so.
    pub first: Option<Seen>,
}

/// Collects.
#[derive(Debug, Default)]
pub struct Collector {
    slots: Vec<u32>,
    conversations: Vec<Conversation>,
    pending: Vec<Pending>,
    /// By input and interface.
    pub(super) dropped: HashMap<(u16, u32), Dropped, RandomState>,
    /// Packets that were not captured whole, and the first of them.
    pub(super) cut: u64,
    /// See `cut`.
    pub(super) first_cut: Option<Seen>,
    /// When the last packet was captured.
    pub(super) end: Timestamp,
    /// Whether there were more conversations than are looked at.
    is_full: bool,
    none: Conversation,
}

impl Collector {
    /// A conversation; one of nothing if nothing was collected.
    pub fn conversation(&self, number: u64) -> &Conversation {
        let slot = usize::try_from(number).ok().and_then(|number| self.slots.get(number));
        slot.and_then(|slot| self.conversations.get((*slot as usize).wrapping_sub(1))).unwrap_or(&self.none)
    }

    /// Whether there were more conversations than are looked at.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes in any packet: when it was captured, and whether whole.
    pub fn packet(&mut self, seen: Seen, is_cut: bool) {
        self.end = self.end.max(seen.time);
        if is_cut {
            self.cut += 1;
            self.first_cut.get_or_insert(seen);
        }
    }

    /// Takes in what a packet's options say: how many were dropped before it (`epb_dropcount`).
    #[cold]
    pub fn options(&mut self, input: u16, interface: u32, seen: Seen, options: &[u8]) {
        if let Some(count) = number(options, 4).filter(|count| *count > 0) {
            let dropped = self.dropped.entry((input, interface)).or_default();
            dropped.between = dropped.between.saturating_add(count);
            dropped.first.get_or_insert(seen);
        }
    }

    /// Takes in the body of an Interface Statistics Block: `isb_ifdrop`, `isb_osdrop`. Counts go up; the last one is right.
    pub fn statistics(&mut self, input: u16, interface: u32, body: &[u8]) {
        let options = body.get(12..).unwrap_or_default();
        let counted = number(options, 5).unwrap_or_default().saturating_add(number(options, 7).unwrap_or_default());
        if counted > 0 {
            let dropped = self.dropped.entry((input, interface)).or_default();
            dropped.counted = dropped.counted.max(counted);
        }
    }

    /// Takes in a segment.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        let Some(index) = self.index(segment) else { return };
        let conversation = &mut self.conversations[index];
        conversation.has_several |= conversation.input != segment.input;
        let [second, first] = &mut conversation.ends;
        let (sender, receiver) = if segment.from_first { (first, second) } else { (second, first) };
        sender.note(segment, receiver);
        if segment.flags & flags::SYN != 0 || !self.pending.is_empty() {
            self.handshake(segment);
        }
    }

    fn index(&mut self, segment: &Segment<'_>) -> Option<usize> {
        let number = segment.conversation as usize;
        if let Some(&slot @ 1..) = self.slots.get(number) {
            return Some(slot as usize - 1);
        }
        if self.conversations.len() >= CONVERSATIONS {
            self.is_full = true;
            return None;
        }
        if self.slots.len() <= number {
            self.slots.resize(number + 1, 0);
        }
        self.conversations.push(Conversation { input: segment.input, ..Conversation::default() });
        // Below CONVERSATIONS.
        self.slots[number] = self.conversations.len() as u32;
        Some(self.conversations.len() - 1)
    }

    /// Follows SYNs until they are answered, and notes who else answers.
    fn handshake(&mut self, segment: &Segment<'_>) {
        let (source, destination) = segment.ends;
        match segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) {
            flags::SYN => {
                let now = segment.seen.time.0;
                self.pending.retain(|p| p.conversation != segment.conversation && now.abs_diff(p.time.0) <= ANSWERING);
                if self.pending.len() < PENDING {
                    let (conversation, isn, time) = (segment.conversation, segment.seq, segment.seen.time);
                    self.pending.push(Pending { conversation, client: source, isn, time });
                }
            }
            flags::ACK if segment.data_len == 0 => {
                let is_it = |p: &Pending| {
                    p.client == destination
                        && segment.ack != p.isn.wrapping_add(1)
                        && segment.seen.time.0.abs_diff(p.time.0) <= ANSWERING
                };
                let Some(at) = self.pending.iter().position(is_it) else { return };
                let pending = self.pending.swap_remove(at);
                let slot = self.slots.get(pending.conversation as usize).map(|slot| (*slot as usize).wrapping_sub(1));
                if let Some(met) = slot.and_then(|slot| self.conversations.get_mut(slot)) {
                    let (seen, conversation) = (segment.seen, segment.conversation);
                    met.challenge.get_or_insert(Challenge { seen, from: source, conversation });
                }
            }
            control if control & (flags::SYN | flags::RST) != 0 => {
                let answers = |p: &Pending| p.client == destination && segment.ack == p.isn.wrapping_add(1);
                self.pending.retain(|p| !answers(p));
            }
            _ => {}
        }
    }
}

/// Whether a sequence number comes before another.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The number of eight octets in little-endian options.
fn number(mut options: &[u8], wanted: u16) -> Option<u64> {
    while let [a, b, c, d, rest @ ..] = options {
        let (code, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let value = rest.get(..len)?;
        if code == wanted {
            return value.first_chunk::<8>().map(|octets| u64::from_le_bytes(*octets));
        }
        options = rest.get(len.next_multiple_of(4)..)?;
    }
    None
}

impl End {
    /// Gaps that the other end acknowledges: what was there, and is not in the capture.
    pub fn lost(&self, other: &End) -> impl Iterator<Item = Gap> {
        let acked = other.acked;
        self.gaps.into_iter().flatten().filter(move |gap| acked.is_some_and(|acked| !before(acked, gap.end)))
    }

    /// Octets behind all that was captured and that the other end acknowledges.
    pub fn lost_behind(&self, other: &End) -> u32 {
        match (self.next, other.acked) {
            (Some(next), Some(acked)) if before(next, acked) => acked.wrapping_sub(next),
            _ => 0,
        }
    }

    /// Whether its first RST is the answer to the other end's SYN. Of a redirected leg, both are of different conversations.
    pub fn refuses(&self, other: &End) -> bool {
        other.syn.is_some() && other.syn_ack.is_none() && self.refused == Some(other.isn.wrapping_add(1))
    }

    fn note(&mut self, segment: &Segment<'_>, other: &End) {
        let Segment { seen, seq, ack, flags: control, data_len, .. } = *segment;
        self.packets += 1;
        self.first.get_or_insert(seen);
        self.last = seen;
        if control & flags::RST != 0 {
            self.reset(segment, other);
            return;
        }
        self.lived_on |= self.rst.is_some();
        if control & flags::ACK != 0 && self.acked.is_none_or(|acked| before(acked, ack)) {
            self.acked = Some(ack);
        }
        self.last_numbers = (seq, ack);
        let takes = u32::from(control & flags::SYN != 0) + u32::from(control & flags::FIN != 0);
        if takes > 0 {
            self.control(segment);
        }
        if data_len > 0 {
            self.data(segment, other);
        }
        let end = seq.wrapping_add(data_len).wrapping_add(takes);
        match self.next {
            Some(next) if before(next, seq) => {
                if seq.wrapping_sub(next) < LARGEST_GAP
                    && let Some(free) = self.gaps.iter_mut().find(|gap| gap.is_none())
                {
                    *free = Some(Gap { start: next, end: seq, behind: seen });
                }
                self.next = Some(end);
            }
            Some(next) if before(next, end) => self.next = Some(end),
            Some(_) => {}
            None => self.next = Some(end),
        }
        if segment.window == 0 && control & (flags::SYN | flags::FIN) == 0 {
            self.closed.get_or_insert(seen);
        } else if let Some(closed) = self.closed.take() {
            self.stalled(closed, seen.time);
        }
    }

    fn stalled(&mut self, closed: Seen, until: Timestamp) {
        let stall = until.0.saturating_sub(closed.time.0);
        if stall > self.stall {
            (self.stall, self.stalled) = (stall, Some(closed));
        }
    }

    /// The longest stall, if the window may still be closed at this time.
    pub fn longest_stall(&self, until: Timestamp) -> Option<(u64, Seen)> {
        let mut end = self.clone();
        if let Some(closed) = end.closed {
            end.stalled(closed, until);
        }
        end.stalled.map(|seen| (end.stall, seen))
    }

    fn control(&mut self, segment: &Segment<'_>) {
        match segment.flags & (flags::SYN | flags::ACK) {
            flags::SYN => {
                let since = self.last_syn.map(|last| segment.seen.time.0.saturating_sub(last.time.0));
                let bound = if self.syn_input == segment.input { REORDERED } else { APART };
                if since.is_some_and(|since| since < bound) && self.isn == segment.seq {
                    return; // Captured twice, not sent twice.
                }
                self.syn_input = segment.input;
                self.syns += 1;
                self.isn = segment.seq;
                self.syn.get_or_insert(segment.seen);
                self.last_syn = Some(segment.seen);
            }
            control if control & flags::SYN != 0 => {
                self.syn_ack.get_or_insert(segment.seen);
            }
            _ => {
                self.fin.get_or_insert(segment.seen);
            }
        }
    }

    #[cold]
    fn reset(&mut self, segment: &Segment<'_>, other: &End) {
        let Segment { seen, seq, ack, flags: control, .. } = *segment;
        if self.rst.is_none() {
            self.rst = Some(seen);
            self.refused = (control & flags::ACK != 0 && self.syn_ack.is_none()).then_some(ack);
        }
        let (other_seq, other_ack) = other.last_numbers;
        let is_refusal = control & flags::ACK == 0 && other.packets > 0 && seq == other_ack && self.fin.is_none();
        if is_refusal && self.refusal.is_none() && self.rst == Some(seen) {
            let is_out_of_order = self.acked.is_some_and(|acked| acked != other_seq)
                && other.next.is_none_or(|next| before(other_seq, next) || acked_before(self.acked, other_seq));
            self.refusal = Some(Refusal { packet: other.last, reset: seen, is_out_of_order });
        }
    }

    fn data(&mut self, segment: &Segment<'_>, other: &End) {
        let Segment { seen, seq, data, data_len, .. } = *segment;
        if self.first_data.is_none() {
            self.first_data = Some(seen);
            self.speech = match data {
                // RFC 8446, section 5.1: a record of type 20 to 24, and a version 3.x.
                [20..=24, 3, ..] => Speech::Tls,
                [_, _, _, ..] => Speech::Plain,
                _ => Speech::Nothing,
            };
        }
        let end = seq.wrapping_add(data_len);
        if let Some(next) = self.next
            && !before(next, end)
        {
            let fills = self.fill(seq, end);
            // A keep-alive sends the last octet again, or one that never was.
            let is_keep_alive = data_len == 1 && end == next;
            let since = self.last_data.map_or(0, |last| seen.time.0.saturating_sub(last.time.0));
            if !fills && !is_keep_alive && since >= REORDERED {
                self.again += 1;
                self.first_again.get_or_insert(seen);
                if other.acked.is_none_or(|acked| before(acked, end)) {
                    self.waited = self.waited.max(since);
                }
            }
        }
        self.last_data = Some(seen);
    }

    /// Takes octets out of the gaps. Whether there were any of them in one.
    fn fill(&mut self, seq: u32, end: u32) -> bool {
        let mut fills = false;
        for gap in &mut self.gaps {
            let Some(open) = gap else { continue };
            let (starts, ends) = (!before(open.start, seq), !before(end, open.end));
            match (starts, ends) {
                (true, true) => *gap = None,
                (true, false) if before(open.start, end) => open.start = end,
                (false, true) if before(seq, open.end) => open.end = seq,
                // In the middle: only what comes before it is followed further.
                (false, false) => open.end = seq,
                _ => continue,
            }
            fills = true;
        }
        fills
    }
}

/// Whether there is a gap between what was acknowledged and a sequence number.
fn acked_before(acked: Option<u32>, seq: u32) -> bool {
    acked.is_some_and(|acked| before(acked, seq))
}

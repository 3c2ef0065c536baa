//! Connections on the wire that two inputs show: both pods' captures were given. One input's packets of each are written,
//! the others' are not. That is only where equal packets alone leave some twice, and one input has all that the others have.
//!
//! A connection was captured twice if two inputs have its SYN at about the same time. Its packets may look different in
//! both: a router on the way changed the hop limit, a network card cut segments.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::flow::{end_of, flags};
use crate::output::Frame;
use crate::packet::{Transport, View};

/// How far apart two captures of one SYN may be, in nanoseconds: clocks of two machines.
const APART: u64 = 500_000_000;

/// Connections that are remembered with more than one input, at most.
const CONNECTIONS: usize = 131_072;

/// What each input shows of the connections.
#[derive(Default)]
pub(super) struct Copies {
    /// The first input that showed anything on the wire, and whether another one did.
    input: Option<u16>,
    are_several: bool,
    /// Until another one does: the SYNs that may be in its capture as well.
    recent: VecDeque<Seen>,
    /// The SYN and the octets of data that an input showed of a conversation.
    shown: HashMap<(u32, u16), Shown, RandomState>,
}

/// A packet of a connection.
#[derive(Clone, Copy)]
struct Seen {
    conversation: u32,
    input: u16,
    time: Timestamp,
    seq: u32,
    /// TCP's control bits.
    control: u8,
    data_len: u32,
    /// The end that sent it.
    end: u8,
    /// Whether it is equal to another input's.
    is_copy: bool,
}

/// What an input shows of a connection.
#[derive(Clone, Copy, Default)]
struct Shown {
    syn: Option<(Timestamp, u32)>,
    /// Octets of data and packets, by the end that sent them: the one with the lower port and address, and the other.
    data: [u64; 2],
    packets: [u64; 2],
    /// The sequence number that each end's next segment has, and whether one came that leaves a gap before it.
    next: [Option<u32>; 2],
    has_gap: bool,
    /// Packets that are equal to another input's.
    copies: u64,
}

impl Shown {
    /// Whether nothing is lost if this input's packets stand for the other's.
    fn covers(&self, other: &Shown) -> bool {
        let more = |end: usize| self.data[end] >= other.data[end] && (self.packets[end] > 0 || other.packets[end] == 0);
        !self.has_gap && more(0) && more(1)
    }
}

/// Whether a segment opens a connection, by its control bits.
fn is_opening(control: u8) -> bool {
    control & (flags::SYN | flags::ACK) == flags::SYN
}

impl Copies {
    /// Takes in a TCP packet on the wire, which may be equal to another input's. Whether several inputs show the wire.
    #[inline]
    pub fn note(&mut self, conversation: u32, frame: &Frame<'_>, view: &View, is_copy: bool) -> bool {
        let Transport::Tcp(tcp) = &view.transport else { return false };
        self.are_several |= *self.input.get_or_insert(frame.input) != frame.input;
        // Where one input shows the wire, only SYNs are noted: another may begin to.
        if !self.are_several && !is_opening(tcp.flags) {
            return false;
        }
        self.note_seen(conversation, frame, view, is_copy)
    }

    fn note_seen(&mut self, conversation: u32, frame: &Frame<'_>, view: &View, is_copy: bool) -> bool {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return false };
        let Frame { input, time, .. } = *frame;
        let end = u8::from((tcp.source, ip.source) > (tcp.destination, ip.destination));
        let (seq, control, data_len) = (tcp.seq, tcp.flags, tcp.data_len);
        let seen = Seen { conversation, input, time, seq, control, data_len, end, is_copy };
        if !self.are_several {
            // What another input begins to show from now on is no earlier than that.
            let is_late = |old: &Seen| old.time.0.saturating_add(APART) < time.0;
            while self.recent.len() >= CONNECTIONS || self.recent.front().is_some_and(is_late) {
                self.recent.pop_front();
            }
            self.recent.push_back(seen);
            return false;
        }
        for earlier in std::mem::take(&mut self.recent) {
            self.add(earlier);
        }
        self.add(seen);
        true
    }

    fn add(&mut self, seen: Seen) {
        let Seen { conversation, input, time, seq, control, data_len, end, is_copy } = seen;
        if self.shown.len() >= CONNECTIONS && !self.shown.contains_key(&(conversation, input)) {
            return;
        }
        let shown = self.shown.entry((conversation, input)).or_default();
        if is_opening(control) {
            shown.syn = shown.syn.or(Some((time, seq)));
        }
        let (end, behind) = (usize::from(end), end_of(seq, data_len, control));
        let next = shown.next[end].get_or_insert(seq);
        // RFC 9293, section 3.4: numbers are compared within half of their space.
        shown.has_gap |= (seq.wrapping_sub(*next) as i32) > 0;
        if (behind.wrapping_sub(*next) as i32) > 0 {
            *next = behind;
        }
        shown.data[end] += u64::from(data_len);
        shown.packets[end] += 1;
        shown.copies += u64::from(is_copy);
    }

    /// Of each connection that was captured twice, and whose copies are not all equal: the input that is kept.
    pub fn kept(self) -> HashMap<u32, u16, RandomState> {
        let mut inputs: HashMap<u32, Vec<(u16, Shown)>, RandomState> = HashMap::default();
        for ((conversation, input), shown) in self.shown {
            inputs.entry(conversation).or_default().push((input, shown));
        }
        let twice = inputs.into_iter().filter_map(|(conversation, mut all)| {
            all.sort_unstable_by_key(|(input, _)| *input);
            Some((conversation, kept(&all)?))
        });
        twice.collect()
    }
}

/// The input that stands for all of them; `all` are in the order in which they were named.
fn kept(all: &[(u16, Shown)]) -> Option<u16> {
    let (first, others) = all.split_first()?;
    let same = |other: &(u16, Shown)| match (first.1.syn, other.1.syn) {
        (Some((at, seq)), Some((then, other))) => seq == other && at.0.abs_diff(then.0) <= APART,
        _ => false,
    };
    let packets = |shown: &Shown| shown.packets.iter().sum::<u64>();
    let most = all.iter().map(|(_, shown)| packets(shown)).max()?;
    let equal: u64 = all.iter().map(|(_, shown)| shown.copies).sum();
    let different = all.iter().map(|(_, shown)| packets(shown)).sum::<u64>() - equal > most;
    if others.is_empty() || !different || !others.iter().all(same) {
        return None;
    }
    let covering = all.iter().filter(|(_, shown)| all.iter().all(|(_, other)| shown.covers(other)));
    // Of those that have everything, the one with more packets, then the one that was named first.
    covering.max_by_key(|(input, shown)| (packets(shown), u16::MAX - input)).map(|(input, _)| *input)
}

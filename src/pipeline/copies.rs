//! Connections on the wire that two inputs show: both pods' captures were given. One input's packets of each are written,
//! the others' are not. That is only where equal packets alone leave some twice, and one input has all that the others have.
//!
//! A connection was captured twice if two inputs have its SYN at about the same time. Its packets may look different in
//! both: a router on the way changed the hop limit, a network card cut segments.

use std::collections::HashMap;

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
    /// The input that showed a conversation first.
    first: Vec<u16>,
    /// The first input that showed anything on the wire, and whether another one did.
    input: Option<u16>,
    are_several: bool,
    /// The SYN and the octets of data that an input showed of a conversation.
    shown: HashMap<(u32, u16), Shown, RandomState>,
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

impl Copies {
    /// Takes in a packet on the wire, which may be equal to another input's. Whether another input showed its
    /// conversation first.
    pub fn note(&mut self, conversation: u32, frame: &Frame<'_>, view: &View, is_copy: bool) -> bool {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return false };
        let Frame { input, time, .. } = *frame;
        let place = conversation as usize;
        if self.first.len() <= place {
            self.first.resize(place + 1, input);
        }
        let is_others = self.first[place] != input;
        let is_syn = tcp.flags & (flags::SYN | flags::ACK) == flags::SYN;
        self.are_several |= *self.input.get_or_insert(input) != input;
        // Where one input shows the wire, only SYNs are noted: another may begin to.
        if !self.are_several && !is_syn {
            return false;
        }
        if self.shown.len() < CONNECTIONS || self.shown.contains_key(&(conversation, input)) {
            let shown = self.shown.entry((conversation, input)).or_default();
            if is_syn {
                shown.syn = shown.syn.or(Some((time, tcp.seq)));
            }
            let end = usize::from((tcp.source, ip.source) > (tcp.destination, ip.destination));
            let behind = end_of(tcp.seq, tcp.data_len, tcp.flags);
            let next = shown.next[end].get_or_insert(tcp.seq);
            // RFC 9293, section 3.4: numbers are compared within half of their space.
            shown.has_gap |= (tcp.seq.wrapping_sub(*next) as i32) > 0;
            if (behind.wrapping_sub(*next) as i32) > 0 {
                *next = behind;
            }
            shown.data[end] += u64::from(tcp.data_len);
            shown.packets[end] += 1;
            shown.copies += u64::from(is_copy);
        }
        is_others
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

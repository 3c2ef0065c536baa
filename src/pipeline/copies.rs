//! Connections on the wire that two inputs show: both pods' captures were given. One input's packets of each are written,
//! the others' are not.
//!
//! A connection was captured twice if two inputs have its SYN at about the same time. Its packets may look different in
//! both: a router on the way changed the hop limit, a network card cut segments. The input with more of its data is kept.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::flow::flags;
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

#[derive(Clone, Copy, Default)]
struct Shown {
    syn: Option<(Timestamp, u32)>,
    data: u64,
    packets: u64,
}

impl Copies {
    /// Takes in a packet on the wire. Whether another input showed its conversation first.
    pub fn note(&mut self, conversation: u32, input: u16, time: Timestamp, view: &View) -> bool {
        let Transport::Tcp(tcp) = &view.transport else { return false };
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
        let is_known = self.shown.len() < CONNECTIONS || self.shown.contains_key(&(conversation, input));
        if is_known {
            let shown = self.shown.entry((conversation, input)).or_default();
            if is_syn {
                shown.syn = shown.syn.or(Some((time, tcp.seq)));
            }
            shown.data += u64::from(tcp.data_len);
            shown.packets += 1;
        }
        is_others
    }

    /// Of each connection that was captured twice: the input that is kept.
    pub fn kept(self) -> HashMap<u32, u16, RandomState> {
        let mut inputs: HashMap<u32, Vec<(u16, Shown)>, RandomState> = HashMap::default();
        for ((conversation, input), shown) in self.shown {
            inputs.entry(conversation).or_default().push((input, shown));
        }
        let twice = inputs.into_iter().filter_map(|(conversation, mut all)| {
            let (first, others) = all.split_first()?;
            let same = |other: &(u16, Shown)| match (first.1.syn, other.1.syn) {
                (Some((at, seq)), Some((then, other))) => seq == other && at.0.abs_diff(then.0) <= APART,
                _ => false,
            };
            if others.is_empty() || !others.iter().all(same) {
                return None;
            }
            // More data, then more packets, then the input that was named first.
            all.sort_unstable_by_key(|(input, shown)| (u64::MAX - shown.data, u64::MAX - shown.packets, *input));
            all.first().map(|(input, _)| (conversation, *input))
        });
        twice.collect()
    }
}

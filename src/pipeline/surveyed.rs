//! What is known after the first pass.

use std::collections::{HashMap, HashSet};
use std::io;

use foldhash::fast::RandomState;

use super::calls::Calls;
use super::copies::Clocks;
use super::legs::Legs;
use super::numbers::Numbers;
use super::passages::Passages;
use super::spools::{Entry, Headers, Origins, Plan};
use crate::check::Collector;
use crate::report::Summary;
use crate::store::Reader;
use crate::tie::Others;
use crate::tie::infer::Observed;

/// What is known after the first pass.
pub(super) struct Surveyed {
    pub plan: Plan,
    pub passages: Passages,
    /// The conversations of later fragments, by their group.
    pub fragments: HashMap<u32, u32, RandomState>,
    /// Legs in the order of their first packets: all that the report needs, or those that were changed or may be tied.
    pub legs: Legs,
    /// What is known of their calls, until streams have their numbers.
    pub calls: Calls,
    /// Of conversations of legs that are reported or tied: their `tcp.stream` or `udp.stream`, once [`Surveyed::number`] has
    /// counted.
    pub streams: Numbers,
    pub summary: Summary,
    /// What each conversation carried, until legs are tied.
    pub observed: Option<Observed>,
    /// TCP conversations that are not among the legs.
    pub others: Others,
    /// Conversations of which there are fragments.
    pub fragmented: HashSet<u32, RandomState>,
    pub(super) headers: Headers,
    /// Whether the legs are all that there are, and each is reported.
    pub(super) keeps_all: bool,
    /// Of each connection that was captured twice: the input whose packets are kept.
    pub kept: HashMap<u32, u16, RandomState>,
    /// Whose times of a connection were taken.
    pub clocks: Clocks,
    /// What a check needs beside all this, if there is one.
    pub collector: Option<Collector>,
    pub(super) origins: Option<Origins>,
}

/// The packets that were read, one after the other.
pub(super) struct Packets {
    plan: Plan,
    origins: Option<Origins>,
    kept: HashMap<u32, u16, RandomState>,
}

impl Packets {
    /// Whether the next packet is written, and what other captures of it have in common with it: its conversation, and a
    /// mark.
    pub fn advance(&mut self) -> io::Result<(bool, Option<(u32, u32)>)> {
        let entry = self.plan.skip()?.unwrap_or(Entry::AsCaptured);
        let (input, mark) = self.origins.as_mut().map_or(Ok((0, 0)), Origins::advance)?;
        let of = match entry {
            Entry::Packet { conversation, .. } | Entry::Copy { conversation } if mark != 0 => {
                Some((conversation, mark))
            }
            _ => None,
        };
        Ok((is_written(entry, input, &self.kept), of))
    }
}

/// Whether a packet of an input is written: if it is not another's copy. `kept` is [`Surveyed::kept`].
pub(super) fn is_written(entry: Entry, input: u16, kept: &HashMap<u32, u16, RandomState>) -> bool {
    match entry {
        Entry::Duplicate => false,
        Entry::Copy { conversation } => kept.get(&conversation) == Some(&input),
        Entry::Packet { conversation, .. } => kept.get(&conversation).is_none_or(|kept| *kept == input),
        Entry::AsCaptured | Entry::Quote { .. } | Entry::Fragment { .. } => true,
    }
}

impl Surveyed {
    /// Takes out what tells which packets are written.
    pub fn packets(&mut self) -> Packets {
        let plan = std::mem::take(&mut self.plan);
        Packets { plan, origins: self.origins.take(), kept: std::mem::take(&mut self.kept) }
    }

    /// Numbers conversations as Wireshark will, by the headers that they leave with, and tells each leg's tie.
    pub fn number(&mut self) -> io::Result<()> {
        let mut numbers = Numbers::default();
        let mut reader = Reader::default();
        for leg in self.calls.edges.iter().flat_map(|edge| [edge.near, edge.far]) {
            let [_, reply] = self.legs.parts(leg as usize, &mut reader)?;
            numbers.want(reply.number);
        }
        if self.keeps_all {
            for leg in 0..self.legs.len() {
                self.legs.parts(leg, &mut reader)?.into_iter().for_each(|part| numbers.want(part.number));
            }
        }
        numbers.count(&mut self.headers, &self.passages, &self.kept)?;
        self.streams = numbers;
        std::mem::take(&mut self.calls).tell(&mut self.legs, &self.streams)
    }
}

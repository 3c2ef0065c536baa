//! Connections on the wire that two inputs show: both pods' captures were given. One input's packets of each are written,
//! the others' are not. That is only where equal packets alone leave some twice, and one input has all that the others have.
//!
//! A connection was captured twice if two inputs have its SYN at about the same time. Its packets may look different in
//! both: a router on the way changed the hop limit, a network card cut segments.
//!
//! ```text
//! ranges   segments            -> octets     which were captured
//! shown    packets of an input -> a summary  whether it has all that another one has; when it saw what
//! clocks   summaries           -> times      whose are taken, where inputs have clocks that differ
//! ```

mod clocks;
mod ranges;
mod shown;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::output::Frame;
use crate::packet::{Transport, View};
use crate::tie::infer::Half;
use shown::{Shown, is_opening};

pub(super) use clocks::Clocks;

/// Connections that are remembered with more than one input, at most.
const CONNECTIONS: usize = 131_072;

/// Packets of the only input so far that may turn out to be in another one as well, at most.
const RECENT: usize = 1024;

/// What each input shows of the connections.
#[derive(Default)]
pub(super) struct Copies {
    /// The first input that showed anything on the wire, and whether another one did.
    input: Option<u16>,
    are_several: bool,
    /// Until another one does: the packets that may be in its capture as well.
    recent: VecDeque<Seen>,
    /// What an input showed of a conversation.
    shown: HashMap<(u32, u16), Shown, RandomState>,
    /// The highest number of an input.
    inputs: u16,
    /// Whether there was no room for all.
    is_full: bool,
}

/// A packet of a connection.
#[derive(Clone, Copy)]
struct Seen {
    conversation: u32,
    input: u16,
    time: Timestamp,
    seq: u32,
    ack: u32,
    /// TCP's control bits.
    control: u8,
    data_len: u32,
    /// The end that sent it: 0 is the lower one.
    end: u8,
    /// The hop limit.
    hops: u8,
    /// Whether it is equal to another input's.
    is_copy: bool,
}

/// What is found of all connections.
#[derive(Default)]
pub(super) struct Found {
    /// Of each connection that was captured twice, and whose copies are not all equal: the input that is kept.
    pub kept: HashMap<u32, u16, RandomState>,
    pub clocks: Clocks,
}

impl Copies {
    /// Takes in a TCP packet on the wire, which may be equal to another input's. Whether several inputs show the wire.
    #[inline]
    pub fn note(&mut self, half: Half, frame: &Frame<'_>, view: &View, is_copy: bool) -> bool {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return false };
        let Frame { input, time, .. } = *frame;
        self.are_several |= *self.input.get_or_insert(input) != input;
        let (conversation, end) = (half.conversation, u8::from(!half.from_first));
        let (seq, ack, control, data_len) = (tcp.seq, tcp.ack, tcp.flags, tcp.data_len);
        // RFC 791, section 3.1; RFC 8200, section 3.
        let hops = view.link.network() + if ip.source.is_ipv4() { 8 } else { 7 };
        let hops = frame.bytes.get(hops).copied().unwrap_or_default();
        let seen = Seen { conversation, input, time, seq, ack, control, data_len, end, hops, is_copy };
        if self.are_several {
            self.note_seen(&seen);
        } else {
            // What another input begins to show from now on has its SYN at about the same time.
            if self.recent.len() >= RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(seen);
        }
        self.are_several
    }

    fn note_seen(&mut self, seen: &Seen) {
        if !self.recent.is_empty() {
            self.note_recent();
        }
        self.add(seen);
    }

    /// Takes in what came before another input showed anything; of connections that began before that, not all is known.
    #[cold]
    fn note_recent(&mut self) {
        for earlier in std::mem::take(&mut self.recent) {
            let key = (earlier.conversation, earlier.input);
            let is_known = is_opening(earlier.control) || self.shown.contains_key(&key);
            self.add(&earlier);
            if let Some(shown) = self.shown.get_mut(&key).filter(|_| !is_known) {
                shown.tear();
            }
        }
    }

    fn add(&mut self, seen: &Seen) {
        let key = (seen.conversation, seen.input);
        self.inputs = self.inputs.max(seen.input);
        let is_full = self.shown.len() >= CONNECTIONS;
        match self.shown.entry(key) {
            Entry::Occupied(shown) => shown.into_mut().add(seen),
            Entry::Vacant(_) if is_full => self.tear(seen.conversation),
            Entry::Vacant(free) => free.insert(Shown::default()).add(seen),
        }
    }

    /// There is no room for what an input shows of a conversation: the others' stand for it in no case.
    #[cold]
    fn tear(&mut self, conversation: u32) {
        self.is_full = true;
        for input in 0..=self.inputs {
            if let Some(shown) = self.shown.get_mut(&(conversation, input)) {
                shown.tear();
            }
        }
    }

    /// What is found when there are no more packets.
    pub fn finish(self) -> Found {
        let mut all: Vec<Captured> = self.shown.into_iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        let several = || all.chunk_by(|a, b| a.0.0 == b.0.0).filter(|of| of.len() > 1);
        let mut found = Found::default();
        for of in several() {
            found.clocks.note(of);
            found.kept.extend(kept(of));
        }
        if !found.clocks.are_one() {
            several().for_each(|of| found.clocks.view(of));
        }
        if self.is_full {
            found.clocks.doubt();
        }
        found
    }
}

/// What an input shows of a conversation, by the numbers of both.
type Captured = ((u32, u16), Shown);

/// A conversation, and the input that stands for all of them; `all` are in the order in which they were named.
fn kept(all: &[Captured]) -> Option<(u32, u16)> {
    let ((_, first), others) = all.split_first()?;
    let most = all.iter().map(|(_, shown)| shown.packets()).max()?;
    let equal: u64 = all.iter().map(|(_, shown)| u64::from(shown.copies)).sum();
    let different = all.iter().map(|(_, shown)| shown.packets()).sum::<u64>() - equal > most;
    if !different || !others.iter().all(|(_, other)| first.is_of_same(other)) {
        return None;
    }
    let covering = all.iter().filter(|(_, shown)| all.iter().all(|(_, other)| shown.covers(other)));
    // Of those that have everything, the one with more packets, then the one that was named first.
    covering.max_by_key(|((_, input), shown)| (shown.packets(), u16::MAX - input)).map(|(key, _)| *key)
}

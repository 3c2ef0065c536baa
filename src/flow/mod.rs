//! Halves paired into legs, each with the evidence that it was accepted on.
//!
//! What comes in is one [`Segment`] after the other, in the order of the capture; what goes out is, for each,
//! a [`Mark`] that tells the leg it belongs to, and later whether and how that leg is repaired. On loopback a
//! redirected leg shows as two conversations of one direction each: the forward half, to a listener of the
//! proxy, and the reply half, from the original destination. `resolve` keeps what each is, `pairing` finds which
//! belong together by what TCP proves, `dns` by what a DNS response repeats. `table` remembers them; most packets are of
//! conversations that are settled, and go a shorter way, which is `settled`. This stage does no I/O, reads no clock and knows no
//! bytes.
//!
//! # Memory
//!
//! Conversations that live are remembered, up to [`Limits::legs`]. Of those that ended, or never had an answer, the ones
//! that are silent longest are retired past [`Limits::over`], so a flood of half-open connections pushes out itself; those
//! that ended for good already past [`Limits::ended`], once they are silent for a while. At most [`Limits::pending`] halves
//! wait for their other half. All bounds are enforced in [`Flows::observe`], by `bounds`.

mod bounds;
mod dns;
mod evidence;
mod fragments;
mod gateway;
mod half;
mod key;
mod leg;
mod line;
mod pairing;
mod recent;
mod record;
mod requests;
mod resolve;
mod segment;
mod settled;
mod superseded;
mod table;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::nat::{Gateway, Model, Protocol};
use crate::packet::{Origin, View};

pub use evidence::{Evidence, Reason};
pub use key::Part;
pub(crate) use key::{Key, ShortKey};
pub use leg::{Direction, Leg, Outcome};
pub(crate) use segment::end_of;
pub use segment::{Content, Place, Segment, flags};
pub(crate) use settled::Whose;

use bounds::Deadline;
use fragments::Fragments;
use key::Side;
use line::Line;
use record::{State, marks};
use requests::{Requests, Said};
use superseded::Superseded;
use table::Table;

/// How long conntrack keeps a UDP mapping that was not answered (`nf_conntrack_udp_timeout`).
const UDP_TIMEOUT: u64 = 30_000_000_000;

/// Legs that are retired at once at the end.
const AT_ONCE: usize = 1024;

/// The leg that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None: not TCP or UDP, or nothing to repair.
    Untracked,
    /// A packet of this conversation.
    Conversation {
        /// Index of the conversation.
        id: u32,
        /// Whether the lower end sent it.
        from_first: bool,
    },
    /// An ICMP error about a packet of this conversation.
    Quote {
        /// Index of the conversation.
        id: u32,
        /// Whether the lower end sent the packet that it quotes.
        from_first: bool,
    },
    /// A later fragment of a datagram whose first fragment is in this group.
    Fragment {
        /// Index of the group.
        group: u32,
    },
}

/// The addresses that a packet of a forward half leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The application's own address and port.
    pub source: SocketAddr,
    /// The original destination.
    pub destination: SocketAddr,
}

/// Where the first packet of a leg went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// `frame.number` in the output.
    pub frame: u64,
    /// `tcp.stream` or `udp.stream` in the output, if it is known.
    pub stream: Option<u32>,
    /// The interface in the output.
    pub interface: u32,
}

/// Stands for "none" in [`Flows::written`].
const NOWHERE: Written = Written { frame: 0, stream: None, interface: 0 };

/// The bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Conversations.
    pub legs: usize,
    /// Those among them that ended, or were never answered.
    pub over: usize,
    /// Those that ended for good and are silent for a second; as many of UDP, or that one end closed, or whose ends were used
    /// again, that are silent for two and a half minutes.
    pub ended: usize,
    /// Halves that wait for their other half.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { legs: 524_288, over: 131_072, ended: 16_384, pending: 32_768 }
    }
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Conversations.
    pub conversations: usize,
    /// Those among them that ended, or were never answered.
    pub over: usize,
    /// Those whose other half may still come.
    pub waiting: usize,
    /// Times at which something is given up.
    pub deadlines: usize,
    /// DNS queries.
    pub queries: usize,
    /// Fragmented datagrams.
    pub fragments: usize,
}

/// All conversations of the inputs, and the pairing of their halves.
pub struct Flows {
    model: Model,
    limits: Limits,
    table: Table,
    pairs: pairing::Pairing,
    queries: dns::Queries,
    fragments: Fragments,
    deadlines: BinaryHeap<Reverse<Deadline>>,
    /// Deadlines set so far.
    set: u64,
    retired: Vec<Leg>,
    /// At the end: the conversations that are yet to be retired.
    leaving: Option<std::vec::IntoIter<u32>>,
    /// Conversations that are not settled.
    waiting: usize,
    /// Those, and some that were settled since, in the order of first packets.
    unsettled: Line,
    /// Conversations that ended, and those that may have without a word: they leave when they are silent.
    ended: Line,
    idle: Line,
    superseded: Superseded,
    /// How many conversations there may be, and how many that are over, before room is made.
    room: [usize; 2],
    /// The pods' addresses, as far as their legs on loopback show them.
    pods: HashSet<IpAddr, RandomState>,
    requests: Requests,
    gateways: Option<Box<gateway::Gateways>>,
    /// Conversations on the wire whose answer may come from another address.
    open_on_wire: usize,
    /// By slot: where the first packet of a conversation went, and its serial number. Empty if nobody says.
    written: Vec<(u64, Written)>,
}

impl Flows {
    /// No conversation yet, under these nat rules.
    pub fn new(model: Model, limits: Limits) -> Flows {
        Flows {
            model,
            limits,
            table: Table::new(),
            pairs: pairing::Pairing::default(),
            queries: dns::Queries::default(),
            fragments: Fragments::default(),
            deadlines: BinaryHeap::new(),
            set: 0,
            retired: Vec::new(),
            leaving: None,
            waiting: 0,
            unsettled: Line::default(),
            ended: Line::default(),
            idle: Line::default(),
            superseded: Superseded::default(),
            room: [limits.legs, limits.over],
            pods: HashSet::default(),
            requests: Requests::default(),
            gateways: None,
            open_on_wire: 0,
            written: Vec::new(),
        }
    }

    /// With the legs of a gateway told from others.
    pub fn with_gateway(self, gateway: Gateway) -> Flows {
        Flows { gateways: Some(Box::new(gateway::Gateways::new(gateway))), ..self }
    }

    /// The addresses of the gateway, as far as they are known; none if nobody said that there is one.
    pub fn gateway(&self) -> Option<Vec<IpAddr>> {
        self.gateways.as_ref().map(|gateways| gateways.addresses())
    }

    /// Takes in the next packet of the capture that belongs to a leg.
    pub fn observe(&mut self, segment: &Segment) -> Mark {
        self.expire(segment.time);
        let (key, side) = Key::of(segment);
        let mut id = match self.table.find(&key) {
            Some(id) if self.observe_following(id, side, segment) => {
                return Mark::Conversation { id, from_first: side == 0 };
            }
            Some(id) => id,
            None => self.start(key, segment, side),
        };
        if self.begins_anew(id, side, segment) {
            id = self.anew(id, key, segment, side);
        }
        let record = &mut self.table.records[id];
        record.last_time = record.last_time.max(segment.time);
        record.in_flight += 1;
        let (is_closing, is_settled) = (record.is(marks::CLOSING), record.is_settled());
        let may_end = is_closing || self.table.records.half(id, side).packets() == 0;
        if is_settled {
            self.table.records.note(id, side, segment);
            if matches!(segment.content, Content::Dns { .. }) {
                self.note_query(id, segment);
            }
        } else {
            self.pair(id, side, segment);
        }
        let said = Said::of(segment);
        if let Some(forward) = self.requests.hear(&mut self.table.records[id], side, &said) {
            self.requests.note(&mut self.table.records[forward], &said, false);
        }
        if may_end || segment.ends() {
            self.note_end(id, segment);
            self.forget(segment.time);
        }
        Mark::Conversation { id, from_first: side == 0 }
    }

    /// The conversation of a packet that is not of the one which has its ends now: one that goes on meanwhile, or a new one.
    #[cold]
    fn anew(&mut self, before: u32, key: Key, segment: &Segment, side: Side) -> u32 {
        if let Some(id) = self.resume(before, key, segment, side) {
            return id;
        }
        let record = &self.table.records[before];
        if record.protocol() == Protocol::Tcp {
            if let (Content::Tcp { flags: f, .. }, false) = (segment.content, record.is(marks::ENDED))
                && f & flags::SYN != 0
            {
                match record.state {
                    State::Repaired { .. } => self.superseded.note(key, before, &self.table.records),
                    _ if record.is_settled() => {}
                    _ => self.pairs.supersede(before, &mut self.table.records),
                }
            }
            // Perhaps nothing more comes of the one before. It stands in line already if it was about to end.
            if !self.table.records[before].is(marks::CLOSING | marks::ENDED) {
                self.idle.push(before, segment.time, &self.table.records, self.table.len(), |_| true);
            }
        }
        self.start(key, segment, side)
    }

    /// Where a SYN took the ends of a connection that was repaired and is still there, and a packet goes on exactly where that
    /// stopped, it is that connection's: conntrack gave one port of a client to two connections.
    fn resume(&mut self, before: u32, key: Key, segment: &Segment, side: Side) -> Option<u32> {
        let Content::Tcp { seq, ack, flags: f, .. } = segment.content else { return None };
        let id = self.superseded.find(&key, &self.table.records)?;
        let end = end_of(seq, segment.data_len, f);
        if !pairing::resumes(self.table.records.half(id, side), (seq, end, ack, f)) {
            return None;
        }
        self.table.give_back(&key, id);
        self.superseded.note(key, before, &self.table.records);
        Some(id)
    }

    /// How many conversations began: each has a number below that.
    pub fn begun(&self) -> u64 {
        self.table.begun()
    }

    /// The number of the conversation that a packet on the wire belongs to, if it has begun; and whether the lower end sent it.
    pub fn known(&self, segment: &Segment) -> Option<(u64, bool)> {
        let (key, side) = Key::of(segment);
        let id = self.table.find(&key).filter(|_| segment.origin == Origin::Network)?;
        Some((self.table.records[id].serial - 1, side == 0))
    }

    /// Takes in a packet that bears no transport header of its own: a later fragment, an ICMP error.
    pub fn observe_other(&mut self, view: &View, frame: &[u8], origin: Origin, time: Timestamp) -> Mark {
        self.expire(time);
        if origin == Origin::Network {
            return Mark::Untracked;
        }
        if let crate::packet::Transport::IcmpError(quote) = view.transport {
            let Some((source, destination)) = quote.ends(frame) else { return Mark::Untracked };
            let protocol = if quote.protocol == 6 { Protocol::Tcp } else { Protocol::Udp };
            let (key, side) = Key::new(protocol, false, source, destination);
            return match self.table.find(&key) {
                Some(id) => {
                    let record = &mut self.table.records[id];
                    record.in_flight += 1;
                    debug_assert_eq!(record.end(side), source);
                    Mark::Quote { id, from_first: side == 0 }
                }
                None => Mark::Untracked,
            };
        }
        let Some(group) = self.fragments.later(view, time) else { return Mark::Untracked };
        // Behind its first fragment it goes with the conversation, however long that waits; groups are soon forgotten.
        if let fragments::Owner::Conversation { id, serial } = self.fragments.conversation(group) {
            let record = &mut self.table.records[id];
            if record.serial == serial {
                record.in_flight += 1;
                return Mark::Conversation { id, from_first: record.client() == Some(0) };
            }
        }
        self.fragments.hold(group, true);
        Mark::Fragment { group }
    }

    /// Tells the fragments behind a first fragment where they belong.
    pub fn observe_first_fragment(&mut self, view: &View, mark: Mark, time: Timestamp) {
        if let Mark::Conversation { id, .. } = mark
            && self.table.records[id].origin != Origin::Network
        {
            let serial = self.table.records[id].serial;
            self.fragments.first(view, id, serial, time);
        }
    }

    /// Whether it is known how the packet leaves.
    pub fn is_decided(&self, mark: Mark) -> bool {
        match mark {
            Mark::Untracked => true,
            Mark::Conversation { id, .. } | Mark::Quote { id, .. } => {
                let record = &self.table.records[id];
                record.is_settled() || !record.waits
            }
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Unknown => false,
                fragments::Owner::Nobody => true,
                fragments::Owner::Conversation { id, serial } => {
                    let record = &self.table.records[id];
                    record.serial != serial || record.is_settled() || !record.waits
                }
            },
        }
    }

    /// The new addresses of a packet of a repaired forward half; of an ICMP error, those of its quote.
    pub fn translation(&self, mark: Mark) -> Option<Translation> {
        let record = &self.table.records[self.id_of(mark)?];
        let State::Repaired { reply } = record.state else { return None };
        // What the listener sends from its own address was not translated by the kernel either.
        if let Mark::Conversation { from_first, .. } | Mark::Quote { from_first, .. } = mark
            && from_first != (record.client() == Some(0))
        {
            return None;
        }
        let reply = &self.table.records[reply];
        let client = reply.client()?;
        Some(Translation { source: reply.end(client), destination: reply.end(1 - client) })
    }

    /// The leg of a packet whose comment is due, if this is the first packet of a repaired leg.
    pub fn comment(&mut self, mark: Mark) -> Option<Leg> {
        let Mark::Conversation { id, .. } = mark else { return None };
        let forward = match self.table.records[id].state {
            State::Repaired { .. } => id,
            State::Answering { forward } => forward,
            _ => return None,
        };
        let was_commented = self.table.records[forward].mark(marks::COMMENTED);
        (!was_commented).then(|| self.leg(forward))
    }

    /// The packet was written; the leg remembers where its first one went.
    pub fn written(&mut self, mark: Mark, place: Written) {
        self.release(mark);
        let Mark::Conversation { id, .. } = mark else { return };
        let record = &self.table.records[id];
        // A leg is numbered where its conversation is written: a forward half where its reply half is.
        let home = match record.state {
            State::Repaired { reply } => reply,
            _ => id,
        };
        let serial = self.table.records[home].serial;
        let home = home as usize;
        if self.written.len() <= home {
            self.written.resize(home + 1, (0, NOWHERE));
        }
        if self.written[home].0 != serial {
            self.written[home] = (serial, place);
        }
    }

    /// The packet can wait no longer: its leg stays as it was captured.
    pub fn give_up(&mut self, mark: Mark, reason: Reason) {
        match mark {
            Mark::Conversation { id, .. } | Mark::Quote { id, .. } => match self.table.records[id].state {
                State::Forward => self.leave(id, reason),
                State::Open => self.give_up_open(id, reason),
                _ => self.table.records[id].waits = false,
            },
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Conversation { id, serial } => {
                    if self.table.records[id].serial == serial {
                        self.give_up(Mark::Quote { id, from_first: true }, reason);
                    }
                }
                _ => self.fragments.abandon(group),
            },
            Mark::Untracked => {}
        }
    }

    /// The number of the conversation that a packet belongs to, as in [`Part`]; of a fragment, once it is known.
    pub fn number(&self, mark: Mark) -> Option<u64> {
        Some(self.table.records[self.id_of(mark)?].serial - 1)
    }

    /// The conversation of a packet; of a fragment, once it is known, while that is remembered.
    fn id_of(&self, mark: Mark) -> Option<u32> {
        match mark {
            Mark::Untracked => None,
            Mark::Conversation { id, .. } | Mark::Quote { id, .. } => Some(id),
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Conversation { id, serial } if self.table.records[id].serial == serial => Some(id),
                _ => None,
            },
        }
    }

    /// Whether it is known whose a fragment is, if anybody's.
    pub fn is_owned(&self, group: u32) -> bool {
        self.fragments.conversation(group) != fragments::Owner::Unknown
    }

    /// The packet needs nothing more of its conversation.
    pub fn release(&mut self, mark: Mark) {
        match mark {
            Mark::Conversation { id, .. } | Mark::Quote { id, .. } => self.table.records[id].in_flight -= 1,
            Mark::Fragment { group } => self.fragments.hold(group, false),
            Mark::Untracked => {}
        }
    }

    /// Whether more conversations are kept than the limits allow, because packets of them wait to be written:
    /// the caller has to [give up](Flows::give_up) what it waits for.
    pub fn is_crowded(&self) -> bool {
        self.table.len() > self.limits.legs * 2 || self.table.over() > self.limits.over * 2
    }

    /// What is remembered at this moment, to be held against [`Limits`].
    pub fn remembered(&self) -> Remembered {
        Remembered {
            conversations: self.table.len(),
            over: self.table.over(),
            waiting: self.waiting,
            deadlines: self.deadlines.len(),
            queries: self.queries.len(),
            fragments: self.fragments.len(),
        }
    }

    /// There are no more packets: everything is decided.
    pub fn finish(&mut self) {
        self.fragments.finish();
        let unsettled = |table: &Table| table.ids_of(|record| !record.is_settled());
        for id in unsettled(&self.table) {
            self.accept(id);
        }
        for id in unsettled(&self.table) {
            let record = &self.table.records[id];
            match (record.state, record.is(marks::CONTESTED)) {
                (State::Forward | State::Open | State::Reply, true) => self.leave(id, Reason::Ambiguous),
                (State::Forward, false) => self.leave(id, Reason::NoReply),
                (State::Open, false) => self.give_up_open(id, Reason::OneDirection),
                (State::Reply, false) => self.leave(id, Reason::OneDirection),
                _ => {}
            }
        }
    }

    /// Legs that were forgotten to make room, since the last call.
    pub fn retired(&mut self) -> std::vec::Drain<'_, Leg> {
        self.retired.drain(..)
    }

    /// Retires some of the legs that are left, oldest first, and whether there were any; to be called after
    /// [`Flows::finish`] when all packets are written.
    pub fn retire_more(&mut self) -> bool {
        let mut leaving = self.leaving.take().unwrap_or_else(|| self.table.ids().into_iter());
        let some: Vec<u32> = leaving.by_ref().take(AT_ONCE).collect();
        self.retire(&some);
        self.leaving = Some(leaving);
        !some.is_empty()
    }
}

#[cfg(test)]
mod tests;

//! Halves paired into legs, each with the evidence that it was accepted on.
//!
//! What comes in is one [`Segment`] after the other, in the order of the capture; what goes out is, for each,
//! a [`Mark`] that tells the leg it belongs to, and later whether and how that leg is repaired. On loopback a
//! redirected leg shows as two conversations of one direction each: the forward half, to a listener of the
//! proxy, and the reply half, from the original destination. `pairing` joins them by what TCP proves,
//! `dns` by what a DNS response repeats. This stage does no I/O, reads no clock and knows no bytes.
//!
//! # Memory
//!
//! At most [`Limits::legs`] conversations are remembered; the ones that ended longest ago are retired first,
//! then those that never had an answer, so a flood of half-open connections pushes out itself. At most
//! [`Limits::pending`] halves wait for their other half. Both bounds are enforced in [`Flows::observe`].

mod dns;
mod evidence;
mod fragments;
mod leg;
mod pairing;
mod record;
mod segment;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::nat::{Model, Protocol};
use crate::packet::{Origin, View};

pub use evidence::{Evidence, Reason};
pub use leg::{Direction, Leg, Outcome};
pub(crate) use record::Key;
pub use segment::{Content, Place, Segment, flags};

use fragments::Fragments;
use record::{Record, State, Table};

/// How long the kernel keeps sending a SYN that nobody answers: `tcp_syn_retries` 6 gives up after 127 s.
const SYN_TIMEOUT: u64 = 128_000_000_000;

/// How long conntrack keeps a UDP mapping that was not answered (`nf_conntrack_udp_timeout`).
const UDP_TIMEOUT: u64 = 30_000_000_000;

/// How long a half conversation on loopback is looked at as a possible reply half before its packets are
/// let go. Its forward half shows within a round trip, where there is one.
const REPLY_TIMEOUT: u64 = 1_000_000_000;

/// How many addresses of pods are remembered.
const PODS: usize = 1024;

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

/// The bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Conversations.
    pub legs: usize,
    /// Halves that wait for their other half.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { legs: 131_072, pending: 32_768 }
    }
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Conversations.
    pub conversations: usize,
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
    /// Conversations that are not settled.
    waiting: usize,
    /// How many conversations there must be before room is made again.
    no_room_until: usize,
    /// The pods' addresses, as far as their legs on loopback show them.
    pods: HashSet<IpAddr, RandomState>,
}

/// A half that is given up when its time has come. Of two at one time, the one that was set first comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Timestamp,
    number: u64,
    id: u32,
    serial: u64,
    kind: Expiry,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Expiry {
    /// Forward halves: left as captured after this many nanoseconds of silence.
    Forward(u64),
    /// Reply halves: packets no longer wait.
    Reply,
    /// A pairing becomes final.
    Proposal,
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
            waiting: 0,
            no_room_until: 0,
            pods: HashSet::default(),
        }
    }

    /// Takes in the next packet of the capture that belongs to a leg.
    pub fn observe(&mut self, segment: &Segment) -> Mark {
        self.expire(segment.time);
        let (key, side) = Key::of(segment);
        let mut id = match self.table.find(&key) {
            Some(id) => id,
            None => self.start(key, segment, side),
        };
        if self.begins_anew(id, side, segment) {
            id = self.start(key, segment, side);
        }
        let record = &mut self.table.records[id as usize];
        record.last_time = record.last_time.max(segment.time);
        record.in_flight += 1;
        if record.is_settled() {
            record.halves[side].note(segment);
            self.note_query(id, segment);
        } else {
            self.pair(id, side, segment);
        }
        self.make_room();
        Mark::Conversation { id, from_first: side == 0 }
    }

    /// Takes in a packet that bears no transport header of its own: a later fragment, an ICMP error.
    pub fn observe_other(&mut self, view: &View, origin: Origin, time: Timestamp) -> Mark {
        self.expire(time);
        if origin == Origin::Network {
            return Mark::Untracked;
        }
        if let crate::packet::Transport::IcmpError(quote) = view.transport {
            let protocol = if quote.protocol == 6 { Protocol::Tcp } else { Protocol::Udp };
            let (key, side) = Key::new(protocol, false, quote.source, quote.destination);
            let to_listener = self.model.listener(protocol, quote.destination).is_some();
            return match self.table.find(&key) {
                Some(id) if to_listener => {
                    let record = &mut self.table.records[id as usize];
                    record.in_flight += 1;
                    debug_assert_eq!(record.ends[side], quote.source);
                    Mark::Quote { id }
                }
                _ => Mark::Untracked,
            };
        }
        let Some(group) = self.fragments.later(view, time) else { return Mark::Untracked };
        // Behind its first fragment it goes with the conversation, however long that waits; groups are soon forgotten.
        if let fragments::Owner::Conversation { id, serial } = self.fragments.conversation(group) {
            let record = &mut self.table.records[id as usize];
            if record.serial == serial {
                record.in_flight += 1;
                return Mark::Conversation { id, from_first: record.client == Some(0) };
            }
        }
        self.fragments.hold(group, true);
        Mark::Fragment { group }
    }

    /// Tells the fragments behind a first fragment where they belong.
    pub fn observe_first_fragment(&mut self, view: &View, mark: Mark, time: Timestamp) {
        if let Mark::Conversation { id, .. } = mark
            && self.table.records[id as usize].origin != Origin::Network
        {
            let serial = self.table.records[id as usize].serial;
            self.fragments.first(view, id, serial, time);
        }
    }

    /// Whether it is known how the packet leaves.
    pub fn is_decided(&self, mark: Mark) -> bool {
        match mark {
            Mark::Untracked => true,
            Mark::Conversation { id, .. } | Mark::Quote { id } => {
                let record = &self.table.records[id as usize];
                record.is_settled() || !record.waits
            }
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Unknown => false,
                fragments::Owner::Nobody => true,
                fragments::Owner::Conversation { id, serial } => {
                    let record = &self.table.records[id as usize];
                    record.serial != serial || record.is_settled() || !record.waits
                }
            },
        }
    }

    /// The new addresses of a packet of a repaired forward half; of an ICMP error, those of its quote.
    pub fn translation(&self, mark: Mark) -> Option<Translation> {
        let id = match mark {
            Mark::Untracked => return None,
            Mark::Conversation { id, .. } | Mark::Quote { id } => id,
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Conversation { id, serial } if self.table.records[id as usize].serial == serial => id,
                _ => return None,
            },
        };
        let record = &self.table.records[id as usize];
        let State::Repaired { reply, .. } = record.state else { return None };
        // What the listener sends from its own address was not translated by the kernel either.
        if let Mark::Conversation { from_first, .. } = mark
            && from_first != (record.client == Some(0))
        {
            return None;
        }
        let reply = &self.table.records[reply as usize];
        let client = reply.client?;
        Some(Translation { source: reply.ends[client], destination: reply.ends[1 - client] })
    }

    /// The leg of a packet whose comment is due, if this is the first packet of a repaired leg.
    pub fn comment(&mut self, mark: Mark) -> Option<Leg> {
        let Mark::Conversation { id, .. } = mark else { return None };
        let forward = match self.table.records[id as usize].state {
            State::Repaired { .. } => id,
            State::Answering { forward } => forward,
            _ => return None,
        };
        let record = &mut self.table.records[forward as usize];
        if std::mem::replace(&mut record.commented, true) {
            return None;
        }
        Some(self.leg(forward))
    }

    /// The packet was written; the leg remembers where its first one went.
    pub fn written(&mut self, mark: Mark, place: impl FnOnce() -> Written) {
        let id = match mark {
            Mark::Conversation { id, .. } => id,
            Mark::Quote { id } => {
                self.table.records[id as usize].in_flight -= 1;
                return;
            }
            Mark::Fragment { group } => return self.fragments.hold(group, false),
            Mark::Untracked => return,
        };
        let record = &mut self.table.records[id as usize];
        record.in_flight -= 1;
        // A leg is numbered where its conversation is written: a forward half where its reply half is.
        let home = match record.state {
            State::Repaired { reply, .. } => reply,
            _ => id,
        };
        let home = &mut self.table.records[home as usize];
        if home.written.is_none() {
            home.written = Some(place());
        }
    }

    /// The packet can wait no longer: its leg stays as it was captured.
    pub fn give_up(&mut self, mark: Mark, reason: Reason) {
        match mark {
            Mark::Conversation { id, .. } | Mark::Quote { id } => match self.table.records[id as usize].state {
                State::Forward => self.leave(id, reason),
                _ => self.table.records[id as usize].waits = false,
            },
            Mark::Fragment { group } => match self.fragments.conversation(group) {
                fragments::Owner::Conversation { id, serial } => {
                    if self.table.records[id as usize].serial == serial {
                        self.give_up(Mark::Quote { id }, reason);
                    }
                }
                _ => self.fragments.abandon(group),
            },
            Mark::Untracked => {}
        }
    }

    /// Whether more conversations are kept than the limits allow, because packets of them wait to be written:
    /// the caller has to [give up](Flows::give_up) what it waits for.
    pub fn is_crowded(&self) -> bool {
        self.table.len() > self.limits.legs * 2
    }

    /// What is remembered at this moment, to be held against [`Limits`].
    pub fn remembered(&self) -> Remembered {
        Remembered {
            conversations: self.table.len(),
            waiting: self.waiting,
            deadlines: self.deadlines.len(),
            queries: self.queries.len(),
            fragments: self.fragments.len(),
        }
    }

    /// There are no more packets: everything is decided.
    pub fn finish(&mut self) {
        self.fragments.finish();
        for id in self.table.ids() {
            if self.table.records[id as usize].proposal.is_some() {
                self.accept(id);
            }
        }
        for id in self.table.ids() {
            let record = &self.table.records[id as usize];
            let reason = match (record.state, record.contested) {
                (State::Forward | State::Reply, true) => Reason::Ambiguous,
                (State::Forward, false) => Reason::NoReply,
                (State::Reply, false) => Reason::OneDirection,
                _ => continue,
            };
            self.leave(id, reason);
        }
    }

    /// Legs that were forgotten to make room, since the last call.
    pub fn retired(&mut self) -> std::vec::Drain<'_, Leg> {
        self.retired.drain(..)
    }

    /// Retires every leg, oldest first; to be called after [`Flows::finish`] when all packets are written.
    pub fn retire_all(&mut self) {
        let ids = self.table.ids();
        self.retire(&ids);
    }

    fn start(&mut self, key: Key, segment: &Segment, side: usize) -> u32 {
        let (state, client, waits) = self.classify(segment);
        if self.model.is_passthrough(segment.source.ip()) {
            self.note_pod(segment.destination.ip());
        }
        let id = self.table.insert(key, segment, side, state);
        let record = &mut self.table.records[id as usize];
        record.waits = waits;
        self.waiting += usize::from(!record.is_settled());
        record.client = client.map(|sender| if sender { side } else { 1 - side });
        if waits {
            let kind = match (state, segment.protocol) {
                (State::Reply, _) => Expiry::Reply,
                (_, Protocol::Udp) => Expiry::Forward(UDP_TIMEOUT),
                (_, Protocol::Tcp) => Expiry::Forward(SYN_TIMEOUT),
            };
            let wait = match kind {
                Expiry::Forward(silence) => silence,
                Expiry::Reply | Expiry::Proposal => REPLY_TIMEOUT,
            };
            self.deadline(id, segment.time, wait, kind);
        }
        id
    }

    /// What a conversation is, by its first packet: its state, whether the sender is the client, and
    /// whether its packets wait.
    fn classify(&self, segment: &Segment) -> (State, Option<bool>, bool) {
        let opens = match segment.content {
            Content::Tcp { flags: f, .. } if f & (flags::SYN | flags::ACK) == flags::SYN => Some(true),
            Content::Tcp { flags: f, .. } if f & flags::SYN != 0 => Some(false),
            Content::Dns { response, .. } => Some(!response),
            _ => None,
        };
        if segment.origin == Origin::Network {
            return (State::Whole, opens, false);
        }
        if self.model.listener(segment.protocol, segment.destination).is_some() {
            return (State::Forward, Some(true), true);
        }
        if self.model.listener(segment.protocol, segment.source).is_some() {
            return (State::Left(Reason::Direct), Some(false), false);
        }
        if self.model.is_passthrough(segment.source.ip()) || self.model.is_passthrough(segment.destination.ip()) {
            return (State::Whole, opens.or(Some(self.model.is_passthrough(segment.source.ip()))), false);
        }
        match segment.content {
            // A reply half never begins with a SYN.
            Content::Tcp { .. } if opens == Some(true) => (State::Whole, opens, false),
            Content::Tcp { .. } => (State::Reply, opens.or(Some(false)), true),
            Content::Dns { response: true, .. } => (State::Reply, opens, true),
            Content::Dns { .. } | Content::Opaque => (State::Whole, opens, false),
        }
    }

    /// Whether a packet on known addresses starts another conversation: ports are reused, and a mapping must
    /// not outlive its connection.
    fn begins_anew(&self, id: u32, side: usize, segment: &Segment) -> bool {
        let record = &self.table.records[id as usize];
        match segment.content {
            Content::Tcp { seq, ack, flags: f, .. } => pairing::begins_anew(record, side, seq, ack, f),
            Content::Dns { response: true, .. } => {
                // Another query of the same client, long after: conntrack has forgotten the first.
                matches!(record.state, State::Answering { forward }
                    if self.queries.awaits(segment, forward, &self.table.records))
            }
            // A forward half keeps its translation while conntrack keeps the mapping.
            Content::Dns { .. } | Content::Opaque => {
                matches!(record.state, State::Repaired { .. } | State::Left(_))
                    && segment.protocol == Protocol::Udp
                    && segment.time.0.saturating_sub(record.last_time.0) >= UDP_TIMEOUT
            }
        }
    }

    /// Counts a packet of a half that is not settled, and looks for its other half.
    fn pair(&mut self, id: u32, side: usize, segment: &Segment) {
        let record = &mut self.table.records[id as usize];
        let towards_client = record.client == Some(1 - side);
        match (record.state, towards_client) {
            // The mirror image of a forward half: nobody translated it.
            (State::Forward, true) => {
                record.halves[side].note(segment);
                self.cancel(id);
                self.leave(id, Reason::Direct);
            }
            // The mirror image of a possible reply half: a whole conversation.
            (State::Reply, false) => {
                record.halves[side].note(segment);
                self.cancel(id);
                self.settle(id, State::Whole);
            }
            _ => match segment.protocol {
                Protocol::Tcp => self.pair_tcp(id, side, segment),
                Protocol::Udp => self.pair_dns(id, side, segment),
            },
        }
        if self.waiting > self.limits.pending {
            self.evict_pending();
        }
    }

    /// Joins two halves for good.
    fn join(&mut self, forward: u32, reply: u32, evidence: Evidence) {
        self.settle(forward, State::Repaired { reply, evidence });
        self.settle(reply, State::Answering { forward });
        let reply = &self.table.records[reply as usize];
        if let Some(client) = reply.client {
            self.note_pod(reply.ends[client].ip());
        }
    }

    fn note_pod(&mut self, address: IpAddr) {
        if !address.is_loopback() && self.pods.len() < PODS {
            self.pods.insert(address);
        }
    }

    /// Joins two halves unless another half shows within `wait` nanoseconds that fits as well.
    fn propose(&mut self, forward: u32, reply: u32, evidence: Evidence, now: Timestamp, wait: u64) {
        let current = |r: &Record| r.proposal.map(|p| p.partner);
        let (f, r) = (&self.table.records[forward as usize], &self.table.records[reply as usize]);
        match (current(f), current(r)) {
            (None, None) => {
                let due = Timestamp(now.0.saturating_add(wait));
                let proposal = |partner| Some(record::Proposal { partner, evidence, due });
                self.table.records[forward as usize].proposal = proposal(reply);
                self.table.records[reply as usize].proposal = proposal(forward);
                self.deadline(forward, now, wait, Expiry::Proposal);
            }
            (Some(p), Some(q)) if p == reply && q == forward => {}
            _ => {
                self.cancel(forward);
                self.cancel(reply);
                self.contest(&[forward, reply]);
            }
        }
    }

    /// Takes back a proposal, on both sides.
    fn cancel(&mut self, id: u32) {
        if let Some(proposal) = self.table.records[id as usize].proposal.take() {
            let partner = &mut self.table.records[proposal.partner as usize];
            partner.proposal = None;
            partner.contested = true;
        }
    }

    /// Notes that more than one half fits each of these.
    fn contest(&mut self, ids: &[u32]) {
        for &id in ids {
            self.table.records[id as usize].contested = true;
        }
    }

    fn accept(&mut self, id: u32) {
        let Some(proposal) = self.table.records[id as usize].proposal else { return };
        let (forward, reply) = match self.table.records[id as usize].state {
            State::Forward => (id, proposal.partner),
            _ => (proposal.partner, id),
        };
        self.join(forward, reply, proposal.evidence);
    }

    fn leave(&mut self, id: u32, reason: Reason) {
        self.cancel(id);
        self.settle(id, State::Left(reason));
    }

    /// Gives a half its final state; it is looked for no longer.
    fn settle(&mut self, id: u32, state: State) {
        self.pairs.forget(id, &self.table.records[id as usize]);
        self.waiting -= usize::from(!self.table.records[id as usize].is_settled());
        let record = &mut self.table.records[id as usize];
        record.state = state;
        record.waits = false;
        // Whoever was to be joined with it would take a half that is another's, or in time a slot that is.
        if let Some(proposal) = record.proposal.take() {
            self.table.records[proposal.partner as usize].proposal = None;
        }
    }

    fn deadline(&mut self, id: u32, now: Timestamp, wait: u64, kind: Expiry) {
        let serial = self.table.records[id as usize].serial;
        let at = Timestamp(now.0.saturating_add(wait));
        self.set += 1;
        self.deadlines.push(Reverse(Deadline { at, number: self.set, id, serial, kind }));
        // A half that is settled leaves its deadlines behind. Those of the halves that wait are at most two each, and
        // a proposal's: at most half of the deadlines stay, so the cost is constant on average.
        if self.deadlines.len() > 6 * self.limits.pending.max(self.waiting) + 64 {
            let records = &self.table.records;
            self.deadlines.retain(|Reverse(deadline)| {
                let record = &records[deadline.id as usize];
                let due = record.proposal.is_some_and(|p| p.due == deadline.at);
                record.serial == deadline.serial && !record.is_settled() && (deadline.kind != Expiry::Proposal || due)
            });
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while self.deadlines.peek().is_some_and(|Reverse(deadline)| deadline.at <= now) {
            let Some(Reverse(deadline)) = self.deadlines.pop() else { return };
            let record = &self.table.records[deadline.id as usize];
            if record.serial != deadline.serial || record.is_settled() {
                continue;
            }
            match deadline.kind {
                Expiry::Reply => self.table.records[deadline.id as usize].waits = false,
                // Unless it was taken back, and another has been made since.
                Expiry::Proposal if record.proposal.is_some_and(|p| p.due > deadline.at) => {}
                Expiry::Proposal => self.accept(deadline.id),
                Expiry::Forward(silence) => {
                    let due = record.last_time.0.saturating_add(silence);
                    let began = record.protocol == Protocol::Tcp && record.halves.iter().any(|h| h.ack.is_some());
                    if due > now.0 {
                        let last = record.last_time;
                        self.deadline(deadline.id, last, silence, deadline.kind);
                    } else if !began {
                        let reason = if record.contested { Reason::Ambiguous } else { Reason::NoReply };
                        self.leave(deadline.id, reason);
                    }
                }
            }
        }
        self.fragments.expire(now);
    }

    /// Gives up the halves that wait longest, so that a flood of them cannot exhaust memory.
    fn evict_pending(&mut self) {
        let waiting: Vec<u32> = self
            .table
            .ids()
            .into_iter()
            .filter(|&id| !self.table.records[id as usize].is_settled())
            .take(self.limits.pending / 4 + 1)
            .collect();
        for id in waiting {
            if !self.table.records[id as usize].is_settled() {
                self.leave(id, Reason::Evicted);
            }
        }
    }

    fn make_room(&mut self) {
        if self.table.len() <= self.limits.legs.max(self.no_room_until) {
            return;
        }
        let chosen = self.table.oldest(|record| !record.is_settled());
        self.retire(&chosen);
        // Where packets in flight keep conversations alive, the next attempt comes an eighth later: the cost
        // stays linear.
        self.no_room_until = self.table.len() + self.limits.legs / 8;
    }

    /// Forgets these conversations, each with its other half, and keeps what the report says of them.
    fn retire(&mut self, ids: &[u32]) {
        let mut gone: HashSet<u32, RandomState> = HashSet::default();
        for &id in ids {
            let other = match self.table.records[id as usize].state {
                State::Repaired { reply, .. } => Some(reply),
                State::Answering { forward } => Some(forward),
                _ => None,
            };
            let in_flight = |id: u32| self.table.records[id as usize].in_flight > 0;
            if gone.contains(&id) || in_flight(id) || other.is_some_and(in_flight) {
                continue;
            }
            let home = match self.table.records[id as usize].state {
                State::Answering { forward } => forward,
                _ => id,
            };
            let leg = self.leg(home);
            self.retired.push(leg);
            for id in [Some(id), other].into_iter().flatten() {
                gone.insert(id);
                self.table.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;

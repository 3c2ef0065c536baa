//! How a conversation comes to its state: what it is by its first packet, when it is another one on the same addresses,
//! and how two halves are joined, proposed to each other, or left alone.

use std::net::IpAddr;

use super::bounds::{Expiry, silence};
use super::evidence::{Evidence, Reason};
use super::key::Key;
use super::record::{Proof, State, marks};
use super::requests::opens_unasked;
use super::segment::{Content, Segment, flags};
use super::{Flows, UDP_TIMEOUT, pairing};
use crate::capture::Timestamp;
use crate::nat::{Listener, Protocol, Role, is_redirect_address};
use crate::packet::Origin;

/// How long a half conversation on loopback is looked at as a possible reply half before its packets are
/// let go. Its forward half shows within a round trip, where there is one.
const REPLY_TIMEOUT: u64 = 1_000_000_000;

/// How far apart two captures of one SYN may be: clocks of two machines.
const OTHER_CLOCK: u64 = 500_000_000;

/// How many listeners are known at most: packets can show any number of them.
const LISTENERS: usize = 64;

/// How many addresses of pods are remembered.
const PODS: usize = 1024;

impl Flows {
    pub(super) fn start(&mut self, key: Key, segment: &Segment, side: usize) -> u32 {
        let (state, client, waits) = self.classify(segment);
        if self.model.is_passthrough(segment.source.ip()) {
            self.note_pod(segment.destination.ip());
        }
        if let Some(gateways) = &mut self.gateways {
            gateways.note(segment);
        }
        let id = self.table.insert(key, segment, side, state);
        let record = &mut self.table.records[id];
        record.waits = waits;
        let is_settled = record.is_settled();
        self.waiting += usize::from(!is_settled);
        self.open_on_wire += usize::from(record.is_open_on_wire());
        record.set_client(client.map(|sender| if sender { side } else { 1 - side }));
        if opens_unasked(&self.requests, segment, state) {
            record.mark(marks::UNASKED);
        }
        let records = &self.table.records;
        if !is_settled {
            self.unsettled.push(id, segment.time, records, self.waiting, |record| !record.is_settled());
        }
        if segment.protocol == Protocol::Udp {
            self.idle.push(id, segment.time, records, self.table.len(), |_| true);
        }
        if waits {
            let kind = match state {
                State::Reply => Expiry::Reply,
                State::Open if !self.looks_translated(segment) => Expiry::Open,
                _ => Expiry::Forward,
            };
            let wait = match kind {
                Expiry::Forward => silence(segment.protocol),
                Expiry::Reply | Expiry::Open | Expiry::Proposal => REPLY_TIMEOUT,
            };
            self.deadline(id, segment.time, wait, kind);
        }
        id
    }

    /// What a conversation is, by its first packet: its state, whether the sender is the client, and
    /// whether its packets wait.
    pub(super) fn classify(&self, segment: &Segment) -> (State, Option<bool>, bool) {
        let opens = match segment.content {
            Content::Tcp { flags: f, .. } if f & (flags::SYN | flags::ACK) == flags::SYN => Some(true),
            Content::Tcp { flags: f, .. } if f & flags::SYN != 0 => Some(false),
            Content::Dns { response, .. } => Some(!response),
            _ => None,
        };
        if segment.origin == Origin::Network {
            // Where the pod is a bridge for others (a virtual machine), what they send is redirected on its way in.
            return match opens {
                Some(true) if self.is_bridges_listener(segment) => (State::Open, opens, true),
                Some(false) if self.open_on_wire > 0 => (State::Reply, opens, true),
                _ => (State::Whole, opens, false),
            };
        }
        let is_sure = |address| self.model.listener(segment.protocol, address).is_some_and(|l| l.sure);
        if is_sure(segment.destination) {
            return (State::Forward, Some(true), true);
        }
        if is_sure(segment.source) {
            return (State::Left(Reason::Direct), Some(false), false);
        }
        if self.model.is_passthrough(segment.source.ip()) || self.model.is_passthrough(segment.destination.ip()) {
            return (State::Whole, opens.or(Some(self.model.is_passthrough(segment.source.ip()))), false);
        }
        match segment.content {
            // A reply half never begins with a SYN.
            Content::Tcp { .. } if opens == Some(true) => (State::Open, opens, true),
            Content::Tcp { .. } if opens.is_none() && self.looks_translated(segment) => (State::Open, Some(true), true),
            Content::Tcp { .. } => (State::Reply, opens.or(Some(false)), true),
            Content::Dns { response: true, .. } => (State::Reply, opens, true),
            Content::Dns { .. } if self.looks_translated(segment) => (State::Open, opens, true),
            Content::Dns { .. } | Content::Opaque => (State::Whole, opens, false),
        }
    }

    fn is_bridges_listener(&self, segment: &Segment) -> bool {
        let (address, port) = (segment.destination.ip(), segment.destination.port());
        !address.is_loopback() && self.model.port(segment.protocol, port).is_some()
    }

    /// Whether a packet on loopback has a destination that its sender did not give it: the kernel chooses the source by
    /// the destination, and between a loopback address and another there is no route.
    fn looks_translated(&self, segment: &Segment) -> bool {
        self.model.listener(segment.protocol, segment.destination).is_some()
            || segment.source.ip().is_loopback() != segment.destination.ip().is_loopback()
    }

    /// Whether a packet on known addresses starts another conversation: ports are reused, and a mapping must
    /// not outlive its connection.
    pub(super) fn begins_anew(&self, id: u32, side: usize, segment: &Segment) -> bool {
        let (record, halves) = (&self.table.records[id], self.table.records.halves(id));
        match segment.content {
            Content::Tcp { seq, ack, flags: f, .. } => {
                // Another machine's capture of it, whose clock is behind.
                let is_others = segment.place.input != record.first().input
                    && segment.time.0.saturating_sub(record.first_time.0) <= OTHER_CLOCK
                    && halves[side].isn() == Some(seq)
                    && record.origin == Origin::Network;
                !is_others && pairing::begins_anew(record.state, self.has_ended(id), halves, side, (seq, ack, f))
            }
            Content::Dns { response: true, .. } => {
                // Another query of the same client, long after: conntrack has forgotten the first.
                matches!(record.state, State::Answering { forward }
                    if self.queries.awaits(segment, forward, &self.table.records))
            }
            // A forward half keeps its translation while conntrack keeps the mapping. What another input shows can be another
            // pod's, whose loopback has the same addresses.
            Content::Dns { .. } | Content::Opaque => {
                let is_over = || segment.time.0.saturating_sub(record.last_time.0) >= UDP_TIMEOUT;
                let is_elsewhere = || record.origin != Origin::Network && segment.place.input != record.first().input;
                matches!(record.state, State::Repaired { .. } | State::Left(_))
                    && segment.protocol == Protocol::Udp
                    && (is_over() || is_elsewhere())
            }
        }
    }

    /// Whether the connection of a record is over; of one that is not settled, if it was reset.
    fn has_ended(&self, id: u32) -> bool {
        let records = &self.table.records;
        let is_reset = |id: u32| records.halves(id).iter().any(|half| half.rst());
        let partner = || records.proposal(id).map(|proposal| proposal.partner);
        records[id].is(marks::ENDED) || is_reset(id) || partner().is_some_and(is_reset)
    }

    /// Counts a packet of a half that is not settled, and looks for its other half.
    pub(super) fn pair(&mut self, id: u32, side: usize, segment: &Segment) {
        let record = &self.table.records[id];
        let (state, towards_client) = (record.state, record.client() == Some(1 - side));
        match (state, towards_client) {
            // The mirror image of a forward half: nobody translated it.
            (State::Forward, true) => {
                self.table.records.note(id, side, segment);
                self.cancel(id);
                self.leave(id, Reason::Direct);
            }
            // The mirror image of what may be half: a whole conversation.
            (State::Reply, false) | (State::Open, true) => {
                self.table.records.note(id, side, segment);
                // On loopback, who answers is here.
                if segment.origin == Origin::Loopback && state == State::Open {
                    self.note_pod(segment.source.ip());
                }
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
    pub(super) fn join(&mut self, forward: u32, reply: u32, evidence: Evidence) {
        self.settle(forward, State::Repaired { reply });
        self.table.records.prove(forward, reply, evidence);
        self.settle(reply, State::Answering { forward });
        self.learn_listener(forward, reply);
        self.note_ended(reply, self.table.records[reply].last_time);
        let reply = &self.table.records[reply];
        if let Some(client) = reply.client() {
            self.note_pod(reply.end(client).ip());
        }
    }

    /// Remembers where a connection was redirected to, if no rules said so: others that began before the capture go there
    /// as well.
    fn learn_listener(&mut self, forward: u32, reply: u32) {
        let (forward, reply) = (&self.table.records[forward], &self.table.records[reply]);
        let (Some(f), Some(r)) = (forward.client(), reply.client()) else { return };
        let (protocol, to, meant) = (forward.protocol(), forward.end(1 - f), reply.end(1 - r));
        let is_known = self.model.listener(protocol, to).is_some();
        if is_known || !is_redirect_address(to.ip()) || self.model.listeners.len() >= LISTENERS {
            return;
        }
        let role = if meant.port() == 53 { Role::Dns } else { Role::OutboundApp };
        let port = Some(to.port());
        self.model.listeners.push(Listener { protocol, address: None, port, role, sure: true });
    }

    pub(super) fn note_pod(&mut self, address: IpAddr) {
        if !address.is_loopback() && self.pods.len() < PODS {
            self.pods.insert(address);
        }
    }

    /// Joins two halves unless another half shows within `wait` nanoseconds that fits as well.
    pub(super) fn propose(&mut self, forward: u32, reply: u32, evidence: Evidence, now: Timestamp, wait: u64) {
        let records = &mut self.table.records;
        let current = |id: u32| records.proposal(id).map(|p| p.partner);
        match (current(forward), current(reply)) {
            (None, None) => {
                let due = Timestamp(now.0.saturating_add(wait));
                let proposal = |partner| Some(Proof::new(partner, evidence, due));
                records.propose(forward, proposal(reply));
                records.propose(reply, proposal(forward));
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
    pub(super) fn cancel(&mut self, id: u32) {
        let records = &mut self.table.records;
        if let Some(partner) = records.proposal(id).map(|proposal| proposal.partner) {
            records.propose(id, None);
            records.propose(partner, None);
            records[partner].mark(marks::CONTESTED);
        }
    }

    /// Notes that more than one half fits each of these.
    pub(super) fn contest(&mut self, ids: &[u32]) {
        for &id in ids {
            self.table.records[id].mark(marks::CONTESTED);
        }
    }

    pub(super) fn accept(&mut self, id: u32) {
        let Some(&proposal) = self.table.records.proposal(id) else { return };
        let (partner, evidence) = (proposal.partner, proposal.evidence());
        let (forward, reply) = match self.table.records[id].state {
            State::Forward | State::Open => (id, partner),
            _ => (partner, id),
        };
        self.join(forward, reply, evidence);
    }

    /// Looks no longer for the answer of what may be whole. Whole it is, unless it was answered and the answers are not
    /// in the capture.
    pub(super) fn give_up_open(&mut self, id: u32, reason: Reason) {
        let record = &self.table.records[id];
        let server = record.client().map(|client| record.end(1 - client));
        let to_listener = server.is_some_and(|server| self.model.listener(record.protocol(), server).is_some());
        let reason = if to_listener && reason == Reason::OneDirection { Reason::NoReply } else { reason };
        if to_listener || self.table.records.is_answered(id) {
            self.leave(id, reason);
        } else {
            self.cancel(id);
            self.settle(id, State::Whole);
        }
    }

    pub(super) fn leave(&mut self, id: u32, reason: Reason) {
        self.cancel(id);
        self.settle(id, State::Left(reason));
    }

    /// Gives a half its final state; it is looked for no longer.
    pub(super) fn settle(&mut self, id: u32, state: State) {
        self.pairs.forget(id, &self.table.records);
        self.waiting -= usize::from(!self.table.records[id].is_settled());
        self.open_on_wire -= usize::from(self.table.records[id].is_open_on_wire());
        let proposed = self.table.records.settle(id, state);
        let record = &mut self.table.records[id];
        // A whole conversation on loopback asks the proxy for nothing.
        if record.origin != Origin::Network && !matches!(state, State::Repaired { .. }) {
            self.requests.forget(record);
        }
        // Whoever was to be joined with it would take a half that is another's, or in time a slot that is.
        if let Some(partner) = proposed {
            self.table.records.propose(partner, None);
        }
        self.table.recount(id);
    }
}

//! What is forgotten, and when: deadlines of halves that wait, and room for what is new.

use std::cmp::Reverse;

use super::dns::STREAM_TIMEOUT;
use super::evidence::Reason;
use super::key::Side;
use super::record::{State, marks};
use super::segment::Segment;
use super::{Flows, UDP_TIMEOUT};
use crate::capture::Timestamp;
use crate::nat::Protocol;

/// How long a TCP conversation that ended may yet send its last packets again: the third time a FIN is sent, 1.4 s after
/// the first, it is silent for less (RFC 6298: 200 ms in Linux, doubled each time).
const LAST_ACK: u64 = 1_000_000_000;

/// How long a conversation is silent that conntrack has forgotten, while no query waits that it is a witness for: of UDP, or
/// of which one end said that it ends (`nf_conntrack_tcp_timeout_fin_wait`, 120 s).
const FORGOTTEN: u64 = STREAM_TIMEOUT + UDP_TIMEOUT;

/// How long the kernel keeps sending a SYN that nobody answers: `tcp_syn_retries` 6 gives up after 127 s.
const SYN_TIMEOUT: u64 = 128_000_000_000;

/// Deadlines of so many halves are kept without a look at which of them wait.
const FEW: usize = 1024;

/// A half that is given up when its time has come. Of two at one time, the one that was set first comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    at: Timestamp,
    number: u64,
    id: u32,
    serial: u64,
    kind: Expiry,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expiry {
    /// Forward halves: left as captured when they have been [silent](silence) for so long.
    Forward,
    /// Reply halves: packets no longer wait.
    Reply,
    /// What is most likely whole: settled, answered or not.
    Open,
    /// A pairing becomes final.
    Proposal,
}

/// How long a forward half is silent before it is given up, in nanoseconds.
pub(super) fn silence(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Udp => UDP_TIMEOUT,
        Protocol::Tcp => SYN_TIMEOUT,
    }
}

impl Flows {
    pub(super) fn deadline(&mut self, id: u32, now: Timestamp, wait: u64, kind: Expiry) {
        let serial = self.table.records[id].serial;
        let at = Timestamp(now.0.saturating_add(wait));
        self.set += 1;
        self.deadlines.push(Reverse(Deadline { at, number: self.set, id, serial, kind }));
        // A half that is settled leaves its deadlines behind. Those of the halves that wait are at most two each, and
        // a proposal's: at most half of the deadlines stay, so the cost is constant on average.
        if self.deadlines.len() > 6 * self.limits.pending.min(FEW).max(self.waiting) + 64 {
            let records = &self.table.records;
            self.deadlines.retain(|Reverse(deadline)| {
                let record = &records[deadline.id];
                let due = records.proposal(deadline.id).is_some_and(|p| p.due == deadline.at);
                record.serial == deadline.serial && !record.is_settled() && (deadline.kind != Expiry::Proposal || due)
            });
        }
    }

    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp) {
        let is_due = self.deadlines.peek().is_some_and(|Reverse(deadline)| deadline.at <= now);
        if is_due || !self.fragments.is_empty() {
            self.expire_due(now);
        }
    }

    #[cold]
    fn expire_due(&mut self, now: Timestamp) {
        while self.deadlines.peek().is_some_and(|Reverse(deadline)| deadline.at <= now) {
            let Some(Reverse(deadline)) = self.deadlines.pop() else { break };
            let record = &self.table.records[deadline.id];
            if record.serial != deadline.serial || record.is_settled() {
                continue;
            }
            match deadline.kind {
                Expiry::Reply => self.table.records[deadline.id].waits = false,
                Expiry::Open => self.give_up_open(deadline.id, Reason::OneDirection),
                // Unless it was taken back, and another has been made since.
                Expiry::Proposal if self.is_proposed_after(deadline.id, deadline.at) => {}
                Expiry::Proposal => self.accept(deadline.id),
                Expiry::Forward => {
                    let silence = silence(record.protocol());
                    let due = record.last_time.0.saturating_add(silence);
                    let has_ack = self.table.records.halves(deadline.id).iter().any(|half| half.ack().is_some());
                    let began = record.protocol() == Protocol::Tcp && has_ack;
                    if due > now.0 {
                        let last = record.last_time;
                        self.deadline(deadline.id, last, silence, deadline.kind);
                    } else if !began {
                        match (record.is(marks::CONTESTED), record.state) {
                            (true, _) => self.leave(deadline.id, Reason::Ambiguous),
                            (false, State::Open) => self.give_up_open(deadline.id, Reason::OneDirection),
                            (false, _) => self.leave(deadline.id, Reason::NoReply),
                        }
                    }
                }
            }
        }
        self.fragments.expire(now);
    }

    fn is_proposed_after(&self, id: u32, at: Timestamp) -> bool {
        self.table.records.proposal(id).is_some_and(|proposal| proposal.due > at)
    }

    /// Gives up the halves that wait longest, so that a flood of them cannot exhaust memory.
    pub(super) fn evict_pending(&mut self) {
        let mut left = self.limits.pending / 4 + 1;
        while left > 0
            && let Some(longest) = self.unsettled.pop()
        {
            if !longest.is_there(&self.table.records) {
                continue;
            }
            match self.table.records[longest.id].state {
                State::Open => self.give_up_open(longest.id, Reason::Evicted),
                State::Forward | State::Reply => self.leave(longest.id, Reason::Evicted),
                _ => continue,
            }
            left -= 1;
        }
    }

    /// Forgets what there is no room for, and what has been silent for long enough. There is more only with a new
    /// conversation, or where one comes to its end.
    pub(super) fn forget(&mut self, now: Timestamp) {
        if self.table.is_more_than(self.room) {
            self.make_room();
        }
        if self.ended.len().max(self.idle.len()) > self.limits.ended {
            self.retire_silent(now);
        }
    }

    #[cold]
    fn make_room(&mut self) {
        let (most, over) = (self.limits.legs, self.limits.over);
        let chosen = self.table.oldest(self.table.len() > self.room[0]);
        self.retire(&chosen);
        // Where packets in flight keep conversations alive, the next attempt comes an eighth later: the cost
        // stays linear.
        self.room = [most.max(self.table.len() + most / 8), over.max(self.table.over() + over / 8)];
    }

    /// Notes whether a conversation is over, behind a packet that may have made it so.
    pub(super) fn note_end(&mut self, id: u32, segment: &Segment) {
        self.table.recount(id);
        let record = &self.table.records[id];
        if record.is_settled() && !record.is(marks::ENDED) && (segment.ends() || record.is(marks::CLOSING)) {
            self.end(id, segment.time);
        }
    }

    /// The same where a leg becomes known when perhaps it was over already.
    pub(super) fn note_ended(&mut self, id: u32, now: Timestamp) {
        let records = &self.table.records;
        let both = [Some(id), records[id].other()];
        if both.into_iter().flatten().any(|id| records.halves(id).iter().any(|half| half.fin() || half.rst())) {
            self.end(id, now);
        }
    }

    /// Gives a conversation, one of whose ends said that it ends, its place among those that are over, or are about to be.
    fn end(&mut self, id: u32, now: Timestamp) {
        let records = &self.table.records;
        let record = &records[id];
        let other = record.other();
        // Each direction of a leg that was redirected has a record of its own; who reset it may be in either.
        let both = [Some(id), other];
        let is_reset = both.into_iter().flatten().any(|id| records.halves(id).iter().any(|half| half.rst()));
        let (a, b) = match (other, record.client()) {
            (Some(other), Some(client)) => {
                let from_client = matches!(record.state, State::Repaired { .. });
                let end = |client: Side| if from_client { client } else { 1 - client };
                let others = records[other].client().unwrap_or_default();
                (records.half(id, end(client)), records.half(other, 1 - end(others)))
            }
            _ => (records.half(id, 0), records.half(id, 1)),
        };
        let mark = if is_reset || a.has_ended(b) && b.has_ended(a) { marks::ENDED } else { marks::CLOSING };
        let was_closing = record.is(marks::CLOSING);
        for id in [Some(id), other].into_iter().flatten() {
            self.table.records[id].mark(mark);
            self.table.recount(id);
        }
        match mark {
            marks::ENDED => self.ended.push(id, now, &self.table.records, self.table.over(), |_| true),
            _ if was_closing => {}
            _ => self.idle.push(id, now, &self.table.records, self.table.len(), |_| true),
        }
    }

    /// Forgets conversations that ended, or may have, and are silent for long enough. Few at a time: there is one more each
    /// time, at most.
    fn retire_silent(&mut self, now: Timestamp) {
        // Whose the ends of a leg are has to be known.
        if self.pods.is_empty() && self.gateways.is_none() {
            return;
        }
        for is_sure in [true, false, true, false] {
            let silence = if is_sure { LAST_ACK } else { FORGOTTEN };
            let line = if is_sure { &mut self.ended } else { &mut self.idle };
            if line.len() <= self.limits.ended {
                continue;
            }
            let Some(first) = line.pop_after(silence, now) else { continue };
            let records = &self.table.records;
            if !first.is_there(records) {
                continue;
            }
            let record = &records[first.id];
            let last = record.other().map_or(record.last_time, |other| record.last_time.max(records[other].last_time));
            if record.is_settled() && last.0.saturating_add(silence) <= now.0 {
                self.retire(&[first.id]);
            }
            // It stays where it goes on, or packets of it wait.
            if first.is_there(&self.table.records) {
                let line = if is_sure { &mut self.ended } else { &mut self.idle };
                line.push(first.id, now, &self.table.records, self.table.len(), |_| true);
            }
        }
    }

    /// Forgets these conversations, each with its other half, and keeps what the report says of them.
    pub(super) fn retire(&mut self, ids: &[u32]) {
        for &id in ids {
            // It has gone with its other half.
            if self.table.records[id].serial == 0 {
                continue;
            }
            let other = self.table.records[id].other();
            let in_flight = |id: u32| self.table.records[id].in_flight > 0;
            if in_flight(id) || other.is_some_and(in_flight) {
                continue;
            }
            let home = match self.table.records[id].state {
                State::Answering { forward } => forward,
                _ => id,
            };
            let leg = self.leg(home);
            self.retired.push(leg);
            for id in [Some(id), other].into_iter().flatten() {
                self.requests.forget(&mut self.table.records[id]);
                self.table.remove(id);
            }
        }
    }
}

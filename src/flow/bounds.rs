//! What is forgotten, and when: deadlines of halves that wait, and room for what is new.

use std::cmp::Reverse;

use super::Flows;
use super::evidence::Reason;
use super::record::State;
use crate::capture::Timestamp;
use crate::nat::Protocol;

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
    /// Forward halves: left as captured after this many nanoseconds of silence.
    Forward(u64),
    /// Reply halves: packets no longer wait.
    Reply,
    /// What is most likely whole: settled, answered or not.
    Open,
    /// A pairing becomes final.
    Proposal,
}

impl Flows {
    pub(super) fn deadline(&mut self, id: u32, now: Timestamp, wait: u64, kind: Expiry) {
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

    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.deadlines.peek().is_some_and(|Reverse(deadline)| deadline.at <= now) {
            let Some(Reverse(deadline)) = self.deadlines.pop() else { return };
            let record = &self.table.records[deadline.id as usize];
            if record.serial != deadline.serial || record.is_settled() {
                continue;
            }
            match deadline.kind {
                Expiry::Reply => self.table.records[deadline.id as usize].waits = false,
                Expiry::Open => self.give_up_open(deadline.id, Reason::OneDirection),
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
                        match (record.contested, record.state) {
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

    /// Gives up the halves that wait longest, so that a flood of them cannot exhaust memory.
    pub(super) fn evict_pending(&mut self) {
        for id in self.table.ids_of(self.limits.pending / 4 + 1, |record| !record.is_settled()) {
            match self.table.records[id as usize].state {
                State::Open => self.give_up_open(id, Reason::Evicted),
                State::Forward | State::Reply => self.leave(id, Reason::Evicted),
                _ => {}
            }
        }
    }

    pub(super) fn make_room(&mut self) {
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
    pub(super) fn retire(&mut self, ids: &[u32]) {
        for &id in ids {
            // It has gone with its other half.
            if self.table.records[id as usize].serial == 0 {
                continue;
            }
            let other = match self.table.records[id as usize].state {
                State::Repaired { reply, .. } => Some(reply),
                State::Answering { forward } => Some(forward),
                _ => None,
            };
            let in_flight = |id: u32| self.table.records[id as usize].in_flight > 0;
            if in_flight(id) || other.is_some_and(in_flight) {
                continue;
            }
            let home = match self.table.records[id as usize].state {
                State::Answering { forward } => forward,
                _ => id,
            };
            let leg = self.leg(home);
            self.retired.push(leg);
            for id in [Some(id), other].into_iter().flatten() {
                self.requests.forget(&mut self.table.records[id as usize]);
                self.table.remove(id);
            }
        }
    }
}

//! The conversations that are remembered, by their ends, with what belongs to them.

use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::evidence::Evidence;
use super::half::Half;
use super::key::{Key, Side};
use super::recent::Recent;
use super::record::{Proof, Record, State, marks};
use super::segment::Segment;
use crate::capture::Timestamp;
use crate::chunks::Slots;
use crate::nat::Protocol;

/// How many of what fills most of the memory stand together: 32 MiB of each, so that all goes back when it is dropped, before
/// legs are tied.
const TOGETHER: usize = 1 << 20;

/// Conversations that there is room for from the beginning: a table that grows looks at all that it has.
const ROOM: usize = 14 << 10;

/// Records by their slots, with what only some of them have.
#[derive(Default)]
pub(super) struct Records {
    records: Slots<Record, { TOGETHER / 4 }>,
    /// The directions that first packets do not have.
    seconds: Slots<Half, TOGETHER>,
    proofs: Slots<Proof, TOGETHER>,
}

const _: () = assert!(size_of::<Record>() * TOGETHER / 4 >= 32 << 20 && size_of::<Proof>() * TOGETHER >= 32 << 20);

impl Index<u32> for Records {
    type Output = Record;

    #[inline]
    fn index(&self, id: u32) -> &Record {
        &self.records[id]
    }
}

impl IndexMut<u32> for Records {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Record {
        &mut self.records[id]
    }
}

impl Records {
    /// A record, and the directions that first packets do not have.
    #[inline(always)]
    pub fn parts(&mut self, id: u32) -> (&mut Record, &mut Slots<Half, TOGETHER>) {
        (&mut self.records[id], &mut self.seconds)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many there were at the same time.
    #[cfg(test)]
    pub fn most(&self) -> usize {
        self.records.most()
    }

    /// What one of its ends sent.
    #[inline]
    pub fn half(&self, id: u32, side: Side) -> &Half {
        let record = &self[id];
        match record.second {
            _ if record.first_side() == side => &record.half,
            0 => Half::NONE,
            place => &self.seconds[place - 1],
        }
    }

    /// What each of its ends sent.
    #[inline]
    pub fn halves(&self, id: u32) -> [&Half; 2] {
        [self.half(id, 0), self.half(id, 1)]
    }

    /// What one of its ends sent, to be changed; none if it sent nothing.
    #[inline]
    pub fn half_mut(&mut self, id: u32, side: Side) -> Option<&mut Half> {
        let record = &mut self.records[id];
        match record.second {
            _ if record.first_side() == side => Some(&mut record.half),
            0 => None,
            place => Some(&mut self.seconds[place - 1]),
        }
    }

    /// Takes in one more segment that an end sent.
    #[inline]
    pub fn note(&mut self, id: u32, side: Side, segment: &Segment) {
        match self.half_mut(id, side) {
            Some(half) => half.note(segment),
            None => self.note_second(id, segment),
        }
    }

    fn note_second(&mut self, id: u32, segment: &Segment) {
        let mut half = Half::default();
        half.note(segment);
        self[id].second = self.seconds.insert(half) + 1;
    }

    /// The pairing that will be taken if no other fits.
    pub fn proposal(&self, id: u32) -> Option<&Proof> {
        self.proof(id).filter(|_| !self[id].is_settled())
    }

    /// Sets or takes back the pairing that will be taken.
    pub fn propose(&mut self, id: u32, proposal: Option<Proof>) {
        if !self[id].is_settled() {
            self.set_proof(id, proposal);
        }
    }

    /// What proves the pairing of a repaired half.
    pub fn evidence(&self, id: u32) -> Option<Evidence> {
        self.proof(id).filter(|_| self[id].is_settled()).map(Proof::evidence)
    }

    /// Notes what proves the pairing of a half that is repaired now.
    pub fn prove(&mut self, id: u32, partner: u32, evidence: Evidence) {
        self.set_proof(id, Some(Proof::new(partner, evidence, Timestamp(0))));
    }

    /// Gives it its final state. The pairing that was proposed is taken back; its partner, if there was one.
    pub fn settle(&mut self, id: u32, state: State) -> Option<u32> {
        let partner = self.proposal(id).map(|proposal| proposal.partner);
        self.set_proof(id, None);
        let record = &mut self[id];
        (record.state, record.waits) = (state, false);
        partner
    }

    fn proof(&self, id: u32) -> Option<&Proof> {
        self[id].proof.checked_sub(1).map(|place| &self.proofs[place])
    }

    fn set_proof(&mut self, id: u32, proof: Option<Proof>) {
        let known = std::mem::take(&mut self[id].proof);
        match (known.checked_sub(1), proof) {
            (Some(place), Some(proof)) => (self.proofs[place], self[id].proof) = (proof, known),
            (Some(place), None) => _ = self.proofs.remove(place),
            (None, Some(proof)) => self[id].proof = self.proofs.insert(proof) + 1,
            (None, None) => {}
        }
    }

    /// Whether the client was answered, by what it acknowledges.
    pub fn is_answered(&self, id: u32) -> bool {
        let record = &self[id];
        record.protocol() == Protocol::Tcp
            && record.client().is_some_and(|client| self.half(id, client).ack().is_some())
    }

    /// Whether the conversation can be forgotten before one that lives: it ended, or it never began. Of a leg that was
    /// redirected, one direction is all that there is here; the other has a record of its own.
    fn is_over(&self, id: u32) -> bool {
        let record = &self[id];
        record.is(marks::ENDED) || record.other().is_none() && self.halves(id).iter().any(|half| half.packets() == 0)
    }

    fn remove(&mut self, id: u32) {
        self.set_proof(id, None);
        if let Some(place) = self[id].second.checked_sub(1) {
            self.seconds.remove(place);
        }
        // Serial numbers start at 1: who still knows it by its own finds nothing here.
        self.records.remove(id);
    }

    /// Every record that is remembered: a free one has no serial number.
    fn remembered(&self) -> impl Iterator<Item = (u32, &Record)> {
        self.records.iter().filter(|(_, record)| record.serial != 0)
    }
}

/// The conversations that are remembered.
pub(super) struct Table {
    pub records: Records,
    /// Those that were looked up last.
    recent: Recent,
    /// The records by their keys, which stand in them: a table that is looked into for every packet should be small.
    index: HashTable<u32>,
    hasher: RandomState,
    serial: u64,
    /// How many have the mark [`marks::OVER`].
    over: usize,
}

impl Table {
    pub fn new() -> Table {
        let (records, hasher) = (Records::default(), RandomState::default());
        let index = HashTable::with_capacity(ROOM);
        Table { records, recent: Recent::default(), index, hasher, serial: 0, over: 0 }
    }

    /// How many conversations began.
    pub fn begun(&self) -> u64 {
        self.serial
    }

    #[inline(always)]
    pub fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        match self.recent.find(hash).filter(|&id| self.records[id].has_key(key)) {
            None => self.find_among_all(key, hash),
            recent => recent,
        }
    }

    fn find_among_all(&self, key: &Key, hash: u64) -> Option<u32> {
        let id = *self.index.find(hash, |id| self.records[*id].has_key(key))?;
        self.recent.note(hash, id);
        Some(id)
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many can be forgotten before those that live.
    pub fn over(&self) -> usize {
        self.over
    }

    /// Whether there are more conversations than this, or more that are over.
    pub fn is_more_than(&self, [all, over]: [usize; 2]) -> bool {
        self.len() > all || self.over > over
    }

    /// Counts a record among those that are over, or no longer.
    pub fn recount(&mut self, id: u32) {
        let is = self.records[id].is_settled() && self.records.is_over(id);
        let record = &mut self.records[id];
        let was = record.is(marks::OVER);
        if was != is {
            record.marks ^= marks::OVER;
            self.over = self.over + usize::from(is) - usize::from(was);
        }
    }

    /// Starts a conversation, with a segment that one of its ends sent; what had its key until now is no longer found by it.
    pub fn insert(&mut self, key: Key, segment: &Segment, side: Side, state: State) -> u32 {
        self.serial += 1;
        let id = self.records.records.insert(Record::new(key, self.serial, segment, side, state));
        let Table { records, recent, index, hasher, .. } = self;
        let hash_of = |id: &u32| hasher.hash_one(records[*id].key());
        let is_it = |known: &u32| records[*known].has_key(&key);
        let hash = hasher.hash_one(key);
        recent.note(hash, id);
        match index.entry(hash, is_it, hash_of) {
            Entry::Occupied(mut known) => *known.get_mut() = id,
            Entry::Vacant(entry) => _ = entry.insert(id),
        }
        id
    }

    /// Lets a conversation be found by its key again, in place of the one that took it.
    pub fn give_back(&mut self, key: &Key, id: u32) {
        let hash = self.hasher.hash_one(key);
        self.recent.note(hash, id);
        if let Some(known) = self.index.find_mut(hash, |known| self.records[*known].has_key(key)) {
            *known = id;
        }
    }

    /// Makes room: chooses a quarter of the records, those that are over and longest silent first; a quarter of those that
    /// are over, if `all` are not too many.
    ///
    /// Records with packets in flight stay, and so do those that are not settled.
    pub fn oldest(&self, all: bool) -> Vec<u32> {
        let mut candidates: Vec<(bool, Timestamp, u64, u32)> = self
            .records
            .remembered()
            .filter(|(_, r)| r.in_flight == 0 && r.is_settled() && (all || r.is(marks::OVER)))
            .map(|(id, r)| (!r.is(marks::OVER), r.last_time, r.serial, id))
            .collect();
        let of = if all { self.len() } else { self.over };
        let quota = (of / 4).max(1).min(candidates.len());
        if quota < candidates.len() {
            candidates.select_nth_unstable(quota);
            candidates.truncate(quota);
        }
        candidates.sort_unstable_by_key(|&(_, _, serial, _)| serial);
        candidates.into_iter().map(|(_, _, _, id)| id).collect()
    }

    pub fn remove(&mut self, id: u32) {
        debug_assert_eq!(self.records[id].in_flight, 0, "packets of it are yet to be written");
        let hash = self.hasher.hash_one(self.records[id].key());
        self.recent.forget(hash, id);
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
        self.over -= usize::from(self.records[id].is(marks::OVER));
        self.records.remove(id);
    }

    /// Every record that is remembered, oldest first.
    pub fn ids(&self) -> Vec<u32> {
        self.ids_of(|_| true)
    }

    /// The same of those that are such.
    pub fn ids_of(&self, such: impl Fn(&Record) -> bool) -> Vec<u32> {
        let mut ids: Vec<u32> = self.records.remembered().filter(|(_, r)| such(r)).map(|(id, _)| id).collect();
        ids.sort_unstable_by_key(|id| self.records[*id].serial);
        ids
    }
}

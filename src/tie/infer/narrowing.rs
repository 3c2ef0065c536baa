//! From what may be the same to what is: what else tells candidates of an exchange apart, and what is left when those that are
//! sure are taken.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::matching::{Far, Matching};

/// Nothing is said if more than one of so many far exchanges is of no near one.
const MISSING: usize = 100;

/// Rounds of elimination.
const ELIMINATIONS: usize = 64;

impl Matching<'_> {
    /// Where one reading of a near leg explains all its exchanges, what only the others have is dropped.
    pub fn prefer_explained(&mut self) {
        let is_wanted = self.wanted();
        let explains = |n: &u32| is_wanted[*n as usize] && self.near[*n as usize].turn.response.is_some();
        let mut is_dropped = vec![false; self.near.len()];
        for readings in self.readings.chunk_by(|a, b| a.0 == b.0) {
            let (good, bad): (Vec<_>, Vec<_>) = readings.iter().partition(|(_, indices)| indices.iter().all(explains));
            if good.is_empty() {
                continue;
            }
            for &n in bad.iter().flat_map(|(_, indices)| indices) {
                is_dropped[n as usize] = true;
            }
            for &n in good.iter().flat_map(|(_, indices)| indices) {
                is_dropped[n as usize] = false;
            }
        }
        for far in &mut self.far {
            far.candidates.retain(|&n| !is_dropped[n as usize]);
        }
    }

    /// Whether so many far exchanges are of no near one that some near ones must be missing: then one that fits may not be
    /// the right one.
    pub fn is_incomplete(&self) -> bool {
        let without = self.far.iter().filter(|far| far.candidates.is_empty() && !far.is_crowded).count();
        without * MISSING > self.far.len()
    }

    /// A request id that one request on either side has is the same request, if all else fits.
    pub fn prefer_ids(&mut self) {
        let mut counts: HashMap<u64, (u32, u32), RandomState> = HashMap::default();
        for id in self.near.iter().filter_map(|near| near.id) {
            counts.entry(id).or_default().0 += 1;
        }
        for id in self.far.iter().filter_map(|far| far.id) {
            counts.entry(id).or_default().1 += 1;
        }
        let near = &self.near;
        for far in &mut self.far {
            let is_same = |n: &u32| near[*n as usize].id == far.id;
            let is_alone = far.id.is_some_and(|id| counts[&id] == (1, 1));
            if is_alone && far.candidates.iter().any(is_same) {
                far.candidates.retain(is_same);
            }
        }
    }

    /// Which near exchanges are somebody's candidate.
    pub fn wanted(&self) -> Vec<bool> {
        let mut is_wanted = vec![false; self.near.len()];
        for &n in self.far.iter().flat_map(|far| &far.candidates) {
            is_wanted[n as usize] = true;
        }
        is_wanted
    }

    /// Takes near exchanges that are some far one's only candidate from the others, as often as that settles more. Returns how
    /// many far exchanges need each: one that two need is the answer to neither.
    pub fn eliminate(&mut self) -> Vec<u32> {
        for _ in 0..ELIMINATIONS {
            let needed = self.needed();
            let only: Vec<Option<u32>> = self.far.iter().map(|far| self.only_slot(far)).collect();
            let near = &self.near;
            let is_taken = |n: u32| needed[near[n as usize].slot as usize] == 1 && !near[n as usize].any_up;
            let mut has_changed = false;
            for (far, _) in self.far.iter_mut().zip(only).filter(|(_, only)| only.is_none()) {
                let before = far.candidates.len();
                far.candidates.retain(|&n| !is_taken(n));
                has_changed |= far.candidates.len() != before;
            }
            if !has_changed {
                return needed;
            }
        }
        self.needed()
    }

    /// By slot: how many far exchanges have nothing else.
    fn needed(&self) -> Vec<u32> {
        let mut needed = vec![0_u32; self.near.len()];
        for slot in self.far.iter().filter_map(|far| self.only_slot(far)) {
            needed[slot as usize] += 1;
        }
        needed
    }

    /// The one near exchange that it can be of.
    pub fn only_slot(&self, far: &Far) -> Option<u32> {
        let slot = |n: &u32| self.near[*n as usize].slot;
        let first = far.candidates.first().map(slot)?;
        (!far.is_crowded && far.candidates.iter().all(|n| slot(n) == first)).then_some(first)
    }
}

//! Legs that may belong together by how much they passed on.
//!
//! What comes in is the legs on both sides of a proxy; what goes out is those of one port and one total, where there are such
//! on both sides, in one order: for what is left undone when there is too much to do.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::Stage;
use super::sides::Sides;

/// By what legs are put together: their port, and how many octets they passed on, either way. Without a total are all far legs
/// of a port, and the near ones that may have passed on another number than was captured.
type Key = (u16, Option<(u64, u64)>);

/// A leg in a bucket, in as few octets as can be. They are ordered by bucket, near legs before far ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    port: u16,
    has_total: bool,
    up: u64,
    down: u64,
    is_far: bool,
    index: u32,
}

impl Entry {
    fn new((port, total): Key, is_far: bool, index: usize) -> Entry {
        let (up, down) = total.unwrap_or_default();
        // There are no more legs than that.
        Entry { port, has_total: total.is_some(), up, down, is_far, index: index as u32 }
    }

    fn is_with(&self, other: &Entry) -> bool {
        (self.port, self.has_total, self.up, self.down) == (other.port, other.has_total, other.up, other.down)
    }

    /// Which leg of its side it is.
    pub fn index(&self) -> usize {
        self.index as usize
    }
}

/// The legs of one port and total, as they were on their sides.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    pub near: &'a [Entry],
    pub far: &'a [Entry],
}

/// All buckets with legs of both sides.
pub struct Buckets {
    entries: Vec<Entry>,
}

impl Buckets {
    pub fn new(stage: Stage, near: &Sides, far: &Sides) -> Buckets {
        let hasher = RandomState::default();
        let (mut on_near, mut on_both) = (Seen::new(near), Seen::new(near));
        for key in (0..near.sides.len()).flat_map(|index| keys(stage, near, true, index)) {
            on_near.add(hasher.hash_one(key));
        }
        // Most legs have a total that none has on the other side: they get no entry.
        let mut entries = Vec::new();
        for index in 0..far.sides.len() {
            for key in keys(stage, far, false, index) {
                let hash = hasher.hash_one(key);
                if on_near.may_have(hash) {
                    on_both.add(hash);
                    entries.push(Entry::new(key, true, index));
                }
            }
        }
        for index in 0..near.sides.len() {
            let shared = keys(stage, near, true, index).filter(|key| on_both.may_have(hasher.hash_one(key)));
            entries.extend(shared.map(|key| Entry::new(key, false, index)));
        }
        entries.sort_unstable();
        // Two readings may have one total.
        entries.dedup();
        Buckets { entries }
    }

    /// Each bucket, in the order of their ports and totals.
    pub fn iter(&self) -> impl Iterator<Item = Bucket<'_>> {
        let all = self.entries.chunk_by(Entry::is_with).map(|bucket| {
            let (near, far) = bucket.split_at(bucket.partition_point(|entry| !entry.is_far));
            Bucket { near, far }
        });
        all.filter(|bucket| !bucket.near.is_empty() && !bucket.far.is_empty())
    }
}

/// The buckets that a leg may be in.
fn keys(stage: Stage, sides: &Sides, is_near: bool, index: usize) -> impl Iterator<Item = Key> {
    let side = &sides.sides[index];
    let port = if stage == Stage::Inbound { side.port } else { 0 };
    let any = (!is_near || side.is_loose()).then_some(None);
    sides.totals(index).map(Some).chain(any).map(move |total| (port, total))
}

/// Hashes that were seen; of some others, too, it is said that they may have been.
struct Seen {
    bits: Vec<u64>,
}

impl Seen {
    /// Room for the totals of a side.
    fn new(sides: &Sides) -> Seen {
        // Each takes two octets at least.
        let totals = sides.totals_len() / 2 + sides.sides.len();
        Seen { bits: vec![0; (totals / 8 + 1).next_power_of_two()] }
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        (hash as usize >> 6 & (self.bits.len() - 1), 1 << (hash & 63))
    }

    fn add(&mut self, hash: u64) {
        let (at, bit) = self.place(hash);
        self.bits[at] |= bit;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (at, bit) = self.place(hash);
        self.bits[at] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_legs_of_both_sides_and_come_in_order() {
        let entry = |port, total, is_far, index| Entry::new((port, total), is_far, index);
        let mut entries = vec![
            entry(80, Some((2, 1)), true, 4),
            entry(80, Some((2, 1)), false, 7),
            entry(80, Some((2, 1)), false, 3),
            entry(80, Some((1, 9)), true, 0),
            entry(80, None, true, 4),
            entry(80, None, false, 1),
            entry(79, Some((3, 3)), false, 1),
            entry(79, Some((0, 3)), true, 1),
        ];
        entries.sort_unstable();
        let found = Buckets { entries };
        let indices = |entries: &[Entry]| entries.iter().map(Entry::index).collect::<Vec<_>>();
        let found: Vec<_> = found.iter().map(|bucket| (indices(bucket.near), indices(bucket.far))).collect();
        assert_eq!(found, [(vec![1], vec![4]), (vec![3, 7], vec![4])]);
    }

    #[test]
    fn what_was_added_may_be_there() {
        let mut seen = Seen { bits: vec![0; 4] };
        [0, 63, 64, u64::MAX].into_iter().for_each(|hash| seen.add(hash));
        assert!([0, 63, 64, u64::MAX].into_iter().all(|hash| seen.may_have(hash)));
        assert!(!seen.may_have(1));
    }
}

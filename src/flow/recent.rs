//! Which conversations were looked up last: few lines of the cache in front of a table of all.

use std::cell::Cell;

/// Conversations that are at hand, at most: 64 KiB, some for each that is under way at one time.
const SLOTS: usize = 8192;

/// Conversations by the hashes of their keys; each has one slot, which it shares with others.
pub(super) struct Recent {
    /// The upper bits of a hash, and the conversation, from 1.
    slots: Box<[Cell<(u32, u32)>]>,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { slots: vec![Cell::default(); SLOTS].into() }
    }
}

impl Recent {
    /// A conversation whose key may have this hash.
    #[inline]
    pub fn find(&self, hash: u64) -> Option<u32> {
        let (upper, id) = self.slot(hash).get();
        if upper == (hash >> 32) as u32 { id.checked_sub(1) } else { None }
    }

    /// The conversation that is found by the key with this hash from now on.
    #[inline]
    pub fn note(&self, hash: u64, id: u32) {
        self.slot(hash).set(((hash >> 32) as u32, id + 1));
    }

    /// There is no such conversation any more.
    pub fn forget(&self, hash: u64, id: u32) {
        let slot = self.slot(hash);
        if slot.get().1 == id + 1 {
            slot.take();
        }
    }

    #[inline]
    fn slot(&self, hash: u64) -> &Cell<(u32, u32)> {
        &self.slots[hash as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_a_slot_is_told_apart_or_forgotten() {
        let recent = Recent::default();
        let [a, b] = [7, 7 | 1 << 40];
        assert_eq!(recent.find(a), None);
        recent.note(a, 0);
        assert_eq!((recent.find(a), recent.find(b)), (Some(0), None));
        recent.note(b, 1);
        assert_eq!((recent.find(a), recent.find(b)), (None, Some(1)));
        recent.forget(a, 0);
        assert_eq!(recent.find(b), Some(1), "it is another one's");
        recent.forget(b, 1);
        assert_eq!(recent.find(b), None);
    }
}

//! What is known about a packet on one path through the rules: uid, gid, marks, and facts that no packet shows.

use std::fmt;

use super::Condition;
use crate::nat::numbers::Numbers;

/// The answer to a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// Both can be.
    Open,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// The answers taken at tests that were open, to run through all combinations: each run repeats the answers of the
/// last one but for its last `true`, which becomes `false`.
#[derive(Debug, Default)]
pub(super) struct Choices {
    taken: Vec<bool>,
    next: usize,
}

impl Choices {
    pub(super) fn choose(&mut self) -> bool {
        if self.next == self.taken.len() {
            self.taken.push(true);
        }
        self.next += 1;
        self.taken[self.next - 1]
    }

    /// Prepares the next run; false if there is none.
    pub(super) fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some(last) = self.taken.pop() {
            if last {
                self.taken.push(false);
                return true;
            }
        }
        false
    }
}

/// A number of which a set of possible values is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain(pub(super) Numbers);

impl Domain {
    pub(super) fn new(value: Option<u32>) -> Domain {
        Domain(value.map_or_else(Numbers::all, Numbers::one))
    }

    /// The ports from `first` to `last`.
    pub(super) fn ports(first: u16, last: u16) -> Domain {
        Domain(Numbers::from_ranges(vec![(first.into(), last.into())]))
    }

    /// The least and the greatest of ports.
    pub(super) fn ends(&self) -> (u16, u16) {
        let port = |number: Option<u32>| number.and_then(|n| u16::try_from(n).ok()).unwrap_or_default();
        let ranges = self.0.ranges();
        (port(ranges.first().map(|r| r.0)), port(ranges.last().map(|r| r.1)))
    }

    pub(super) fn is_in(&self, set: &Numbers) -> Answer {
        if self.0.intersection(set).is_empty() {
            Answer::No
        } else if self.0.intersection(&set.complement()).is_empty() {
            Answer::Yes
        } else {
            Answer::Open
        }
    }

    pub(super) fn learn(&mut self, set: &Numbers, inside: bool) {
        self.0 = self.0.intersection(&if inside { set.clone() } else { set.complement() });
    }

    /// In words, unless nothing was learned.
    pub(super) fn condition(&self, name: &str, given: Option<u32>) -> Option<Condition> {
        if given.is_some() || self.0 == Numbers::all() {
            return None;
        }
        let others = self.0.complement();
        let holds = others.ranges().len() > self.0.ranges().len();
        Some(Condition { what: format!("{name} {}", if holds { &self.0 } else { &others }), holds })
    }
}

/// A mark of which some bits are known, and some values excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The bits that are known.
    mask: u32,
    /// Their values.
    value: u32,
    /// Values that it does not have, under a mask.
    excluded: Vec<(u32, u32)>,
}

impl Mark {
    pub(super) fn new(value: Option<u32>) -> Mark {
        match value {
            Some(value) => Mark { mask: u32::MAX, value, excluded: Vec::new() },
            None => Mark::default(),
        }
    }

    /// Whether the mark under a mask is a value. Neither iptables nor nft masks the value that it compares with.
    pub(super) fn is(&self, value: u32, mask: u32) -> Answer {
        let known = mask & self.mask;
        if value & !mask != 0 || self.value & known != value & known {
            return Answer::No;
        }
        if known == mask {
            return Answer::Yes;
        }
        // With this value, would it be an excluded one?
        let (bits, all) = ((self.value & self.mask) | (value & mask), self.mask | mask);
        if self.excluded.iter().any(|&(v, m)| m & !all == 0 && bits & m == v) { Answer::No } else { Answer::Open }
    }

    pub(super) fn learn(&mut self, value: u32, mask: u32, is: bool) {
        if is {
            self.value = (self.value & !mask) | (value & mask);
            self.mask |= mask;
        } else {
            self.excluded.push((value & mask, mask));
        }
    }

    /// `self & keep ^ other & mask ^ flip`.
    pub(super) fn change(&self, keep: u32, other: Option<(&Mark, u32)>, flip: u32) -> Mark {
        let (from, taken) = other.map_or((Mark::new(Some(0)), 0), |(mark, mask)| (mark.clone(), mask));
        // A bit of the result is known if each bit that flows into it is.
        let mask = (self.mask | !keep) & (from.mask | !taken);
        let value = ((self.value & keep) ^ (from.value & taken) ^ flip) & mask;
        let excluded = match (keep, taken) {
            (u32::MAX, 0) => self.excluded.clone(),
            (0, u32::MAX) => from.excluded,
            (keep, 0) => self.excluded.iter().filter(|(_, m)| m & !keep == 0).copied().collect(),
            _ => Vec::new(),
        };
        Mark { mask, value, excluded: excluded.into_iter().map(|(v, m)| (v ^ (flip & m), m)).collect() }
    }

    /// The mark, if all of it is known.
    pub(super) fn exact(&self) -> Option<u32> {
        (self.mask == u32::MAX).then_some(self.value)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => write!(f, "{:#x}", self.value),
            0 => f.write_str("that is not known"),
            mask => write!(f, "{:#x}/{mask:#x}", self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn choices_run_through_all_combinations() {
        let mut choices = Choices::default();
        let mut seen = Vec::new();
        loop {
            // The second question is asked only after a `true`.
            seen.push(if choices.choose() { (true, Some(choices.choose())) } else { (false, None) });
            if !choices.advance() {
                break;
            }
        }
        assert_eq!(seen, [(true, Some(true)), (true, Some(false)), (false, None)]);
    }

    proptest! {
        /// Whatever is said about a mark that is partly known holds for each mark that it can be.
        #[test]
        fn marks_agree_with_numbers(
            real in 0u32..16, other in 0u32..16,
            learned in prop::collection::vec((0u32..16, 0u32..16), 0..3),
            (keep, taken, flip) in (0u32..16, 0u32..16, 0u32..16),
            (value, mask) in (0u32..16, 0u32..16),
        ) {
            let mut mark = Mark::default();
            for (v, m) in learned {
                match mark.is(v, m) {
                    Answer::Open => mark.learn(v, m, real & m == v),
                    answer => prop_assert_eq!(answer, Answer::from(real & m == v)),
                }
            }
            let from = Mark::new(Some(other));
            let changed = mark.change(keep, Some((&from, taken)), flip);
            let real = (real & keep) ^ (other & taken) ^ flip;
            match changed.is(value, mask) {
                Answer::Open => {}
                answer => prop_assert_eq!(answer, Answer::from(real & mask == value)),
            }
        }
    }
}

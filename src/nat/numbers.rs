//! Sets of numbers: ports, uids, protocols.

use std::fmt;

/// A set of numbers as disjoint ranges in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<(u32, u32)>);

impl Numbers {
    /// All numbers.
    pub fn all() -> Numbers {
        Numbers(vec![(0, u32::MAX)])
    }

    /// One number.
    pub fn one(number: u32) -> Numbers {
        Numbers(vec![(number, number)])
    }

    /// The union of ranges, each first and last.
    pub fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Numbers {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Numbers(joined)
    }

    /// The ranges, each first and last.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&number))
    }

    /// The numbers that are not in it.
    pub fn complement(&self) -> Numbers {
        let mut ranges = Vec::new();
        let mut next = Some(0);
        for &(first, last) in &self.0 {
            if let Some(from) = next.filter(|from| *from < first) {
                ranges.push((from, first - 1));
            }
            next = last.checked_add(1);
        }
        ranges.extend(next.map(|from| (from, u32::MAX)));
        Numbers(ranges)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Those that can be ports: of 16 bits.
    pub fn ports(&self) -> Numbers {
        self.intersection(&Numbers(vec![(0, u16::MAX.into())]))
    }

    /// The numbers that are in both.
    pub fn intersection(&self, other: &Numbers) -> Numbers {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Numbers::from_ranges(pairs.collect())
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set() -> impl Strategy<Value = Numbers> {
        prop::collection::vec((0u32..40, 0u32..8), 0..6)
            .prop_map(|r| Numbers::from_ranges(r.into_iter().map(|(a, n)| (a, a + n)).collect()))
    }

    proptest! {
        #[test]
        fn a_set_is_what_it_contains(a in set(), b in set(), n in 0u32..60) {
            prop_assert_eq!(a.complement().contains(n), !a.contains(n));
            prop_assert_eq!(a.intersection(&b).contains(n), a.contains(n) && b.contains(n));
            prop_assert_eq!(a.count(), (0..60).filter(|n| a.contains(*n)).count() as u64);
            prop_assert_eq!(a.complement().ports().count(), 65_536 - a.count());
            prop_assert_eq!(a.complement().complement(), a);
        }
    }
}

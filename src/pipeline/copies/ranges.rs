//! Which octets of a stream were captured: a few ranges of them.

/// Ranges that are told apart.
const RANGES: usize = 3;

/// From where up to where, the end not included.
type Range = (u64, u64);

/// Ranges of octets, in order, none touching another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranges {
    all: [Range; RANGES],
    len: u8,
    /// Whether there were more: octets between two of them count as captured, and need not have been.
    is_coarse: bool,
}

impl Ranges {
    /// Takes in octets from a sequence number on. How many of them were there before.
    #[inline]
    pub fn add(&mut self, seq: u32, octets: u32) -> u32 {
        let start = self.place(seq);
        let end = start + u64::from(octets);
        match self.all[..usize::from(self.len)].last_mut() {
            Some(last) if (last.0..=last.1).contains(&start) => {
                let known = end.min(last.1) - start;
                last.1 = last.1.max(end);
                known as u32
            }
            _ => self.insert((start, end)),
        }
    }

    /// Where a sequence number stands among those that came: they start anew behind 2^32.
    fn place(&self, seq: u32) -> u64 {
        match self.len {
            0 => u64::from(seq) + (1 << 32),
            // RFC 9293, section 3.4: numbers are compared within half of their space.
            len => {
                let top = self.all[usize::from(len) - 1].1;
                top.saturating_add_signed((seq.wrapping_sub(top as u32) as i32).into())
            }
        }
    }

    #[cold]
    fn insert(&mut self, new: Range) -> u32 {
        let mut grown = new;
        let mut known = 0;
        // Those that are left, and the new one.
        let mut left = [new; RANGES + 1];
        let mut len = 0;
        for &range in &self.all[..usize::from(self.len)] {
            if range.1 < new.0 || new.1 < range.0 {
                left[len] = range;
                len += 1;
            } else {
                known += range.1.min(new.1) - range.0.max(new.0);
                grown = (grown.0.min(range.0), grown.1.max(range.1));
            }
        }
        left[len] = grown;
        let left = &mut left[..=len];
        left.sort_unstable();
        let mut len = left.len();
        if len > RANGES {
            self.is_coarse = true;
            let closest = (1..len).min_by_key(|&at| left[at].0 - left[at - 1].1).unwrap_or(1);
            left[closest - 1].1 = left[closest].1;
            left.copy_within(closest + 1.., closest);
            len -= 1;
        }
        self.all[..len].copy_from_slice(&left[..len]);
        self.len = len as u8;
        known as u32
    }

    /// Whether all that others have is there.
    pub fn cover(&self, others: &Ranges) -> bool {
        let all = &self.all[..usize::from(self.len)];
        let mut others = others.all[..usize::from(others.len)].iter();
        !self.is_coarse && others.all(|other| all.iter().any(|range| range.0 <= other.0 && other.1 <= range.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(all: &[(u32, u32)]) -> Ranges {
        let mut ranges = Ranges::default();
        for &(seq, octets) in all {
            ranges.add(seq, octets);
        }
        ranges
    }

    #[test]
    fn what_comes_again_is_known() {
        let mut ranges = ranges(&[(100, 10)]);
        assert_eq!(ranges.add(110, 10), 0);
        assert_eq!(ranges.add(100, 20), 20, "all of it");
        assert_eq!(ranges.add(115, 10), 5);
        assert_eq!(ranges.add(90, 15), 5, "its start is new");
        assert_eq!(ranges.add(200, 10), 0);
        assert_eq!(ranges.add(80, 200), 45, "across both");
        assert_eq!(ranges.add(80, 200), 200);
    }

    #[test]
    fn all_of_it_however_it_was_cut() {
        let whole = ranges(&[(u32::MAX - 9, 30)]);
        let cut = ranges(&[(u32::MAX - 9, 5), (u32::MAX - 4, 15), (10, 10)]);
        assert!(whole.cover(&cut) && cut.cover(&whole), "past the last number, too");
        let late = ranges(&[(u32::MAX - 9, 5), (10, 10), (u32::MAX - 4, 15)]);
        assert!(whole.cover(&late) && late.cover(&whole), "out of order");
        let short = ranges(&[(u32::MAX - 9, 5), (10, 10)]);
        assert!(whole.cover(&short) && !short.cover(&whole), "a gap");
        assert!(short.cover(&Ranges::default()) && !Ranges::default().cover(&short));
    }

    #[test]
    fn of_more_than_there_is_room_for_it_is_not_known_what_is_missing() {
        let whole = ranges(&[(0, 100)]);
        let torn = ranges(&[(0, 10), (20, 10), (31, 9), (60, 10)]);
        assert_eq!(torn.all, [(0, 10), (20, 40), (60, 70)].map(|(from, to)| (from + (1 << 32), to + (1 << 32))));
        assert!(whole.cover(&torn) && !torn.cover(&ranges(&[(0, 5)])), "it covers nothing any more");
    }
}

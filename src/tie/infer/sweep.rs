//! Which intervals of time a moment is within, for many of both: one pass in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::capture::Timestamp;

/// Never.
pub const NEVER: Timestamp = Timestamp(u64::MAX);

/// From when until when something may be, both included.
#[derive(Clone, Copy, Debug)]
pub struct Interval<T> {
    pub from: Timestamp,
    pub until: Timestamp,
    pub what: T,
}

/// A moment with the intervals that it is within.
#[derive(Clone, Copy, Debug)]
pub enum Within<'a, T> {
    These(&'a [Interval<T>]),
    /// More than can be looked at one by one. Each is among the `new` ones of one moment at least.
    TooMany {
        new: &'a [Interval<T>],
    },
}

/// Calls `found` for each of `moments`, earliest first. Of more than `most` intervals, it is told so.
pub fn sweep<T: Copy, M: Copy>(
    mut intervals: Vec<Interval<T>>,
    mut moments: Vec<(Timestamp, M)>,
    most: usize,
    mut found: impl FnMut(M, Within<'_, T>),
) {
    intervals.sort_by_key(|interval| interval.from);
    moments.sort_by_key(|(time, _)| *time);
    let mut coming = intervals.iter().enumerate().peekable();
    let mut open: Vec<Interval<T>> = Vec::new();
    // What is open when there is too much of it, by when it ends: nobody walks over it.
    let mut crowd: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
    let mut numbers: Vec<usize> = Vec::new();
    for (time, what) in moments {
        while let Some((number, interval)) = coming.next_if(|(_, interval)| interval.from <= time) {
            if interval.until >= time {
                open.push(*interval);
                numbers.push(number);
            }
        }
        while crowd.peek().is_some_and(|Reverse((until, _))| *until < time) {
            crowd.pop();
        }
        numbers.retain(|&number| intervals[number].until >= time);
        open.retain(|interval| interval.until >= time);
        if open.len() + crowd.len() > most {
            found(what, Within::TooMany { new: &open });
            crowd.extend(open.drain(..).zip(numbers.drain(..)).map(|(i, number)| Reverse((i.until, number))));
            continue;
        }
        for Reverse((_, number)) in crowd.drain() {
            open.push(intervals[number]);
            numbers.push(number);
        }
        found(what, Within::These(&open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_walk_over_all_of_them_finds_it() {
        let at = |n: u64| Timestamp(n);
        let intervals: Vec<Interval<u64>> =
            (0..200).map(|n| Interval { from: at(n * 7 % 50), until: at(n * 7 % 50 + n % 11), what: n }).collect();
        let moments: Vec<(Timestamp, u64)> = (0..60).map(|n| (at(n * 13 % 61), n)).collect();
        for most in [0, 3, 15, 1000] {
            let mut told = std::collections::HashSet::new();
            sweep(intervals.clone(), moments.clone(), most, |moment, within| {
                let time = at(moment * 13 % 61);
                let is_open = |i: &&Interval<u64>| i.from <= time && time <= i.until;
                let mut wanted: Vec<u64> = intervals.iter().filter(is_open).map(|i| i.what).collect();
                match within {
                    Within::These(open) => {
                        let mut open: Vec<u64> = open.iter().map(|i| i.what).collect();
                        open.sort_unstable();
                        wanted.sort_unstable();
                        assert_eq!(open, wanted);
                        assert!(open.len() <= most);
                    }
                    Within::TooMany { new } => {
                        told.extend(new.iter().map(|i| i.what));
                        assert!(wanted.len() > most);
                        assert!(wanted.iter().all(|what| told.contains(what)), "all of them were told");
                    }
                }
            });
        }
    }
}

//! Which intervals of time a moment is within, for many of both: one pass in the order of time.

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
    /// More than can be looked at, one by one.
    TooMany(&'a [Interval<T>]),
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
    let mut coming = intervals.into_iter().peekable();
    let mut open: Vec<Interval<T>> = Vec::new();
    for (time, what) in moments {
        while let Some(interval) = coming.next_if(|interval| interval.from <= time) {
            open.push(interval);
        }
        open.retain(|interval| interval.until >= time);
        found(what, if open.len() > most { Within::TooMany(&open) } else { Within::These(&open) });
    }
}

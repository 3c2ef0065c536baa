//! How the octets of one direction came, over time: what comes in is one unit (the data of a segment, or a TLS record)
//! after the other; what goes out is a curve of at most [`CAP`] points, and what may lie between two of them.

use crate::capture::Timestamp;
use crate::store::{Put, put, unzigzag, zigzag};

/// Points that are kept of one direction; then neighbours are joined.
const CAP: u32 = 4096;

/// Units at the start that are never joined: handshakes are told by them.
const EXACT: usize = 32;

/// The kind of a unit that is no TLS record. No TLS content type is 0.
pub const PLAIN: u8 = 0;

/// TLS ContentType (RFC 8446, section 5.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;

/// Octets of a TLS record's header.
const HEADER: u64 = 5;

/// The data of a segment or a TLS record; or several that were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// When its first octet came.
    pub first: Timestamp,
    /// Nanoseconds until its last octet came, up to 4 s.
    span: u32,
    /// Octets: of the data, or of what the record protects.
    pub len: u32,
    /// How many were joined.
    pub count: u16,
    /// TLS content type, or [`PLAIN`].
    pub kind: u8,
}

impl Unit {
    pub fn new(first: Timestamp, last: Timestamp, len: u32, kind: u8) -> Unit {
        let span = u32::try_from(last.0.saturating_sub(first.0)).unwrap_or(u32::MAX);
        Unit { first, span, len, count: 1, kind }
    }

    /// When its last octet came.
    pub fn last(&self) -> Timestamp {
        Timestamp(self.first.0.saturating_add(u64::from(self.span)))
    }

    /// Octets without what TLS adds to each record; `None` if a record is shorter than that.
    pub fn payload(&self, overhead: u32) -> Option<u64> {
        u64::from(self.len).checked_sub(u64::from(overhead) * u64::from(self.count))
    }

    /// Octets with everything: of a record, also its header.
    fn raw(&self) -> u64 {
        let header = if self.kind == PLAIN { 0 } else { HEADER };
        u64::from(self.len) + header * u64::from(self.count)
    }

    fn joined(self, next: Unit) -> Option<Unit> {
        if self.kind != next.kind {
            return None;
        }
        let (len, count) = (self.len.checked_add(next.len)?, self.count.checked_add(next.count)?);
        Some(Unit { len, count, ..Unit::new(self.first, next.last(), 0, self.kind) })
    }
}

/// Room for the first units, and for a unit or two that come next.
const FIRST: usize = 64;
const MORE: usize = 2 * WORD;

/// The octet that begins an encoded unit: its kind, how many octets its length and its time take, and what follows.
mod bits {
    pub const KIND: u8 = 7;
    /// Whether the length takes 4 octets, not 2.
    pub const LONG: u8 = 1 << 3;
    /// The time, as an index of [`TIMES`](super::TIMES).
    pub const TIME: u32 = 4;
    /// Whether [`Unit::count`](super::Unit::count) follows, and [`Unit::span`](super::Unit::span).
    pub const HAS_COUNT: u8 = 1 << 6;
    pub const HAS_SPAN: u8 = 1 << 7;
}

/// Octets that a time may take.
const TIMES: [u32; 4] = [2, 3, 4, 8];

/// Kinds are put as how far they are from this one, but for [`PLAIN`].
const BEFORE_KINDS: u8 = CHANGE_CIPHER_SPEC - 1;

/// Octets that an encoded unit takes at most, without its count and its span, and so many are read at once.
const WORD: usize = 16;

/// The units of one direction, each in as few octets as it needs.
#[derive(Debug, Default)]
pub struct Units {
    /// Of each unit: its kind, its octets, how long after the one before it came, and what few have.
    octets: Vec<u8>,
    len: u32,
    /// How many there are before them, in parts that were put away.
    before: u32,
    /// [`Unit::first`] of the last one.
    last: Timestamp,
    /// Whether units were joined: then turns between the two directions may be lost.
    pub thinned: bool,
    /// Whether more came than can be told.
    pub overflowed: bool,
}

impl Units {
    pub fn push(&mut self, unit: Unit) {
        if self.overflowed {
            return;
        }
        // Where some were put away, all are joined first: until then there may be more.
        if self.len == CAP && self.before == 0 {
            self.thin();
        }
        if self.len < CAP || self.before > 0 {
            self.add(unit);
        } else {
            self.overflowed = true;
        }
    }

    /// Whether there are more than may be, with those that were put away.
    pub fn is_over(&self) -> bool {
        self.before > 0 && self.before + self.len > CAP
    }

    /// Puts those that come behind these with them.
    pub fn append(&mut self, behind: &Units) {
        let Units { len, last, thinned, overflowed, .. } = *behind;
        if self.len + len <= CAP {
            self.octets.extend_from_slice(&behind.octets);
            (self.len, self.last) = (self.len + len, last);
        } else {
            // As if none had been put away. What they are told from is the last one of these.
            let mut units = Vec::new();
            decode(&behind.octets, len, self.last, &mut units);
            units.into_iter().for_each(|unit| self.push(unit));
        }
        self.thinned |= thinned;
        self.overflowed |= overflowed;
    }

    /// Octets of those that are here.
    pub fn here(&self) -> usize {
        self.octets.len()
    }

    fn add(&mut self, unit: Unit) {
        let Unit { first, span, len, count, kind } = unit;
        if self.octets.capacity() == 0 {
            self.octets.reserve_exact(FIRST);
        }
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        let time = zigzag(self.last.0, first.0);
        let is_long = len > u32::from(u16::MAX);
        let size = TIMES.iter().take_while(|&&octets| octets < 8 && time >> (8 * octets) > 0).count();
        let begin = kind.saturating_sub(BEFORE_KINDS)
            | has(is_long, bits::LONG)
            | (size as u8) << bits::TIME
            | has(count != 1, bits::HAS_COUNT)
            | has(span != 0, bits::HAS_SPAN);
        let behind = if is_long { 5 } else { 3 };
        let word = u128::from(begin) | u128::from(len) << 8 | u128::from(time) << (8 * behind);
        // At once: what is behind the unit is cut off again.
        let before = self.octets.len();
        self.octets.extend_from_slice(&word.to_le_bytes());
        self.octets.truncate(before + behind + TIMES[size] as usize);
        if count != 1 {
            put(&mut self.octets, u64::from(count));
        }
        if span != 0 {
            put(&mut self.octets, u64::from(span));
        }
        self.last = first;
        self.len += 1;
    }

    /// Joins every unit behind the first ones with its neighbour.
    #[cold]
    fn thin(&mut self) {
        self.thinned = true;
        let units = self.read();
        (self.len, self.last) = (0, Timestamp(0));
        self.octets.clear();
        let (exact, tail) = units.split_at(EXACT.min(units.len()));
        exact.iter().for_each(|&unit| self.add(unit));
        let mut tail = tail.iter().peekable();
        while let Some(unit) = tail.next() {
            match tail.peek().and_then(|&&next| unit.joined(next)) {
                Some(joined) => {
                    tail.next();
                    self.add(joined);
                }
                None => self.add(*unit),
            }
        }
    }

    /// All of them, in their order.
    pub fn read(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        decode(&self.octets, self.len, Timestamp(0), &mut units);
        units
    }

    /// Puts all away, for [`Units::restore`].
    pub fn put(&self, octets: &mut Vec<u8>) {
        octets.push(u8::from(self.thinned) | u8::from(self.overflowed) << 1);
        put(octets, u64::from(self.before));
        put(octets, u64::from(self.len));
        put(octets, self.octets.len() as u64);
        octets.extend_from_slice(&self.octets);
        put(octets, self.last.0);
    }

    /// Reads what was put away into `units`; returns whether units were joined, and whether more came than can be told.
    pub fn read_into(put: &mut Put<'_>, units: &mut Vec<Unit>) -> (bool, bool) {
        let bits = put.octet();
        let [_, len, octets] = std::array::from_fn(|_| put.take());
        decode(put.octets(octets as usize), len as u32, Timestamp(0), units);
        put.take();
        (bits & 1 != 0, bits & 2 != 0)
    }

    /// Reads what was put away, so that more can come; nothing was there before. Unless they are wanted, the units stay where
    /// they are.
    pub fn restore(&mut self, put: &mut Put<'_>, is_wanted: bool) {
        let bits = put.octet();
        let [before, len, octets] = std::array::from_fn(|_| put.take());
        let known = put.octets(octets as usize);
        (self.before, self.len) = (before as u32, len as u32);
        if is_wanted {
            self.octets.reserve(known.len() + MORE);
            self.octets.extend_from_slice(known);
        } else {
            (self.before, self.len) = (self.before + self.len, 0);
        }
        self.last = Timestamp(put.take());
        (self.thinned, self.overflowed) = (bits & 1 != 0, bits & 2 != 0);
    }

    /// Forgets all, but not the room for them.
    pub fn clear(&mut self) {
        self.octets.clear();
        *self = Units { octets: std::mem::take(&mut self.octets), ..Units::default() };
    }

    pub fn memory(&self) -> usize {
        self.octets.capacity()
    }
}

/// Adds units, as [`Units::add`] encodes them, to others; `from` is when the last one before them came.
fn decode(octets: &[u8], len: u32, from: Timestamp, units: &mut Vec<Unit>) {
    let (mut octets, mut last) = (Put(octets), from.0);
    units.extend((0..len).map(|_| {
        let word = match octets.0.first_chunk::<WORD>() {
            Some(word) => u128::from_le_bytes(*word),
            // The last ones.
            None => u128::from_le_bytes(Put(octets.0).array()),
        };
        let begin = word as u8;
        let (behind, size) = (if begin & bits::LONG != 0 { 5 } else { 3 }, TIMES[usize::from(begin >> bits::TIME & 3)]);
        let len = (word >> 8) as u32 & u32::MAX >> (8 * (5 - behind));
        let time = (word >> (8 * behind)) as u64 & u64::MAX >> (64 - 8 * size);
        octets.octets((behind + size) as usize);
        last = unzigzag(last, time);
        let count = if begin & bits::HAS_COUNT != 0 { octets.take() as u16 } else { 1 };
        let span = if begin & bits::HAS_SPAN != 0 { octets.take() as u32 } else { 0 };
        let kind = match begin & bits::KIND {
            0 => PLAIN,
            kind => kind + BEFORE_KINDS,
        };
        Unit { first: Timestamp(last), span, len, count, kind }
    }));
}

/// Octets that count, one unit after the other: the part of a direction that a proxy passes on.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    pub units: &'a [Unit],
    pub counts: Counts,
}

/// What counts of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// All of it: the octets of TCP.
    Raw,
    /// What TLS protects: of Application Data, all but this much of each record.
    Protected { overhead: u32 },
}

impl<'a> Curve<'a> {
    fn octets(&self, unit: &Unit) -> Option<u64> {
        match self.counts {
            Counts::Raw => Some(unit.raw()),
            Counts::Protected { overhead } if unit.kind == APPLICATION_DATA => unit.payload(overhead),
            Counts::Protected { .. } => Some(0),
        }
    }

    /// Each unit that counts, with its octets.
    pub fn parts(self) -> impl Iterator<Item = (u64, &'a Unit)> {
        self.units.iter().filter_map(move |unit| Some((self.octets(unit).filter(|&octets| octets > 0)?, unit)))
    }

    /// Each unit that counts, with the octets up to its end.
    pub fn steps(self) -> impl Iterator<Item = (u64, &'a Unit)> {
        let mut sum = 0;
        self.parts().map(move |(octets, unit)| {
            sum += octets;
            (sum, unit)
        })
    }

    /// All octets; `None` if a record is shorter than what TLS adds.
    pub fn total(self) -> Option<u64> {
        self.units.iter().map(|unit| self.octets(unit)).sum()
    }

    /// Whether no octet of `effect` was sent before the same octet of `self` had come, within `tolerance` nanoseconds.
    /// Octets that `self` does not have count as never come. And over how many units it walked.
    pub fn causes(self, effect: Curve<'_>, tolerance: u64) -> (bool, usize) {
        let mut causes = self.steps();
        let mut cause = causes.next();
        let mut walked = 1;
        let all = effect.steps().all(|(sent, unit)| {
            walked += 1;
            // Of joined units it is known only when the last one of them was over.
            let at = if unit.count > 1 { unit.last() } else { unit.first };
            while cause.is_some_and(|(after, _)| after < sent) {
                cause = causes.next();
                walked += 1;
            }
            cause.is_some_and(|(_, unit)| {
                let came = if unit.count > 1 { unit.first } else { unit.last() };
                came.0 <= at.0.saturating_add(tolerance)
            })
        });
        (all, walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(times: impl Iterator<Item = u64>) -> Units {
        let mut units = Units::default();
        for time in times {
            units.push(Unit::new(Timestamp(time), Timestamp(time), 10, PLAIN));
        }
        units
    }

    fn raw(units: &[Unit]) -> Curve<'_> {
        Curve { units, counts: Counts::Raw }
    }

    fn causes(near: &[Unit], far: &[Unit], tolerance: u64) -> bool {
        let (causes, walked) = raw(near).causes(raw(far), tolerance);
        assert!((1..=1 + near.len() + far.len()).contains(&walked));
        causes
    }

    #[test]
    fn what_is_joined_keeps_its_octets_and_is_never_later_than_it_was() {
        let near = units((0..50_000).map(|n| n * 100));
        assert!(near.thinned);
        let near = near.read();
        let far = units((0..50_000).map(|n| n * 100 + 1)).read();
        assert!(near.len() <= CAP as usize);
        assert_eq!(raw(&near).total(), Some(500_000));
        assert!(causes(&near, &far, 0));
        let early = units((0..50_000).map(|n| n * 50)).read();
        assert!(!causes(&near, &early, 0), "joined, they still tell what is far too early");
    }

    #[test]
    fn units_are_read_as_they_were_pushed() {
        let unit = |first, last, len, kind| Unit::new(Timestamp(first), Timestamp(last), len, kind);
        let joined = unit(5, 9, 1, 22).joined(unit(7, 1 << 40, 70_000, 22)).expect("they are of one kind");
        let all = [unit(u64::MAX, 0, 0, PLAIN), unit(0, 300, u32::MAX, 23), joined, unit(3, 3, 127, PLAIN)];
        let mut units = Units::default();
        all.iter().for_each(|&unit| units.push(unit));
        assert_eq!(units.read(), all);
        let mut octets = Vec::new();
        units.put(&mut octets);
        let mut again = Units::default();
        again.restore(&mut Put(&octets), true);
        units.push(unit(9, 9, 9, PLAIN));
        again.push(unit(9, 9, 9, PLAIN));
        assert_eq!(again.read(), units.read());
    }

    #[test]
    fn one_octet_too_early_is_no_effect() {
        let units = |times: &[u64]| units(times.iter().copied()).read();
        let (near, far) = (units(&[100, 200]), units(&[150, 199]));
        assert!(!causes(&near, &far, 0));
        assert!(causes(&near, &far, 1));
        assert!(causes(&near, &units(&[300]), 0), "the rest may come later");
        assert!(!causes(&near, &units(&[300, 300, 300]), 0), "more than there is");
    }
}

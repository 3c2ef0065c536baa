//! How the octets of one direction came, over time: what comes in is one unit (the data of a segment, or a TLS record)
//! after the other; what goes out is a curve of at most [`CAP`] points, and what may lie between two of them.

use super::records::APPLICATION_DATA;
use crate::capture::Timestamp;

/// Points that are kept of one direction; then neighbours are joined.
const CAP: usize = 4096;

/// Units at the start that are never joined: handshakes are told by them.
const EXACT: usize = 32;

/// The kind of a unit that is no TLS record. No TLS content type is 0.
pub const PLAIN: u8 = 0;

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

/// The units of one direction.
#[derive(Debug, Default)]
pub struct Units {
    units: Vec<Unit>,
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
        if self.units.len() == CAP {
            self.thin();
        }
        if self.units.len() < CAP {
            self.units.push(unit);
        } else {
            self.overflowed = true;
        }
    }

    /// Joins every unit behind the first ones with its neighbour.
    fn thin(&mut self) {
        self.thinned = true;
        let tail = self.units.split_off(EXACT);
        let mut tail = tail.into_iter().peekable();
        while let Some(unit) = tail.next() {
            match tail.peek().and_then(|&next| unit.joined(next)) {
                Some(joined) => {
                    tail.next();
                    self.units.push(joined);
                }
                None => self.units.push(unit),
            }
        }
    }

    pub fn as_slice(&self) -> &[Unit] {
        &self.units
    }

    pub fn memory(&self) -> usize {
        self.units.capacity() * size_of::<Unit>()
    }
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
    /// Octets that `self` does not have count as never come.
    pub fn causes(self, effect: Curve<'_>, tolerance: u64) -> bool {
        let mut causes = self.steps();
        let mut cause = causes.next();
        effect.steps().all(|(sent, unit)| {
            // Of joined units it is known only when the last one of them was over.
            let at = if unit.count > 1 { unit.last() } else { unit.first };
            while cause.is_some_and(|(after, _)| after < sent) {
                cause = causes.next();
            }
            cause.is_some_and(|(_, unit)| {
                let came = if unit.count > 1 { unit.first } else { unit.last() };
                came.0 <= at.0.saturating_add(tolerance)
            })
        })
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

    fn raw(units: &Units) -> Curve<'_> {
        Curve { units: units.as_slice(), counts: Counts::Raw }
    }

    #[test]
    fn what_is_joined_keeps_its_octets_and_is_never_later_than_it_was() {
        let near = units((0..50_000).map(|n| n * 100));
        let far = units((0..50_000).map(|n| n * 100 + 1));
        assert!(near.thinned && near.as_slice().len() <= CAP);
        assert_eq!(raw(&near).total(), Some(500_000));
        assert!(raw(&near).causes(raw(&far), 0));
        let early = units((0..50_000).map(|n| n * 50));
        assert!(!raw(&near).causes(raw(&early), 0), "joined, they still tell what is far too early");
    }

    #[test]
    fn one_octet_too_early_is_no_effect() {
        let (near, far) = (units([100, 200].into_iter()), units([150, 199].into_iter()));
        assert!(!raw(&near).causes(raw(&far), 0));
        assert!(raw(&near).causes(raw(&far), 1));
        assert!(raw(&near).causes(raw(&units([300].into_iter())), 0), "the rest may come later");
        assert!(!raw(&near).causes(raw(&units([300, 300, 300].into_iter())), 0), "more than there is");
    }
}

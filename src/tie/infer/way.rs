//! One direction of a conversation as it was put away, read to be looked at and compared: no more of it comes.

use std::ops::Deref;

use super::content::Content;
use super::moments::Course;
use super::records::Records;
use super::requests::Requests;
use super::stream::bits;
use super::units::{Unit, Units};
use crate::capture::Timestamp;
use crate::store::Put;

/// A direction of a leg, with its units. It is read into again and again: what it has room for stays.
#[derive(Debug, Default)]
pub struct Way {
    course: Course,
    units: Vec<Unit>,
    /// A hash of what it carried; `None` if nothing.
    pub content: Option<Content>,
    pub requests: Requests,
    /// The first octets.
    head: [u8; 16],
    head_len: u8,
    /// Whether it is TLS, as far as its records tell.
    pub is_tls: bool,
    /// Whether octets of what it carried are missing, or can not be told apart.
    has_gaps: bool,
    /// Whether units were joined.
    pub is_thinned: bool,
}

impl Deref for Way {
    type Target = Course;

    fn deref(&self) -> &Course {
        &self.course
    }
}

impl Way {
    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.units.clear();
        self.requests.clear();
        let (units, requests) = (std::mem::take(&mut self.units), std::mem::take(&mut self.requests));
        *self = Way { units, requests, ..Way::default() };
    }

    /// Reads what [`Stream::put`](super::stream::Stream::put) put away; `from` is what it was put with.
    pub fn restore(&mut self, put: &mut Put<'_>, from: u64) {
        self.clear();
        let has_data;
        (self.course, has_data) = Course::restore(put, from);
        if has_data {
            self.restore_data(put);
        }
    }

    fn restore_data(&mut self, put: &mut Put<'_>) {
        let bits = put.octet();
        let (may_be_tls, has_lost) = (bits & bits::TLS != 0, bits & (bits::LOST | bits::HOLDS) != 0);
        (self.head_len, self.head) = (put.octet(), put.array());
        let has_overflowed;
        (self.is_thinned, has_overflowed) = Units::read_into(put, &mut self.units);
        self.content = Some(Content::restore(put));
        self.requests.read_into(put);
        let mut is_undecided = false;
        if may_be_tls {
            let records = Records::restore(put);
            self.is_tls = records.began;
            is_undecided = !records.began && !records.is_whole();
        }
        self.has_gaps = has_lost || has_overflowed || is_undecided;
    }

    /// Takes in up to where the other end acknowledges it, of a conversation that has only the other direction.
    pub fn acknowledged(&mut self, acked: u32) {
        self.course.set_acked(acked);
    }

    /// Whether every octet up to the end was captured, as far as sequence numbers tell, of it and of the other direction.
    pub fn is_whole(&self, other: &Way) -> bool {
        self.course.is_complete(&other.course) && !self.has_gaps
    }

    /// The first octets.
    pub fn head(&self) -> &[u8] {
        self.head.get(..usize::from(self.head_len)).unwrap_or_default()
    }

    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// When its first octet came.
    pub fn first_data(&self) -> Option<Timestamp> {
        self.units.first().map(|unit| unit.first)
    }

    /// When its last octet came.
    pub fn last_data(&self) -> Option<Timestamp> {
        self.units.last().map(Unit::last)
    }

    /// Octets in use, beside its own.
    pub fn memory(&self) -> usize {
        self.units.capacity() * size_of::<Unit>() + self.requests.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::{Half, Segment};
    use super::super::stream::{Spare, Stream};
    use super::*;
    use crate::flow::flags;

    /// What is read of a direction of these segments, each a sequence number, flags and data.
    fn read(segments: &[(u32, u8, &[u8])], way: &mut Way) {
        let mut stream = Stream::default();
        for (&(seq, flags, data), time) in segments.iter().zip(100..) {
            let half = Half { conversation: 0, from_first: true };
            let (time, data_len) = (Timestamp(time), data.len() as u32);
            let segment = Segment { half, time, seq, ack: 0, flags, data, data_len };
            stream.segment(&segment, &mut Spare::default());
        }
        let mut octets = Vec::new();
        stream.put(100, &mut octets);
        let mut put = Put(&octets);
        way.restore(&mut put, 100);
        assert!(put.0.is_empty());
    }

    #[test]
    fn a_direction_is_read_whatever_was_read_before() {
        let mut way = Way::default();
        let record = [&[23, 3, 3, 0, 4][..], b"abcd"].concat();
        read(&[(6, flags::SYN, b""), (7, 0, &record), (16, flags::FIN, b"")], &mut way);
        assert!(way.is_whole(&Way::default()) && way.is_tls);
        let kinds: Vec<(u8, u32)> = way.units().iter().map(|unit| (unit.kind, unit.len)).collect();
        assert_eq!(kinds, [(23, 4)]);
        assert_eq!((way.syn(), way.fin(), way.rst()), (Some(Timestamp(100)), Some(Timestamp(102)), None));
        read(&[(7, 0, b"GET / HTTP/1.1"), (30, 0, b"held")], &mut way);
        assert!(!way.is_whole(&Way::default()) && !way.is_tls && way.syn().is_none());
        assert_eq!((way.head(), way.units().len()), (&b"GET / HTTP/1.1"[..], 1));
        read(&[(7, 0, b"")], &mut way);
        assert!(
            way.is_whole(&Way::default()) && way.content.is_none() && way.units().is_empty() && way.head().is_empty()
        );
        assert_eq!(way.seen(), Some((Timestamp(100), Timestamp(100))));
        read(&[], &mut way);
        assert!(way.is_whole(&Way::default()) && way.seen().is_none());
    }
}

//! When a direction of a conversation began, was opened and ended, and where it stands.

use crate::capture::Timestamp;
use crate::flow::flags;
use crate::store::{Put, put_from};

/// A time that may not have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// It is no time of any segment.
    const NONE: Moment = Moment(u64::MAX);

    pub fn get(self) -> Option<Timestamp> {
        (self != Moment::NONE).then_some(Timestamp(self.0))
    }

    /// Comes, if it has not come before.
    fn come(&mut self, time: Timestamp) {
        if *self == Moment::NONE {
            *self = Moment(time.0);
        }
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(time: Option<Timestamp>) -> Moment {
        time.map_or(Moment::NONE, |time| Moment(time.0))
    }
}

/// The course of a direction, by its segments without their data.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// When the first and the last segment was sent.
    first: Moment,
    last: Moment,
    /// When the first SYN, FIN, RST was.
    syn: Moment,
    fin: Moment,
    rst: Moment,
    /// The sequence number that comes next.
    pub next: u32,
    /// The sequence number behind the FIN, if there was one.
    end: u32,
    has_end: bool,
}

impl Default for Course {
    fn default() -> Course {
        let [first, last, syn, fin, rst] = [Moment::NONE; 5];
        Course { first, last, syn, fin, rst, next: 0, end: 0, has_end: false }
    }
}

/// In the octet that a [`Course`] begins with when it was put away: what follows.
mod has {
    /// Anything at all.
    pub const SEGMENTS: u8 = 1;
    pub const SYN: u8 = 2;
    pub const FIN: u8 = 4;
    pub const RST: u8 = 8;
    pub const END: u8 = 16;
    pub const DATA: u8 = 32;
}

impl Course {
    /// Takes in the next segment as captured; returns the sequence number of its data.
    #[inline]
    pub fn segment(&mut self, time: Timestamp, mut seq: u32, flags: u8) -> u32 {
        let started = self.first != Moment::NONE;
        self.first.come(time);
        self.last = Moment(time.0);
        if flags & flags::SYN != 0 {
            seq = seq.wrapping_add(1);
            if self.syn == Moment::NONE {
                self.syn = Moment(time.0);
                // Data before the SYN belongs to it only if the capture is out of order, which it is not.
                self.next = seq;
            }
        } else if !started {
            self.next = seq;
        }
        seq
    }

    /// Takes in the FIN or the RST of a segment; `end` is the sequence number behind its data.
    pub fn over(&mut self, time: Timestamp, end: u32, flags: u8) {
        let over = if flags & flags::RST != 0 { &mut self.rst } else { &mut self.fin };
        over.come(time);
        // The kernel answers what comes too late with a RST of any number; only a FIN tells for sure where the end is.
        if flags & flags::FIN != 0 && !self.has_end {
            (self.end, self.has_end) = (end, true);
        }
    }

    /// When it began, if it did.
    pub fn began(&self) -> Option<Timestamp> {
        self.first.get()
    }

    /// When the first SYN was sent.
    pub fn syn(&self) -> Option<Timestamp> {
        self.syn.get()
    }

    /// When the first FIN was sent.
    pub fn fin(&self) -> Option<Timestamp> {
        self.fin.get()
    }

    /// When the first RST was sent.
    pub fn rst(&self) -> Option<Timestamp> {
        self.rst.get()
    }

    /// When the first and the last segment was sent.
    pub fn seen(&self) -> Option<(Timestamp, Timestamp)> {
        self.first.get().zip(self.last.get())
    }

    /// When the first FIN or RST was sent.
    pub fn ended(&self) -> Option<Timestamp> {
        self.fin().into_iter().chain(self.rst()).min()
    }

    /// Whether all was captured up to the end, if there was one.
    pub fn is_complete(&self) -> bool {
        !self.has_end || self.end.wrapping_sub(self.next).cast_signed() <= 0
    }

    /// Puts it away, for [`Course::restore`]; `from` is about when it was, and `has_data` is put with it.
    pub fn put(&self, from: u64, has_data: bool, octets: &mut Vec<u8>) {
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        let moments = [(has::SYN, self.syn), (has::FIN, self.fin), (has::RST, self.rst)];
        let come = moments.iter().fold(0, |bits, (bit, moment)| bits | has(*moment != Moment::NONE, *bit));
        let began = has(self.first != Moment::NONE, has::SEGMENTS);
        let bits = began | come | has(self.has_end, has::END) | has(has_data, has::DATA);
        octets.push(bits);
        if bits == 0 {
            return;
        }
        put_from(octets, from, self.first.0);
        put_from(octets, self.first.0, self.last.0);
        for (_, moment) in moments.iter().filter(|(bit, _)| bits & bit != 0) {
            put_from(octets, self.first.0, moment.0);
        }
        octets.extend_from_slice(&self.next.to_le_bytes());
        if self.has_end {
            octets.extend_from_slice(&self.end.to_le_bytes());
        }
    }

    /// What was put away, and whether data follow.
    pub fn restore(put: &mut Put<'_>, from: u64) -> (Course, bool) {
        let mut course = Course::default();
        let bits = put.octet();
        if bits == 0 {
            return (course, false);
        }
        let first = put.take_from(from);
        course.first = Moment(first);
        course.last = Moment(put.take_from(first));
        for (bit, moment) in [(has::SYN, &mut course.syn), (has::FIN, &mut course.fin), (has::RST, &mut course.rst)] {
            if bits & bit != 0 {
                *moment = Moment(put.take_from(first));
            }
        }
        course.next = u32::from_le_bytes(put.array());
        course.has_end = bits & has::END != 0;
        if course.has_end {
            course.end = u32::from_le_bytes(put.array());
        }
        (course, bits & has::DATA != 0)
    }
}

//! When a direction of a conversation began, was opened and ended, and where it stands.

use crate::capture::Timestamp;
use crate::flow::flags;
use crate::store::{Put, put_from};

/// A time that may not have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// A segment that a clock gives this time, the last one that it can show, counts as one that has not come.
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
    /// When the first segment was sent, and the last one that shows more than the one before.
    first: Moment,
    last: Moment,
    /// When the first SYN, FIN, RST was.
    syn: Moment,
    fin: Moment,
    rst: Moment,
    /// The sequence number that comes next, if one is known.
    pub next: u32,
    has_next: bool,
    /// The highest sequence number that the other end acknowledges, if it was not captured up to there by then.
    acked: u32,
    has_acked: bool,
    /// The sequence number behind the FIN, if there was one.
    end: u32,
    has_end: bool,
}

impl Default for Course {
    fn default() -> Course {
        let [first, last, syn, fin, rst] = [Moment::NONE; 5];
        let [next, acked, end] = [0; 3];
        let [has_next, has_acked, has_end] = [false; 3];
        Course { first, last, syn, fin, rst, next, has_next, acked, has_acked, end, has_end }
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
    pub const NEXT: u8 = 64;
    pub const ACKED: u8 = 128;
}

impl Course {
    /// Takes in the next segment as captured; returns the sequence number of its data, and whether it shows anything.
    #[inline]
    pub fn segment(&mut self, time: Timestamp, mut seq: u32, flags: u8, data_len: u32) -> (u32, bool) {
        let shows = data_len > 0 || flags & (flags::SYN | flags::FIN | flags::RST) != 0 || self.first == Moment::NONE;
        if shows {
            self.first.come(time);
            self.last = Moment(time.0);
        }
        if flags & flags::SYN != 0 {
            seq = seq.wrapping_add(1);
            if self.syn == Moment::NONE {
                self.syn = Moment(time.0);
                // Data before the SYN belongs to it only if the capture is out of order, which it is not. And what was
                // acknowledged before belongs to whoever had these ends before.
                (self.next, self.has_next, self.has_acked) = (seq, true, false);
            }
        } else if !self.has_next {
            (self.next, self.has_next) = (seq, true);
        }
        (seq, shows)
    }

    /// Whether what is acknowledged of it, in a segment with these flags, may show anything.
    #[inline]
    pub fn lacks(&self, ack: u32, flags: u8) -> bool {
        let is_known = self.has_next && ack.wrapping_sub(self.next).cast_signed() <= 0;
        !is_known || flags & flags::SYN != 0
    }

    /// Takes in what `other` acknowledges of it, in a segment with these flags; returns whether that shows anything.
    pub fn acknowledged(&mut self, ack: u32, flags: u8, other: &mut Course, time: Timestamp) -> bool {
        // What a RST acknowledges may be anything.
        if flags & (flags::ACK | flags::RST) != flags::ACK {
            return false;
        }
        let is_syn = flags & flags::SYN != 0;
        // One that opens with a SYN acknowledges what the other end began with; before, anything may have been.
        if is_syn && other.syn == Moment(time.0) {
            self.has_acked = false;
        }
        if !self.has_next && other.syn != Moment::NONE {
            (self.next, self.has_next) = (ack, true);
        } else if self.has_acked && ack.wrapping_sub(self.acked).cast_signed() <= 0
            || self.has_next && ack.wrapping_sub(self.next).cast_signed() <= 0
        {
            return false;
        } else {
            (self.acked, self.has_acked) = (ack, true);
        }
        other.last = Moment(time.0);
        true
    }

    /// The highest sequence number that the other end acknowledges, if none of it was captured.
    pub fn acked(&self) -> Option<u32> {
        let next = (self.has_next && self.first == Moment::NONE).then_some(self.next);
        if self.has_acked { Some(self.acked) } else { next }
    }

    /// Takes in what was acknowledged of it elsewhere.
    pub fn set_acked(&mut self, acked: u32) {
        (self.acked, self.has_acked) = (acked, true);
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

    /// When the first segment was sent, and the last one that shows more than the one before.
    pub fn seen(&self) -> Option<(Timestamp, Timestamp)> {
        self.first.get().zip(self.last.get())
    }

    /// When the first FIN or RST was sent.
    pub fn ended(&self) -> Option<Timestamp> {
        self.fin().into_iter().chain(self.rst()).min()
    }

    /// Whether all was captured up to the end, if there was one, and up to where the other end acknowledges it.
    pub fn is_complete(&self, other: &Course) -> bool {
        let has = |end: u32| !self.has_next || end.wrapping_sub(self.next).cast_signed() <= 0;
        // A FIN has a number, too. Where it was not captured, it is the one that is missing if the other end closed as well.
        let has_closed = other.has_end && self.rst().is_none() && other.rst().is_none();
        let is_fin = match self.has_end {
            true => self.acked == self.end.wrapping_add(1),
            false => has_closed && self.acked == self.next.wrapping_add(1),
        };
        (!self.has_end || has(self.end)) && (!self.has_acked || is_fin || has(self.acked))
    }

    /// Puts it away, for [`Course::restore`]; `from` is about when it was, and `has_data` is put with it.
    pub fn put(&self, from: u64, has_data: bool, octets: &mut Vec<u8>) {
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        let moments = [(has::SYN, self.syn), (has::FIN, self.fin), (has::RST, self.rst)];
        let come = moments.iter().fold(0, |bits, (bit, moment)| bits | has(*moment != Moment::NONE, *bit));
        let numbers = self.numbers().into_iter().zip([has::NEXT, has::ACKED, has::END]);
        let known = numbers.clone().fold(0, |bits, ((_, is_known), bit)| bits | has(is_known, bit));
        let bits = has(self.first != Moment::NONE, has::SEGMENTS) | come | known | has(has_data, has::DATA);
        octets.push(bits);
        if bits & has::SEGMENTS != 0 {
            put_from(octets, from, self.first.0);
            put_from(octets, self.first.0, self.last.0);
        }
        for (_, moment) in moments.iter().filter(|(bit, _)| bits & bit != 0) {
            put_from(octets, self.first.0, moment.0);
        }
        for ((number, is_known), _) in numbers {
            if is_known {
                octets.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// The sequence numbers, each with whether it is known.
    fn numbers(&self) -> [(u32, bool); 3] {
        [(self.next, self.has_next), (self.acked, self.has_acked), (self.end, self.has_end)]
    }

    /// What was put away, and whether data follow.
    pub fn restore(put: &mut Put<'_>, from: u64) -> (Course, bool) {
        let mut course = Course::default();
        let bits = put.octet();
        let mut first = from;
        if bits & has::SEGMENTS != 0 {
            first = put.take_from(from);
            course.first = Moment(first);
            course.last = Moment(put.take_from(first));
        }
        for (bit, moment) in [(has::SYN, &mut course.syn), (has::FIN, &mut course.fin), (has::RST, &mut course.rst)] {
            if bits & bit != 0 {
                *moment = Moment(put.take_from(first));
            }
        }
        let mut number = |bit: u8| if bits & bit != 0 { (u32::from_le_bytes(put.array()), true) } else { (0, false) };
        (course.next, course.has_next) = number(has::NEXT);
        (course.acked, course.has_acked) = number(has::ACKED);
        (course.end, course.has_end) = number(has::END);
        (course, bits & has::DATA != 0)
    }
}

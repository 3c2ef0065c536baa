//! What one input shows of a connection: whether it has all that another one has, and when it saw what both did.

use super::Seen;
use super::ranges::Ranges;
use crate::capture::Timestamp;
use crate::check::mark;
use crate::flow::{end_of, flags};

/// How far apart two captures of one packet may be, in nanoseconds: clocks of two machines, and the way between them.
pub(super) const APART: u64 = 500_000_000;

/// What an input shows of a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    syn: Option<(Timestamp, u32)>,
    /// By the end that sent it.
    ends: [Sent; 2],
    /// When its first and its last packet was captured.
    span: (Timestamp, Timestamp),
    /// Packets that are equal to another input's.
    pub copies: u32,
    /// Whether not all that it shows was counted.
    is_torn: bool,
}

/// What an end sent.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// What has sequence numbers: data, SYN, FIN.
    ranges: Ranges,
    packets: u32,
    /// Octets that came again.
    again: u32,
    /// Packets with nothing but an acknowledgment.
    bare: u32,
    /// SYNs, FINs, RSTs.
    control: [u8; 3],
    /// Of its first packet.
    hops: u8,
    sample: Option<Sample>,
}

/// A packet by which two captures are compared: one that is not cut or put together on its way.
#[derive(Clone, Copy)]
struct Sample {
    /// The lowest of all that were captured is taken: so inputs take the same one.
    key: u32,
    time: Timestamp,
}

/// Keys of what opens a connection.
const SYN: u32 = 0;
const SYN_ACK: u32 = 1;

impl Shown {
    pub fn add(&mut self, seen: &Seen) {
        let Seen { time, seq, control, end, is_copy, .. } = *seen;
        self.span = (if self.packets() == 0 { time } else { self.span.0 }, time);
        if is_opening(control) {
            self.syn = self.syn.or(Some((time, seq)));
        }
        self.copies = self.copies.saturating_add(u32::from(is_copy));
        self.ends[usize::from(end)].add(seen);
    }

    /// Not all that it shows was counted.
    pub fn tear(&mut self) {
        self.is_torn = true;
    }

    pub fn packets(&self) -> u64 {
        self.ends.iter().map(|end| u64::from(end.packets)).sum()
    }

    /// Whether it shows the same SYN as another one.
    pub fn is_of_same(&self, other: &Shown) -> bool {
        match (self.syn, other.syn) {
            (Some((at, seq)), Some((then, other))) => seq == other && at.0.abs_diff(then.0) <= APART,
            _ => false,
        }
    }

    /// Whether nothing is lost if its packets stand for the other's.
    pub fn covers(&self, other: &Shown) -> bool {
        // Clocks differ; how long it went on does not depend on them.
        let lasted = |shown: &Shown| shown.span.1.0.saturating_sub(shown.span.0.0);
        let is_as_long = lasted(self).saturating_add(APART) >= lasted(other);
        let all = self.ends.iter().zip(&other.ends).all(|(one, other)| one.covers(other));
        !self.is_torn && !other.is_torn && is_as_long && all
    }

    /// How much later another input saw what each end sent, in nanoseconds; none if nothing tells.
    pub fn apart(&self, other: &Shown) -> Option<[i64; 2]> {
        let apart = |end: usize| {
            let (one, other) = (self.ends[end].sample?, other.ends[end].sample?);
            let is_same = one.key == other.key;
            is_same.then(|| other.time.0.wrapping_sub(one.time.0).cast_signed())
        };
        let (one, other) = (apart(0)?, apart(1)?);
        // Further apart is one that was sent again, and missed here or there.
        (one.abs_diff(other) <= APART).then_some([one, other])
    }

    /// Whether it was captured nearer to an end than another one, as the hop limits of both ends' packets show.
    pub fn is_nearer(&self, end: usize, other: &Shown) -> bool {
        let hops = |shown: &Shown, end: usize| shown.ends[end].hops;
        let is_seen = |shown: &Shown| shown.ends.iter().all(|end| end.packets > 0);
        let is_nearer = hops(self, end) > hops(other, end) && hops(self, 1 - end) < hops(other, 1 - end);
        is_seen(self) && is_seen(other) && is_nearer
    }
}

impl Sent {
    fn add(&mut self, seen: &Seen) {
        let Seen { time, seq, ack, control, data_len, hops, .. } = *seen;
        if self.packets == 0 {
            self.hops = hops;
        }
        self.packets = self.packets.saturating_add(1);
        let octets = end_of(seq, data_len, control).wrapping_sub(seq);
        if octets > 0 {
            self.again = self.again.saturating_add(self.ranges.add(seq, octets));
        }
        for (count, bit) in self.control.iter_mut().zip([flags::SYN, flags::FIN, flags::RST]) {
            *count = count.saturating_add(u8::from(control & bit != 0));
        }
        let is_bare = data_len == 0 && control & (flags::SYN | flags::FIN | flags::RST) == 0;
        self.bare = self.bare.saturating_add(u32::from(is_bare));
        let key = match control & (flags::SYN | flags::ACK) {
            flags::SYN => SYN,
            bits if bits & flags::SYN != 0 => SYN_ACK,
            _ if is_bare => mark(seq, ack, control, 0).max(SYN_ACK + 1),
            _ => return,
        };
        if self.sample.is_none_or(|sample| key < sample.key) {
            self.sample = Some(Sample { key, time });
        }
    }

    fn covers(&self, other: &Sent) -> bool {
        let has_control = self.control.iter().zip(&other.control).all(|(count, other)| count >= other);
        has_control && self.again >= other.again && self.bare >= other.bare && self.ranges.cover(&other.ranges)
    }
}

/// Whether a segment opens a connection, by its control bits.
pub(super) fn is_opening(control: u8) -> bool {
    control & (flags::SYN | flags::ACK) == flags::SYN
}

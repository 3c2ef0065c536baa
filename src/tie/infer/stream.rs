//! One direction of a conversation, put in order (RFC 9293, section 3.4) and read as it comes.
//!
//! What comes in is segments as captured; what goes out is when the direction opened and ended, its [`Units`], and
//! whether all of it was captured. Memory: [`HELD`] segments of [`HELD_OCTETS`] octets that came before their turn.

use super::content::Content;
use super::records::Records;
use super::requests::Requests;
use super::units::{PLAIN, Unit, Units};
use crate::capture::Timestamp;
use crate::flow::flags;
use crate::store::{Put, put, put_from};

/// Segments that wait for one before them.
const HELD: usize = 256;

/// Octets that wait for others before them.
const HELD_OCTETS: usize = 256 << 10;

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

/// One direction.
#[derive(Debug)]
pub struct Stream {
    /// When the first and the last segment was sent.
    first: Moment,
    last: Moment,
    /// When the first SYN, FIN, RST was.
    syn: Moment,
    fin: Moment,
    rst: Moment,
    next: u32,
    /// The sequence number behind the FIN, if there was one.
    end: u32,
    has_end: bool,
    /// What it carried; `None` if nothing.
    data: Option<Box<Data>>,
}

impl Default for Stream {
    fn default() -> Stream {
        let [first, last, syn, fin, rst] = [Moment::NONE; 5];
        Stream { first, last, syn, fin, rst, next: 0, end: 0, has_end: false, data: None }
    }
}

/// What a direction carried.
#[derive(Debug)]
pub struct Data {
    pub units: Units,
    pub content: Content,
    pub requests: Requests,
    reader: Reader,
    held: Vec<Held>,
    held_octets: usize,
    /// The first octets.
    head: [u8; 16],
    head_len: u8,
    /// Whether octets are missing that can not be had any more.
    lost: bool,
}

#[derive(Debug)]
enum Reader {
    Plain,
    Tls(Records),
}

/// A segment that came before its turn.
#[derive(Debug)]
struct Held {
    seq: u32,
    data: Box<[u8]>,
    len: u32,
}

impl Data {
    fn new() -> Data {
        Data {
            units: Units::default(),
            content: Content::default(),
            requests: Requests::default(),
            reader: Reader::Tls(Records::default()),
            held: Vec::new(),
            held_octets: 0,
            head: [0; 16],
            head_len: 0,
            lost: false,
        }
    }

    /// The next octets in order, and `unknown` behind them that were not captured.
    fn read(&mut self, time: Timestamp, data: &[u8], unknown: u32) {
        if self.lost {
            return;
        }
        self.content.read(data, unknown);
        let have = usize::from(self.head_len);
        if have < self.head.len() {
            let more = data.len().min(self.head.len() - have);
            self.head[have..have + more].copy_from_slice(&data[..more]);
            self.head_len += more as u8;
        }
        if let Reader::Tls(records) = &mut self.reader {
            let before = records.pending().len() as u32;
            let began = records.began;
            if records.read(time, data, unknown, &mut self.units).is_ok() {
                return;
            }
            if began || records.began {
                self.lose();
                return;
            }
            // It never was TLS.
            self.reader = Reader::Plain;
            if before > 0 {
                self.units.push(Unit::new(time, time, before, PLAIN));
            }
        }
        self.requests.read(time, data);
        let len = (data.len() as u32).saturating_add(unknown);
        self.units.push(Unit::new(time, time, len, PLAIN));
    }

    /// Reads what a segment has behind `next`; returns the sequence number behind it.
    fn deliver(&mut self, time: Timestamp, next: u32, seq: u32, data: &[u8], len: u32) -> u32 {
        let skip = next.wrapping_sub(seq);
        if skip >= len {
            return next;
        }
        let known = data.get(skip as usize..).unwrap_or_default();
        self.read(time, known, (len - skip).saturating_sub(known.len() as u32));
        seq.wrapping_add(len)
    }

    fn lose(&mut self) {
        self.lost = true;
        self.held = Vec::new();
        self.held_octets = 0;
    }

    fn hold(&mut self, seq: u32, data: &[u8], len: u32) {
        if self.lost || self.held.iter().any(|held| held.seq == seq && held.len >= len) {
            return;
        }
        if self.held.len() == HELD || self.held_octets + data.len() > HELD_OCTETS {
            return self.lose();
        }
        self.held_octets += data.len();
        self.held.push(Held { seq, data: data.into(), len });
    }

    /// The first octets.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// Whether it is TLS, as far as its records tell.
    fn is_tls(&self) -> bool {
        matches!(&self.reader, Reader::Tls(records) if records.began)
    }

    /// Whether every octet can be told apart.
    fn is_whole(&self) -> bool {
        let is_undecided = matches!(&self.reader, Reader::Tls(records) if !records.began && !records.is_whole());
        !self.lost && self.held.is_empty() && !self.units.overflowed && !is_undecided
    }

    fn memory(&self) -> usize {
        size_of::<Data>()
            + self.units.memory()
            + self.requests.memory()
            + self.held_octets
            + self.held.capacity() * size_of::<Held>()
    }

    fn put(&self, octets: &mut Vec<u8>) {
        octets.push(u8::from(matches!(self.reader, Reader::Tls(_))) | u8::from(self.lost) << 1 | self.head_len << 2);
        octets.extend_from_slice(self.head());
        self.units.put(octets);
        self.content.put(octets);
        self.requests.put(octets);
        if let Reader::Tls(records) = &self.reader {
            records.put(octets);
        }
        put(octets, self.held.len() as u64);
        for Held { seq, data, len } in &self.held {
            [u64::from(*seq), u64::from(*len), data.len() as u64].into_iter().for_each(|number| put(octets, number));
            octets.extend_from_slice(data);
        }
    }

    fn restore(put: &mut Put<'_>) -> Data {
        let mut data = Data::new();
        let bits = put.octet();
        data.lost = bits & 2 != 0;
        for (to, octet) in data.head.iter_mut().zip(put.octets(usize::from(bits >> 2))) {
            *to = *octet;
            data.head_len += 1;
        }
        data.units = Units::restore(put);
        data.content = Content::restore(put);
        data.requests = Requests::restore(put);
        data.reader = if bits & 1 != 0 { Reader::Tls(Records::restore(put)) } else { Reader::Plain };
        for _ in 0..put.take() {
            let [seq, len, octets] = std::array::from_fn(|_| put.take());
            data.held.push(Held { seq: seq as u32, data: put.octets(octets as usize).into(), len: len as u32 });
            data.held_octets += octets as usize;
        }
        data
    }
}

/// In the octet that a [`Stream`] begins with when it was put away: what follows.
mod has {
    /// Anything at all.
    pub const SEGMENTS: u8 = 1;
    pub const SYN: u8 = 2;
    pub const FIN: u8 = 4;
    pub const RST: u8 = 8;
    pub const END: u8 = 16;
    pub const DATA: u8 = 32;
}

impl Stream {
    /// Takes in the next segment as captured.
    #[inline]
    pub fn segment(&mut self, time: Timestamp, mut seq: u32, flags: u8, data: &[u8], data_len: u32) {
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
        if data_len > 0 {
            self.octets(time, seq, data, data_len);
        }
        if flags & (flags::FIN | flags::RST) != 0 {
            self.over(time, seq.wrapping_add(data_len), flags);
        }
    }

    fn octets(&mut self, time: Timestamp, seq: u32, data: &[u8], data_len: u32) {
        let ahead = seq.wrapping_sub(self.next).cast_signed();
        if ahead < 0 && ahead.unsigned_abs() >= data_len {
            return;
        }
        let stream = self.data.get_or_insert_with(|| Box::new(Data::new()));
        if ahead > 0 {
            return stream.hold(seq, data, data_len);
        }
        self.next = stream.deliver(time, self.next, seq, data, data_len);
        while !stream.held.is_empty() {
            let is_due = |held: &Held| held.seq.wrapping_sub(self.next).cast_signed() <= 0;
            let Some(due) = stream.held.iter().position(is_due) else { break };
            let held = stream.held.swap_remove(due);
            stream.held_octets -= held.data.len();
            self.next = stream.deliver(time, self.next, held.seq, &held.data, held.len);
        }
    }

    fn over(&mut self, time: Timestamp, end: u32, flags: u8) {
        let over = if flags & flags::RST != 0 { &mut self.rst } else { &mut self.fin };
        over.come(time);
        // The kernel answers what comes too late with a RST of any number; only a FIN tells for sure where the end is.
        if flags & flags::FIN != 0 && !self.has_end {
            (self.end, self.has_end) = (end, true);
        }
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

    /// What it carried, if anything.
    pub fn data(&self) -> Option<&Data> {
        self.data.as_deref()
    }

    /// Whether every octet up to the end was captured, as far as sequence numbers tell.
    pub fn is_whole(&self) -> bool {
        (!self.has_end || self.end.wrapping_sub(self.next).cast_signed() <= 0)
            && self.data().is_none_or(|data| data.is_whole())
    }

    pub fn is_tls(&self) -> bool {
        self.data().is_some_and(|data| data.is_tls())
    }

    /// Whether units were joined.
    pub fn is_thinned(&self) -> bool {
        self.data().is_some_and(|data| data.units.thinned)
    }

    /// Octets in use, beside its own.
    pub fn memory(&self) -> usize {
        self.data().map_or(0, |data| data.memory())
    }

    /// Puts it away, for [`Stream::restore`]; `from` is about when it was.
    pub fn put(&self, from: u64, octets: &mut Vec<u8>) {
        let moments = [(has::SYN, self.syn), (has::FIN, self.fin), (has::RST, self.rst)];
        let moments = moments.into_iter().filter(|(_, moment)| *moment != Moment::NONE);
        let others =
            [(has::SEGMENTS, self.first != Moment::NONE), (has::END, self.has_end), (has::DATA, self.data.is_some())];
        let others = others.into_iter().filter(|(_, has)| *has).map(|(bit, _)| bit);
        let bits = moments.clone().map(|(bit, _)| bit).chain(others).fold(0, |bits, bit| bits | bit);
        octets.push(bits);
        if bits == 0 {
            return;
        }
        put_from(octets, from, self.first.0);
        put_from(octets, self.first.0, self.last.0);
        moments.for_each(|(_, moment)| put_from(octets, self.first.0, moment.0));
        octets.extend_from_slice(&self.next.to_le_bytes());
        if self.has_end {
            octets.extend_from_slice(&self.end.to_le_bytes());
        }
        if let Some(data) = &self.data {
            data.put(octets);
        }
    }

    pub fn restore(put: &mut Put<'_>, from: u64) -> Stream {
        let bits = put.octet();
        let mut stream = Stream::default();
        if bits == 0 {
            return stream;
        }
        let first = put.take_from(from);
        stream.first = Moment(first);
        stream.last = Moment(put.take_from(first));
        for (bit, moment) in [(has::SYN, &mut stream.syn), (has::FIN, &mut stream.fin), (has::RST, &mut stream.rst)] {
            if bits & bit != 0 {
                *moment = Moment(put.take_from(first));
            }
        }
        stream.next = u32::from_le_bytes(put.array());
        stream.has_end = bits & has::END != 0;
        if stream.has_end {
            stream.end = u32::from_le_bytes(put.array());
        }
        stream.data = (bits & has::DATA != 0).then(|| Box::new(Data::restore(put)));
        stream
    }

    /// When it began, if it did.
    pub fn began(&self) -> Option<Timestamp> {
        self.first.get()
    }
}

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

/// Segments that wait for one before them.
const HELD: usize = 256;

/// Octets that wait for others before them.
const HELD_OCTETS: usize = 256 << 10;

/// One direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// When the first SYN was sent.
    pub syn: Option<Timestamp>,
    /// When the first FIN was.
    pub fin: Option<Timestamp>,
    /// When the first RST was.
    pub rst: Option<Timestamp>,
    /// When the first and last segment was.
    pub seen: Option<(Timestamp, Timestamp)>,
    next: u32,
    /// Whether there was more that was not taken in.
    missed: bool,
    /// The sequence number behind the FIN or of the RST.
    end: Option<u32>,
    /// What it carried; `None` if nothing.
    pub data: Option<Box<Data>>,
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
    head_len: usize,
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
        if self.head_len < self.head.len() {
            let more = data.len().min(self.head.len() - self.head_len);
            self.head[self.head_len..self.head_len + more].copy_from_slice(&data[..more]);
            self.head_len += more;
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
        &self.head[..self.head_len]
    }

    /// Whether it is TLS, as far as its records tell.
    pub fn is_tls(&self) -> bool {
        matches!(&self.reader, Reader::Tls(records) if records.began)
    }

    /// Whether every octet can be told apart.
    fn is_whole(&self) -> bool {
        let is_undecided = matches!(&self.reader, Reader::Tls(records) if !records.began && !records.is_whole());
        !self.lost && self.held.is_empty() && !self.units.overflowed && !is_undecided
    }

    pub fn memory(&self) -> usize {
        size_of::<Data>()
            + self.units.memory()
            + self.requests.memory()
            + self.held_octets
            + self.held.capacity() * size_of::<Held>()
    }
}

impl Stream {
    /// Takes in the next segment as captured.
    #[inline]
    pub fn segment(&mut self, time: Timestamp, mut seq: u32, flags: u8, data: &[u8], data_len: u32) {
        let started = match &mut self.seen {
            Some((_, last)) => {
                *last = time;
                true
            }
            None => {
                self.seen = Some((time, time));
                false
            }
        };
        if flags & flags::SYN != 0 {
            seq = seq.wrapping_add(1);
            if self.syn.is_none() {
                self.syn = Some(time);
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

    /// Takes in that there was a segment, and none of its octets.
    pub fn miss(&mut self, time: Timestamp, flags: u8) {
        let (_, last) = self.seen.get_or_insert((time, time));
        *last = time;
        self.missed = true;
        if flags & (flags::FIN | flags::RST) != 0 {
            self.over(time, self.next, flags);
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
        if over.is_none() {
            *over = Some(time);
        }
        // The kernel answers what comes too late with a RST of any number; only a FIN tells for sure where the end is.
        if flags & flags::FIN != 0 && self.end.is_none() {
            self.end = Some(end);
        }
    }

    /// Whether every octet up to the end was captured, as far as sequence numbers tell.
    pub fn is_whole(&self) -> bool {
        !self.missed
            && self.end.is_none_or(|end| end.wrapping_sub(self.next).cast_signed() <= 0)
            && self.data.as_ref().is_none_or(|data| data.is_whole())
    }

    pub fn units(&self) -> &[Unit] {
        self.data.as_ref().map_or(&[], |data| data.units.as_slice())
    }

    pub fn is_tls(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.is_tls())
    }

    /// Whether units were joined.
    pub fn is_thinned(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.units.thinned)
    }

    /// When the first FIN or RST was sent.
    pub fn ended(&self) -> Option<Timestamp> {
        self.fin.into_iter().chain(self.rst).min()
    }

    /// When its first octet came.
    pub fn first_data(&self) -> Option<Timestamp> {
        self.units().first().map(|unit| unit.first)
    }

    /// When its last octet came.
    pub fn last_data(&self) -> Option<Timestamp> {
        self.units().last().map(Unit::last)
    }

    pub fn memory(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.memory())
    }
}

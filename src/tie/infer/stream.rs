//! One direction of a conversation, put in order (RFC 9293, section 3.4) and read as it comes.
//!
//! What comes in is segments as captured; what goes out is when the direction opened and ended, its [`Units`], and
//! whether all of it was captured. Memory: [`HELD`] segments of [`HELD_OCTETS`] octets that came before their turn.

use super::content::Content;
use super::moments::Course;
use super::records::Records;
use super::requests::Requests;
use super::segment::Segment;
use super::units::{PLAIN, Unit, Units};
use crate::capture::Timestamp;
use crate::flow::flags;
use crate::store::{Put, put};

/// Segments that wait for one before them.
const HELD: usize = 256;

/// Octets that wait for others before them.
const HELD_OCTETS: usize = 256 << 10;

/// One direction.
#[derive(Debug, Default)]
pub struct Stream {
    course: Course,
    /// What it carried; `None` if nothing.
    data: Option<Box<Data>>,
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
    /// Whether more are held elsewhere.
    holds_more: bool,
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

/// Directions that were put away, for the room that they take.
#[derive(Debug, Default)]
pub struct Spare {
    all: Vec<Stream>,
}

/// How many of these are kept, and with room for how many octets of units each.
const SPARE: usize = 64;
const SPARE_OCTETS: usize = 512;

impl Spare {
    /// Room for what a direction carries.
    fn take(&mut self) -> Box<Data> {
        self.all.pop().and_then(|stream| stream.data).unwrap_or_default()
    }

    /// Keeps the room of a direction, if it is little.
    pub fn keep(&mut self, mut stream: Stream) {
        if let Some(data) = &mut stream.data
            && self.all.len() < SPARE
            && data.units.memory() <= SPARE_OCTETS
        {
            let mut units = std::mem::take(&mut data.units);
            units.clear();
            **data = Data { units, ..Data::default() };
            self.all.push(stream);
        }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data {
            units: Units::default(),
            content: Content::default(),
            requests: Requests::default(),
            reader: Reader::Tls(Records::default()),
            held: Vec::new(),
            held_octets: 0,
            holds_more: false,
            head: [0; 16],
            head_len: 0,
            lost: false,
        }
    }
}

impl Data {
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

    fn memory(&self) -> usize {
        size_of::<Data>()
            + self.units.memory()
            + self.requests.memory()
            + self.held_octets
            + self.held.capacity() * size_of::<Held>()
    }

    /// Whether octets wait for others before them.
    fn holds(&self) -> bool {
        self.holds_more || !self.held.is_empty()
    }

    /// Puts it away, but for what is held.
    fn put(&self, octets: &mut Vec<u8>) {
        let is_tls = matches!(self.reader, Reader::Tls(_));
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        octets.push(has(is_tls, bits::TLS) | has(self.lost, bits::LOST) | has(self.holds(), bits::HOLDS));
        octets.push(self.head_len);
        octets.extend_from_slice(&self.head);
        self.units.put(octets);
        self.content.put(octets);
        self.requests.put(octets);
        if let Reader::Tls(records) = &self.reader {
            records.put(octets);
        }
    }

    /// Reads what was put away; all that is there is default, but for the room. Unless they are wanted, units and ids of
    /// requests stay where they are.
    fn restore(&mut self, put: &mut Put<'_>, is_wanted: bool) {
        let data = self;
        let bits = put.octet();
        data.lost = bits & bits::LOST != 0;
        data.holds_more = bits & bits::HOLDS != 0;
        (data.head_len, data.head) = (put.octet(), put.array());
        data.units.restore(put, is_wanted);
        data.content = Content::restore(put);
        data.requests = Requests::restore(put, is_wanted);
        data.reader = if bits & bits::TLS != 0 { Reader::Tls(Records::restore(put)) } else { Reader::Plain };
    }
}

/// The octet that [`Data`] begins with when it was put away.
pub mod bits {
    /// Whether it is TLS, as far as it shows.
    pub const TLS: u8 = 1;
    pub const LOST: u8 = 2;
    /// Whether octets wait for others before them.
    pub const HOLDS: u8 = 4;
}

impl Stream {
    /// Takes in the next segment as captured; returns whether it shows anything.
    #[inline]
    pub fn segment(&mut self, segment: &Segment<'_>, spare: &mut Spare) -> bool {
        let Segment { time, seq, flags, data, data_len, .. } = *segment;
        let (seq, shows) = self.course.segment(time, seq, flags, data_len);
        if data_len > 0 {
            self.octets(time, seq, data, data_len, spare);
        }
        if flags & (flags::FIN | flags::RST) != 0 {
            self.course.over(time, seq.wrapping_add(data_len), flags);
        }
        shows
    }

    /// Whether what a segment of the other direction acknowledges may show anything.
    #[inline]
    pub fn lacks(&self, segment: &Segment<'_>) -> bool {
        self.course.lacks(segment.ack, segment.flags)
    }

    /// Takes in what a segment of the `other` direction acknowledges; returns whether it shows anything.
    pub fn acknowledged(&mut self, segment: &Segment<'_>, other: &mut Stream) -> bool {
        self.course.acknowledged(segment.ack, segment.flags, &mut other.course, segment.time)
    }

    fn octets(&mut self, time: Timestamp, seq: u32, data: &[u8], data_len: u32, spare: &mut Spare) {
        let mut next = self.course.next;
        let ahead = seq.wrapping_sub(next).cast_signed();
        if ahead < 0 && ahead.unsigned_abs() >= data_len {
            return;
        }
        let stream = self.data.get_or_insert_with(|| spare.take());
        if ahead > 0 {
            return stream.hold(seq, data, data_len);
        }
        next = stream.deliver(time, next, seq, data, data_len);
        while !stream.held.is_empty() {
            let is_due = |held: &Held| held.seq.wrapping_sub(next).cast_signed() <= 0;
            let Some(due) = stream.held.iter().position(is_due) else { break };
            let held = stream.held.swap_remove(due);
            stream.held_octets -= held.data.len();
            next = stream.deliver(time, next, held.seq, &held.data, held.len);
        }
        self.course.next = next;
    }

    /// When it began, if it did.
    pub fn began(&self) -> Option<Timestamp> {
        self.course.began()
    }

    /// Whether there are more units than may be, with those that were put away.
    pub fn is_over(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.units.is_over())
    }

    /// Octets of units and of ids of requests.
    pub fn here(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.units.here() + data.requests.here())
    }

    /// Puts units and ids of requests that come behind these with them; all else is as it is there.
    pub fn append(&mut self, mut behind: Stream) {
        let (before, data) = (self.data.take(), behind.data.as_mut());
        if let (Some(mut before), Some(data)) = (before, data) {
            before.units.append(&data.units);
            before.requests.append(std::mem::take(&mut data.requests));
            // By what came together, requests are not told apart.
            if before.units.thinned {
                before.requests = Requests::default();
            }
            (data.units, data.requests) = (before.units, before.requests);
        }
        *self = behind;
    }

    /// Whether octets wait here for others before them.
    pub fn holds(&self) -> bool {
        self.data.as_ref().is_some_and(|data| !data.held.is_empty())
    }

    /// Gives up what waits for octets before it.
    pub fn lose_held(&mut self) {
        if let Some(data) = self.data.as_mut().filter(|data| data.holds()) {
            data.holds_more = false;
            data.lose();
        }
    }

    /// Puts away what waits for octets before it, for [`Stream::restore_held`].
    pub fn put_held(&self, octets: &mut Vec<u8>) {
        let held = self.data.as_ref().map_or(&[][..], |data| &data.held);
        put(octets, held.len() as u64);
        for Held { seq, data, len } in held {
            [u64::from(*seq), u64::from(*len), data.len() as u64].into_iter().for_each(|number| put(octets, number));
            octets.extend_from_slice(data);
        }
    }

    pub fn restore_held(&mut self, put: &mut Put<'_>) {
        let held = put.take();
        let Some(data) = &mut self.data else { return };
        data.holds_more = false;
        for _ in 0..held {
            let [seq, len, octets] = std::array::from_fn(|_| put.take());
            data.held.push(Held { seq: seq as u32, data: put.octets(octets as usize).into(), len: len as u32 });
            data.held_octets += octets as usize;
        }
    }

    /// Octets in use, beside its own.
    pub fn memory(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.memory())
    }

    /// Puts it away, for [`Stream::restore`] and [`Way::restore`](super::way::Way::restore); `from` is about when it was.
    pub fn put(&self, from: u64, octets: &mut Vec<u8>) {
        self.course.put(from, self.data.is_some(), octets);
        if let Some(data) = &self.data {
            data.put(octets);
        }
    }

    /// What was put away, so that more of it can come. Unless they are wanted, units and ids of requests stay where they are.
    pub fn restore(put: &mut Put<'_>, from: u64, is_wanted: bool, spare: &mut Spare) -> Stream {
        let (course, has_data) = Course::restore(put, from);
        let data = has_data.then(|| {
            let mut data = spare.take();
            data.restore(put, is_wanted);
            data
        });
        Stream { course, data }
    }
}

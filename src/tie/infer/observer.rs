//! The first pass: what inference needs of each TCP conversation, collected while packets go by.

use std::io;

use super::moments::Course;
use super::shape::Shape;
use super::stream::{Spare, Stream};
use super::way::Way;
use crate::capture::Timestamp;
use crate::store::{self, Place, Put, Store, put};

/// The bounds of what is collected.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets in memory of conversations that are under way, to begin with. Where it turns out that more of them take turns,
    /// it becomes more.
    pub least: usize,
    /// The same, at most.
    pub most: usize,
    /// How often what waits for octets before it is brought back from the file, until it is given up.
    pub returns: u8,
}

/// Octets of units that go to the file again with what comes behind them: what is more stays where it is.
const LITTLE: usize = 256;

impl Default for Limits {
    fn default() -> Limits {
        Limits { least: 2 << 20, most: 32 << 20, returns: 4 }
    }
}

/// One direction of a conversation as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Half {
    /// The serial number of the conversation.
    pub conversation: u32,
    /// Which of its two ends sent it; how they are told apart is up to the caller.
    pub from_first: bool,
}

/// A segment as captured.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Whose it is.
    pub half: Half,
    /// When it was captured.
    pub time: Timestamp,
    /// Its sequence number.
    pub seq: u32,
    /// What it acknowledges.
    pub ack: u32,
    /// Its flags.
    pub flags: u8,
    /// What was captured of its data.
    pub data: &'a [u8],
    /// Octets of data that were sent.
    pub data_len: u32,
}

/// A conversation in memory.
#[derive(Debug)]
struct Conversation {
    number: u32,
    /// Whether there was a segment of it since somebody looked for one that is silent.
    is_busy: bool,
    /// Where it is in the store, as long as nothing changes.
    same: Option<At>,
    /// Where the newest part of its units is that stayed there.
    parts: Option<Place>,
    /// Where what it holds is, if it is there; and how often it was brought back.
    held: Option<Place>,
    returns: u8,
    /// By [`Half::from_first`], no before yes.
    streams: [Stream; 2],
}

impl Conversation {
    /// Octets in use.
    fn memory(&self) -> usize {
        size_of::<Conversation>() + self.streams.iter().map(Stream::memory).sum::<usize>()
    }
}

/// Collects, in the first pass over a capture, what inference needs of each TCP conversation.
///
/// Conversations that were silent longest go to a temporary file, and come back with their next segment: all but their
/// units, of which those that are new go there as a further part. At the end their parts are put together. In memory are those
/// that are under way, within [`Limits`], and 8 octets for each.
#[derive(Debug)]
pub struct Observer {
    limits: Limits,
    /// Where conversations are.
    places: Places,
    busy: Vec<Option<Conversation>>,
    /// Those of `busy` that are none.
    free: Vec<u32>,
    /// Where the next silent one is looked for.
    hand: usize,
    /// Octets in use by what is busy, and how many may be.
    memory: usize,
    room: usize,
    store: Store,
    /// What went wrong with it: nothing is collected any more.
    failed: Option<io::Error>,
    /// When the last segment was captured.
    end: Timestamp,
    /// A conversation on its way.
    octets: Vec<u8>,
    /// What conversations that were put away do not need any more.
    spare: Spare,
}

/// Everything that an [`Observer`] collected.
#[derive(Debug)]
pub struct Observed {
    places: Places,
    store: Store,
    end: Timestamp,
}

impl Observer {
    /// Nothing collected yet.
    pub fn new(limits: Limits) -> Observer {
        Observer {
            limits,
            places: Places::default(),
            busy: Vec::new(),
            free: Vec::new(),
            hand: 0,
            memory: 0,
            room: limits.least,
            store: Store::default(),
            failed: None,
            end: Timestamp(0),
            octets: Vec::new(),
            spare: Spare::default(),
        }
    }

    /// Takes in a segment.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        let Segment { half, time, data_len, .. } = *segment;
        self.end = self.end.max(time);
        let Some(at) = self.find(half.conversation) else { return };
        let Some(conversation) = &mut self.busy[at] else { return };
        conversation.is_busy = true;
        let from = usize::from(half.from_first);
        // Without data it stays as large as it is.
        if data_len == 0 {
            if conversation.streams[from].segment(segment, &mut self.spare) {
                conversation.same = None;
            }
        } else {
            if conversation.is_in_parts() {
                return self.further(at, segment);
            }
            conversation.same = None;
            let stream = &mut conversation.streams[from];
            let before = stream.memory();
            stream.segment(segment, &mut self.spare);
            self.memory = self.memory + stream.memory() - before;
        }
        if conversation.streams[1 - from].lacks(segment) {
            conversation.acknowledged(segment);
        }
        if self.memory > self.room {
            self.make_room();
        }
    }

    /// Takes in data of a conversation that is not here as a whole.
    #[cold]
    fn further(&mut self, at: usize, segment: &Segment<'_>) {
        let Some(conversation) = &mut self.busy[at] else { return };
        let before = conversation.memory();
        let taken = conversation.further(segment, &self.store, &mut self.octets, &mut self.spare);
        self.memory = self.memory + conversation.memory() - before;
        if let Err(error) = taken {
            return self.fail(error);
        }
        if self.memory > self.room {
            self.make_room();
        }
    }

    /// Forgets a conversation. No more segments of it come.
    pub fn forget(&mut self, conversation: u32) {
        if let At::Busy(at) = self.places.get(conversation) {
            let left = self.leave(at);
            left.into_iter().flat_map(|left| left.streams).for_each(|stream| self.spare.keep(stream));
        }
        self.places.set(conversation, At::Nowhere);
    }

    /// The place of a conversation in `busy`; none if nothing is collected of it.
    #[inline]
    fn find(&mut self, number: u32) -> Option<usize> {
        match self.places.get(number) {
            At::Busy(at) => Some(at),
            at => self.enter(number, at),
        }
    }

    /// Brings a conversation into memory, or begins it.
    #[cold]
    fn enter(&mut self, number: u32, at: At) -> Option<usize> {
        if self.failed.is_some() {
            return None;
        }
        let mut conversation = Conversation::new(number);
        if let At::Away(place) | At::Parted(place) = at {
            if let Err(error) = self.store.read(place, &mut self.octets) {
                self.fail(error);
                return None;
            }
            conversation.restore(&self.octets, place, &mut self.spare);
            conversation.same = Some(at);
            self.room = (self.room + conversation.memory()).min(self.limits.most);
        }
        self.memory += conversation.memory();
        let at = match self.free.pop() {
            Some(at) => at as usize,
            None => {
                self.busy.push(None);
                self.busy.len() - 1
            }
        };
        self.busy[at] = Some(conversation);
        self.places.set(number, At::Busy(at));
        Some(at)
    }

    /// Takes a conversation out of memory.
    fn leave(&mut self, at: usize) -> Option<Conversation> {
        let conversation = self.busy[at].take()?;
        self.memory -= conversation.memory();
        self.free.push(at as u32);
        Some(conversation)
    }

    /// Puts conversations away that are silent, until there is room for some.
    #[cold]
    fn make_room(&mut self) {
        while self.memory > self.room / 8 * 7 && self.failed.is_none() && self.free.len() < self.busy.len() {
            self.hand = if self.hand + 1 < self.busy.len() { self.hand + 1 } else { 0 };
            match &mut self.busy[self.hand] {
                Some(conversation) if conversation.is_busy => conversation.is_busy = false,
                Some(_) => self.put_away(self.hand),
                None => {}
            }
        }
    }

    fn put_away(&mut self, at: usize) {
        let Some(mut conversation) = self.leave(at) else { return };
        let put = match conversation.same {
            Some(same) => Ok(same),
            None => conversation.put(&mut self.store, &mut self.octets, self.limits.returns),
        };
        match put {
            Ok(place) => self.places.set(conversation.number, place),
            Err(error) => {
                self.places.set(conversation.number, At::Nowhere);
                self.fail(error);
            }
        }
        conversation.streams.into_iter().for_each(|stream| self.spare.keep(stream));
    }

    /// Nothing is collected any more.
    #[cold]
    fn fail(&mut self, error: io::Error) {
        self.failed = Some(error);
        for conversation in self.busy.iter_mut().filter_map(Option::take) {
            self.places.set(conversation.number, At::Nowhere);
        }
        self.memory = 0;
    }

    /// There are no more segments.
    ///
    /// Errors: the temporary file cannot be written or read.
    pub fn finish(mut self) -> io::Result<Observed> {
        // As they began: so they are asked for.
        let number = |at: &usize| self.busy[*at].as_ref().map(|conversation| conversation.number);
        let mut all: Vec<usize> = (0..self.busy.len()).collect();
        all.sort_unstable_by_key(number);
        for at in all {
            if let Some(conversation) = &mut self.busy[at] {
                // What it waits for does not come any more.
                conversation.lose_held();
            }
            self.put_away(at);
        }
        self.join_all();
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Observed { places: self.places, store: self.store, end: self.end }),
        }
    }

    /// Puts the parts of each conversation together.
    fn join_all(&mut self) {
        for number in 0..(self.places.pages.len() * PAGE) as u32 {
            let At::Parted(place) = self.places.get(number) else { continue };
            match self.joined(number, place) {
                Ok(place) => self.places.set(number, place),
                Err(error) => return self.fail(error),
            }
        }
    }

    fn joined(&mut self, number: u32, place: Place) -> io::Result<At> {
        self.store.read(place, &mut self.octets)?;
        let mut conversation = Conversation::new(number);
        conversation.restore(&self.octets, place, &mut self.spare);
        conversation.lose_held();
        conversation.join(&self.store, &mut self.octets)?;
        let joined = conversation.put(&mut self.store, &mut self.octets, 0);
        conversation.streams.into_iter().for_each(|stream| self.spare.keep(stream));
        joined
    }
}

/// What stands before both directions of a conversation.
struct Begin {
    /// When it was.
    began: u64,
    /// Where the part before it is.
    parts: Option<Place>,
    /// Whether this one is to stay where it is, being large.
    is_large: bool,
    /// Where what it holds is, and how often it was brought back.
    held: Option<Place>,
    returns: u8,
}

impl Begin {
    fn put(&self, octets: &mut Vec<u8>) {
        let number = |place: Option<Place>| place.map_or(0, |place| place.number() + 1);
        put(octets, self.began);
        put(octets, number(self.parts) << 1 | u64::from(self.is_large));
        put(octets, number(self.held));
        if self.held.is_some() {
            octets.push(self.returns);
        }
    }

    fn restore(put: &mut Put<'_>) -> Begin {
        let place = |number: u64| number.checked_sub(1).map(Place::of);
        let [began, parts, held] = std::array::from_fn(|_| put.take());
        let (parts, is_large, held) = (place(parts >> 1), parts & 1 != 0, place(held));
        let returns = if held.is_some() { put.octet() } else { 0 };
        Begin { began, parts, is_large, held, returns }
    }
}

impl Conversation {
    /// One of which nothing is known.
    fn new(number: u32) -> Conversation {
        let streams = Default::default();
        Conversation { number, is_busy: true, same: None, parts: None, held: None, returns: 0, streams }
    }

    /// Puts it away. What it holds has come back `returns` times at most.
    fn put(&mut self, store: &mut Store, octets: &mut Vec<u8>, returns: u8) -> io::Result<At> {
        if self.streams.iter().any(Stream::holds) {
            if self.returns < returns {
                octets.clear();
                self.streams.iter().for_each(|stream| stream.put_held(octets));
                self.held = Some(store.push(octets)?);
            } else {
                self.lose_held();
            }
        }
        let here: usize = self.streams.iter().map(Stream::here).sum();
        let began = self.streams.iter().filter_map(Stream::began).min().unwrap_or_default().0;
        let Conversation { parts, held, returns, .. } = *self;
        octets.clear();
        Begin { began, parts, is_large: here > LITTLE, held, returns }.put(octets);
        self.streams.iter().for_each(|stream| stream.put(began, octets));
        let place = store.push(octets)?;
        Ok(if parts.is_some() { At::Parted(place) } else { At::Away(place) })
    }

    /// Reads what was put away at a place, so that more can come. What is large there stays there.
    fn restore(&mut self, octets: &[u8], place: Place, spare: &mut Spare) {
        let mut put = Put(octets);
        let Begin { began, parts, is_large, held, returns } = Begin::restore(&mut put);
        self.parts = if is_large { Some(place) } else { parts };
        (self.held, self.returns) = (held, returns);
        self.streams = [(); 2].map(|()| Stream::restore(&mut put, began, !is_large, spare));
    }

    /// Whether anything of it stayed in the store.
    fn is_in_parts(&self) -> bool {
        self.parts.is_some() || self.held.is_some()
    }

    /// Takes in data where that is so.
    fn further(
        &mut self,
        segment: &Segment<'_>,
        store: &Store,
        octets: &mut Vec<u8>,
        spare: &mut Spare,
    ) -> io::Result<()> {
        self.restore_held(store, octets)?;
        self.same = None;
        let stream = &mut self.streams[usize::from(segment.half.from_first)];
        stream.segment(segment, spare);
        if stream.is_over() {
            self.join(store, octets)?;
        }
        self.acknowledged(segment);
        Ok(())
    }

    /// Takes in what a segment acknowledges.
    #[cold]
    fn acknowledged(&mut self, segment: &Segment<'_>) {
        let [first, second] = &mut self.streams;
        let (stream, other) = if segment.half.from_first { (second, first) } else { (first, second) };
        if other.acknowledged(segment, stream) {
            self.same = None;
        }
    }

    /// Brings back what it holds.
    fn restore_held(&mut self, store: &Store, octets: &mut Vec<u8>) -> io::Result<()> {
        if let Some(held) = self.held.take() {
            store.read(held, octets)?;
            let mut put = Put(octets);
            self.streams.iter_mut().for_each(|stream| stream.restore_held(&mut put));
            self.returns = self.returns.saturating_add(1);
        }
        Ok(())
    }

    /// Gives up what waits for octets before it.
    fn lose_held(&mut self) {
        if self.held.take().is_some() || self.streams.iter().any(Stream::holds) {
            self.same = None;
            self.streams.iter_mut().for_each(Stream::lose_held);
        }
    }

    /// Brings all units back that stayed in the store.
    fn join(&mut self, store: &Store, octets: &mut Vec<u8>) -> io::Result<()> {
        let mut places = Vec::new();
        while let Some(place) = self.parts {
            store.read(place, octets)?;
            self.parts = Begin::restore(&mut Put(octets)).parts;
            places.push(place);
        }
        let mut all: [Stream; 2] = Default::default();
        for place in places.into_iter().rev() {
            store.read(place, octets)?;
            let mut put = Put(octets);
            let began = Begin::restore(&mut put).began;
            for stream in &mut all {
                stream.append(Stream::restore(&mut put, began, true, &mut Spare::default()));
            }
        }
        for (all, stream) in all.into_iter().zip(&mut self.streams) {
            let newest = std::mem::replace(stream, all);
            stream.append(newest);
        }
        self.same = None;
        Ok(())
    }
}

impl Observed {
    /// Reads what was collected of two directions of a leg, which may be of one conversation.
    pub(super) fn read(&self, halves: [Half; 2], reader: &mut store::Reader, shape: &mut Shape) -> io::Result<()> {
        let [one, other] = halves;
        let Shape { up, down, .. } = shape;
        if one.conversation == other.conversation && one.from_first != other.from_first {
            let both = if one.from_first { [down, up] } else { [up, down] };
            let Some((mut put, began)) = self.find(one.conversation, reader)? else {
                both.into_iter().for_each(Way::clear);
                return Ok(());
            };
            both.into_iter().for_each(|way| way.restore(&mut put, began));
            return Ok(());
        }
        let by_server = self.read_half(one, reader, up)?;
        let by_client = self.read_half(other, reader, down)?;
        // Each end acknowledges in the conversation that has what it sent.
        for (way, acked) in [(up, by_client), (down, by_server)] {
            acked.into_iter().for_each(|acked| way.acknowledged(acked));
        }
        Ok(())
    }

    /// Reads one direction; returns what it acknowledges of the other one, which is not in the same conversation.
    fn read_half(&self, half: Half, reader: &mut store::Reader, way: &mut Way) -> io::Result<Option<u32>> {
        let Some((mut put, began)) = self.find(half.conversation, reader)? else {
            way.clear();
            return Ok(None);
        };
        way.restore(&mut put, began);
        if half.from_first {
            // It stands behind the other one.
            let acked = way.acked();
            way.restore(&mut put, began);
            return Ok(acked);
        }
        Ok(Course::restore(&mut put, began).0.acked())
    }

    /// The directions of a conversation as they were put away, and when it was; none if nothing is known of it.
    fn find<'a>(&'a self, conversation: u32, reader: &'a mut store::Reader) -> io::Result<Option<(Put<'a>, u64)>> {
        let At::Away(place) = self.places.get(conversation) else { return Ok(None) };
        let mut put = Put(reader.read(&self.store, place)?);
        let began = Begin::restore(&mut put).began;
        Ok(Some((put, began)))
    }

    /// Octets that were put away, one time or more.
    #[cfg(test)]
    pub(super) fn written(&self) -> u64 {
        self.store.written()
    }

    /// When the last segment was captured.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }
}

/// Where a conversation is.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Nothing is known of it.
    Nowhere,
    /// In memory.
    Busy(usize),
    /// In the store.
    Away(Place),
    /// In the store, with parts before it.
    Parted(Place),
}

/// Conversations whose places are together.
const PAGE: usize = 64;

/// The places of conversations, by their numbers. Where many in a row are nowhere, they take nothing.
#[derive(Debug, Default)]
struct Places {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Debug)]
struct Page {
    places: [u64; PAGE],
    /// How many of them are somewhere.
    used: usize,
}

impl At {
    /// The highest bit is of what is away, the next one of what has parts; numbers of places have two bits less. 0 is nowhere.
    const AWAY: u64 = 1 << 63;
    const PARTED: u64 = At::AWAY | 1 << 62;

    fn encode(self) -> u64 {
        match self {
            At::Nowhere => 0,
            At::Busy(at) => at as u64 + 1,
            At::Away(place) => At::AWAY | place.number(),
            At::Parted(place) => At::PARTED | place.number(),
        }
    }

    fn decode(word: u64) -> At {
        // As it is most often.
        if word.wrapping_sub(1) < At::AWAY - 1 {
            return At::Busy(word as usize - 1);
        }
        match word {
            0 => At::Nowhere,
            At::PARTED.. => At::Parted(Place::of(word & !At::PARTED)),
            _ => At::Away(Place::of(word & !At::AWAY)),
        }
    }
}

impl Places {
    #[inline]
    fn get(&self, number: u32) -> At {
        let page = self.pages.get(number as usize / PAGE).and_then(Option::as_ref);
        page.map_or(At::Nowhere, |page| At::decode(page.places[number as usize % PAGE]))
    }

    fn set(&mut self, number: u32, at: At) {
        let (number, word) = (number as usize, at.encode());
        if number / PAGE >= self.pages.len() {
            self.pages.resize_with(number / PAGE + 1, || None);
        }
        let page = &mut self.pages[number / PAGE];
        let known = page.get_or_insert_with(|| Box::new(Page { places: [0; PAGE], used: 0 }));
        let before = std::mem::replace(&mut known.places[number % PAGE], word);
        known.used = known.used + usize::from(word != 0) - usize::from(before != 0);
        if known.used == 0 {
            *page = None;
        }
    }
}

//! The first pass: what inference needs of each TCP conversation, collected while packets go by.

use std::io;

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
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { least: 2 << 20, most: 32 << 20 }
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

/// A conversation in memory.
#[derive(Debug)]
struct Conversation {
    number: u32,
    /// Whether there was a segment of it since somebody looked for one that is silent.
    is_busy: bool,
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
/// Conversations that were silent longest go to a temporary file, and come back with their next segment. In memory are those
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

    /// Takes in a segment. `data` is what was captured of its `data_len` octets.
    pub fn segment(&mut self, half: Half, time: Timestamp, seq: u32, flags: u8, data: &[u8], data_len: u32) {
        self.end = self.end.max(time);
        let Some(at) = self.find(half.conversation) else { return };
        let Some(conversation) = &mut self.busy[at] else { return };
        conversation.is_busy = true;
        let stream = &mut conversation.streams[usize::from(half.from_first)];
        // Without data it stays as large as it is.
        let before = if data_len > 0 { stream.memory() } else { 0 };
        stream.segment(time, seq, flags, data, data_len, &mut self.spare);
        if data_len > 0 {
            self.memory = self.memory + stream.memory() - before;
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
        let streams = match at {
            At::Away(place) => {
                if let Err(error) = self.store.read(place, &mut self.octets) {
                    self.failed = Some(error);
                    return None;
                }
                restore(&self.octets, &mut self.spare)
            }
            _ => Default::default(),
        };
        let conversation = Conversation { number, is_busy: true, streams };
        let memory = conversation.memory();
        self.memory += memory;
        if let At::Away(_) = at {
            self.room = (self.room + memory).min(self.limits.most);
        }
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
        let Some(Conversation { number, streams, .. }) = self.leave(at) else { return };
        self.octets.clear();
        put_all(&streams, &mut self.octets);
        streams.into_iter().for_each(|stream| self.spare.keep(stream));
        match self.store.push(&self.octets) {
            Ok(place) => self.places.set(number, At::Away(place)),
            Err(error) => {
                self.places.set(number, At::Nowhere);
                self.failed = Some(error);
            }
        }
    }

    /// There are no more segments.
    ///
    /// Errors: the temporary file cannot be written or read.
    pub fn finish(mut self) -> io::Result<Observed> {
        // As they began: so they are asked for.
        let number = |at: &usize| self.busy[*at].as_ref().map(|conversation| conversation.number);
        let mut all: Vec<usize> = (0..self.busy.len()).collect();
        all.sort_unstable_by_key(number);
        all.into_iter().for_each(|at| self.put_away(at));
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Observed { places: self.places, store: self.store, end: self.end }),
        }
    }
}

/// Both directions of a conversation, one behind the other, and before them when it was.
fn put_all(streams: &[Stream; 2], octets: &mut Vec<u8>) {
    let began = streams.iter().filter_map(Stream::began).min().unwrap_or_default();
    put(octets, began.0);
    streams.iter().for_each(|stream| stream.put(began.0, octets));
}

fn restore(octets: &[u8], spare: &mut Spare) -> [Stream; 2] {
    let mut put = Put(octets);
    let began = put.take();
    [(); 2].map(|()| Stream::restore(&mut put, began, spare))
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
        self.read_half(one, reader, up)?;
        self.read_half(other, reader, down)
    }

    fn read_half(&self, half: Half, reader: &mut store::Reader, way: &mut Way) -> io::Result<()> {
        let Some((mut put, began)) = self.find(half.conversation, reader)? else {
            way.clear();
            return Ok(());
        };
        way.restore(&mut put, began);
        if half.from_first {
            // It stands behind the other one.
            way.restore(&mut put, began);
        }
        Ok(())
    }

    /// The directions of a conversation as they were put away, and when it was; none if nothing is known of it.
    fn find<'a>(&'a self, conversation: u32, reader: &'a mut store::Reader) -> io::Result<Option<(Put<'a>, u64)>> {
        let At::Away(place) = self.places.get(conversation) else { return Ok(None) };
        let mut put = Put(reader.read(&self.store, place)?);
        let began = put.take();
        Ok(Some((put, began)))
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
    /// The highest bit is of what is away, whose number has one bit less; 0 is nowhere.
    const AWAY: u64 = 1 << 63;

    fn encode(self) -> u64 {
        match self {
            At::Nowhere => 0,
            At::Busy(at) => at as u64 + 1,
            At::Away(place) => At::AWAY | place.number(),
        }
    }

    fn decode(word: u64) -> At {
        match word {
            0 => At::Nowhere,
            At::AWAY.. => At::Away(Place::of(word & !At::AWAY)),
            _ => At::Busy(word as usize - 1),
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

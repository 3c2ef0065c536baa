//! A conversation while an [`Observer`](super::Observer) collects what it carried: in memory, and in parts in a store.
//!
//! What is put away is read again when more comes: all but its units, of which those that are new become a further part. In
//! the end the parts are put together.

use std::io;

use super::places::At;
use super::segment::Segment;
use super::stream::{Spare, Stream};
use crate::store::{Place, Put, Store, put};

/// Octets of units that go to the file again with what comes behind them: what is more stays where it is.
const LITTLE: usize = 256;

/// A conversation in memory.
#[derive(Debug)]
pub struct Conversation {
    /// Its serial number.
    pub number: u32,
    /// Whether there was a segment of it since somebody looked for one that is silent.
    pub is_busy: bool,
    /// Where it is in the store, as long as nothing changes.
    pub same: Option<At>,
    /// Where the newest part of its units is that stayed there.
    parts: Option<Place>,
    /// Where what it holds is, if it is there; and how often it was brought back.
    held: Option<Place>,
    returns: u8,
    /// By [`Half::from_first`](super::Half::from_first), no before yes.
    pub streams: [Stream; 2],
}

/// What stands before both directions of a conversation.
pub struct Begin {
    /// When it was.
    pub began: u64,
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

    pub fn restore(put: &mut Put<'_>) -> Begin {
        let place = |number: u64| number.checked_sub(1).map(Place::of);
        let [began, parts, held] = std::array::from_fn(|_| put.take());
        let (parts, is_large, held) = (place(parts >> 1), parts & 1 != 0, place(held));
        let returns = if held.is_some() { put.octet() } else { 0 };
        Begin { began, parts, is_large, held, returns }
    }
}

impl Conversation {
    /// Octets in use.
    pub fn memory(&self) -> usize {
        size_of::<Conversation>() + self.streams.iter().map(Stream::memory).sum::<usize>()
    }

    /// One of which nothing is known.
    pub fn new(number: u32) -> Conversation {
        let streams = Default::default();
        Conversation { number, is_busy: true, same: None, parts: None, held: None, returns: 0, streams }
    }

    /// Puts it away. What it holds has come back `returns` times at most.
    pub fn put(&mut self, store: &mut Store, octets: &mut Vec<u8>, returns: u8) -> io::Result<At> {
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
    pub fn restore(&mut self, octets: &[u8], place: Place, spare: &mut Spare) {
        let mut put = Put(octets);
        let Begin { began, parts, is_large, held, returns } = Begin::restore(&mut put);
        self.parts = if is_large { Some(place) } else { parts };
        (self.held, self.returns) = (held, returns);
        self.streams = [(); 2].map(|()| Stream::restore(&mut put, began, !is_large, spare));
    }

    /// Whether anything of it stayed in the store.
    pub fn is_in_parts(&self) -> bool {
        self.parts.is_some() || self.held.is_some()
    }

    /// Takes in data where that is so.
    pub fn further(
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
    pub fn acknowledged(&mut self, segment: &Segment<'_>) {
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
    pub fn lose_held(&mut self) {
        if self.held.take().is_some() || self.streams.iter().any(Stream::holds) {
            self.same = None;
            self.streams.iter_mut().for_each(Stream::lose_held);
        }
    }

    /// Brings all units back that stayed in the store.
    pub fn join(&mut self, store: &Store, octets: &mut Vec<u8>) -> io::Result<()> {
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

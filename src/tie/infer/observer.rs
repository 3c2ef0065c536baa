//! The first pass: what inference needs of each TCP conversation, collected while packets go by.

use std::io;

use super::conversation::Conversation;
use super::observed::Observed;
use super::places::{At, Places};
use super::segment::Segment;
use super::stream::Spare;
use crate::capture::Timestamp;
use crate::store::{Place, Store};

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

impl Default for Limits {
    fn default() -> Limits {
        Limits { least: 2 << 20, most: 32 << 20, returns: 4 }
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
        for number in 0..self.places.end() {
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

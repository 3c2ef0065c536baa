//! Where conversations are: in memory, or in a store.

use crate::store::Place;

/// Where a conversation is.
#[derive(Clone, Copy, Debug)]
pub enum At {
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
pub struct Places {
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
    pub fn get(&self, number: u32) -> At {
        let page = self.pages.get(number as usize / PAGE).and_then(Option::as_ref);
        page.map_or(At::Nowhere, |page| At::decode(page.places[number as usize % PAGE]))
    }

    pub fn set(&mut self, number: u32, at: At) {
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

    /// A number that none of them has, nor any above it.
    pub fn end(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }
}

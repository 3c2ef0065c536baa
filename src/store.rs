//! Strings of octets that are put away, and read again by their places: the newest in memory, all others in a temporary file.
//! And numbers in as few octets as they need.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Octets in memory before they go to the file.
const IN_MEMORY: usize = 256 * 1024;

/// Octets in memory where no file can be made.
const WITHOUT_FILE: usize = 64 << 20;

/// Octets that are read from the file at once.
const BLOCK: u64 = 4 * 1024;

/// Blocks that a [`Reader`] keeps, and one that reads strings nearly in the order in which they were put.
const BLOCKS: usize = 128;
const BLOCKS_IN_ORDER: usize = 8;

/// Bits of a [`Place`] for the length.
const LENGTH: u32 = 24;

/// Where a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    /// Two bits less than a `u64` has.
    const MOST: u64 = 1 << (62 - LENGTH);

    fn offset(self) -> u64 {
        self.0 >> LENGTH
    }

    fn len(self) -> usize {
        (self.0 & ((1 << LENGTH) - 1)) as usize
    }

    /// As a number of 62 bits.
    pub fn number(self) -> u64 {
        self.0
    }

    /// What [`Place::number`] gave.
    pub fn of(number: u64) -> Place {
        Place(number)
    }
}

/// Strings, one behind the other.
#[derive(Debug)]
pub(crate) struct Store {
    /// Octets in memory at most.
    room: usize,
    file: Option<File>,
    /// Octets in the file.
    filed: u64,
    /// What is behind them.
    tail: Vec<u8>,
}

impl Default for Store {
    fn default() -> Store {
        Store { room: IN_MEMORY, file: None, filed: 0, tail: Vec::new() }
    }
}

impl Store {
    /// Puts a string away.
    ///
    /// Errors: it has 16 MiB or more; the file cannot be written, or there is much and no file can be made.
    pub fn push(&mut self, octets: &[u8]) -> io::Result<Place> {
        if !self.tail.is_empty() && self.tail.len() + octets.len() > self.room {
            self.make_room()?;
        }
        let offset = self.filed + self.tail.len() as u64;
        if octets.len() >= 1 << LENGTH || offset >= Place::MOST {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "too much to put away"));
        }
        self.tail.extend_from_slice(octets);
        Ok(Place(offset << LENGTH | octets.len() as u64))
    }

    /// Puts what is in memory into the file.
    #[cold]
    fn make_room(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match tempfile::tempfile() {
                Ok(file) => self.file.insert(file),
                Err(_) if self.room < WITHOUT_FILE => {
                    self.room = WITHOUT_FILE;
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        file.write_all_at(&self.tail, self.filed)?;
        self.filed += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// Octets of all that was put away.
    #[cfg(test)]
    pub fn written(&self) -> u64 {
        self.filed + self.tail.len() as u64
    }

    /// Reads a string.
    pub fn read(&self, place: Place, octets: &mut Vec<u8>) -> io::Result<()> {
        octets.clear();
        match self.in_memory(place) {
            Some(there) => octets.extend_from_slice(there),
            None => self.read_at(place.offset(), place.len(), octets)?,
        }
        Ok(())
    }

    /// A string that is not in the file.
    fn in_memory(&self, place: Place) -> Option<&[u8]> {
        let start = usize::try_from(place.offset().checked_sub(self.filed)?).ok()?;
        self.tail.get(start..start + place.len())
    }

    /// Reads so many octets of the file behind others.
    fn read_at(&self, offset: u64, len: usize, octets: &mut Vec<u8>) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
        let before = octets.len();
        octets.reserve_exact(len);
        octets.resize(before + len, 0);
        file.read_exact_at(&mut octets[before..], offset)
    }
}

/// Reads strings that lie close to each other: what is around them stays in memory.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// How many blocks stay.
    most: usize,
    /// Each where its number, divided by how many there are, leaves it.
    blocks: Vec<Block>,
    /// A string that lies in two blocks.
    octets: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Block {
    number: u64,
    octets: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { most: BLOCKS, blocks: Vec::new(), octets: Vec::new() }
    }
}

impl Reader {
    /// One for strings that are asked for nearly in their order.
    pub fn in_order() -> Reader {
        Reader { most: BLOCKS_IN_ORDER, ..Reader::default() }
    }

    /// Reads a string of a store, which is always the same one.
    pub fn read<'a>(&'a mut self, store: &'a Store, place: Place) -> io::Result<&'a [u8]> {
        if let Some(there) = store.in_memory(place) {
            return Ok(there);
        }
        let (first, end) = (place.offset() / BLOCK, place.offset() + place.len() as u64);
        let start = (place.offset() % BLOCK) as usize;
        if end <= (first + 1) * BLOCK {
            return self.block(store, first)?.get(start..start + place.len()).ok_or_else(ended);
        }
        let mut octets = std::mem::take(&mut self.octets);
        octets.clear();
        let mut at = place.offset();
        while at < end {
            let block = self.block(store, at / BLOCK)?;
            let from = (at % BLOCK) as usize;
            let most = (end - at).min(BLOCK - at % BLOCK) as usize;
            octets.extend_from_slice(block.get(from..from + most).ok_or_else(ended)?);
            at += most as u64;
        }
        self.octets = octets;
        Ok(&self.octets)
    }

    /// A block of a store's file.
    fn block(&mut self, store: &Store, number: u64) -> io::Result<&[u8]> {
        let place = number as usize % self.most;
        if self.blocks.len() <= place {
            self.blocks.resize_with(place + 1, Block::default);
        }
        let block = &mut self.blocks[place];
        // The last one of a file may have become longer.
        let len = store.filed.saturating_sub(number * BLOCK).min(BLOCK) as usize;
        if block.number != number || block.octets.len() != len {
            block.octets.clear();
            if let Err(error) = store.read_at(number * BLOCK, len, &mut block.octets) {
                // There is room for it, and nothing in it.
                block.octets.clear();
                return Err(error);
            }
            block.number = number;
        }
        Ok(&block.octets)
    }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Puts a number behind others: seven bits an octet, the lowest first; the highest bit says that more follow.
#[inline]
pub(crate) fn put(octets: &mut Vec<u8>, mut number: u64) {
    if number < 0x80 {
        return octets.push(number as u8);
    }
    if number >> 56 == 0 {
        // At once: octets with all their bits to follow, and those behind the number are cut off again.
        let len = (63 - number.leading_zeros() as usize) / 7 + 1;
        let follow = FOLLOWS & ((1 << (8 * (len - 1))) - 1);
        let before = octets.len();
        octets.extend_from_slice(&(spread(number) | follow).to_le_bytes());
        return octets.truncate(before + len);
    }
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

/// The bit that says that more follow, of eight octets.
const FOLLOWS: u64 = 0x8080_8080_8080_8080;

/// Eight octets with seven bits each, the lowest first, of a number of 56 bits.
fn spread(number: u64) -> u64 {
    let number = (number & 0x0fff_ffff) | (number << 4 & 0x0fff_ffff_0000_0000);
    let number = (number & 0x0000_3fff_0000_3fff) | (number << 2 & 0x3fff_0000_3fff_0000);
    (number & 0x007f_007f_007f_007f) | (number << 1 & 0x7f00_7f00_7f00_7f00)
}

/// The number whose octets, with seven bits each, these are.
fn gathered(octets: u64) -> u64 {
    let number = (octets & 0x007f_007f_007f_007f) | (octets >> 1 & 0x3f80_3f80_3f80_3f80);
    let number = (number & 0x0000_3fff_0000_3fff) | (number >> 2 & 0x0fff_c000_0fff_c000);
    (number & 0x0fff_ffff) | (number >> 4 & 0x00ff_ffff_f000_0000)
}

/// Puts how far a number is from another one: little either way is short.
#[inline]
pub(crate) fn put_from(octets: &mut Vec<u8>, from: u64, number: u64) {
    put(octets, zigzag(from, number));
}

/// How far a number is from another one, either way, in ZigZag encoding: little is a low number.
#[inline]
pub(crate) fn zigzag(from: u64, number: u64) -> u64 {
    let far = number.wrapping_sub(from).cast_signed();
    (far << 1 ^ far >> 63).cast_unsigned()
}

/// The number that is so far from another one, by [`zigzag`].
#[inline]
pub(crate) fn unzigzag(from: u64, far: u64) -> u64 {
    from.wrapping_add(far >> 1 ^ (far & 1).wrapping_neg())
}

/// What was put, in the same order. Behind its end all is 0, and empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put<'a>(pub &'a [u8]);

impl<'a> Put<'a> {
    /// A number.
    #[inline]
    pub fn take(&mut self) -> u64 {
        if let Some((&octet, rest)) = self.0.split_first()
            && octet < 0x80
        {
            self.0 = rest;
            return octet.into();
        }
        if let Some(word) = self.0.first_chunk() {
            let word = u64::from_le_bytes(*word);
            let last = !word & FOLLOWS;
            if last != 0 {
                let len = last.trailing_zeros() as usize / 8 + 1;
                self.0 = &self.0[len..];
                return gathered(word & u64::MAX >> (64 - 8 * len));
            }
        }
        self.take_slowly()
    }

    /// A number of any length, or one behind which little is left.
    fn take_slowly(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while let Some((&octet, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= u64::from(octet & 0x7f).wrapping_shl(shift);
            if octet < 0x80 {
                break;
            }
            shift += 7;
        }
        number
    }

    /// A number that was put from another one.
    #[inline]
    pub fn take_from(&mut self, from: u64) -> u64 {
        unzigzag(from, self.take())
    }

    /// An octet.
    #[inline]
    pub fn octet(&mut self) -> u8 {
        let [octet] = self.array();
        octet
    }

    /// Octets as they are.
    #[inline]
    pub fn octets(&mut self, len: usize) -> &'a [u8] {
        let (octets, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        octets
    }

    /// As many octets as an array has.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        if let Some((array, rest)) = self.0.split_first_chunk() {
            self.0 = rest;
            return *array;
        }
        let mut array = [0; N];
        let octets = self.octets(N);
        array[..octets.len()].copy_from_slice(octets);
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_not_be_read_is_not_there() {
        let mut store = Store::default();
        let place = store.push(&[7; 100]).expect("it can be written");
        store.push(&vec![8; IN_MEMORY]).expect("it can be written");
        let mut reader = Reader::default();
        let file = store.file.take();
        for _ in 0..2 {
            assert!(reader.read(&store, place).is_err());
        }
        store.file = file;
        assert_eq!(reader.read(&store, place).expect("it can be read"), [7; 100]);
        store.file.as_ref().expect("a file").set_len(50).expect("it can be made shorter");
        reader = Reader::default();
        for _ in 0..2 {
            assert!(reader.read(&store, place).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn strings_come_back_from_their_places(lengths in prop::collection::vec(0_usize..70_000, 1..60), turns in 1_usize..7) {
            let mut store = Store::default();
            let string = |n: usize, len: usize| -> Vec<u8> { (0..len).map(|at| (at * 7 + n) as u8).collect() };
            let (mut places, mut octets, mut early) = (Vec::new(), Vec::new(), Reader::default());
            for (n, &len) in lengths.iter().enumerate() {
                places.push(store.push(&string(n, len)).expect("it can be written"));
                let again = n / turns;
                store.read(Place::of(places[again].number()), &mut octets).expect("it can be read");
                prop_assert_eq!(&octets, &string(again, lengths[again]));
                let read = early.read(&store, places[again]).expect("it can be read");
                prop_assert_eq!(read, &octets[..]);
            }
            let mut reader = Reader::default();
            for n in (0..lengths.len()).rev().chain(0..lengths.len()) {
                let read = reader.read(&store, places[n]).expect("it can be read");
                prop_assert_eq!(read, &string(n, lengths[n])[..]);
            }
        }

        #[test]
        fn numbers_come_back(numbers in prop::collection::vec((any::<u64>(), 0_u32..64, any::<u64>()), 0..40)) {
            let mut octets = Vec::new();
            for &(number, shift, from) in &numbers {
                let before = octets.len();
                put(&mut octets, number >> shift);
                let bits = 64 - (number >> shift).leading_zeros() as usize;
                prop_assert_eq!(octets.len() - before, bits.div_ceil(7).max(1));
                put_from(&mut octets, from, number);
            }
            let mut put = Put(&octets);
            for &(number, shift, from) in &numbers {
                prop_assert_eq!(put.take(), number >> shift);
                prop_assert_eq!(put.take_from(from), number);
            }
            prop_assert_eq!((put.take(), put.octet(), put.array()), (0, 0, [0; 4]));
        }
    }
}

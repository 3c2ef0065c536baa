//! A hash of what a direction begins with, at several lengths: two plaintext legs that carry the same can be told.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use crate::store::{Put, put};

/// Octets that are hashed.
const MOST: u64 = 1 << 14;

/// The first length at which the hash is kept; each next one is four times as long.
const LEAST: u64 = 16;

const CHECKPOINTS: usize = 6;

/// The length at which the hash is kept the n-th time, from 0.
const fn checkpoint(n: usize) -> u64 {
    LEAST << (2 * n)
}

/// Octets of a word, and words of a block. None of the words of a block waits for another one to be hashed.
const WORD: usize = 16;
const WORDS: usize = 4;

/// What nobody knows who writes octets.
struct Keys {
    /// The hash of nothing, and what it is mixed with.
    first: u64,
    block: u64,
    /// What both halves of a word are mixed with, by its place in its block.
    words: [[u64; 2]; WORDS],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = |number: u64| RandomState::default().hash_one(number);
    Keys { first: key(0), block: key(1), words: [2, 4, 6, 8].map(|number| [key(number), key(number + 1)]) }
});

/// The hash so far.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Of whole blocks.
    hash: u64,
    /// Of the words behind them.
    sum: u64,
    /// Octets so far, and whether some were missing: nothing behind them is hashed.
    len: u16,
    ended: bool,
    /// The octets behind the last whole word, and 0.
    rest: u128,
    /// The hash of the first 16, 64, … octets.
    at: [u64; CHECKPOINTS],
}

impl Default for Content {
    fn default() -> Content {
        Content { hash: KEYS.first, sum: 0, len: 0, ended: false, rest: 0, at: [0; CHECKPOINTS] }
    }
}

impl Content {
    /// Takes in octets, and behind them `unknown` that were not captured.
    pub fn read(&mut self, data: &[u8], unknown: u32) {
        if self.ended {
            return;
        }
        let have = usize::from(self.len) % WORD;
        let mut data = &data[..data.len().min((MOST - u64::from(self.len)) as usize)];
        if have > 0 {
            let (now, behind) = data.split_at(data.len().min(WORD - have));
            self.rest |= word(now) << (8 * have);
            if have + now.len() == WORD {
                let rest = std::mem::take(&mut self.rest);
                self.word(usize::from(self.len) / WORD % WORDS, rest);
            }
            self.len += now.len() as u16;
            self.check();
            data = behind;
        }
        while data.len() >= WORD {
            // Whole words up to the next length at which the hash is kept.
            let most = data.len().min((next(self.len.into()) - u64::from(self.len)) as usize);
            let (now, behind) = data.split_at(most / WORD * WORD);
            self.words(now);
            self.len += now.len() as u16;
            self.check();
            data = behind;
        }
        if !data.is_empty() {
            self.rest = word(data);
            self.len += data.len() as u16;
        }
        self.ended = unknown > 0 || u64::from(self.len) == MOST;
    }

    /// Takes in whole words.
    fn words(&mut self, words: &[u8]) {
        let place = usize::from(self.len) / WORD % WORDS;
        let (first, words) = words.split_at(words.len().min((WORDS - place) % WORDS * WORD));
        let (blocks, last) = words.as_chunks::<{ WORDS * WORD }>();
        for (word, place) in first.as_chunks().0.iter().zip(place..) {
            self.word(place, u128::from_le_bytes(*word));
        }
        let keys = &*KEYS;
        for block in blocks {
            let [a, b, c, d] = *block.as_chunks().0 else { continue };
            let mixed = |place: usize, word| mixed(u128::from_le_bytes(word), &keys.words[place]);
            let sums = [mixed(0, a).wrapping_add(mixed(1, b)), mixed(2, c).wrapping_add(mixed(3, d))];
            self.hash = folded(self.hash ^ sums[0].wrapping_add(sums[1]), keys.block);
        }
        for (word, place) in last.as_chunks().0.iter().zip(0..) {
            self.word(place, u128::from_le_bytes(*word));
        }
    }

    /// Takes in a word, by its place in its block.
    fn word(&mut self, place: usize, word: u128) {
        self.sum = self.sum.wrapping_add(mixed(word, &KEYS.words[place]));
        if place + 1 == WORDS {
            self.hash = folded(self.hash ^ std::mem::take(&mut self.sum), KEYS.block);
        }
    }

    /// Keeps the hash, if it is kept at this length.
    fn check(&mut self) {
        // All these lengths are powers of 4.
        if self.len.is_power_of_two()
            && let Some(at) = (0..CHECKPOINTS).find(|&n| checkpoint(n) == u64::from(self.len))
        {
            self.at[at] = self.hash ^ self.sum;
        }
    }

    /// Whether both begin alike, as far as both are known; the shorter one may go on.
    pub fn agrees(&self, other: &Content) -> bool {
        if self.len == other.len && (self.hash, self.sum, self.rest) != (other.hash, other.sum, other.rest) {
            return false;
        }
        let common = checkpoints(self.len.min(other.len));
        self.at[..common] == other.at[..common]
    }

    /// Puts it away, for [`Content::restore`].
    pub fn put(&self, octets: &mut Vec<u8>) {
        put(octets, u64::from(self.len) << 1 | u64::from(self.ended));
        octets.extend_from_slice(&self.hash.to_le_bytes());
        octets.extend_from_slice(&self.sum.to_le_bytes());
        octets.extend_from_slice(&self.rest.to_le_bytes());
        for hash in &self.at[..checkpoints(self.len)] {
            octets.extend_from_slice(&hash.to_le_bytes());
        }
    }

    pub fn restore(put: &mut Put<'_>) -> Content {
        let bits = put.take();
        let (len, ended) = ((bits >> 1) as u16, bits & 1 != 0);
        let [hash, sum] = [(); 2].map(|()| u64::from_le_bytes(put.array()));
        let rest = u128::from_le_bytes(put.array());
        let mut at = [0; CHECKPOINTS];
        at[..checkpoints(len)].iter_mut().for_each(|at| *at = u64::from_le_bytes(put.array()));
        Content { hash, sum, len, ended, rest, at }
    }
}

/// How often the hash is kept, of so many octets.
fn checkpoints(len: u16) -> usize {
    (0..CHECKPOINTS).take_while(|&n| checkpoint(n) <= u64::from(len)).count()
}

/// The next length at which the hash is kept; all are of whole words.
fn next(len: u64) -> u64 {
    (0..CHECKPOINTS).map(checkpoint).find(|&next| next > len).unwrap_or(MOST)
}

/// At most 16 octets as a number, the first one the lowest.
fn word(octets: &[u8]) -> u128 {
    // The halves of it, which overlap where it is short of two of them: what they share is the same in both.
    if let (Some(first), Some(last)) = (octets.first_chunk(), octets.last_chunk()) {
        let [first, last] = [first, last].map(|half| u128::from(u64::from_le_bytes(*half)));
        return first | last << (8 * (octets.len() - 8));
    }
    if let (Some(first), Some(last)) = (octets.first_chunk(), octets.last_chunk()) {
        let [first, last] = [first, last].map(|half| u128::from(u32::from_le_bytes(*half)));
        return first | last << (8 * (octets.len() - 4));
    }
    octets.iter().rev().fold(0, |word, octet| word << 8 | u128::from(*octet))
}

/// The hash of a word. Only who knows the keys can make a factor 0.
fn mixed(word: u128, [low, high]: &[u64; 2]) -> u64 {
    folded(word as u64 ^ low, (word >> 64) as u64 ^ high)
}

/// Both halves of a product in one.
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> Content {
        let mut content = Content::default();
        parts.iter().for_each(|part| content.read(part, 0));
        content
    }

    #[test]
    fn segments_do_not_matter_and_octets_do() {
        let long = [7; 40_000];
        assert!(of(&[b"hello", b"world"]).agrees(&of(&[b"helloworld"])));
        assert!(!of(&[b"hello"]).agrees(&of(&[b"hallo"])));
        assert!(of(&[&long[..100]]).agrees(&of(&[&long])), "a part");
        assert!(!of(&[&[6; 100]]).agrees(&of(&[&long])));
        let octets: Vec<u8> = (0..=255).collect();
        for cut in 0..octets.len() {
            let (start, end) = octets.split_at(cut);
            assert!(of(&[start, end]).agrees(&of(&[&octets])), "{cut}");
            assert!(of(&[start, end]).agrees(&of(&[&octets[..64]])), "{cut}");
            let mut other = octets.clone();
            other[cut] ^= 1;
            assert!(!of(&[&other]).agrees(&of(&[&octets])), "{cut}");
        }
    }

    #[test]
    fn words_of_a_block_have_their_places() {
        let octets: Vec<u8> = (0..=255).collect();
        for (a, b) in (0..16).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let mut other = octets.clone();
            for at in 0..WORD {
                other.swap(a * WORD + at, b * WORD + at);
            }
            assert!(!of(&[&other]).agrees(&of(&[&octets])), "{a} {b}");
            assert!(!of(&[&other[..a * WORD + WORD]]).agrees(&of(&[&octets[..a * WORD + WORD]])), "{a} {b}");
        }
    }

    #[test]
    fn a_word_has_its_octets_in_their_order() {
        let octets: Vec<u8> = (1..=16).collect();
        for len in 0..=octets.len() {
            let mut all = [0; WORD];
            all[..len].copy_from_slice(&octets[..len]);
            assert_eq!(word(&octets[..len]), u128::from_le_bytes(all), "{len}");
        }
    }

    #[test]
    fn what_was_put_away_goes_on_where_it_was() {
        let octets: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
        for cut in 0..octets.len() {
            let mut put_away = Vec::new();
            of(&[&octets[..cut]]).put(&mut put_away);
            let mut put = Put(&put_away);
            let mut content = Content::restore(&mut put);
            assert!(put.0.is_empty());
            content.read(&octets[cut..], 0);
            assert!(content.agrees(&of(&[&octets])), "{cut}");
            content.read(b"more", 0);
            assert!(content.agrees(&of(&[&octets, b"more"])), "{cut}");
        }
    }

    #[test]
    fn what_was_not_captured_ends_it() {
        let mut cut = of(&[b"0123456789abcdef"]);
        cut.read(b"", 100);
        cut.read(b"behind", 0);
        assert!(cut.agrees(&of(&[b"0123456789abcdef and anything"])));
    }
}

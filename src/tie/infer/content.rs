//! A hash of what a direction begins with, at several lengths: two plaintext legs that carry the same can be told.

/// Octets that are hashed.
const MOST: u64 = 1 << 14;

/// The first length at which the hash is kept; each next one is four times as long.
const LEAST: u64 = 16;

const CHECKPOINTS: usize = 6;

/// Octets that are hashed at once.
const WORD: u64 = 16;

/// Numbers without a pattern: the first digits of pi behind the point.
const START: u64 = 0x243f_6a88_85a3_08d3;
const KEY: u64 = 0x1319_8a2e_0370_7344;

/// The hash so far.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Of whole words.
    hash: u64,
    len: u64,
    /// The octets behind the last whole word.
    rest: u128,
    /// The hash of the first 16, 64, … octets.
    at: [u64; CHECKPOINTS],
    /// Whether octets were missing: nothing behind them is hashed.
    ended: bool,
}

impl Default for Content {
    fn default() -> Content {
        Content { hash: START, len: 0, rest: 0, at: [0; CHECKPOINTS], ended: false }
    }
}

impl Content {
    pub fn read(&mut self, data: &[u8], unknown: u32) {
        if self.ended {
            return;
        }
        let mut data = &data[..data.len().min((MOST - self.len) as usize)];
        while !data.is_empty() {
            let have = (self.len % WORD) as usize;
            if let (0, Some((word, behind))) = (have, data.split_first_chunk()) {
                self.word(u128::from_be_bytes(*word));
                (self.len, data) = (self.len + WORD, behind);
            } else {
                // Less than a word, or the rest of one.
                let (more, behind) = data.split_at(data.len().min(WORD as usize - have));
                let mut octets = [0; WORD as usize];
                octets[WORD as usize - more.len()..].copy_from_slice(more);
                self.rest = self.rest << (8 * more.len()) | u128::from_be_bytes(octets);
                (self.len, data) = (self.len + more.len() as u64, behind);
                if self.len.is_multiple_of(WORD) {
                    let word = std::mem::take(&mut self.rest);
                    self.word(word);
                }
            }
            self.checkpoint();
        }
        self.ended = unknown > 0 || self.len == MOST;
    }

    /// Both halves of the product folded into one: it depends on every bit of the word.
    fn word(&mut self, word: u128) {
        let (high, low) = ((word >> 64) as u64, word as u64);
        let product = u128::from(self.hash ^ high) * u128::from(low ^ KEY);
        // The word itself, so that a factor of 0 leaves something of the other one.
        self.hash = (product as u64 ^ (product >> 64) as u64).wrapping_add(high.rotate_left(32) ^ low);
    }

    /// Keeps the hash at some lengths, all of whole words.
    fn checkpoint(&mut self) {
        if self.len >= LEAST && self.len.is_power_of_two() && self.len.trailing_zeros().is_multiple_of(2) {
            self.at[(self.len.trailing_zeros() / 2) as usize - 2] = self.hash;
        }
    }

    /// Whether both begin alike, as far as both are known; the shorter one may go on.
    pub fn agrees(&self, other: &Content) -> bool {
        if self.len == other.len {
            return (self.hash, self.rest) == (other.hash, other.rest);
        }
        let common = self.len.min(other.len);
        (0..CHECKPOINTS).filter(|&n| LEAST << (2 * n) <= common).all(|n| self.at[n] == other.at[n])
    }
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
    fn what_was_not_captured_ends_it() {
        let mut cut = of(&[b"0123456789abcdef"]);
        cut.read(b"", 100);
        cut.read(b"behind", 0);
        assert!(cut.agrees(&of(&[b"0123456789abcdef and anything"])));
    }
}

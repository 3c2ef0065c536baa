//! A hash of what a direction begins with, at several lengths: two plaintext legs that carry the same can be told.

/// Octets that are hashed.
const MOST: u64 = 1 << 14;

/// The first length at which the hash is kept; each next one is four times as long.
const LEAST: u64 = 16;

const CHECKPOINTS: usize = 6;

/// Octets that are hashed at once.
const WORD: u64 = 8;

/// An odd multiplier with a good spread of bits (Steele and Vigna, "Computationally easy, spectrally good multipliers").
const MULTIPLIER: u64 = 0xd134_2543_de82_ef95;

/// The hash so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content {
    /// Of whole words.
    hash: u64,
    len: u64,
    /// The octets behind the last whole word.
    rest: u64,
    /// The hash of the first 16, 64, … octets.
    at: [u64; CHECKPOINTS],
    /// Whether octets were missing: nothing behind them is hashed.
    ended: bool,
}

impl Content {
    pub fn read(&mut self, data: &[u8], unknown: u32) {
        if self.ended {
            return;
        }
        let mut data = &data[..data.len().min((MOST - self.len) as usize)];
        while !data.is_empty() {
            if let (0, Some((word, behind))) = (self.len % WORD, data.split_first_chunk()) {
                self.word(u64::from_be_bytes(*word));
                (self.len, data) = (self.len + WORD, behind);
            } else if let Some((octet, behind)) = data.split_first() {
                self.rest = self.rest << 8 | u64::from(*octet);
                (self.len, data) = (self.len + 1, behind);
                if self.len.is_multiple_of(WORD) {
                    let word = std::mem::take(&mut self.rest);
                    self.word(word);
                }
            }
            self.checkpoint();
        }
        self.ended = unknown > 0 || self.len == MOST;
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word.wrapping_add(1)).wrapping_mul(MULTIPLIER);
        self.hash ^= self.hash >> 29;
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

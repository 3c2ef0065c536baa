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
            let most = if have == 0 && data.len() >= WORD as usize {
                // Whole words up to the next length at which the hash is kept.
                data.len().min((self.next() - self.len) as usize) / WORD as usize * WORD as usize
            } else {
                data.len().min(WORD as usize - have)
            };
            let (now, behind) = data.split_at(most);
            match now.as_chunks() {
                ([], part) => {
                    let mut octets = [0; WORD as usize];
                    octets[..part.len()].copy_from_slice(part);
                    self.rest |= u128::from_le_bytes(octets) << (8 * have);
                    if have + part.len() == WORD as usize {
                        self.hash = mixed(self.hash, std::mem::take(&mut self.rest));
                    }
                }
                (words, _) => {
                    self.hash = words.iter().fold(self.hash, |hash, word| mixed(hash, u128::from_le_bytes(*word)));
                }
            }
            (self.len, data) = (self.len + now.len() as u64, behind);
            if let Some(at) = (0..CHECKPOINTS).find(|&n| LEAST << (2 * n) == self.len) {
                self.at[at] = self.hash;
            }
        }
        self.ended = unknown > 0 || self.len == MOST;
    }

    /// The next length at which the hash is kept; all are of whole words.
    fn next(&self) -> u64 {
        (0..CHECKPOINTS).map(|n| LEAST << (2 * n)).find(|&len| len > self.len).unwrap_or(MOST)
    }

    /// Whether both begin alike, as far as both are known; the shorter one may go on.
    pub fn agrees(&self, other: &Content) -> bool {
        if self.len == other.len && (self.hash, self.rest) != (other.hash, other.rest) {
            return false;
        }
        let common = self.len.min(other.len);
        (0..CHECKPOINTS).filter(|&n| LEAST << (2 * n) <= common).all(|n| self.at[n] == other.at[n])
    }
}

/// The hash behind one more word: both halves of a product folded into one, which depends on every bit of the word.
fn mixed(hash: u64, word: u128) -> u64 {
    let (high, low) = ((word >> 64) as u64, word as u64);
    let product = u128::from(hash ^ high) * u128::from(low ^ KEY);
    // Both themselves, so that a factor of 0 leaves something of the other one.
    (product as u64 ^ (product >> 64) as u64)
        .wrapping_add(hash.rotate_left(29))
        .wrapping_add(high.rotate_left(32) ^ low)
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
        assert_ne!(mixed(1, KEY.into()), mixed(2, KEY.into()), "one factor is 0");
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

//! A hash of what a direction begins with, at several lengths: two plaintext legs that carry the same can be told.

/// Octets that are hashed.
const MOST: u64 = 1 << 14;

/// The first length at which the hash is kept; each next one is four times as long.
const LEAST: u64 = 16;

const CHECKPOINTS: usize = 6;

/// An odd multiplier with a good spread of bits (Steele and Vigna, "Computationally easy, spectrally good multipliers").
const MULTIPLIER: u64 = 0xd134_2543_de82_ef95;

/// The hash so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content {
    hash: u64,
    len: u64,
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
        for &octet in data.iter().take((MOST - self.len) as usize) {
            self.hash = (self.hash ^ u64::from(octet).wrapping_add(1)).wrapping_mul(MULTIPLIER);
            self.hash ^= self.hash >> 29;
            self.len += 1;
            if self.len >= LEAST && self.len.is_power_of_two() && self.len.trailing_zeros().is_multiple_of(2) {
                self.at[(self.len.trailing_zeros() / 2) as usize - 2] = self.hash;
            }
        }
        self.ended = unknown > 0 || self.len == MOST;
    }

    /// Whether both begin alike, as far as both are known; the shorter one may go on.
    pub fn agrees(&self, other: &Content) -> bool {
        if self.len == other.len {
            return self.hash == other.hash;
        }
        let common = self.len.min(other.len);
        (0..CHECKPOINTS).filter(|&n| LEAST << (2 * n) <= common).all(|n| self.at[n] == other.at[n])
    }
}

//! SHA-256 (FIPS 180-4), of which the first 64 bits are kept: enough to tell recordings apart, short enough to be read.

use std::fmt::Write;

use sha2::{Digest as _, Sha256};

/// Octets of a hash that are kept.
const KEPT: usize = 8;

/// A hash that is being made.
#[derive(Clone, Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    /// Takes in the next octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// Takes in octets so that they cannot be taken for others: their number stands before them.
    pub fn field(&mut self, octets: &[u8]) {
        self.0.update((octets.len() as u64).to_be_bytes());
        self.0.update(octets);
    }

    /// The hash as a number.
    pub fn number(self) -> u64 {
        self.0.finalize().iter().take(KEPT).fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    /// The hash in hexadecimal.
    pub fn hex(self) -> String {
        hex(self.number())
    }
}

/// A hash in hexadecimal.
pub(super) fn hex(number: u64) -> String {
    let mut text = String::with_capacity(2 * KEPT);
    // Writing to a string cannot fail.
    let _ = write!(text, "{number:016x}");
    text
}

/// The hash of some octets, in hexadecimal.
pub(super) fn of(octets: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.update(octets);
    digest.hex()
}

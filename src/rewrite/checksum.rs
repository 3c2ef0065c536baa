//! The Internet checksum (RFC 1071): sums, incremental updates, pseudo headers.
//!
//! What comes in is octets and addresses; what goes out is numbers. Nothing here knows where in a frame they stand.
//!
//! A sum is kept wide, in 32-bit words, and folded late: 2^16 and 2^32 are both 1 modulo 2^16 - 1.

use std::net::IpAddr;

/// The folded one's-complement sum of `bytes`, a last odd octet padded with zero.
///
/// The words are added in the byte order of the machine and the result is swapped (RFC 1071, section 2 (B)). Four
/// accumulators of two halves each are what the compiler turns into vector additions.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut low = [0u64; 8];
    let mut high = [0u64; 8];
    for block in blocks {
        for ((low, high), word) in low.iter_mut().zip(&mut high).zip(block.as_chunks::<8>().0) {
            let word = u64::from_ne_bytes(*word);
            // Below 2^32 each: 2^32 blocks fit, which is more than a slice of a frame can hold.
            *low += word & 0xffff_ffff;
            *high += word >> 32;
        }
    }
    let mut total: u64 = low.iter().chain(&high).map(|&lane| u64::from(fold(lane))).sum();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest); // `as_chunks` leaves less than 4
    total += u64::from(u32::from_ne_bytes(last));
    u16::from_be(fold(total))
}

/// Folds a sum of words into 16 bits. Zero only for zero.
pub(super) fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16 // below 2^16: the last carry of a sum below 2^33 is in
}

/// The checksum after words that summed up to `old` became ones that sum up to `new`: RFC 1624, equation 3. An error of the
/// checksum stays as it is.
pub(super) fn update(checksum: u16, old: u64, new: u64) -> u16 {
    if old == new {
        return checksum;
    }
    !fold(u64::from(!checksum) + u64::from(!fold(old)) + u64::from(fold(new)))
}

/// The sum of the words of an address.
pub(super) fn address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let word = |shift: u32| u64::from((bits >> shift) as u32); // cuts out 32 bits
            word(96) + word(64) + word(32) + word(0)
        }
    }
}

/// The folded sum of a pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1), which is also what a checksum that was
/// left to the network card holds: not complemented.
///
/// The length has 32 bits: BIG TCP has IPv4 segments, too, for which 16 are too few, and Linux sums them so.
pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> u16 {
    fold(address(source) + address(destination) + u64::from(protocol) + u64::from(len))
}

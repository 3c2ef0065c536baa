//! The Internet checksum (RFC 1071): sums, incremental updates, pseudo headers.
//!
//! What comes in is octets and addresses; what goes out is numbers. Nothing here knows where in a frame they stand.
//!
//! A sum is kept wide, in words of 32 bits and more, and folded late: 2^16, 2^32 and 2^64 are all 1 modulo 2^16 - 1.

use std::net::IpAddr;

use crate::packet::Ip;

/// The folded one's-complement sum of `bytes`, a last odd octet padded with zero.
///
/// Words of 64 bits are added, little-endian, each with the carry of the one before it, and the result is swapped (RFC 1071,
/// section 2 (B)). Processors have an instruction for that, so that it takes one for each word.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (blocks, words) = words.as_chunks::<8>();
    let (mut total, mut carries) = (0_u64, 0_u64);
    for block in blocks {
        let mut carry = false;
        for word in block {
            (total, carry) = total.carrying_add(u64::from_le_bytes(*word), carry);
        }
        carries += u64::from(carry);
    }
    let last = match bytes.last_chunk::<8>() {
        _ if rest.is_empty() => 0,
        // Without the octets that are in a word already.
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet)),
    };
    let mut add = |word| {
        let (sum, carry) = total.overflowing_add(word);
        (total, carries) = (sum, carries + u64::from(carry));
    };
    words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
    add(last);
    // Far below 2^64: there are fewer carries than words.
    fold((total >> 32) + (total & 0xffff_ffff) + carries).swap_bytes()
}

/// Folds a sum of words into 16 bits. Zero only for zero.
#[inline]
pub(super) fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16 // below 2^16: the last carry of a sum below 2^33 is in
}

/// The checksum after words that summed up to `old` became ones that sum up to `new`: RFC 1624, equation 3. An error of the
/// checksum stays as it is.
#[inline]
pub(super) fn update(checksum: u16, old: u64, new: u64) -> u16 {
    if old == new {
        return checksum;
    }
    !fold(u64::from(!checksum) + u64::from(!fold(old)) + u64::from(fold(new)))
}

/// The sum of the words of both addresses.
#[inline]
pub(super) fn addresses(ip: &Ip) -> u64 {
    address(ip.source) + address(ip.destination)
}

#[inline]
fn address(address: IpAddr) -> u64 {
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
/// left to the network card holds: not complemented. `addresses` is the sum of both.
///
/// The length has 32 bits: BIG TCP has IPv4 segments, too, for which 16 are too few, and Linux sums them so.
#[inline]
pub(super) fn pseudo_header(addresses: u64, protocol: u8, len: u32) -> u16 {
    fold(addresses + u64::from(protocol) + u64::from(len))
}

//! One packet captured twice, by two inputs.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::packet::{Transport, View};

/// How far apart in time two captures of one packet may be, in nanoseconds. On one machine it is microseconds.
const APART: u64 = 1_000_000;

/// Octets at the start and at the end of a TCP segment that are hashed. What lies between is told by its sequence number,
/// timestamps, length and checksum: those of one connection cannot be equal over other data.
const START: usize = 160;
const END: usize = 32;

/// What two captures of one packet have in common: a hash of it, from the IP header to its end; 0 if it has no IP header.
#[inline]
fn fingerprint(hasher: &RandomState, view: &View, bytes: &[u8]) -> u64 {
    let Some(datagram) = view.ip.as_ref().and_then(|ip| bytes.get(view.link.network()..ip.end())) else { return 0 };
    let hash = match (&view.transport, datagram.first_chunk::<START>(), datagram.last_chunk::<END>()) {
        (Transport::Tcp(_), Some(start), Some(end)) if datagram.len() > START + END => {
            let mut hash = hasher.build_hasher();
            hash.write(start);
            hash.write(end);
            hash.finish()
        }
        _ => hasher.hash_one(datagram),
    };
    hash.max(1)
}

/// The packets of the last millisecond.
///
/// Two are one packet if they are equal from the IP header on, as a fingerprint tells, and come from different inputs.
/// Each capture of a packet is used up once, so that a retransmission, which every input shows twice, stays.
///
/// Memory: what was captured within a millisecond, and at most 65,536 packets.
pub struct Duplicates {
    hasher: RandomState,
    /// By the last bits of fingerprints: the number of the last packet that has them. It may be one that is forgotten.
    last: Vec<u32>,
    /// The packets, by their numbers from `first` on.
    seen: VecDeque<Seen>,
    first: u32,
}

/// Packets that are remembered at most.
const RECENT: usize = 65_536;

/// Equal packets that are looked through at most, so that a flood of them costs no more than other packets.
const EQUAL: usize = 64;

/// Entries of [`Duplicates::last`] at first.
const FEW: usize = 1024;

struct Seen {
    time: Timestamp,
    fingerprint: u64,
    /// The inputs that showed it, as bits; inputs past the 64th are never duplicates.
    inputs: u64,
    /// How many packets before it the one before with the same last bits is.
    back: u32,
}

impl Default for Duplicates {
    fn default() -> Duplicates {
        Duplicates { hasher: RandomState::default(), last: vec![0; FEW], seen: VecDeque::new(), first: 1 }
    }
}

impl Duplicates {
    /// Whether another input showed this packet already.
    pub fn is_duplicate(&mut self, input: usize, time: Timestamp, view: &View, bytes: &[u8]) -> bool {
        self.is_shown(input, time, fingerprint(&self.hasher, view, bytes))
    }

    fn is_shown(&mut self, input: usize, time: Timestamp, fingerprint: u64) -> bool {
        let bit = u32::try_from(input).ok().and_then(|input| 1_u64.checked_shl(input));
        let Some(bit) = bit.filter(|_| fingerprint != 0) else { return false };
        self.forget(time);
        if 2 * self.seen.len() >= self.last.len() {
            self.spread();
        }
        let number = self.first.wrapping_add(self.seen.len() as u32);
        let bucket = self.bucket(fingerprint);
        let before = number.wrapping_sub(self.last[bucket]);
        // Of several, it is the oldest one.
        let mut oldest = None;
        let (mut back, mut at, mut equal) = (before, self.seen.len(), 0);
        while back > 0 && back as usize <= at && equal < EQUAL {
            at -= back as usize;
            let seen = &self.seen[at];
            if seen.fingerprint == fingerprint {
                equal += 1;
                if seen.inputs & bit == 0 && time.0.abs_diff(seen.time.0) <= APART {
                    oldest = Some(at);
                }
            }
            back = seen.back;
        }
        if let Some(at) = oldest {
            self.seen[at].inputs |= bit;
            return true;
        }
        self.last[bucket] = number;
        self.seen.push_back(Seen { time, fingerprint, inputs: bit, back: before });
        false
    }

    fn bucket(&self, fingerprint: u64) -> usize {
        fingerprint as usize & (self.last.len() - 1)
    }

    /// Doubles the table, so that few packets have their last bits in common.
    #[cold]
    fn spread(&mut self) {
        self.last = vec![self.first.wrapping_sub(1); 2 * self.last.len()];
        for at in 0..self.seen.len() {
            let number = self.first.wrapping_add(at as u32);
            let bucket = self.bucket(self.seen[at].fingerprint);
            self.seen[at].back = number.wrapping_sub(std::mem::replace(&mut self.last[bucket], number));
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&Seen { time, .. }) = self.seen.front()
            && (time.0.saturating_add(APART) < now.0 || self.seen.len() >= RECENT)
        {
            self.seen.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use crate::packet::decode;

    const PACKET: &[u8] = b"\x45\0\0\x1c\0\x01\0\0\x40\x11\0\0\x7f\0\0\x01\x7f\0\0\x01\x10\0\x20\0\0\x08\0\0";

    fn see(duplicates: &mut Duplicates, input: usize, time: u64) -> bool {
        duplicates.is_shown(input, Timestamp(time), 7)
    }

    #[test]
    fn a_fingerprint_is_of_the_datagram() {
        let hasher = RandomState::default();
        let of = |bytes: &[u8]| fingerprint(&hasher, &decode(LinkType::RAW, bytes, bytes.len()), bytes);
        let padded = [PACKET, b"padding"].concat();
        assert_eq!(of(PACKET), of(&padded), "padding is none of it");
        let mut other = PACKET.to_vec();
        other[27] ^= 1;
        assert_ne!(of(PACKET), of(&other));
        assert!(of(PACKET) != 0 && of(b"no header") == 0);
        let long = [&b"\x45\0\x04\0\0\x01\0\0\x40\x06\0\0\x7f\0\0\x01\x7f\0\0\x01"[..], &[0x50; 1004]].concat();
        for changed in [4, 25, 100, 1023] {
            let mut other = long.clone();
            other[changed] ^= 1;
            assert_ne!(of(&long), of(&other), "{changed}");
        }
        assert!(!Duplicates::default().is_shown(0, Timestamp(0), 0));
    }

    #[test]
    fn another_input_within_a_millisecond() {
        let mut d = Duplicates::default();
        assert!(!see(&mut d, 0, 0));
        assert!(see(&mut d, 1, 2_000));
        assert!(see(&mut d, 2, 1_000_000), "a third capture of it");
        assert!(!see(&mut d, 3, 1_000_001), "too late");
    }

    #[test]
    fn a_retransmission_stays() {
        let mut d = Duplicates::default();
        assert!(!see(&mut d, 0, 0));
        assert!(!see(&mut d, 0, 10), "the same input");
        assert!(see(&mut d, 1, 20));
        assert!(see(&mut d, 1, 30));
        assert!(!see(&mut d, 1, 40), "a third one, which only this input shows");
    }

    #[test]
    fn a_flood_of_equal_packets_is_no_burden() {
        let mut d = Duplicates::default();
        assert!((0..1_000_000).all(|_| !see(&mut d, 0, 0)));
        assert!(d.seen.len() <= RECENT && d.last.len() <= 4 * RECENT);
    }

    #[test]
    fn many_within_a_millisecond() {
        let mut d = Duplicates::default();
        for input in 0..2 {
            for fingerprint in 1..4_000 {
                let is_other = d.is_shown(input, Timestamp(0), (fingerprint << 32) | (fingerprint % 7));
                assert_eq!(is_other, input == 1, "{fingerprint}");
            }
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut d = Duplicates::default();
        for i in 0..10_u64 {
            assert!(!see(&mut d, 0, i * 10_000_000));
        }
        assert!(d.seen.len() <= 1 && d.last.len() == FEW);
    }
}

//! One packet captured twice, by two inputs.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::packet::View;

/// How far apart in time two captures of one packet may be, in nanoseconds. On one machine it is microseconds.
const APART: u64 = 1_000_000;

/// What two captures of one packet have in common: a hash of it, from the IP header to its end.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(RandomState);

impl Fingerprints {
    /// The fingerprint of a packet; 0 if it has no IP header.
    pub fn of(&self, view: &View, bytes: &[u8]) -> u64 {
        let datagram = view.ip.as_ref().and_then(|ip| bytes.get(ip.offset..ip.end));
        datagram.map_or(0, |datagram| self.0.hash_one(datagram).max(1))
    }
}

/// The packets of the last millisecond.
///
/// Two are one packet if they are equal from the IP header on and come from different inputs. Each capture of
/// a packet is used up once, so that a retransmission, which every input shows twice, stays.
///
/// Memory: what was captured within a millisecond, and at most 65,536 packets.
#[derive(Default)]
pub struct Duplicates {
    /// The number of the last packet with each fingerprint.
    last: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// The packets, by their numbers from `first` on.
    seen: VecDeque<Seen>,
    first: u64,
}

/// Packets that are remembered at most.
const RECENT: usize = 65_536;

/// Equal packets that are looked through at most, so that a flood of them costs no more than other packets.
const EQUAL: usize = 64;

struct Seen {
    time: Timestamp,
    fingerprint: u64,
    /// The inputs that showed it, as bits; inputs past the 64th are never duplicates.
    inputs: u64,
    /// How many packets before it the one before with this fingerprint is; 0 if none is.
    back: u32,
}

impl Duplicates {
    /// Whether another input showed this packet already.
    pub fn is_duplicate(&mut self, input: usize, time: Timestamp, fingerprint: u64) -> bool {
        let bit = u32::try_from(input).ok().and_then(|input| 1_u64.checked_shl(input));
        let Some(bit) = bit.filter(|_| fingerprint != 0) else { return false };
        self.forget(time);
        let number = self.first + self.seen.len() as u64;
        let before = self.last.insert(fingerprint, number).filter(|before| *before >= self.first);
        // Of several, it is the oldest one.
        let mut oldest = None;
        let mut at = before;
        for _ in 0..EQUAL {
            let Some(seen) = at.and_then(|at| self.seen.get_mut(at.checked_sub(self.first)? as usize)) else { break };
            if seen.inputs & bit == 0 && time.0.abs_diff(seen.time.0) <= APART {
                oldest = at;
            }
            at = at.filter(|_| seen.back > 0).map(|at| at - u64::from(seen.back));
        }
        if let Some(seen) = oldest.and_then(|at| self.seen.get_mut((at - self.first) as usize)) {
            seen.inputs |= bit;
            before.and_then(|before| self.last.insert(fingerprint, before));
            return true;
        }
        let back = before.map_or(0, |before| (number - before) as u32);
        self.seen.push_back(Seen { time, fingerprint, inputs: bit, back });
        false
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&Seen { time, fingerprint, .. }) = self.seen.front()
            && (time.0.saturating_add(APART) < now.0 || self.seen.len() >= RECENT)
        {
            self.seen.pop_front();
            if self.last.get(&fingerprint) == Some(&self.first) {
                self.last.remove(&fingerprint);
            }
            self.first += 1;
        }
    }
}

/// Takes what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|octet| self.0 = self.0.rotate_left(8) ^ u64::from(*octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use crate::packet::decode;

    const PACKET: &[u8] = b"\x45\0\0\x1c\0\x01\0\0\x40\x11\0\0\x7f\0\0\x01\x7f\0\0\x01\x10\0\x20\0\0\x08\0\0";

    fn see(duplicates: &mut Duplicates, input: usize, time: u64) -> bool {
        duplicates.is_duplicate(input, Timestamp(time), 7)
    }

    #[test]
    fn a_fingerprint_is_of_the_datagram() {
        let prints = Fingerprints::default();
        let of = |bytes: &[u8]| prints.of(&decode(LinkType::RAW, bytes, bytes.len()), bytes);
        let padded = [PACKET, b"padding"].concat();
        assert_eq!(of(PACKET), of(&padded), "padding is none of it");
        let mut other = PACKET.to_vec();
        other[27] ^= 1;
        assert_ne!(of(PACKET), of(&other));
        assert!(of(PACKET) != 0 && of(b"no header") == 0);
        assert!(!Duplicates::default().is_duplicate(0, Timestamp(0), 0));
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
        assert!(d.seen.len() <= RECENT && d.last.len() == 1);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut d = Duplicates::default();
        for i in 0..10_u64 {
            assert!(!see(&mut d, 0, i * 10_000_000));
        }
        assert!(d.seen.len() <= 1 && d.last.len() <= 1);
    }
}

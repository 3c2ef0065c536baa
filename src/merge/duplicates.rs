//! One packet captured twice, by two inputs.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::packet::View;

/// How far apart in time two captures of one packet may be, in nanoseconds. On one machine it is microseconds.
const APART: u64 = 1_000_000;

/// The packets of the last millisecond.
///
/// Two are one packet if they are equal from the IP header on and come from different inputs. Each capture of
/// a packet is used up once, so that a retransmission, which every input shows twice, stays.
///
/// Memory: what was captured within a millisecond, and at most 65,536 packets.
#[derive(Default)]
pub struct Duplicates {
    hasher: RandomState,
    seen: HashMap<u64, Vec<Seen>, RandomState>,
    order: VecDeque<(Timestamp, u64)>,
    spare: Vec<Vec<Seen>>,
}

/// Packets that are remembered at most.
const RECENT: usize = 65_536;

/// Equal packets of one input that are remembered at most, so that a flood of them costs no more than other packets.
const EQUAL: usize = 64;

struct Seen {
    time: Timestamp,
    /// The inputs that showed it, as bits; inputs past the 64th are never duplicates.
    inputs: u64,
}

impl Duplicates {
    /// Whether another input showed this packet already.
    pub fn is_duplicate(&mut self, input: usize, time: Timestamp, view: &View, bytes: &[u8]) -> bool {
        let Some(ip) = &view.ip else { return false };
        let Some(bit) = u32::try_from(input).ok().and_then(|input| 1_u64.checked_shl(input)) else { return false };
        let Some(datagram) = bytes.get(ip.offset..ip.end) else { return false };
        self.forget(time);
        let hash = self.hasher.hash_one(datagram);
        let spare = &mut self.spare;
        let seen = self.seen.entry(hash).or_insert_with(|| spare.pop().unwrap_or_default());
        for packet in seen.iter_mut() {
            if packet.inputs & bit == 0 && time.0.abs_diff(packet.time.0) <= APART {
                packet.inputs |= bit;
                return true;
            }
        }
        if seen.len() >= EQUAL {
            seen.remove(0);
        }
        seen.push(Seen { time, inputs: bit });
        self.order.push_back((time, hash));
        false
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(&(time, hash)) = self.order.front()
            && (time.0.saturating_add(APART) < now.0 || self.order.len() >= RECENT)
        {
            self.order.pop_front();
            if let Some(seen) = self.seen.get_mut(&hash) {
                if !seen.is_empty() {
                    seen.remove(0);
                }
                if seen.is_empty()
                    && let Some(empty) = self.seen.remove(&hash)
                {
                    self.spare.push(empty);
                }
            }
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
        let view = decode(LinkType::RAW, PACKET, PACKET.len());
        duplicates.is_duplicate(input, Timestamp(time), &view, PACKET)
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
        assert!(d.seen.values().all(|seen| seen.len() <= EQUAL) && d.order.len() <= RECENT);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut d = Duplicates::default();
        for i in 0..10_u64 {
            assert!(!see(&mut d, 0, i * 10_000_000));
        }
        assert!(d.order.len() <= 1 && d.seen.len() <= 1);
    }
}

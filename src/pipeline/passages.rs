//! How packets leave, by their conversation: those that get other addresses, and those of legs that bear a comment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::pages::Pages;
use crate::chunks::Chunks;
use crate::flow::Translation;

/// How the packets of a conversation leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    /// The leg, as an index into [`Surveyed::legs`](super::surveyed::Surveyed).
    pub leg: usize,
    pub client_is_first: bool,
    /// Source and destination that what the client sends gets.
    pub to: Option<Translation>,
    /// Whether what the server sends gets the same, the other way round.
    pub both_ways: bool,
}

impl Passage {
    /// The addresses that a packet from one of the ends gets.
    pub fn translation(&self, from_first: bool) -> Option<Translation> {
        match (from_first == self.client_is_first, self.both_ways) {
            (true, _) => self.to,
            (false, true) => self.to.map(|to| Translation { source: to.destination, destination: to.source }),
            (false, false) => None,
        }
    }
}

/// The passages of conversations, which are looked up for every packet.
#[derive(Default)]
pub(super) struct Passages {
    /// Of each conversation that has a passage: its place, from 1.
    places: Pages<u32>,
    passages: Chunks<Packed, 1024>,
    /// Addresses that are not both of IPv4.
    wide: Vec<[IpAddr; 2]>,
}

/// A [`Passage`].
#[derive(Default)]
struct Packed {
    leg: u32,
    /// Of source and destination; of IPv4, as a number, else the first is an index into [`Passages::wide`].
    addresses: [u32; 2],
    ports: [u16; 2],
    bits: u8,
}

impl Packed {
    const CLIENT_IS_FIRST: u8 = 1;
    const TRANSLATES: u8 = 2;
    const BOTH_WAYS: u8 = 4;
    const IS_WIDE: u8 = 8;
}

impl Passages {
    /// The passage of a conversation. Those that have none leave as they were captured.
    #[inline]
    pub fn get(&self, conversation: u32) -> Option<Passage> {
        let packed = self.passages.get(self.places.get(conversation).wrapping_sub(1))?;
        let is = |bit: u8| packed.bits & bit != 0;
        Some(Passage {
            leg: packed.leg as usize,
            client_is_first: is(Packed::CLIENT_IS_FIRST),
            to: if is(Packed::TRANSLATES) { self.translation(packed) } else { None },
            both_ways: is(Packed::BOTH_WAYS),
        })
    }

    #[inline]
    fn translation(&self, packed: &Packed) -> Option<Translation> {
        let addresses = match packed.bits & Packed::IS_WIDE {
            0 => packed.addresses.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            _ => *self.wide.get(packed.addresses[0] as usize)?,
        };
        let end = |n: usize| SocketAddr::new(addresses[n], packed.ports[n]);
        Some(Translation { source: end(0), destination: end(1) })
    }

    /// Gives a conversation a passage, in place of the one that it has.
    pub fn set(&mut self, conversation: u32, passage: Passage) {
        let packed = self.pack(passage);
        match self.passages.get_mut(self.places.get(conversation).wrapping_sub(1)) {
            Some(known) => *known = packed,
            None => {
                let place = self.passages.push(packed) + 1;
                self.places.set(conversation, place);
            }
        }
    }

    /// Gives the legs other numbers: those that stand at their old ones in `places`.
    pub fn renumber(&mut self, places: &[u32]) {
        for packed in self.passages.iter_mut() {
            packed.leg = places.get(packed.leg as usize).copied().unwrap_or(packed.leg);
        }
    }

    fn pack(&mut self, passage: Passage) -> Packed {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let mut bits = bit(passage.client_is_first, Packed::CLIENT_IS_FIRST)
            | bit(passage.to.is_some(), Packed::TRANSLATES)
            | bit(passage.both_ways, Packed::BOTH_WAYS);
        let (mut addresses, mut ports) = ([0; 2], [0; 2]);
        if let Some(to) = passage.to {
            ports = [to.source.port(), to.destination.port()];
            match [to.source.ip(), to.destination.ip()] {
                [IpAddr::V4(source), IpAddr::V4(destination)] => addresses = [source.to_bits(), destination.to_bits()],
                wide => {
                    bits |= Packed::IS_WIDE;
                    addresses[0] = self.wide.len() as u32;
                    self.wide.push(wide);
                }
            }
        }
        // There are fewer legs than that.
        Packed { leg: passage.leg as u32, addresses, ports, bits }
    }

    /// Octets in use, or soon to be: vectors double when they grow.
    pub fn memory(&self) -> usize {
        self.places.memory() + self.passages.memory() + 2 * self.wide.len() * size_of::<[IpAddr; 2]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_come_back_as_they_were() {
        let to = |source: &str, destination: &str| {
            let end = |text: &str| text.parse().expect("an address");
            Some(Translation { source: end(source), destination: end(destination) })
        };
        let all = [
            Passage { leg: 0, client_is_first: false, to: None, both_ways: false },
            Passage { leg: 7, client_is_first: true, to: to("10.0.0.1:1", "10.0.0.2:65535"), both_ways: false },
            Passage { leg: 8, client_is_first: false, to: to("[fd00::1]:1", "[::1]:2"), both_ways: true },
            Passage { leg: 9, client_is_first: false, to: to("[fd00::1]:1", "10.0.0.2:2"), both_ways: true },
        ];
        let mut passages = Passages::default();
        for (conversation, passage) in (0..).step_by(1000).zip(all.into_iter().chain(all)) {
            passages.set(conversation, all[0]);
            passages.set(conversation, passage);
        }
        for (conversation, passage) in (0..).step_by(1000).zip(all.into_iter().chain(all)) {
            assert_eq!(passages.get(conversation), Some(passage));
            assert_eq!(passages.get(conversation + 1), None);
        }
        let both = all[2];
        assert_eq!(both.translation(false), both.to);
        assert_eq!(both.translation(true), to("[::1]:2", "[fd00::1]:1"));
        assert_eq!(all[1].translation(false), None);
    }
}

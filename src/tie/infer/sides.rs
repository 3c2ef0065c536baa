//! Legs by what is looked at of all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::moments::Moment;
use super::segment::Half;
use super::shape::Shape;
use super::shelf::Shelf;
use super::{Stage, TcpLeg, alone, http};
use crate::capture::Timestamp;
use crate::store::{Put, put_from};

/// The legs on one side of a proxy.
#[derive(Default)]
pub struct Sides {
    pub sides: Vec<Side>,
    /// The octets of all readings of all of them.
    totals: Vec<u8>,
    /// Their addresses of IPv6.
    addresses: Vec<Ipv6Addr>,
    /// When the first segment of all was captured.
    pub first: Option<Timestamp>,
}

/// A leg, and what tells with which others it has to be compared, in as few octets as can be.
pub struct Side {
    /// Of a near leg: when a proxy could first connect onwards. Of a far one: when its SYN was captured, or the answer to it.
    pub opened: Moment,
    /// Of a near leg: when it was answered, so that a far leg was opened before.
    pub answered: Moment,
    /// [`TcpLeg::id`].
    pub id: u32,
    /// The conversations of what the client sent, and of what the server sent.
    conversations: [u32; 2],
    /// Client and server: an address of IPv4, or where in [`Sides::addresses`] it is.
    ends: [u32; 2],
    /// Where its totals begin.
    totals: u32,
    /// How many units it has.
    pub len: u32,
    /// [`TcpLeg::port`].
    pub port: u16,
    bits: u16,
}

/// [`Side::bits`].
mod bits {
    /// [`Half::from_first`] of both directions.
    pub const FROM_FIRST: [u16; 2] = [1, 2];
    /// Whether the ends have addresses of IPv6.
    pub const IPV6: [u16; 2] = [4, 8];
    pub const LOOSE: u16 = 16;
    pub const TLS: u16 = 32;
    pub const HTTP: u16 = 64;
    pub const HTTP2: u16 = 128;
    pub const ANSWER: u16 = 256;
}

impl Side {
    fn has(&self, bit: u16) -> bool {
        self.bits & bit != 0
    }

    /// Whether the octets may differ from what the other side of the proxy has.
    pub fn is_loose(&self) -> bool {
        self.has(bits::LOOSE)
    }

    /// Whether [`Side::opened`] is when the SYN was answered, which was not captured itself.
    pub fn is_answer(&self) -> bool {
        self.has(bits::ANSWER)
    }

    pub fn is_tls(&self) -> bool {
        self.has(bits::TLS)
    }

    pub fn is_http(&self) -> bool {
        self.has(bits::HTTP)
    }

    pub fn is_http2(&self) -> bool {
        self.has(bits::HTTP2)
    }
}

impl Sides {
    /// Looks at legs, one after the other.
    pub fn read(
        stage: Stage,
        is_near: bool,
        legs: impl ExactSizeIterator<Item = io::Result<TcpLeg>>,
        shelf: &mut Shelf<'_>,
    ) -> io::Result<Sides> {
        let mut sides = Sides { sides: Vec::with_capacity(legs.len()), ..Sides::default() };
        for leg in legs {
            let (leg, end) = (leg?, shelf.end());
            sides.push(stage, is_near, &leg, shelf.read(&leg)?, end);
        }
        Ok(sides)
    }

    fn push(&mut self, stage: Stage, is_near: bool, leg: &TcpLeg, shape: &Shape, end: Timestamp) {
        let has = |is: bool, bit: u16| if is { bit } else { 0 };
        let halves = [leg.from_client, leg.from_server];
        let addresses = [leg.client, leg.server];
        let is = [
            (alone::is_loose(shape, end), bits::LOOSE),
            (shape.tls.is_some(), bits::TLS),
            (http::is_http(shape), bits::HTTP),
            (http::is_http2(shape), bits::HTTP2),
            (shape.up.syn().is_none(), bits::ANSWER),
        ];
        let of_both =
            (0..2).map(|n| has(halves[n].from_first, bits::FROM_FIRST[n]) | has(addresses[n].is_ipv6(), bits::IPV6[n]));
        let bits = is.into_iter().map(|(is, bit)| has(is, bit)).chain(of_both).fold(0, |bits, bit| bits | bit);
        let opened = if is_near { alone::can_open(stage, shape) } else { shape.up.syn().or(shape.down.syn()) };
        let answered = if is_near { alone::answered(stage, shape) } else { None };
        let side = Side {
            opened: opened.into(),
            answered: answered.into(),
            id: leg.id,
            conversations: halves.map(|half| half.conversation),
            ends: addresses.map(|address| self.encode(address)),
            totals: self.totals.len() as u32,
            len: shape.len() as u32,
            port: leg.port,
            bits,
        };
        self.sides.push(side);
        let mut last = (0, 0);
        for (up, down) in shape.readings().map(|reading| reading.total) {
            put_from(&mut self.totals, last.0, up);
            put_from(&mut self.totals, last.1, down);
            last = (up, down);
        }
        self.first = shape.seen().map(|(first, _)| first).into_iter().chain(self.first).min();
    }

    fn encode(&mut self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                self.addresses.push(address);
                (self.addresses.len() - 1) as u32
            }
        }
    }

    /// The leg that a side is of.
    pub fn leg(&self, index: usize) -> TcpLeg {
        let side = &self.sides[index];
        let half = |n: usize| Half { conversation: side.conversations[n], from_first: side.has(bits::FROM_FIRST[n]) };
        let address = |n: usize| -> IpAddr {
            let end = side.ends[n];
            match side.has(bits::IPV6[n]) {
                false => Ipv4Addr::from_bits(end).into(),
                true => self.addresses[end as usize].into(),
            }
        };
        let (from_client, from_server) = (half(0), half(1));
        TcpLeg { id: side.id, from_client, from_server, client: address(0), server: address(1), port: side.port }
    }

    /// The octets of each reading of a leg, either way.
    pub fn totals(&self, index: usize) -> impl Iterator<Item = (u64, u64)> {
        let begin = |index: usize| self.sides.get(index).map_or(self.totals.len(), |side| side.totals as usize);
        let (mut put, mut last) = (Put(&self.totals[begin(index)..begin(index + 1)]), (0, 0));
        std::iter::from_fn(move || {
            let is_there = !put.0.is_empty();
            last = (put.take_from(last.0), put.take_from(last.1));
            is_there.then_some(last)
        })
    }

    /// Octets that the totals of all take.
    pub fn totals_len(&self) -> usize {
        self.totals.len()
    }

    /// Forgets those that are not wanted any more; and the totals of all.
    pub fn retain(&mut self, is_wanted: impl FnMut(&Side) -> bool) {
        self.totals = Vec::new();
        self.sides.retain(is_wanted);
        self.sides.iter_mut().for_each(|side| side.totals = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_come_back_as_they_were() {
        let half = |conversation, from_first| Half { conversation, from_first };
        let leg = |id, client: &str, server: &str| TcpLeg {
            id,
            from_client: half(id, true),
            from_server: half(id + 1, id == 2),
            client: client.parse().expect("an address"),
            server: server.parse().expect("an address"),
            port: 65_535,
        };
        let legs =
            [leg(2, "10.0.0.1", "fd00::1"), leg(5, "::1", "::1"), leg(u32::MAX - 1, "0.0.0.0", "255.255.255.255")];
        let mut sides = Sides::default();
        for leg in &legs {
            sides.push(Stage::Inbound, true, leg, &Shape::default(), Timestamp(0));
        }
        assert_eq!([0, 1, 2].map(|index| sides.leg(index)), legs);
        sides.retain(|side| side.id != 5);
        assert_eq!([0, 1].map(|index| sides.leg(index)), [legs[0], legs[2]]);
    }
}

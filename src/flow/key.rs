//! What a conversation is found by: its ends, in a fixed order.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use super::segment::Segment;
use crate::nat::Protocol;
use crate::packet::Origin;

/// Both ends of a conversation in a fixed order, so that both directions have one key.
///
/// Plain numbers, close together: it is hashed and compared for every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(super) low: u128,
    pub(super) high: u128,
    pub(super) ports: u32,
    pub(super) tag: u8,
}

/// One end of a conversation: 0 is the lower one.
pub(crate) type Side = usize;

/// A conversation as captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0, in the order of first packets.
    pub number: u64,
    /// Whether the client is the lower end: see [`Mark::Conversation`](super::Mark).
    pub client_is_first: bool,
}

/// Bits of [`Key::tag`]: IPv6, not IPv4; UDP, not TCP; on the wire, not on loopback.
pub(super) const IPV6: u8 = 1;
pub(super) const UDP: u8 = 2;
const ON_WIRE: u8 = 4;

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.tag & IPV6 == 0 {
            state.write_u64((self.low << 32 | self.high) as u64);
        } else {
            state.write_u128(self.low);
            state.write_u128(self.high);
        }
        state.write_u64(u64::from(self.ports) << 8 | u64::from(self.tag));
    }
}

impl Key {
    /// The key of a segment, and which end sent it.
    #[inline]
    pub fn of(segment: &Segment) -> (Key, Side) {
        // A conversation on loopback is never one with the same addresses on the wire.
        let on_wire = segment.origin == Origin::Network;
        Key::new(segment.protocol, on_wire, segment.source, segment.destination)
    }

    /// The key of a conversation, and which end `source` is.
    pub fn new(protocol: Protocol, on_wire: bool, source: SocketAddr, destination: SocketAddr) -> (Key, Side) {
        Key::between(protocol, on_wire, (source.ip(), source.port()), (destination.ip(), destination.port()))
    }

    /// The same of addresses and ports.
    #[inline]
    pub fn between(
        protocol: Protocol,
        on_wire: bool,
        source: (IpAddr, u16),
        destination: (IpAddr, u16),
    ) -> (Key, Side) {
        let tag = if protocol == Protocol::Udp { UDP } else { 0 } | if on_wire { ON_WIRE } else { 0 };
        if let ((IpAddr::V4(from), source), (IpAddr::V4(to), destination)) = (source, destination) {
            let end = |address: u32, port: u16| u64::from(address) << 16 | u64::from(port);
            let (from, to) = (end(from.to_bits(), source), end(to.to_bits(), destination));
            let (low, high) = (from.min(to), from.max(to));
            let ports = (low as u16 as u32) << 16 | high as u16 as u32;
            let (low, high) = (u128::from(low >> 16), u128::from(high >> 16));
            return (Key { low, high, ports, tag }, Side::from(from > to));
        }
        let tag = if source.0.is_ipv6() { tag | IPV6 } else { tag };
        let (source, destination) = ((bits(source.0), source.1), (bits(destination.0), destination.1));
        let side = Side::from(source > destination);
        let (low, high) = if side == 0 { (source, destination) } else { (destination, source) };
        (Key { low: low.0, high: high.0, ports: u32::from(low.1) << 16 | u32::from(high.1), tag }, side)
    }
}

/// A [`Key`] in few octets: the addresses of IPv6 stand elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortKey {
    addresses: [u32; 2],
    ports: u32,
    tag: u8,
}

impl ShortKey {
    /// A key in few octets. Where the addresses are of IPv6, they are given to `store`, and what that returns is kept.
    pub fn new(key: Key, store: impl FnOnce([u128; 2]) -> u32) -> ShortKey {
        let Key { low, high, ports, tag } = key;
        let addresses = if tag & IPV6 == 0 { [low as u32, high as u32] } else { [store([low, high]), 0] };
        ShortKey { addresses, ports, tag }
    }

    /// The key; `stored` are the addresses that were given to the store.
    #[inline]
    pub fn key(self, stored: impl FnOnce(u32) -> [u128; 2]) -> Key {
        let ShortKey { addresses, ports, tag } = self;
        let [low, high] = if tag & IPV6 == 0 { addresses.map(u128::from) } else { stored(addresses[0]) };
        Key { low, high, ports, tag }
    }
}

/// An address as a number; the family is told apart by whoever keeps it.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key() {
        let ends =
            ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "255.255.255.255:65535", "[fd00::1]:80", "[fd00::1]:9"];
        let ends = ends.map(|end| end.parse::<SocketAddr>().expect("an end"));
        let all: Vec<_> = ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b))).collect();
        for &(a, b) in all.iter().filter(|(a, b)| a.is_ipv4() == b.is_ipv4()) {
            let ((there, side), (back, other)) =
                (Key::new(Protocol::Tcp, true, a, b), Key::new(Protocol::Tcp, true, b, a));
            assert_eq!(there, back);
            assert_eq!((side, other), if a == b { (0, 0) } else { (usize::from(a > b), usize::from(b > a)) });
            assert_eq!(there.ports >> 16, u32::from(a.min(b).port()));
            for &(c, d) in &all {
                let same = (c, d) == (a, b) || (c, d) == (b, a);
                assert_eq!(Key::new(Protocol::Tcp, true, c, d).0 == there, same, "{a} {b}, {c} {d}");
            }
            assert_ne!(Key::new(Protocol::Udp, true, a, b).0, there);
            assert_ne!(Key::new(Protocol::Tcp, false, a, b).0, there);
        }
    }
}

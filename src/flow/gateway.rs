//! Which addresses are a gateway's, and which end of a connection called the other.
//!
//! What comes in is the first segment of each TCP conversation on the wire; what goes out is the role of a leg: downstream
//! if the gateway was called, upstream if it called. Who is inside decides only what the packets leave open.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::segment::{Content, Segment, flags};
use crate::nat::{Gateway, Role};
use crate::packet::Origin;

/// How many addresses of gateways are remembered.
const ADDRESSES: usize = 1024;

/// How many called ends are remembered.
const CALLED: usize = 16_384;

/// A gateway, as far as connections on the wire show it.
pub(super) struct Gateways {
    given: Gateway,
    /// Of IPv4 and IPv6: the ends that all connections have in common so far; nothing before the first.
    common: [Option<Vec<IpAddr>>; 2],
    /// The inside ends of connections that cross the border.
    at_border: HashSet<IpAddr, RandomState>,
    /// Ends that were called, by a SYN or its answer.
    called: HashSet<SocketAddr, RandomState>,
}

impl Gateways {
    pub fn new(given: Gateway) -> Gateways {
        Gateways { given, common: [None, None], at_border: HashSet::default(), called: HashSet::default() }
    }

    /// Takes in the first segment of a conversation.
    pub fn note(&mut self, segment: &Segment) {
        let Content::Tcp { flags: f, .. } = segment.content else { return };
        let (source, destination) = (segment.source, segment.destination);
        if segment.origin == Origin::Loopback || source.ip().is_loopback() || destination.ip().is_loopback() {
            return;
        }
        if f & flags::SYN != 0 && self.called.len() < CALLED {
            self.called.insert(if f & flags::ACK == 0 { destination } else { source });
        }
        let ends = [source.ip(), destination.ip()];
        match &mut self.common[usize::from(source.is_ipv6())] {
            Some(common) => common.retain(|address| ends.contains(address)),
            none => *none = Some(ends.to_vec()),
        }
        let inside = ends.map(|end| self.given.is_inside(end));
        if inside[0] != inside[1] && self.at_border.len() < ADDRESSES {
            self.at_border.insert(ends[usize::from(inside[1])]);
        }
    }

    /// The gateway's addresses, as far as they are known.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let common = self.common.iter().flatten().flatten();
        let all = self.given.addresses.iter().chain(common).chain(&self.at_border).copied();
        let mut addresses: Vec<IpAddr> = all.filter(|&address| self.is_own(address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Whether an address is the gateway's: it was given; or all connections have it, and nothing else; or it is the
    /// inside end of one that crosses the border.
    fn is_own(&self, address: IpAddr) -> bool {
        if !self.given.addresses.is_empty() {
            return self.given.addresses.contains(&address);
        }
        match self.common[usize::from(address.is_ipv6())].as_deref() {
            Some([only]) => *only == address,
            _ => self.at_border.contains(&address),
        }
    }

    /// Which of two ends called, where the beginning was not captured; none if nothing tells.
    pub fn caller(&self, ends: [SocketAddr; 2]) -> Option<usize> {
        let own = ends.map(|end| self.is_own(end.ip()));
        let is_called =
            |n: usize| self.called.contains(&ends[n]) || own[n] && self.given.ports.contains(u32::from(ends[n].port()));
        match ([is_called(0), is_called(1)], own) {
            ([true, false], _) => Some(1),
            ([false, true], _) => Some(0),
            (_, [true, false]) if !self.given.is_inside(ends[1].ip()) => Some(1),
            (_, [false, true]) if !self.given.is_inside(ends[0].ip()) => Some(0),
            _ => None,
        }
    }

    /// What a leg is, if the gateway is an end of it. Between two gateways, it is seen from the one that called.
    pub fn role(&self, client: IpAddr, server: IpAddr) -> Option<Role> {
        match (self.is_own(client), self.is_own(server)) {
            (true, _) => Some(Role::Upstream),
            (false, true) => Some(Role::Downstream),
            (false, false) => None,
        }
    }
}

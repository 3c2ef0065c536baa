//! One direction of a leg, as tcpdump shows it: which ends its packets have.

use std::net::IpAddr;

use super::expr::{End, Expr};
use super::leg::Leg;
use crate::nat::{Cidr, Numbers, Protocol};

/// An interface of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// lo.
    Lo,
    /// The one that leads to the network.
    Wire,
}

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The end that opened the leg.
    Client,
    /// The other end.
    Server,
}

/// One direction of a leg on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// The leg.
    pub leg: Leg,
    /// Where it shows.
    pub side: Side,
    /// Who sends it.
    pub direction: Direction,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Where its packets come from.
    pub source: Ends,
    /// Where they go.
    pub destination: Ends,
}

/// Addresses and ports that one end can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Networks; none: any address.
    pub within: Vec<Cidr>,
    /// Networks that are not meant.
    pub except: Vec<Cidr>,
    /// Ports.
    pub ports: Numbers,
}

impl Ends {
    /// Any port of these networks.
    pub(super) fn within(networks: &[Cidr]) -> Ends {
        Ends { within: networks.to_vec(), except: Vec::new(), ports: Numbers::all() }
    }

    /// Any port of any address but these.
    pub(super) fn except(networks: &[Cidr]) -> Ends {
        Ends { within: Vec::new(), except: networks.to_vec(), ports: Numbers::all() }
    }

    pub(super) fn with(self, ports: &Numbers) -> Ends {
        Ends { ports: ports.clone(), ..self }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        let inside = |networks: &[Cidr]| networks.iter().any(|network| network.contains(address));
        (self.within.is_empty() || inside(&self.within)) && !inside(&self.except)
    }

    fn filter(&self, end: End) -> Expr {
        let any = |networks: &[Cidr]| Expr::Any(networks.iter().map(|network| at(end, network)).collect());
        let mut parts = Vec::new();
        if !self.within.is_empty() {
            parts.push(any(&self.within));
        }
        parts.push(Expr::Not(Box::new(any(&self.except))));
        parts.push(ports(end, &self.ports));
        Expr::All(parts)
    }
}

/// `src host 10.0.0.7`, or `src net` for more than one address.
fn at(end: End, network: &Cidr) -> Expr {
    let whole = if network.network().is_ipv4() { 32 } else { 128 };
    if network.prefix() == whole { Expr::host(end, network.network()) } else { Expr::net(end, network) }
}

/// The ports, or the ports that it may not be: what is shorter.
fn ports(end: End, set: &Numbers) -> Expr {
    let others = set.complement().intersection(&Numbers::from_ranges(vec![(0, 65535)]));
    if others.is_empty() {
        Expr::All(Vec::new())
    } else if set.ranges().len() <= others.ranges().len() {
        Expr::port(end, set)
    } else {
        Expr::Not(Box::new(Expr::port(end, &others)))
    }
}

/// The filter that keeps these halves.
pub(super) fn filter(halves: &[Half]) -> Expr {
    let mut joined: Vec<Half> = Vec::new();
    for half in halves {
        match joined.iter_mut().find_map(|known| joint(known, half).map(|both| (known, both))) {
            Some((known, both)) => *known = both,
            None => joined.push(half.clone()),
        }
    }
    let one = |half: &Half| {
        Expr::All(vec![
            Expr::protocol(half.protocol),
            half.source.filter(End::Source),
            half.destination.filter(End::Destination),
        ])
    };
    Expr::Any(joined.iter().map(one).collect())
}

/// Two halves as one that has the packets of both and no others: they differ in the ports of one end at most.
fn joint(one: &Half, other: &Half) -> Option<Half> {
    let union = |a: &Numbers, b: &Numbers| Numbers::from_ranges([a.ranges(), b.ranges()].concat());
    let hosts = |a: &Ends, b: &Ends| a.within == b.within && a.except == b.except;
    if one.protocol != other.protocol
        || !hosts(&one.source, &other.source)
        || !hosts(&one.destination, &other.destination)
    {
        return None;
    }
    let mut both = one.clone();
    if one.source.ports == other.source.ports {
        both.destination.ports = union(&one.destination.ports, &other.destination.ports);
    } else if one.destination.ports == other.destination.ports {
        both.source.ports = union(&one.source.ports, &other.source.ports);
    } else {
        return None;
    }
    Some(both)
}

/// A leg both of whose halves show the same ends.
pub(super) fn both_ways(leg: Leg, side: Side, protocol: Protocol, client: Ends, server: Ends) -> [Half; 2] {
    let there =
        Half { leg, side, protocol, direction: Direction::Client, source: client.clone(), destination: server.clone() };
    let back = Half { direction: Direction::Server, source: server, destination: client, ..there.clone() };
    [there, back]
}

//! A gateway: no nat rules are involved, all its legs are on the wire, and its clients are outside, its services inside.

use std::net::IpAddr;

use super::cidr::Cidr;
use super::numbers::Numbers;

/// What is known of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Its addresses; none: not known.
    pub addresses: Vec<IpAddr>,
    /// The ports that clients call; empty: not known.
    pub ports: Numbers,
    /// What is inside: the networks of pods and services.
    pub inside: Vec<Cidr>,
}

impl Gateway {
    /// Whether an address lies inside.
    pub fn is_inside(&self, address: IpAddr) -> bool {
        self.inside.iter().any(|cidr| cidr.contains(address))
    }
}

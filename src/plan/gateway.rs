//! From a gateway and the legs asked for to the halves that a capture has to keep. No nat rules are involved: the
//! address of the other end tells downstream from upstream, and the gateway's ports do where they are known.

use std::net::IpAddr;

use super::cidr::Cidr;
use super::half::{Ends, Half, Side, both_ways};
use super::leg::Leg;
use super::pod::within_16_bits;
use crate::nat::{Numbers, Protocol};

/// What is known of a gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its addresses; none: one inside.
    pub addresses: Vec<IpAddr>,
    /// The ports that clients call; empty: not known.
    pub ports: Numbers,
    /// What is inside: the networks of pods and services.
    pub inside: Vec<Cidr>,
}

/// The halves of these legs, and what is worth knowing about them.
pub(super) fn halves(gateway: &Gateway, legs: &[Leg], notes: &mut Vec<String>) -> Vec<Half> {
    let addresses: Vec<Cidr> = gateway.addresses.iter().map(|address| Cidr::from(*address)).collect();
    let own = || Ends::within(if addresses.is_empty() { &gateway.inside } else { &addresses });
    let outside = || Ends::except(&[&gateway.inside[..], &addresses].concat());
    let inside = || Ends { except: addresses.clone(), ..Ends::within(&gateway.inside) };
    let known = !gateway.ports.is_empty();
    let called = if known { gateway.ports.clone() } else { Numbers::all() };
    let not_called = if known { within_16_bits(&gateway.ports.complement()) } else { Numbers::all() };
    let tcp = |leg, client, server| both_ways(leg, Side::Wire, Protocol::Tcp, client, server);
    let mut halves = Vec::new();
    for leg in legs {
        match leg {
            Leg::Downstream => halves.extend(tcp(Leg::Downstream, outside(), own().with(&called))),
            Leg::DownstreamInside if known => {
                halves.extend(tcp(Leg::DownstreamInside, inside(), own().with(&called)));
            }
            Leg::Upstream => halves.extend(tcp(Leg::Upstream, own().with(&not_called), inside())),
            _ => {}
        }
    }
    if addresses.is_empty() {
        notes.push(
            "the gateway's own address is taken to lie inside; give it with --pod if it does not (hostNetwork)"
                .to_owned(),
        );
    }
    if !known {
        notes.push(
            "without --port, clients inside cannot be told from services inside and are kept with upstream; what the \
             gateway itself opens to outside is kept with downstream"
                .to_owned(),
        );
    }
    halves
}

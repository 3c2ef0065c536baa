//! From a gateway and the legs asked for to the halves that a capture has to keep. No nat rules are involved: the
//! address of the other end tells downstream from upstream, and the gateway's ports do where they are known.

use super::half::{Ends, Half, Side, both_ways};
use super::leg::Leg;
use crate::nat::{Cidr, Gateway, Numbers, Protocol};

/// The halves of these legs, and what is worth knowing about them.
pub(super) fn halves(gateway: &Gateway, legs: &[Leg], notes: &mut Vec<String>) -> Vec<Half> {
    let addresses: Vec<Cidr> = gateway.addresses.iter().map(|address| Cidr::from(*address)).collect();
    let own = || Ends::within(if addresses.is_empty() { &gateway.inside } else { &addresses });
    let outside = || Ends::except(&[&gateway.inside[..], &addresses].concat());
    let inside = || Ends { except: addresses.clone(), ..Ends::within(&gateway.inside) };
    let known = !gateway.ports.is_empty();
    let called = if known { gateway.ports.clone() } else { Numbers::all() };
    let not_called = if known { gateway.ports.complement().ports() } else { Numbers::all() };
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

/// What `meshpcap merge` has to be told of the gateway.
pub(super) fn merge_options(gateway: &Gateway) -> String {
    fn list<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
        all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(",")
    }
    let ports = gateway.ports.ranges().iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let options = [("pod", list(&gateway.addresses)), ("port", list(ports)), ("cluster-cidr", list(&gateway.inside))];
    let told = options.into_iter().filter(|(_, value)| !value.is_empty());
    " --gateway".to_owned() + &told.map(|(name, value)| format!(" --{name} {value}")).collect::<String>()
}

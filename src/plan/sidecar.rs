//! From a pod and the legs asked for to the halves that a capture has to keep.

use std::net::IpAddr;

use super::half::{Direction, Ends, Half, Side, both_ways};
use super::leg::Leg;
use super::pod::Pod;
use crate::nat::{Cidr, Listener, Numbers, Protocol, Role};

/// More ports than this do not tell an end of a leg from the other.
const FEW: u64 = 1000;

/// The halves of these legs, on lo and on the interface that leads to the network, and what is worth knowing about what the
/// filters cannot tell apart.
pub(super) fn halves(pod: &Pod, interface: &str, legs: &[Leg], notes: &mut Vec<String>) -> Vec<Half> {
    let pod = Networks::new(pod);
    let mut halves = Vec::new();
    for leg in legs {
        match leg {
            Leg::OutboundApp => halves.extend(pod.outbound_app(notes)),
            Leg::SelfCall => halves.extend(pod.self_call(notes)),
            Leg::Dns => halves.extend(pod.dns(notes)),
            Leg::InboundApp => halves.extend(pod.inbound_app(notes)),
            Leg::InboundPeer => halves.extend(pod.inbound_peer()),
            Leg::OutboundPeer => halves.extend(pod.outbound_peer()),
            Leg::Downstream | Leg::DownstreamInside | Leg::Upstream => {}
        }
    }
    let one_of_both = legs.contains(&Leg::InboundPeer) != legs.contains(&Leg::OutboundPeer);
    if one_of_both && !pod.sides_differ() {
        notes.push(format!(
            "{interface}: without --port, inbound-peer and outbound-peer cannot be told apart, and both are kept"
        ));
    }
    if legs.contains(&Leg::OutboundPeer) && !pod.pod.direct.is_empty() {
        notes.push(format!(
            "{interface}: connections to port {} are not redirected; the application's own look like outbound-peer, and are kept",
            pod.pod.direct
        ));
    }
    halves
}

/// A pod and its addresses as networks, only of the families that it has.
struct Networks<'a> {
    pod: &'a Pod,
    own: Vec<Cidr>,
    loopback: Vec<Cidr>,
    passthrough: Vec<Cidr>,
}

impl<'a> Networks<'a> {
    fn new(pod: &'a Pod) -> Networks<'a> {
        let has = |v4: bool| pod.addresses.iter().any(|address| address.is_ipv4() == v4);
        let parsed = |text: &str| text.parse::<Cidr>().into_iter();
        let mut loopback: Vec<Cidr> = Vec::new();
        if has(true) {
            loopback.extend(parsed("127.0.0.0/8"));
        }
        if has(false) {
            loopback.extend(parsed("::1"));
        }
        let families = |addresses: &[IpAddr]| -> Vec<Cidr> {
            addresses.iter().filter(|a| has(a.is_ipv4())).map(|a| Cidr::from(*a)).collect()
        };
        Networks { pod, own: families(&pod.addresses), passthrough: families(&pod.model.passthrough), loopback }
    }

    /// The pod's addresses and those of lo.
    fn inside(&self) -> Vec<Cidr> {
        [&self.own[..], &self.loopback].concat()
    }

    /// All of these, and the proxy's addresses on lo that are not in 127.0.0.0/8 (::6).
    fn all_own(&self) -> Vec<Cidr> {
        let mut all = self.inside();
        for network in &self.passthrough {
            if !all.iter().any(|known| known.contains(network.network())) {
                all.push(*network);
            }
        }
        all
    }

    /// The application's ports if they are known, else any.
    fn application(&self) -> Numbers {
        if self.pod.ports.is_empty() { Numbers::all() } else { self.pod.ports.clone() }
    }

    /// What REDIRECT or DNAT writes.
    fn listener(&self, listener: &Listener) -> Ends {
        let address = |v4: bool, text: &str| self.own.iter().any(|n| n.network().is_ipv4() == v4).then(|| text.parse());
        let networks: Vec<Cidr> = match listener.address {
            Some(address) => vec![Cidr::from(address)],
            None => [address(true, "127.0.0.1"), address(false, "::1")].into_iter().flatten().flatten().collect(),
        };
        Ends::within(&networks).with(&listener.port.map_or_else(Numbers::all, |port| Numbers::one(port.into())))
    }

    /// A half that nat rules split from its leg: the forward packets go to the listener.
    fn to_listener(&self, leg: Leg, listener: &Listener, client: Ends) -> Half {
        Half {
            leg,
            side: Side::Lo,
            direction: Direction::Client,
            protocol: listener.protocol,
            source: client,
            destination: self.listener(listener),
        }
    }

    fn outbound_app(&self, notes: &mut Vec<String>) -> Vec<Half> {
        let mut halves = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let listeners: Vec<&Listener> = self.pod.listeners(Role::OutboundApp, protocol).collect();
            halves.extend(listeners.iter().map(|l| self.to_listener(Leg::OutboundApp, l, Ends::within(&self.own))));
            if listeners.is_empty() {
                continue;
            }
            // Replies bear the service's address and port, and come from the proxy on lo.
            let foreign = Ends::except(&self.all_own());
            // A proxy that bears the client's address looks the same on its way to the application's ports.
            let client = if self.pod.spoofs() && !self.pod.ports.is_empty() {
                Ends::within(&self.own).with(&self.pod.ports.complement().ports())
            } else {
                Ends::within(&self.own)
            };
            let dns = Numbers::one(53);
            let others = dns.complement().ports();
            let captured = self.pod.listeners(Role::Dns, protocol).next().is_some();
            let servers: Vec<Cidr> = self.pod.nameservers.iter().map(|address| Cidr::from(*address)).collect();
            let but_servers = Ends { except: [&foreign.except[..], &servers].concat(), ..foreign.clone() };
            // Replies of DNS that goes to the proxy's DNS are another leg's.
            let sources = match captured {
                false => vec![foreign],
                true if !self.pod.dns_outbound => vec![foreign.with(&others)],
                true if servers.is_empty() => vec![foreign],
                true => vec![foreign.with(&others), but_servers.with(&dns)],
            };
            // Those of the pod's own address, if calls to it go this way, too.
            let own = Ends::within(&self.own).with(&self.application());
            let sources = sources.into_iter().chain(Some(own).filter(|_| self.pod.own_calls_outbound));
            halves.extend(sources.map(|source| Half {
                leg: Leg::OutboundApp,
                side: Side::Lo,
                direction: Direction::Server,
                protocol,
                source,
                destination: client.clone(),
            }));
        }
        if self.pod.own_calls_outbound {
            notes.push(
                "lo: calls to the pod's own address are redirected as others; replies of the proxy's calls to it look like \
                 theirs, and are kept"
                    .to_owned(),
            );
        }
        halves
    }

    fn self_call(&self, notes: &mut Vec<String>) -> Vec<Half> {
        let own = || Ends::within(&self.own);
        let mut halves: Vec<Half> = self
            .pod
            .listeners(Role::SelfCall, Protocol::Tcp)
            .map(|l| self.to_listener(Leg::SelfCall, l, own()))
            .collect();
        if halves.is_empty() {
            return halves;
        }
        halves.push(Half {
            leg: Leg::SelfCall,
            side: Side::Lo,
            direction: Direction::Server,
            protocol: Protocol::Tcp,
            source: own().with(&self.application()),
            destination: own(),
        });
        notes.push(
            "lo: replies of self-call look like those to the application's own calls to its pod's address (local); these \
             are kept, too"
                .to_owned(),
        );
        halves
    }

    fn dns(&self, notes: &mut Vec<String>) -> Vec<Half> {
        let port = Numbers::one(53);
        let mut halves = Vec::new();
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let listeners: Vec<&Listener> = self.pod.listeners(Role::Dns, protocol).collect();
            halves.extend(listeners.iter().map(|l| self.to_listener(Leg::Dns, l, Ends::within(&self.inside()))));
            if !listeners.is_empty() {
                halves.push(Half {
                    leg: Leg::Dns,
                    side: Side::Lo,
                    direction: Direction::Server,
                    protocol,
                    source: Ends::within(&[]).with(&port),
                    destination: Ends::within(&self.inside()),
                });
            }
            let server = Ends::except(&self.own).with(&port);
            halves.extend(both_ways(Leg::Dns, Side::Wire, protocol, Ends::within(&self.own), server));
        }
        if !self.pod.has(Role::Dns) {
            notes.push("lo: the rules redirect no DNS, so that dns has no leg there".to_owned());
        }
        halves
    }

    fn inbound_app(&self, notes: &mut Vec<String>) -> Vec<Half> {
        let tcp = |client, server| both_ways(Leg::InboundApp, Side::Lo, Protocol::Tcp, client, server);
        let mut halves = Vec::new();
        if !self.passthrough.is_empty() {
            let server = Ends::within(&self.inside()).with(&self.application());
            halves.extend(tcp(Ends::within(&self.passthrough), server));
        }
        let spoofs = self.pod.spoofs();
        if self.passthrough.is_empty() && !self.pod.always_spoofs() {
            // The proxy has no address of its own: the pod's, or 127.0.0.1.
            let server = Ends::within(&self.inside()).with(&self.application());
            halves.extend(tcp(Ends::within(&self.inside()), server));
            notes.push(
                "lo: the proxy has no address of its own towards the application; connections between the pod's own \
                 addresses (local) look like inbound-app, and are kept"
                    .to_owned(),
            );
        }
        if spoofs {
            halves.extend(tcp(Ends::except(&self.loopback), Ends::within(&self.own).with(&self.application())));
            notes.push(
                "lo: the proxy may bear the client's address, the pod's own if the pod calls itself; the application's own \
                 calls to its pod's address (local) look like inbound-app, and are kept"
                    .to_owned(),
            );
            if self.pod.ports.is_empty() {
                notes.push(
                    "lo: without --port, inbound-app cannot be told from replies of outbound-app, and both are kept"
                        .to_owned(),
                );
            }
        }
        halves
    }

    /// Ports at which peers call the pod.
    fn called(&self) -> Numbers {
        let asked = if !self.pod.ports.is_empty() {
            self.pod.ports.clone()
        } else if self.pod.redirected.is_empty() {
            return Numbers::all();
        } else {
            self.pod.redirected.clone()
        };
        Numbers::from_ranges([asked.ranges(), self.pod.tunnels().ranges()].concat())
    }

    /// Whether the port at the pod's end tells who opened a leg.
    fn sides_differ(&self) -> bool {
        self.called().ports().count() <= FEW
    }

    fn inbound_peer(&self) -> [Half; 2] {
        let server = Ends::within(&self.own).with(&self.called());
        both_ways(Leg::InboundPeer, Side::Wire, Protocol::Tcp, Ends::except(&self.own), server)
    }

    fn outbound_peer(&self) -> [Half; 2] {
        let mut never = [self.pod.excluded(), self.pod.tunnels()].map(|set| set.ranges().to_vec()).concat();
        if self.sides_differ() {
            never.extend(self.called().ranges());
        }
        let mut ports = Numbers::from_ranges(never).complement().ports();
        if let Some((first, last)) = self.pod.local_ports {
            ports = ports.intersection(&Numbers::from_ranges(vec![(first.into(), last.into())]));
        }
        let client = Ends::within(&self.own).with(&ports);
        both_ways(Leg::OutboundPeer, Side::Wire, Protocol::Tcp, client, Ends::except(&self.own))
    }
}

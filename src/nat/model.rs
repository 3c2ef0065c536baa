//! The rules reduced to what a capture shows of them: the listeners of the proxy, and its own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A transport protocol that nat rules redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name as the report writes it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// The number in the IP header (IANA).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

/// What a leg carries, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The application to the proxy, redirected on its way out.
    OutboundApp,
    /// The proxy to the peer, on the wire.
    OutboundPeer,
    /// The peer to the proxy, on the wire.
    InboundPeer,
    /// The proxy to the application.
    InboundApp,
    /// The proxy to its own pod's inbound listener.
    SelfCall,
    /// The application to the proxy's DNS listener.
    Dns,
    /// A client to the gateway, on the wire.
    Downstream,
    /// The gateway to a service, on the wire.
    Upstream,
    /// Inside the pod, not redirected.
    Local,
    /// On the wire, not known to be the pod's.
    Network,
}

impl Role {
    /// All that legs can have, as the report's documentation lists them.
    pub const ALL: [Role; 10] = [
        Role::OutboundApp,
        Role::OutboundPeer,
        Role::InboundPeer,
        Role::InboundApp,
        Role::SelfCall,
        Role::Dns,
        Role::Downstream,
        Role::Upstream,
        Role::Local,
        Role::Network,
    ];

    /// The name as the report writes it.
    pub fn name(self) -> &'static str {
        match self {
            Role::OutboundApp => "outbound-app",
            Role::OutboundPeer => "outbound-peer",
            Role::InboundPeer => "inbound-peer",
            Role::InboundApp => "inbound-app",
            Role::SelfCall => "self-call",
            Role::Dns => "dns",
            Role::Downstream => "downstream",
            Role::Upstream => "upstream",
            Role::Local => "local",
            Role::Network => "network",
        }
    }

    /// What the name means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Role::OutboundApp => "app to proxy",
            Role::OutboundPeer => "proxy to peer",
            Role::InboundPeer => "peer to proxy",
            Role::InboundApp => "proxy to app",
            Role::SelfCall => "proxy to its own pod",
            Role::Dns => "app to the proxy's DNS",
            Role::Downstream => "client to gateway",
            Role::Upstream => "gateway to service",
            Role::Local => "inside the pod",
            Role::Network => "on the wire",
        }
    }

    /// Whether such a leg is seen on the wire; the others stay inside the pod.
    pub fn is_on_wire(self) -> bool {
        match self {
            Role::OutboundPeer | Role::InboundPeer | Role::Downstream | Role::Upstream | Role::Network => true,
            Role::OutboundApp | Role::InboundApp | Role::SelfCall | Role::Dns | Role::Local => false,
        }
    }
}

/// A socket to which nat rules in the OUTPUT hook send connections, and what is sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The protocol that is redirected.
    pub protocol: Protocol,
    /// The address that DNAT writes; none: 127.0.0.1 or ::1, which REDIRECT in OUTPUT writes.
    pub address: Option<IpAddr>,
    /// The port that the rules write; none: it stays, and an address alone tells nothing.
    pub port: Option<u16>,
    /// What a leg to this listener is.
    pub role: Role,
    /// Whether nothing else can be there: the rules say so, or only meshes use the port.
    pub sure: bool,
}

/// The nat rules of a pod, reduced to what a capture shows of them.
///
/// It is where to look, not what is true: what was redirected is proven by the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Where the rules redirect to. REDIRECT in the OUTPUT hook writes a loopback address
    /// (`nf_nat_redirect.c`: 127.0.0.1 or ::1).
    pub listeners: Vec<Listener>,
    /// The addresses that the proxy connects to the application from; the rules let them pass.
    pub passthrough: Vec<IpAddr>,
    /// How connections that come in reach the proxy.
    pub inbound: Inbound,
}

/// How connections that come in reach the proxy. tcpdump shows none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// By REDIRECT in PREROUTING.
    Redirect,
    /// By TPROXY: the proxy may use the client's own address towards the application, on lo.
    Tproxy,
    /// Not at all.
    Direct,
}

impl Model {
    /// What the meshes redirect to by default, all of them: their listeners do not contradict each other.
    pub fn usual() -> Model {
        use Protocol::{Tcp, Udp};
        let listener = |protocol, port, role| Listener {
            protocol,
            address: None,
            port: Some(port),
            role,
            // 4140 and 8600 are other software's as well.
            sure: port > 15_000,
        };
        Model {
            listeners: vec![
                listener(Tcp, 4140, Role::OutboundApp),
                listener(Tcp, 8600, Role::Dns),
                listener(Tcp, 15001, Role::OutboundApp),
                listener(Tcp, 15003, Role::SelfCall),
                listener(Tcp, 15006, Role::SelfCall),
                listener(Tcp, 15053, Role::Dns),
                listener(Udp, 8600, Role::Dns),
                listener(Udp, 15053, Role::Dns),
            ],
            passthrough: vec![
                IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
                IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
            ],
            inbound: Inbound::Redirect,
        }
    }

    /// These rules, and what other rules know: where rules are stale, packets still tell what happened.
    pub fn or(mut self, other: Model) -> Model {
        for listener in other.listeners {
            let is_known =
                |l: &Listener| (l.protocol, l.address, l.port) == (listener.protocol, listener.address, listener.port);
            if !self.listeners.iter().any(is_known) {
                self.listeners.push(listener);
            }
        }
        for address in other.passthrough {
            if !self.passthrough.contains(&address) {
                self.passthrough.push(address);
            }
        }
        self
    }

    /// The listener that a packet to `destination` was redirected to, unless it was sent there directly.
    pub fn listener(&self, protocol: Protocol, destination: SocketAddr) -> Option<&Listener> {
        self.listeners.iter().find(|l| {
            l.protocol == protocol
                && l.port.is_none_or(|port| port == destination.port())
                && l.address.map_or_else(|| is_redirect_address(destination.ip()), |a| a == destination.ip())
        })
    }

    /// The listener of a port that only a mesh uses, wherever it is: a bridge in the pod redirects to its own address, and
    /// its interfaces show that.
    pub fn port(&self, protocol: Protocol, port: u16) -> Option<&Listener> {
        self.listeners.iter().find(|l| l.sure && l.protocol == protocol && l.port == Some(port))
    }

    /// Whether the proxy uses `address` as its own on the way to the application.
    pub fn is_passthrough(&self, address: IpAddr) -> bool {
        self.passthrough.contains(&address)
    }
}

/// Whether REDIRECT in the OUTPUT hook writes this address.
pub fn is_redirect_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a == Ipv4Addr::LOCALHOST,
        IpAddr::V6(a) => a == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::PRESETS;

    fn role(protocol: Protocol, destination: &str) -> Option<Role> {
        let destination = destination.parse().expect("an address in the test's own table");
        Model::usual().listener(protocol, destination).map(|l| l.role)
    }

    #[test]
    fn redirected_is_to_loopback_only() {
        assert_eq!(role(Protocol::Tcp, "127.0.0.1:15001"), Some(Role::OutboundApp));
        assert_eq!(role(Protocol::Tcp, "[::1]:15006"), Some(Role::SelfCall));
        assert_eq!(role(Protocol::Udp, "127.0.0.1:15053"), Some(Role::Dns));
        assert_eq!(role(Protocol::Tcp, "127.0.0.1:15053"), Some(Role::Dns));
        assert_eq!(role(Protocol::Udp, "127.0.0.1:15001"), None);
        assert_eq!(role(Protocol::Tcp, "127.0.0.1:8080"), None);
        assert_eq!(role(Protocol::Tcp, "10.0.0.1:15001"), None);
        assert_eq!(role(Protocol::Tcp, "127.0.0.2:15001"), None);
    }

    /// The list is by hand, for a fast start; the presets are what it has to agree with.
    #[test]
    fn usual_is_what_the_presets_have() {
        let key = |l: &Listener| (l.protocol, l.address, l.port, l.role);
        let usual: Vec<_> = Model::usual().listeners.iter().map(key).collect();
        let mut presets: Vec<_> = Vec::new();
        for preset in PRESETS {
            let model = Model::from_rules(&preset.ruleset());
            presets.extend(model.listeners.iter().map(key));
            assert!(model.passthrough.iter().all(|a| Model::usual().is_passthrough(*a)), "{}", preset.name);
        }
        presets.sort_by_key(|l| (l.0, l.2));
        presets.dedup();
        assert_eq!(usual, presets);
    }

    #[test]
    fn rules_come_first_and_the_usual_ones_behind() {
        let own = Listener { port: Some(15001), role: Role::Dns, ..Model::usual().listeners[0] };
        let rules = Model { listeners: vec![own], passthrough: Vec::new(), inbound: Inbound::Direct };
        let both = rules.or(Model::usual());
        assert_eq!(both.listeners.len(), Model::usual().listeners.len());
        let to = "127.0.0.1:15001".parse().expect("an address");
        assert_eq!(both.listener(Protocol::Tcp, to), Some(&own));
    }
}

//! The legs that can be asked for.

use crate::nat::Role;

/// A leg, by the names that the report has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// The application to the proxy, redirected on its way out: plaintext.
    OutboundApp,
    /// The proxy to the peer: mTLS.
    OutboundPeer,
    /// The peer to the proxy: mTLS.
    InboundPeer,
    /// The proxy to the application: plaintext.
    InboundApp,
    /// The proxy to its own pod, redirected.
    SelfCall,
    /// The application to the proxy's DNS, and the proxy to the nameserver.
    Dns,
    /// A client outside to the gateway.
    Downstream,
    /// A client inside to the gateway; told from upstream by the gateway's ports alone.
    DownstreamInside,
    /// The gateway to a service inside.
    Upstream,
}

impl Leg {
    /// The legs of a sidecar.
    pub const SIDECAR: [Leg; 6] =
        [Leg::OutboundApp, Leg::OutboundPeer, Leg::InboundPeer, Leg::InboundApp, Leg::SelfCall, Leg::Dns];
    /// The legs of a gateway.
    pub const GATEWAY: [Leg; 3] = [Leg::Downstream, Leg::DownstreamInside, Leg::Upstream];

    /// The name as typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Leg::OutboundApp => Role::OutboundApp.name(),
            Leg::OutboundPeer => Role::OutboundPeer.name(),
            Leg::InboundPeer => Role::InboundPeer.name(),
            Leg::InboundApp => Role::InboundApp.name(),
            Leg::SelfCall => Role::SelfCall.name(),
            Leg::Dns => Role::Dns.name(),
            Leg::Downstream => Role::Downstream.name(),
            Leg::DownstreamInside => "downstream-inside",
            Leg::Upstream => Role::Upstream.name(),
        }
    }

    /// What the name means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Leg::OutboundApp => "application to proxy, plaintext, on lo",
            Leg::OutboundPeer => "proxy to peer, mTLS, on the wire",
            Leg::InboundPeer => "peer to proxy, mTLS, on the wire",
            Leg::InboundApp => "proxy to application, plaintext, on lo",
            Leg::SelfCall => "proxy to its own pod, on lo",
            Leg::Dns => "application to the proxy's DNS, on lo; proxy to nameserver, on the wire",
            Leg::Downstream => "client outside to gateway",
            Leg::DownstreamInside => "client inside to gateway, by the gateway's ports",
            Leg::Upstream => "gateway to service inside",
        }
    }

    /// The leg of a name.
    pub fn named(name: &str) -> Option<Leg> {
        Leg::SIDECAR.into_iter().chain(Leg::GATEWAY).find(|leg| leg.name() == name)
    }
}

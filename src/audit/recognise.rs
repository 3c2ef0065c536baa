//! Which mesh's default rules explain what the packets show.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::host::hosts;
use crate::capture::Timestamp;
use crate::flow::{Leg, Outcome, Reason};
use crate::nat::{Fate, Hop, Model, PRESETS, Preset, Probe, Protocol, Role, evaluate};

/// Redirections that are looked at, of different kinds.
const SAMPLES: usize = 32;

/// Ports that are remembered.
const PORTS: usize = 65_536;

/// HBONE, the tunnel of Istio's ambient mode.
const HBONE: u16 = 15008;

/// What the legs show of the rules.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// One redirection of each kind: to one listener, DNS or not, to the pod itself or not.
    samples: Vec<Sample>,
    /// How the proxy connects to the application.
    passthrough: bool,
    borrowed: bool,
    /// Ports that lo shows a connection to, on a loopback address and on the pod's own.
    loopback: HashSet<u16, RandomState>,
    own: HashSet<u16, RandomState>,
    /// Ports that connections came in to.
    incoming: HashSet<u16, RandomState>,
    hbone: bool,
    /// Whether there are connections to a port of the proxy that nothing proves to be redirected.
    unproven: bool,
    /// When lo showed the first packet of a leg, and the last.
    loopback_seen: Option<(Timestamp, Timestamp)>,
    saw_wire: bool,
    saw_gateway: bool,
}

/// A connection that was redirected.
#[derive(Debug)]
struct Sample {
    protocol: Protocol,
    client: SocketAddr,
    meant: SocketAddr,
    is_local: bool,
    to: SocketAddr,
}

impl Observed {
    pub fn leg(&mut self, leg: &Leg) {
        match leg.role {
            Role::Downstream | Role::Upstream => self.saw_gateway = true,
            Role::Network | Role::InboundPeer | Role::OutboundPeer => self.saw_wire = true,
            _ => {
                let (first, last) = self.loopback_seen.unwrap_or((leg.first_time, leg.last_time));
                self.loopback_seen = Some((first.min(leg.first_time), last.max(leg.last_time)));
            }
        }
        let port = leg.server.port();
        let note = |ports: &mut HashSet<u16, RandomState>| {
            if ports.len() < PORTS {
                ports.insert(port);
            }
        };
        match (leg.outcome, leg.role) {
            (Outcome::Repaired { destination, .. }, _) => {
                self.sample(leg, destination);
                if !leg.server.ip().is_loopback() {
                    return;
                }
                // Lo's address, given for the pod's.
                note(&mut self.loopback);
            }
            (Outcome::Left(reason), Role::OutboundApp | Role::SelfCall | Role::Dns) => {
                self.unproven |= reason != Reason::Direct;
            }
            (_, Role::InboundApp) => {
                let borrowed = !Model::usual().is_passthrough(leg.client.ip()) && !leg.client.ip().is_loopback();
                self.borrowed |= borrowed;
                self.passthrough |= !borrowed;
                note(&mut self.own);
            }
            (Outcome::Whole, Role::Local) if leg.server.ip().is_loopback() => note(&mut self.loopback),
            (Outcome::Whole, Role::Local) => note(&mut self.own),
            (_, Role::InboundPeer) => {
                self.hbone |= port == HBONE;
                note(&mut self.incoming);
            }
            (_, Role::OutboundPeer) => self.hbone |= port == HBONE,
            _ => {}
        }
    }

    fn sample(&mut self, leg: &Leg, to: SocketAddr) {
        let kind = |client: IpAddr, meant: SocketAddr| (meant.port() == 53, client == meant.ip(), client.is_loopback());
        let is_known = |s: &Sample| {
            (s.protocol, s.to) == (leg.protocol, to)
                && kind(s.client.ip(), s.meant) == kind(leg.client.ip(), leg.server)
        };
        if self.samples.len() < SAMPLES && !self.samples.iter().any(is_known) {
            let (client, meant) = (leg.client, leg.server);
            self.samples.push(Sample { protocol: leg.protocol, client, meant, is_local: leg.server_is_local, to });
        }
    }

    /// Whether anything was redirected, as far as legs show it.
    pub fn redirected(&self) -> bool {
        !self.samples.is_empty() || self.passthrough || self.borrowed
    }

    /// Whether something seems to have been redirected, without a proof.
    pub fn unproven(&self) -> bool {
        self.unproven
    }

    /// When lo showed the first packet of a leg, and the last.
    pub fn loopback_seen(&self) -> Option<(Timestamp, Timestamp)> {
        self.loopback_seen
    }

    pub fn saw_wire(&self) -> bool {
        self.saw_wire
    }

    pub fn saw_gateway(&self) -> bool {
        self.saw_gateway
    }

    /// Whether lo shows a connection to a port of the application.
    pub fn is_served(&self, port: u16) -> bool {
        self.loopback.contains(&port) || self.own.contains(&port)
    }

    /// The meshes whose default rules explain all of it, the likeliest first.
    pub fn meshes(&self) -> Vec<&'static str> {
        if !self.redirected() {
            return Vec::new();
        }
        let hops = self.hops();
        let fits = |preset: &Preset| {
            let rules = preset.ruleset();
            (hops.is_empty() || hops.contains(&preset.hop)) && self.samples.iter().all(|sample| sample.fits(&rules))
        };
        let mut meshes: Vec<&Preset> = PRESETS.iter().filter(|preset| fits(preset)).collect();
        // The tunnel is ambient's own; sidecars speak it rarely.
        meshes.sort_by_key(|preset| self.hbone && preset.name != "istio-ambient");
        meshes.into_iter().map(|preset| preset.name).collect()
    }

    /// The addresses that the proxy may have connected to the application from.
    fn hops(&self) -> Vec<Hop> {
        let served = |ports: &HashSet<u16, RandomState>| self.incoming.iter().any(|port| ports.contains(port));
        match (self.passthrough, self.borrowed) {
            (true, _) => vec![Hop::Passthrough],
            (false, true) => vec![Hop::Client],
            (false, false) => {
                let hops = [(served(&self.loopback), Hop::Loopback), (served(&self.own), Hop::Pod)];
                hops.into_iter().filter_map(|(seen, hop)| seen.then_some(hop)).collect()
            }
        }
    }
}

impl Sample {
    /// Whether rules can do this.
    fn fits(&self, rules: &crate::nat::Ruleset) -> bool {
        let probe = Probe { protocol: self.protocol, source: self.client, destination: self.meant, ..Probe::default() };
        let hosts = hosts(&[self.client.ip()], Some(self.meant.ip()).filter(|_| self.is_local));
        let mut verdicts = hosts.iter().map(|host| evaluate(rules, host, &probe));
        verdicts.any(|verdict| verdict.outcomes.iter().any(|o| o.fate == Fate::Delivered && o.destination == self.to))
    }
}

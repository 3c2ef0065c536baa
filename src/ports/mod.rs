//! The ports of the meshes: what listens there, what for, and who should reach it.
//!
//! What comes in is the name of a mesh, a port, or what `ss -tanp` printed; what goes out are rows of one table. The
//! first rows that fit are the likeliest. Nothing here says what a pod really has: its rules and sockets do.

mod label;
mod sockets;
mod table;

pub use label::label;
pub use sockets::{Socket, Sockets, listeners};
pub use table::TABLE;

use std::fmt;

use crate::nat::Preset;

/// A port of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The mesh, or the mode of one: a name of [`MESHES`].
    pub mesh: &'static str,
    /// The port.
    pub number: u16,
    /// What is spoken there.
    pub protocol: &'static str,
    /// What listens.
    pub component: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// Who should reach it.
    pub reach: Reach,
    /// What kind of traffic it carries.
    pub kind: Kind,
}

/// Who should reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing by its own address: nat rules redirect to it.
    Redirected,
    /// Processes of the same pod.
    Pod,
    /// The kubelet's probes.
    Probes,
    /// Whatever collects metrics.
    Metrics,
    /// Proxies of other pods.
    Proxies,
    /// Anything in the cluster.
    Cluster,
    /// Anything, also from outside.
    Anyone,
}

impl Reach {
    /// The name as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Reach::Redirected => "redirected",
            Reach::Pod => "pod",
            Reach::Probes => "probes",
            Reach::Metrics => "metrics",
            Reach::Proxies => "proxies",
            Reach::Cluster => "cluster",
            Reach::Anyone => "anyone",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reach::Redirected => "nobody directly: nat rules redirect to it",
            Reach::Pod => "this pod only",
            Reach::Probes => "the kubelet's probes",
            Reach::Metrics => "the collector of metrics",
            Reach::Proxies => "proxies of other pods",
            Reach::Cluster => "pods of the cluster",
            Reach::Anyone => "anyone",
        })
    }
}

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What applications say, redirected to the proxy.
    Capture,
    /// What applications say, sent from proxy to proxy.
    Tunnel,
    /// What comes to a gateway from outside.
    Entry,
    /// What the mesh itself says: administration, health, metrics, configuration.
    Control,
}

/// The meshes of the table, with what they are; the likelier ones first.
pub const MESHES: [(&str, &str); 9] = [
    ("istio", "Istio's sidecar and gateway"),
    ("istio-ambient", "Istio's ambient mode (ztunnel)"),
    ("istiod", "Istio's control plane"),
    ("istio-old", "Istio up to 1.4"),
    ("linkerd", "Linkerd"),
    ("kuma", "Kuma"),
    ("consul", "Consul's transparent proxy"),
    ("osm", "Open Service Mesh, FSM"),
    ("app-mesh", "AWS App Mesh"),
];

/// The mesh of this name, or the one whose ports the rules of a preset of this name lead to.
pub fn mesh_of_preset(name: &str) -> &str {
    Preset::named(name).map_or(name, |preset| preset.mesh)
}

/// The rows of a mesh (of all, if none is given) and a port (of all, if none is given), in the order of the table.
pub fn find(mesh: Option<&str>, number: Option<u16>) -> impl Iterator<Item = &'static Port> {
    let mesh = mesh.map(|mesh| mesh_of_preset(mesh).to_owned());
    TABLE
        .iter()
        .filter(move |port| mesh.as_deref().is_none_or(|mesh| mesh == port.mesh))
        .filter(move |port| number.is_none_or(|number| number == port.number))
}

/// The ports at which proxies of a mesh call each other directly.
pub fn tunnels(mesh: Option<&str>) -> impl Iterator<Item = u16> {
    find(mesh, None).filter(|port| port.kind == Kind::Tunnel).map(|port| port.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Model, PRESETS};

    #[test]
    fn rows_are_in_order_and_of_known_meshes() {
        let place = |port: &Port| MESHES.iter().position(|(name, _)| *name == port.mesh).expect("a mesh of MESHES");
        let keys: Vec<_> = TABLE.iter().map(|port| (place(port), port.number, port.protocol)).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a row stands there twice");
        assert!(MESHES.iter().all(|(name, _)| find(Some(name), None).next().is_some()));
    }

    #[test]
    fn every_listener_of_the_rules_has_a_row() {
        for preset in PRESETS {
            assert!(MESHES.iter().any(|(name, _)| *name == preset.mesh), "{}", preset.name);
            for listener in Model::from_rules(&preset.ruleset()).listeners {
                let mut rows = find(Some(preset.name), listener.port);
                assert!(rows.any(|row| row.kind == Kind::Capture), "{} {:?}", preset.name, listener.port);
            }
        }
    }

    #[test]
    fn a_port_of_several_meshes() {
        let meshes: Vec<&str> = find(None, Some(15001)).map(|port| port.mesh).collect();
        assert_eq!(meshes, ["istio", "istio-ambient", "kuma", "consul", "osm", "app-mesh"]);
        assert_eq!(find(Some("linkerd"), Some(15001)).count(), 0);
        assert_eq!(tunnels(Some("istio-dns")).collect::<Vec<_>>(), [15008]);
    }
}

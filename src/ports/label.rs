//! A few words on a port that an end of a leg has.

use super::{Port, TABLE, find, mesh_of_preset};
use crate::nat::Protocol;

/// Ports below it are many applications' as well: they say something only of a mesh that is known to be there.
const MESHES_OWN: u16 = 15_000;

/// Istio and what belongs to it, the likeliest first.
const ISTIO: [&str; 4] = ["istio", "istio-ambient", "istiod", "istio-old"];

/// What a port is for, as `15021 health: /healthz/ready`: of the mesh, if it is known; else Istio's, if no mesh uses the
/// port for anything else.
pub fn label(mesh: Option<&str>, protocol: Protocol, number: u16) -> Option<String> {
    let speaks = |port: &&Port| protocol == Protocol::Tcp || port.protocol == "DNS";
    let of = |mesh: &str| TABLE.iter().filter(|port| port.number == number && port.mesh == mesh).find(speaks);
    let port = match mesh.map(mesh_of_preset) {
        Some(mesh @ ("istio" | "istio-ambient")) => {
            of(mesh).or_else(|| of("istiod").filter(|port| port.number >= MESHES_OWN))
        }
        Some(mesh) => of(mesh),
        None => ISTIO
            .into_iter()
            .find_map(of)
            .filter(|port| port.number >= MESHES_OWN && find(None, Some(number)).all(|other| other.kind == port.kind)),
    }?;
    Some(format!("{number} {}", port.purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mesh: Option<&str>, number: u16) -> String {
        label(mesh, Protocol::Tcp, number).unwrap_or_default()
    }

    #[test]
    fn of_a_known_mesh_all_ports() {
        assert_eq!(told(Some("istio-dns"), 15021), "15021 health: /healthz/ready");
        assert_eq!(told(Some("istio"), 15012), "15012 configuration and certificates, TLS");
        assert_eq!(told(Some("istio"), 15000), "15000 administration: statistics, configuration, log levels");
        assert_eq!(told(Some("linkerd"), 4191), "4191 administration, metrics, health");
        // Applications listen on 8080, and istiod on 443 is as any other service.
        for (mesh, number) in [("istio", 8080), ("istio", 443), ("linkerd", 15021), ("kuma", 15021)] {
            assert_eq!(told(Some(mesh), number), "", "{mesh} {number}");
        }
    }

    #[test]
    fn of_an_unknown_mesh_only_what_is_sure() {
        assert_eq!(told(None, 15021), "15021 health: /healthz/ready");
        assert_eq!(told(None, 15012), "15012 configuration and certificates, TLS");
        assert_eq!(told(None, 15001), "15001 outbound: what the application opens");
        // App Mesh's inbound listener, Kuma's and OSM's; below 15000, anybody's.
        for number in [15000, 15010, 443, 8080, 9901, 4143, 20000] {
            assert_eq!(told(None, number), "", "{number}");
        }
    }

    #[test]
    fn udp_is_dns() {
        assert_eq!(
            label(None, Protocol::Udp, 15053).as_deref(),
            Some("15053 DNS of the application, if it is captured")
        );
        assert_eq!(label(None, Protocol::Udp, 15021), None);
    }
}

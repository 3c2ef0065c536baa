//! The rules that a mesh's installer writes by default, in our words: what is matched and done is the mesh's, chain names
//! and what cannot matter are not.
//!
//! They are kept as `iptables-save` text in `presets/`, for IPv4. For IPv6 the addresses are replaced by those that the
//! meshes use there.

use super::ruleset::{Family, Ruleset};

/// A mesh, or a mode of one, whose default rules are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name as `--mesh` takes it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The mesh whose ports its rules lead to, as the stage `ports` names it: `istio-dns` and `istio` are one.
    pub mesh: &'static str,
    /// The address that the proxy connects to the application from.
    pub hop: Hop,
    text: &'static str,
}

/// The address from which a proxy connects to the application that it serves. lo shows it, and no nat rule says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// 127.0.0.6 or ::6.
    Passthrough,
    /// 127.0.0.1 or ::1.
    Loopback,
    /// The pod's own.
    Pod,
    /// The client's own.
    Client,
}

macro_rules! preset {
    ($name:literal, $mesh:literal, $hop:ident, $about:literal) => {
        Preset {
            name: $name,
            about: $about,
            mesh: $mesh,
            hop: Hop::$hop,
            text: include_str!(concat!("presets/", $name, ".rules")),
        }
    };
}

/// All of them, the likelier ones first.
pub const PRESETS: [Preset; 10] = [
    preset!("istio", "istio", Passthrough, "Istio's sidecar"),
    preset!("istio-dns", "istio", Passthrough, "Istio's sidecar with DNS capture"),
    preset!("istio-tproxy", "istio", Client, "Istio's sidecar with inbound TPROXY"),
    preset!("istio-1.9", "istio", Loopback, "Istio's sidecar before 1.10"),
    preset!("istio-ambient", "istio-ambient", Client, "Istio's ambient mode"),
    preset!("linkerd", "linkerd", Pod, "Linkerd"),
    preset!("kuma", "kuma", Passthrough, "Kuma"),
    preset!("consul", "consul", Loopback, "Consul's transparent proxy"),
    preset!("osm", "osm", Loopback, "Open Service Mesh, FSM"),
    preset!("app-mesh", "app-mesh", Loopback, "AWS App Mesh"),
];

/// Addresses of IPv4 rules and what IPv6 rules have in their place.
const IPV6: [(&str, &str); 7] = [
    ("127.0.0.1/32", "::1/128"),
    ("127.0.0.6/32", "::6/128"),
    ("169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"),
    ("--to-destination 127.0.0.1:", "--to-destination [::1]:"),
    ("--on-ip 0.0.0.0", "--on-ip ::"),
    // The metadata services of AWS, and the one of credentials.
    ("169.254.169.254/32", "fd00:ec2::254/128"),
    ("169.254.170.2/32", "fd00:ec2::23/128"),
];

impl Preset {
    /// The preset of a name.
    pub fn named(name: &str) -> Option<Preset> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }

    /// The rules, for IPv4 and IPv6.
    pub fn ruleset(&self) -> Ruleset {
        let v4 = Ruleset::read(&format!("mesh {}", self.name), self.text.as_bytes(), Some(Family::V4));
        let text = IPV6.iter().fold(self.text.to_owned(), |text, (v4, v6)| text.replace(v4, v6));
        let v6 = Ruleset::read(&format!("mesh {} (IPv6)", self.name), text.as_bytes(), Some(Family::V6));
        // A test reads all of them.
        let (mut all, v6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
        all.append(v6);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Fate, Host, Probe, evaluate};

    #[test]
    fn all_are_read_and_understood() {
        for preset in PRESETS {
            let ruleset = preset.ruleset();
            assert_eq!(ruleset.notes, [], "{}", preset.name);
            assert_eq!(ruleset.files.len(), 2, "{}", preset.name);
            assert!(ruleset.tables.iter().any(|t| t.v4) && ruleset.tables.iter().any(|t| t.v6), "{}", preset.name);
            assert!(ruleset.tables.iter().flat_map(|t| &t.chains).any(|c| !c.rules.is_empty()), "{}", preset.name);
        }
    }

    /// Where an application's connection to a service ends, and one from a peer to the application's port 8080.
    #[test]
    fn what_they_redirect() {
        let table = [
            ("istio", "15001", "15006"),
            ("istio-dns", "15001", "15006"),
            ("istio-tproxy", "15001", "proxied 15006"),
            ("istio-1.9", "15001", "15006"),
            ("istio-ambient", "15001", "15006"),
            ("linkerd", "4140", "4143"),
            ("kuma", "15001", "15006"),
            ("consul", "15001", "20000"),
            ("osm", "15001", "15003"),
            ("app-mesh", "15001", "15000"),
        ];
        assert_eq!(table.len(), PRESETS.len());
        for (name, outbound, inbound) in table {
            let ruleset = Preset::named(name).expect("a preset of the table").ruleset();
            for (pod, service, peer) in
                [("10.0.0.7", "10.96.0.1", "10.0.0.9"), ("[fd00::7]", "[fd00:96::1]", "[fd00::9]")]
            {
                let known = |text: String| {
                    let probe: Probe = text.parse().expect("a probe of the test");
                    Probe { uid: Some(1000), gid: Some(1000), mark: Some(0), ..probe }
                };
                let end = |probe: Probe| {
                    let verdict = evaluate(&ruleset, &Host::of(&probe), &probe);
                    assert_eq!(verdict.outcomes.len(), 1, "{name} {probe}");
                    match &verdict.outcomes[0].fate {
                        Fate::Proxied { port, .. } => format!("proxied {port}"),
                        Fate::Delivered => verdict.outcomes[0].destination.port().to_string(),
                        other => format!("{other:?}"),
                    }
                };
                assert_eq!(end(known(format!("tcp {pod}:40000 -> {service}:80"))), outbound, "{name} {pod}");
                let incoming = known(format!("tcp {peer}:40000 -> {pod}:8080"));
                assert_eq!(end(Probe { input: Some("eth0".to_owned()), ..incoming }), inbound, "{name} {pod}");
            }
        }
    }
}

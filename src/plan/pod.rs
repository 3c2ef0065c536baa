//! A pod with a sidecar, as far as a plan has to know it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::nat::{
    Action, Family, Fate, Host, Inbound, Interface, Listener, Model, Numbers, Outcome, Probe, Protocol, Role, RuleId,
    Ruleset, Step, Test, evaluate,
};
use crate::ports;

/// Ports that tests of the rules name, at most; with more, exclusions are not looked at.
const BOUNDARIES: usize = 1024;

/// Nameservers that are told apart, at most.
const NAMESERVERS: usize = 64;

/// More redirected ports than this: all but some.
const NEARLY_ALL: u64 = 60_000;

/// What is known of a pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports of its applications; empty: not known.
    pub ports: Numbers,
    /// The range of ports that it opens connections from (`net.ipv4.ip_local_port_range`), if it is known.
    pub local_ports: Option<(u16, u16)>,
    /// The mesh, if its rules are a preset.
    pub mesh: Option<String>,
    /// Its nat rules, reduced.
    pub model: Model,
    /// Ports at which incoming TCP is redirected to the proxy.
    pub redirected: Numbers,
    /// Ports to which outgoing TCP is not redirected, whoever opens it.
    pub direct: Numbers,
    /// Whether a connection to the pod's own address is redirected as any other outgoing one.
    pub own_calls_outbound: bool,
    /// Whether some DNS over TCP goes the way of other outgoing TCP.
    pub dns_outbound: bool,
    /// The nameservers of which it does not.
    pub nameservers: Vec<IpAddr>,
}

impl Pod {
    /// The pod with these addresses, on an interface, and these rules.
    pub fn new(addresses: &[IpAddr], interface: &str, rules: &Ruleset, mesh: Option<&str>) -> Pod {
        let mut pod = Pod {
            addresses: addresses.to_vec(),
            ports: Numbers::default(),
            local_ports: None,
            mesh: mesh.map(str::to_owned),
            model: Model::from_rules(rules),
            redirected: Numbers::default(),
            direct: Numbers::default(),
            own_calls_outbound: false,
            dns_outbound: true,
            nameservers: Vec::new(),
        };
        let Some(&own) = addresses.first() else { return pod };
        let host = Host {
            interfaces: vec![Interface { name: interface.to_owned(), addresses: addresses.to_vec() }],
            loopback: Vec::new(),
        };
        let to = |source: IpAddr, destination: IpAddr, port: u16, input: Option<&str>| {
            let probe = Probe {
                protocol: Protocol::Tcp,
                source: SocketAddr::new(source, 40_000),
                destination: SocketAddr::new(destination, port),
                input: input.map(str::to_owned),
                ..Probe::default()
            };
            let verdict = evaluate(rules, &host, &probe);
            // The port that a rule writes, even if it was there before, or the transparent socket's.
            let port = |outcome: &Outcome| match &outcome.fate {
                Fate::Proxied { port, .. } => Some(*port),
                _ => outcome.rule.filter(|id| redirects(rules, *id)).map(|_| outcome.destination.port()),
            };
            verdict.outcomes.iter().filter_map(port).collect::<Vec<u16>>()
        };
        let other = foreign(own);
        let ranges = ranges(rules, Family::of(own));
        let some = |keep: &dyn Fn(u16) -> bool| {
            Numbers::from_ranges(ranges.iter().copied().filter(|(first, _)| keep(*first as u16)).collect())
        };
        pod.redirected = some(&|port| !to(other, own, port, Some(interface)).is_empty());
        pod.direct = some(&|port| to(own, other, port, None).is_empty());
        let outbound: Vec<u16> =
            pod.listeners(Role::OutboundApp, Protocol::Tcp).filter_map(|listener| listener.port).collect();
        pod.own_calls_outbound = to(own, own, 8080, None).iter().any(|port| outbound.contains(port));
        pod.dns_outbound = to(own, other, 53, None).iter().any(|port| outbound.contains(port));
        let captured = |address: &IpAddr| {
            let Some(own) = addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4()) else { return false };
            let ports = to(*own, *address, 53, None);
            !ports.is_empty() && !ports.iter().any(|port| outbound.contains(port))
        };
        pod.nameservers = nameservers(rules).into_iter().filter(captured).collect();
        pod
    }

    /// The listeners of a role and a protocol.
    pub fn listeners(&self, role: Role, protocol: Protocol) -> impl Iterator<Item = &Listener> {
        self.model.listeners.iter().filter(move |l| l.role == role && l.protocol == protocol)
    }

    /// Whether the rules redirect to a listener of a role.
    pub fn has(&self, role: Role) -> bool {
        self.model.listeners.iter().any(|listener| listener.role == role)
    }

    /// Whether the proxy may come to the application with the client's own address.
    pub fn spoofs(&self) -> bool {
        let unknown = self.mesh.is_none() && self.model.passthrough.is_empty();
        self.model.inbound == Inbound::Tproxy || self.always_spoofs() || unknown
    }

    /// Whether it does nothing else.
    pub fn always_spoofs(&self) -> bool {
        self.mesh.as_deref() == Some("istio-ambient")
    }

    /// Ports at which proxies of other pods call this one, whatever the application's are.
    pub fn tunnels(&self) -> Numbers {
        // Of rules that are not a preset the mesh is not known: a tunnel of any mesh can be meant if the rules leave
        // its port alone or write it.
        let mesh = self.mesh.as_deref();
        let meant =
            |port: &u16| mesh.is_some() || !self.redirected.contains((*port).into()) && self.redirects_nearly_all();
        Numbers::from_ranges(ports::tunnels(mesh).filter(meant).map(|port| (port.into(), port.into())).collect())
    }

    /// Ports at which incoming TCP is not redirected, where they are the exception.
    pub fn excluded(&self) -> Numbers {
        if self.redirects_nearly_all() { self.redirected.complement().ports() } else { Numbers::default() }
    }

    fn redirects_nearly_all(&self) -> bool {
        self.redirected.ports().count() > NEARLY_ALL
    }
}

fn redirects(rules: &Ruleset, id: RuleId) -> bool {
    let writes = |step: &Step| matches!(step, Step::Do(Action::Redirect(_) | Action::Dnat(_)));
    rules.rule(id).steps.iter().any(writes)
}

/// An address of the same family that is not the pod's.
fn foreign(own: IpAddr) -> IpAddr {
    // TEST-NET-3 (RFC 5737) and the documentation prefix (RFC 3849).
    if own.is_ipv4() {
        Ipv4Addr::new(203, 0, 113, 80).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80).into()
    }
}

/// Single addresses that rules name beside port 53.
fn nameservers(rules: &Ruleset) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for rule in rules.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules) {
        let tests = || rule.steps.iter().filter_map(|step| if let Step::Match(m) = step { Some(m) } else { None });
        if !tests().any(|m| matches!(&m.test, Test::DestinationPort(ports) if !m.negated && ports.contains(53))) {
            continue;
        }
        for test in tests().filter(|m| !m.negated) {
            if let Test::Destination(addresses) = &test.test {
                let single = addresses.0.iter().filter(|(first, last, _)| first == last).map(|(first, ..)| *first);
                found.extend(single.filter(|address| !address.is_loopback()));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(NAMESERVERS);
    found
}

/// The ports cut where a test of the rules can change its answer.
fn ranges(rules: &Ruleset, family: Family) -> Vec<(u32, u32)> {
    let mut starts = vec![0, 53, 54];
    let tables = rules.tables.iter().filter(|table| table.sees(family));
    for step in tables.flat_map(|t| &t.chains).flat_map(|c| &c.rules).flat_map(|r| &r.steps) {
        if let Step::Match(test) = step
            && let Test::DestinationPort(set) | Test::EitherPort(set) = &test.test
        {
            starts.extend(set.ranges().iter().flat_map(|&(first, last)| [first, last.saturating_add(1)]));
        }
    }
    starts.retain(|start| *start <= 65535);
    starts.sort_unstable();
    starts.dedup();
    if starts.len() > BOUNDARIES {
        starts.truncate(1);
    }
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([65535]);
    starts.iter().copied().zip(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Preset;

    fn pod(mesh: &str, address: &str) -> Pod {
        let rules = Preset::named(mesh).expect("a preset").ruleset();
        Pod::new(&[address.parse().expect("an address")], "eth0", &rules, Some(mesh))
    }

    #[test]
    fn what_the_presets_exclude() {
        for (mesh, excluded, direct, tunnels) in [
            ("istio", "15008,15020-15021,15090", "", "15008"),
            ("istio-dns", "15008,15020-15021,15090", "", "15008"),
            ("istio-tproxy", "15008,15020-15021,15090", "", "15008"),
            ("istio-ambient", "15008", "", "15008"),
            ("linkerd", "4190-4191,4567-4568", "4567-4568", "4143"),
            ("kuma", "", "53", ""),
            ("consul", "", "", "20000"),
        ] {
            for address in ["10.0.0.7", "fd00::7"] {
                let pod = pod(mesh, address);
                assert_eq!(pod.excluded().to_string(), excluded, "{mesh} {address}");
                assert_eq!(pod.direct.to_string(), direct, "{mesh} {address}");
                assert_eq!(pod.tunnels().to_string(), tunnels, "{mesh} {address}");
                assert_eq!(pod.own_calls_outbound, mesh == "consul", "{mesh} {address}");
            }
        }
        assert!(!pod("istio-dns", "10.0.0.7").dns_outbound && pod("istio", "10.0.0.7").dns_outbound);
    }

    #[test]
    fn exclusions_of_a_pod_that_are_not_the_presets() {
        let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
            -A PREROUTING -p tcp -m multiport --dports 22,9000:9010 -j RETURN\n\
            -A PREROUTING -i net1 -p tcp -j REDIRECT --to-ports 16006\n\
            -A OUTPUT -m owner --uid-owner 1337 -j RETURN\n-A OUTPUT -p tcp -m tcp --dport 3306 -j RETURN\n\
            -A OUTPUT -p tcp -j REDIRECT --to-ports 16001\nCOMMIT\n";
        let rules = Ruleset::read("rules", text.as_bytes(), Some(Family::V4)).expect("rules");
        let pod = |interface| Pod::new(&["10.0.0.7".parse().expect("an address")], interface, &rules, None);
        assert_eq!(pod("eth0").redirected, Numbers::default(), "rules of another interface");
        let pod = pod("net1");
        assert_eq!(pod.excluded().to_string(), "22,9000-9010");
        assert_eq!(pod.direct.to_string(), "3306");
        assert_eq!(pod.listeners(Role::OutboundApp, Protocol::Tcp).filter_map(|l| l.port).collect::<Vec<_>>(), [16001]);
    }
}

//! The first packet of a connection, and the host that it meets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::model::Protocol;
use super::ruleset::Family;

/// The first packet of a connection, and what is known about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Where the packet comes from, as its sender wrote it.
    pub source: SocketAddr,
    /// Where the packet goes, as its sender wrote it.
    pub destination: SocketAddr,
    /// The user of the socket that sends it; only for packets that this host sends.
    pub uid: Option<u32>,
    /// The group of the socket that sends it.
    pub gid: Option<u32>,
    /// The packet's mark. A packet that comes in by an interface has none (0) unless it is given.
    pub mark: Option<u32>,
    /// The interface that it comes in by; none: a socket of this host sends it.
    pub input: Option<String>,
    /// The interface that it leaves by; none: the route says it.
    pub output: Option<String>,
    /// Whether a socket is bound to the destination (`-m socket`); none: not known.
    pub socket: Option<bool>,
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(typed: &str) -> Result<Probe, String> {
        let wrong = || format!("`{typed}` is not of the form 'tcp 10.0.0.1:40000 -> 10.0.0.2:80'");
        let spaced = typed.replace("->", " -> ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let [protocol, source, "->" | ">", destination] = words[..] else { return Err(wrong()) };
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(format!("`{protocol}` is neither tcp nor udp")),
        };
        let endpoint = |text: &str| {
            text.parse::<SocketAddr>().map_err(|_| format!("`{text}` is not of the form 10.0.0.1:80 or [::1]:80"))
        };
        let (source, destination) = (endpoint(source)?, endpoint(destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err("one address is IPv4, the other IPv6".to_owned());
        }
        Ok(Probe { protocol, source, destination, ..Probe::default() })
    }
}

impl Default for Probe {
    /// A TCP packet from nowhere to nowhere, of which nothing is known.
    fn default() -> Probe {
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Probe {
            protocol: Protocol::Tcp,
            source: nowhere,
            destination: nowhere,
            uid: None,
            gid: None,
            mark: None,
            input: None,
            output: None,
            socket: None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.protocol.name(), self.source, self.destination)
    }
}

/// A network interface and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, the primary one of each family first.
    pub addresses: Vec<IpAddr>,
}

/// What a verdict needs to know about the host: its interfaces. lo is there by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The interfaces other than lo; packets to other hosts leave by the first one.
    pub interfaces: Vec<Interface>,
    /// Further addresses of lo.
    pub loopback: Vec<IpAddr>,
}

impl Host {
    /// The host that a probe shows: one interface, with the address that the probe comes from or, if it comes in or is
    /// from an address of lo, goes to.
    pub fn of(probe: &Probe) -> Host {
        // lo has 127.0.0.0/8 and ::1 without being told.
        let is_of_lo = |address: IpAddr| address.is_loopback() || is_proxy_address(address);
        // From an address of lo only the pod's own addresses can be reached.
        let own = match (&probe.input, probe.source.ip()) {
            (None, source) if !is_of_lo(source) => source,
            _ => probe.destination.ip(),
        };
        let outside = |name: &&String| name.as_str() != "lo";
        let name = probe.input.as_ref().filter(outside).or(probe.output.as_ref().filter(outside));
        let name = name.cloned().unwrap_or_else(|| "eth0".to_owned());
        let addresses = if is_of_lo(own) { Vec::new() } else { vec![own] };
        let loopback =
            [probe.source.ip(), probe.destination.ip()].into_iter().filter(|a| is_proxy_address(*a)).collect();
        Host { interfaces: vec![Interface { name, addresses }], loopback }
    }

    /// Whether packets to an address stay here.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self.loopback.contains(&address)
            || self.interfaces.iter().any(|i| i.addresses.contains(&address))
    }

    /// The interface that packets to an address leave by.
    pub fn route(&self, address: IpAddr) -> String {
        match self.interfaces.first() {
            Some(interface) if !self.is_local(address) => interface.name.clone(),
            _ => "lo".to_owned(),
        }
    }

    /// Whether the addresses of an interface are known.
    pub(super) fn knows(&self, interface: &str) -> bool {
        interface == "lo" || self.interfaces.iter().any(|i| i.name == interface && !i.addresses.is_empty())
    }

    /// The address that REDIRECT writes in OUTPUT.
    pub(super) fn loopback_of(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The address that REDIRECT writes in PREROUTING for packets that come in by an interface: its first one, for IPv6
    /// of the destination's scope if there is one (`nf_nat_redirect.c`).
    pub(super) fn redirected(&self, interface: &str, destination: IpAddr) -> Option<IpAddr> {
        if interface == "lo" {
            return Some(Host::loopback_of(Family::of(destination)));
        }
        let alike = |a: &IpAddr| is_link_local(*a) == is_link_local(destination);
        self.of_interface(interface, destination)
            .find(alike)
            .or_else(|| self.of_interface(interface, destination).next())
    }

    /// The source that MASQUERADE writes for packets that leave by an interface: its first address. lo has none for
    /// this purpose but of IPv6: there the destination itself, which is lo's (`inet_select_addr`,
    /// `ipv6_dev_get_saddr`).
    pub(super) fn masqueraded(&self, interface: &str, destination: IpAddr) -> Option<IpAddr> {
        if interface != "lo" {
            return self.redirected(interface, destination);
        }
        match destination {
            IpAddr::V4(_) => self.interfaces.iter().find_map(|i| self.of_interface(&i.name, destination).next()),
            IpAddr::V6(_) => Some(destination),
        }
    }

    /// The addresses of an interface of one family.
    fn of_interface(&self, interface: &str, family: IpAddr) -> impl Iterator<Item = IpAddr> {
        let found = self.interfaces.iter().find(|i| i.name == interface);
        let all = found.map(|i| i.addresses.as_slice()).unwrap_or_default();
        all.iter().copied().filter(move |a| a.is_ipv4() == family.is_ipv4())
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// Whether it is ::6, which Istio adds to lo beside ::1.
fn is_proxy_address(address: IpAddr) -> bool {
    address == IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_as_typed() {
        let probe: Probe = "tcp 172.21.206.227:40000 -> 10.96.0.10:80".parse().expect("a probe");
        assert_eq!(probe.to_string(), "tcp 172.21.206.227:40000 -> 10.96.0.10:80");
        assert!("udp [fd00::1]:1 > [::1]:53".parse::<Probe>().is_ok());
        assert!("udp 10.0.0.1:1->10.0.0.2:53".parse::<Probe>().is_ok());
        for wrong in
            ["", "tcp a -> b", "icmp 1.1.1.1:1 -> 2.2.2.2:2", "tcp 1.1.1.1:1 -> [::1]:2", "tcp 1.1.1.1:1 2.2.2.2:2"]
        {
            assert!(wrong.parse::<Probe>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirect_takes_an_address_of_the_scope() {
        let addresses = ["fe80::7", "fd00::7", "10.0.0.7"].map(|a| a.parse().expect("an address"));
        let host = Host {
            interfaces: vec![Interface { name: "eth0".to_owned(), addresses: addresses.to_vec() }],
            loopback: Vec::new(),
        };
        let redirected = |to: &str| host.redirected("eth0", to.parse().expect("an address")).map(|a| a.to_string());
        assert_eq!(redirected("fd00::99").as_deref(), Some("fd00::7"));
        assert_eq!(redirected("fe80::99").as_deref(), Some("fe80::7"));
        assert_eq!(redirected("10.9.9.9").as_deref(), Some("10.0.0.7"));
    }

    #[test]
    fn from_an_address_of_lo_only_the_pod_is_reached() {
        for typed in ["tcp 127.0.0.6:1 -> 10.244.1.7:8080", "tcp [::6]:1 -> [fd00::7]:8080"] {
            let probe: Probe = typed.parse().expect("a probe");
            assert_eq!(Host::of(&probe).route(probe.destination.ip()), "lo", "{typed}");
        }
    }

    #[test]
    fn the_host_that_a_probe_shows() {
        let probe: Probe = "tcp 172.21.206.227:40000 -> 10.96.0.10:80".parse().expect("a probe");
        let host = Host::of(&probe);
        assert!(host.is_local(probe.source.ip()) && !host.is_local(probe.destination.ip()));
        assert_eq!(host.route(probe.destination.ip()), "eth0");
        assert_eq!(host.route(probe.source.ip()), "lo");
    }
}

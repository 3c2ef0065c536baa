//! Packets of a half, with what it leaves open at several values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::half::{Direction, Ends, Half, Side};
use super::tcpdump::Constants;
use crate::nat::{Cidr, Numbers, Protocol};
use crate::ports;

/// Ports of clients: what they get by default (`ip_local_port_range`).
const CLIENTS: [u16; 3] = [32768, 40000, 60999];
/// What they get where that range is as wide as it can be.
const RARE_CLIENTS: [u16; 2] = [1024, 65535];
/// Ports of services.
const SERVICES: [u16; 5] = [80, 443, 3306, 8080, 50051];

/// Values of one port or address that are tried, at most.
const MOST: usize = 28;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    /// Some octets of data.
    Data,
    /// A TCP segment without data, with these flags.
    Flags(u8, &'static str),
    /// Much data.
    Large,
    /// A fragment of a datagram that is not its first.
    Fragment,
}

/// TCP flags (RFC 9293, section 3.1).
const FLAGS: [(u8, &str); 5] = [(0x02, "SYN"), (0x12, "SYN, ACK"), (0x10, "ACK"), (0x11, "FIN, ACK"), (0x04, "RST")];

/// A packet of a half.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    source: SocketAddr,
    destination: SocketAddr,
    /// What it is.
    pub aspect: Aspect,
    /// Whether packets of this half are mostly like it.
    pub usual: bool,
    /// Its octets, from the Ethernet header on.
    pub frame: Vec<u8>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.source, self.destination)?;
        match self.aspect {
            Aspect::Data => Ok(()),
            Aspect::Flags(_, name) => write!(f, " ({name})"),
            Aspect::Large => f.write_str(" (a large one)"),
            Aspect::Fragment => f.write_str(" (a later fragment, which has no ports)"),
        }
    }
}

/// Packets of a half. `listeners` are ports of the proxy: a filter that names them means no service.
pub(super) fn samples(half: &Half, named: &Constants, listeners: &[u16]) -> Vec<Sample> {
    let client = half.direction == Direction::Client;
    let (from, to) = (&half.source, &half.destination);
    let (sources, destinations) = (addresses(from, named), addresses(to, named));
    let (from, to) = (ports(&from.ports, named, listeners, client), ports(&to.ports, named, listeners, !client));
    let mut samples = Vec::new();
    let pairs = sources.iter().flat_map(|s| destinations.iter().map(move |d| (*s, *d)));
    for ((source, usual_source), (destination, usual_destination)) in pairs {
        if source.is_ipv4() != destination.is_ipv4() {
            continue;
        }
        for (index, (&from, &to)) in from.iter().flat_map(|f| to.iter().map(move |t| (f, t))).enumerate() {
            let usual = usual_source && usual_destination && from.1 && to.1;
            let (source, destination) = (SocketAddr::new(source, from.0), SocketAddr::new(destination, to.0));
            let mut add = |aspect| {
                let frame = frame(half, source, destination, aspect);
                let usual = usual && aspect != Aspect::Fragment;
                samples.push(Sample { source, destination, aspect, usual, frame });
            };
            add(Aspect::Data);
            if index > 0 {
                continue;
            }
            match half.protocol {
                Protocol::Tcp => {
                    FLAGS.into_iter().for_each(|(flags, name)| add(Aspect::Flags(flags, name)));
                    add(Aspect::Large);
                }
                Protocol::Udp => add(Aspect::Fragment),
            }
        }
    }
    samples
}

/// Addresses, and whether they are usual. Of several networks, those of lo are not: only older Istio and nameservers on
/// 127.0.0.1 have them.
fn addresses(ends: &Ends, named: &Constants) -> Vec<(IpAddr, bool)> {
    let given = ends.within.iter().map(Cidr::sample);
    let any: [IpAddr; 4] = [
        Ipv4Addr::new(10, 96, 0, 10).into(),
        Ipv4Addr::new(203, 0, 113, 80).into(),
        Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80).into(),
    ];
    let any = any.into_iter().filter(|_| ends.within.is_empty());
    let all = given.chain(any).chain(named.addresses.iter().copied());
    let all = distinct(all.filter(|address| ends.has(*address)));
    let has_others = |v4: bool| all.iter().any(|address| address.is_ipv4() == v4 && !address.is_loopback());
    all.iter().map(|address| (*address, !address.is_loopback() || !has_others(address.is_ipv4()))).collect()
}

/// Ports, and whether they are usual.
fn ports(set: &Numbers, named: &Constants, listeners: &[u16], client: bool) -> Vec<(u16, bool)> {
    let few = set.ranges().len() <= 4 && *set != Numbers::all();
    let bounds = set.ranges().iter().flat_map(|&(first, last)| [first.max(1), last.min(65535)]).filter(|_| few);
    let bounds: Vec<u16> = bounds.filter_map(|port| u16::try_from(port).ok()).collect();
    let usual: &[u16] = if client { &CLIENTS } else { &SERVICES };
    let count = set.ports().count();
    let is_usual = |port: u16| {
        // A small set is the application's ports, and the tunnels that not every mesh has.
        let meant =
            if count < 1000 { ports::tunnels(None).all(|tunnel| tunnel != port) } else { usual.contains(&port) };
        meant || count == 1 || (!client && named.ports.contains(&port) && !listeners.contains(&port))
    };
    let all = usual.iter().copied().chain(bounds).chain(RARE_CLIENTS.into_iter().filter(|_| client));
    let all = distinct(all.chain(named.ports.iter().copied()).filter(|port| set.contains(u32::from(*port))));
    all.into_iter().map(|port| (port, is_usual(port))).collect()
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if distinct.len() < MOST && !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// An Ethernet frame as the interface shows it. Checksums are left 0: no filter looks at them.
fn frame(half: &Half, source: SocketAddr, destination: SocketAddr, aspect: Aspect) -> Vec<u8> {
    let transport = match half.protocol {
        Protocol::Tcp => {
            let (flags, data) = match aspect {
                Aspect::Flags(flags, _) => (flags, 0),
                Aspect::Large => (0x18, 1400),
                _ => (0x18, 60),
            };
            // RFC 9293, section 3.1: sequence number 1, acknowledgment 1, a header of 20 octets.
            let mut segment = [&source.port().to_be_bytes()[..], &destination.port().to_be_bytes()].concat();
            segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 2, 0, 0, 0, 0, 0]);
            segment.resize(20 + data, b'x');
            segment
        }
        Protocol::Udp => {
            // RFC 768.
            let mut datagram = [&source.port().to_be_bytes()[..], &destination.port().to_be_bytes()].concat();
            datagram.extend([0, 48, 0, 0]);
            datagram.resize(48, 0);
            if aspect == Aspect::Fragment { vec![0; 48] } else { datagram }
        }
    };
    let ip = ip(source.ip(), destination.ip(), half.protocol.number(), &transport, aspect == Aspect::Fragment);
    // lo has no addresses of the link layer.
    let link: [u8; 12] = if half.side == Side::Lo { [0; 12] } else { [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2] };
    let kind: [u8; 2] = if source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&link[..], &kind, &ip].concat()
}

fn ip(source: IpAddr, destination: IpAddr, number: u8, payload: &[u8], fragment: bool) -> Vec<u8> {
    let length = |extra: usize| ((payload.len() + extra) as u16).to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // RFC 791: the offset counts eights of octets.
            let offset: [u8; 2] = if fragment { [0x00, 0xb9] } else { [0x40, 0x00] };
            let [l0, l1] = length(20);
            let head = [0x45, 0, l0, l1, 0, 1, offset[0], offset[1], 64, number, 0, 0];
            [&head[..], &source.octets(), &destination.octets(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            // RFC 8200, sections 3 and 4.5: offset 1480, the last fragment.
            let extension: &[u8] = if fragment { &[number, 0, 0x05, 0xc8, 0, 0, 0, 1] } else { &[] };
            let [l0, l1] = length(extension.len());
            let head = [0x60, 0, 0, 0, l0, l1, if fragment { 44 } else { number }, 64];
            [&head[..], &source.octets(), &destination.octets(), extension, payload].concat()
        }
        // No half has ends of two families.
        _ => Vec::new(),
    }
}

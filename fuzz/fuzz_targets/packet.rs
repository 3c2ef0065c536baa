//! Arbitrary bytes as a frame of every link type: offsets keep their contract, and new addresses leave a right
//! checksum right.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use meshpcap::capture::LinkType;
use meshpcap::packet::{Ip, Transport, View, decode, protocol};
use meshpcap::rewrite::{Checksum, complete_checksum, to_ethernet, translate, translate_quote};

const LINK_TYPES: [LinkType; 9] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::NULL,
    LinkType::LOOP,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType(147),
];

fuzz_target!(|data: &[u8]| {
    let Some((&[kind, longer], frame)) = data.split_first_chunk() else { return };
    let link_type = LINK_TYPES[usize::from(kind) % LINK_TYPES.len()];
    let original_len = frame.len() + usize::from(longer >> 2) * 16;
    let mut frame = frame.to_vec();
    let view = decode(link_type, &frame, original_len);
    keeps_its_contract(&view, &frame);

    let mut out = Vec::new();
    if to_ethernet(&view, &frame, &mut out) {
        let longer = decode(LinkType::ETHERNET, &out, out.len() + (original_len - frame.len()));
        keeps_its_contract(&longer, &out);
        let (before, after) = (datagram_len(&view), datagram_len(&longer));
        assert_eq!(before, after, "the datagram is the same");
        assert_eq!(view.transport.ports(), longer.transport.ports());
    } else {
        assert!(out.is_empty());
    }

    let Some(ip) = view.ip else { return };
    // The fuzzer finds no right checksum by itself.
    match longer & 3 {
        0 => {}
        1 => make_right(&mut frame, &ip),
        2 => make_partial(&mut frame, &ip),
        _ => {
            let mut completed = frame.clone();
            make_partial(&mut completed, &ip);
            let icmp_right = icmp_is_right(&completed, &ip);
            if complete_checksum(&mut completed, &view) == Checksum::Completed {
                if let Transport::IcmpError(quote) = view.transport {
                    let quoted = &completed[quote.offset()..quote.end()];
                    let inner = decode(LinkType::RAW, quoted, quoted.len()).ip.expect("what was quoted");
                    assert_eq!(is_right(quoted, &inner), Some(true), "completed in the quote");
                    assert!(!icmp_right || icmp_is_right(&completed, &ip), "a right ICMP checksum stays right");
                } else {
                    assert_eq!(is_right(&completed, &ip), Some(true), "completed");
                }
            }
        }
    }
    let (source, destination) = match ip.source {
        IpAddr::V4(_) => ("172.21.206.227:45000", "10.96.0.20:6379"),
        IpAddr::V6(_) => ("[fd00:21::227]:45000", "[fd00:96::10]:80"),
    };
    let parse = |address: &str| -> SocketAddr { address.parse().expect("an address of the target's own") };
    let (source, destination) = (parse(source), parse(destination));

    let right = is_right(&frame, &ip);
    let header_right = header_is_right(&frame, &view);
    let (mut translated, mut new_view) = (frame.clone(), view);
    let found = translate(&mut translated, &mut new_view, source, destination);
    assert_eq!(translated.len(), frame.len());
    keeps_its_contract(&new_view, &translated);
    let read_again = decode(link_type, &translated, original_len);
    let new_ip = read_again.ip.expect("still a datagram");
    assert_eq!((new_ip.source, new_ip.destination), (source.ip(), destination.ip()));
    assert_eq!((new_ip.payload(), new_ip.end()), (ip.payload(), ip.end()));
    assert_eq!(read_again.link.network(), view.link.network());
    assert_eq!(read_again.transport.ports(), new_view.transport.ports());
    if view.transport.ports().is_some() {
        assert_eq!(read_again.transport.ports(), Some((source.port(), destination.port())));
    }
    if right == Some(true) || found == Checksum::Completed {
        assert_eq!(is_right(&translated, &new_ip), Some(true), "a right checksum stays right ({found:?})");
    }
    if header_right {
        assert!(header_is_right(&translated, &read_again), "a right header checksum stays right");
    }

    if let Transport::IcmpError(_) = view.transport {
        let right = icmp_is_right(&frame, &ip);
        let mut translated = frame.clone();
        translate_quote(&mut translated, &view, source, destination);
        assert_eq!(translated.len(), frame.len());
        keeps_its_contract(&view, &translated);
        if right && ip.source.is_ipv4() == source.is_ipv4() {
            assert!(icmp_is_right(&translated, &ip), "a right ICMP checksum stays right");
        }
    }
});

fn keeps_its_contract(view: &View, frame: &[u8]) {
    assert!(view.link.network() <= frame.len());
    let Some(ip) = view.ip else {
        assert!(matches!(view.transport, Transport::Other));
        return;
    };
    assert!(view.link.network() <= ip.payload() && ip.payload() <= ip.end() && ip.end() <= frame.len());
    assert!(ip.end() - ip.payload() <= ip.payload_len());
    match view.transport {
        Transport::Tcp(_) => assert!(view.data(frame).len() + 20 <= ip.end() - ip.payload()),
        Transport::Udp(_) => assert_eq!(view.data(frame).len() + 8, ip.end() - ip.payload()),
        Transport::IcmpError(quote) => {
            assert!(ip.payload() <= quote.offset() && quote.offset() <= quote.transport());
            assert!(quote.transport() + 4 <= quote.end() && quote.end() <= ip.end());
            assert!(quote.ends(frame).is_some());
        }
        Transport::Ports(_) => assert!(ip.payload() + 4 <= ip.end()),
        Transport::Other => {}
    }
}

fn datagram_len(view: &View) -> Option<usize> {
    view.ip.map(|ip| ip.end() - view.link.network())
}

/// The sum of 16-bit words, the plain way.
fn sum(octets: &[u8]) -> u64 {
    octets.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(a) => sum(&a.octets()),
        IpAddr::V6(a) => sum(&a.octets()),
    }
}

/// What the checksum of a whole, unfragmented TCP or UDP datagram covers, and where it stands.
fn covered<'a>(frame: &'a [u8], ip: &Ip) -> Option<(&'a [u8], usize)> {
    if ip.fragment.is_some() || !ip.is_whole() {
        return None;
    }
    let payload = &frame[ip.payload()..ip.end()];
    let (at, covered) = match ip.protocol {
        protocol::TCP => (16, payload),
        protocol::UDP => match usize::from(u16::from_be_bytes([*payload.get(4)?, *payload.get(5)?])) {
            0 => (6, payload),
            len => (6, payload.get(..len)?),
        },
        _ => return None,
    };
    (covered.len() >= at + 2).then_some((covered, at))
}

fn pseudo_header(ip: &Ip, len: usize) -> u64 {
    let len = len as u64;
    address(ip.source) + address(ip.destination) + u64::from(ip.protocol) + (len >> 16) + (len & 0xffff)
}

/// Whether the transport checksum is right, where there is one that can be told.
fn is_right(frame: &[u8], ip: &Ip) -> Option<bool> {
    let (octets, at) = covered(frame, ip)?;
    if ip.protocol == protocol::UDP && octets[at..at + 2] == [0, 0] {
        return None;
    }
    Some(fold(sum(octets) + pseudo_header(ip, octets.len())) == 0xffff)
}

fn make_right(frame: &mut [u8], ip: &Ip) {
    let Some((octets, at)) = covered(frame, ip) else { return };
    let stored = u64::from(u16::from_be_bytes([octets[at], octets[at + 1]]));
    let len = octets.len();
    let checksum = match !fold(sum(octets) - stored + pseudo_header(ip, len)) {
        0 if ip.protocol == protocol::UDP => 0xffff,
        checksum => checksum,
    };
    frame[ip.payload() + at..ip.payload() + at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn make_partial(frame: &mut [u8], ip: &Ip) {
    let Some((octets, at)) = covered(frame, ip) else { return };
    let partial = fold(pseudo_header(ip, octets.len()));
    frame[ip.payload() + at..ip.payload() + at + 2].copy_from_slice(&partial.to_be_bytes());
}

fn header_is_right(frame: &[u8], view: &View) -> bool {
    view.ip.is_some_and(|ip| ip.source.is_ipv4() && fold(sum(&frame[view.link.network()..ip.payload()])) == 0xffff)
}

fn icmp_is_right(frame: &[u8], ip: &Ip) -> bool {
    let message = &frame[ip.payload()..ip.end()];
    let pseudo = if ip.source.is_ipv6() { pseudo_header(ip, message.len()) } else { 0 };
    ip.is_whole() && fold(sum(message) + pseudo) == 0xffff
}

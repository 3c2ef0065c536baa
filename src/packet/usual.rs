//! The headers that nearly every packet has, each kind in one go.
//!
//! What comes in is a frame; what goes out is its [`View`]: that which [`stepwise`] would make of it, and makes of all that is not
//! Ethernet or a cooked capture without VLAN tags, IPv4 without options or IPv6 without extension headers, TCP or UDP, all of
//! it consistent and captured as far as the headers go.

use super::bytes::{array, be16, be32};
use super::link::{ARPHRD_LOOPBACK, ARPHRD_WITHOUT_ETHERTYPE};
use super::transport::timestamps;
use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Link, LinkType, Origin, Tcp, Transport, Udp, View, protocol, stepwise,
};

const ETHERNET: u16 = LinkType::ETHERNET.0;
const SLL: u16 = LinkType::LINUX_SLL.0;
const SLL2: u16 = LinkType::LINUX_SLL2.0;

/// Reads the headers of a frame: see [`super::decode`].
#[inline]
pub(super) fn decode(link_type: LinkType, bytes: &[u8], original_len: usize) -> View {
    match link_type {
        LinkType::ETHERNET => behind_link::<ETHERNET>(bytes, original_len),
        LinkType::LINUX_SLL => behind_link::<SLL>(bytes, original_len),
        LinkType::LINUX_SLL2 => behind_link::<SLL2>(bytes, original_len),
        _ => stepwise(link_type, bytes, original_len),
    }
}

/// Octets of a link layer without VLAN tags, and where its EtherType is.
const fn places(link: u16) -> (usize, usize) {
    match link {
        ETHERNET => (14, 12),
        SLL => (16, 14),
        _ => (20, 0),
    }
}

/// Where the payload of an IP header starts, and how many octets of the frame are looked at: up to TCP's options.
const fn lengths(link: u16, version: u8, protocol: u8) -> (usize, usize) {
    let start = places(link).0 + if version == 4 { 20 } else { 40 };
    (start, start + if protocol == protocol::TCP { 20 } else { 8 })
}

#[inline(always)]
fn behind_link<const LINK: u16>(bytes: &[u8], original_len: usize) -> View {
    let (network, ethertype) = const { places(LINK) };
    // The octet that says what is behind the IP header: RFC 791, section 3.1; RFC 8200, section 3.
    let head = bytes.get(..network + 10).unwrap_or_default();
    match (be16(head, ethertype), head.get(network + 9), head.get(network + 6)) {
        (Some(ETHERTYPE_IPV4), Some(&protocol::TCP), _) => kind::<LINK, 4, { protocol::TCP }>(bytes, original_len),
        (Some(ETHERTYPE_IPV4), Some(&protocol::UDP), _) => kind::<LINK, 4, { protocol::UDP }>(bytes, original_len),
        (Some(ETHERTYPE_IPV6), _, Some(&protocol::TCP)) => kind::<LINK, 6, { protocol::TCP }>(bytes, original_len),
        (Some(ETHERTYPE_IPV6), _, Some(&protocol::UDP)) => kind::<LINK, 6, { protocol::UDP }>(bytes, original_len),
        _ => stepwise(LinkType(LINK), bytes, original_len),
    }
}

/// Each kind has a function of its own, in which offsets are fixed and each field is written once.
#[inline(never)]
fn kind<const LINK: u16, const VERSION: u8, const PROTOCOL: u8>(bytes: &[u8], original_len: usize) -> View {
    match usual::<LINK, VERSION, PROTOCOL, false>(bytes) {
        Some(view) => view,
        None if PROTOCOL == protocol::TCP => with_options::<LINK, VERSION>(bytes, original_len),
        None => stepwise(LinkType(LINK), bytes, original_len),
    }
}

/// TCP with any options: those of the first segments, and of losses.
#[inline(never)]
fn with_options<const LINK: u16, const VERSION: u8>(bytes: &[u8], original_len: usize) -> View {
    match usual::<LINK, VERSION, { protocol::TCP }, true>(bytes) {
        Some(view) => view,
        None => stepwise(LinkType(LINK), bytes, original_len),
    }
}

#[inline(always)]
fn usual<const LINK: u16, const VERSION: u8, const PROTOCOL: u8, const ANY_OPTIONS: bool>(
    bytes: &[u8],
) -> Option<View> {
    let (network, (start, len)) = const { (places(LINK).0, lengths(LINK, VERSION, PROTOCOL)) };
    // All that is looked at, but for TCP's options: its length is checked once.
    let head = bytes.get(..len)?;
    let payload_len = payload_len::<VERSION>(head, network)?;
    let captured = payload_len.min(bytes.len() - start);
    let transport = transport::<PROTOCOL, ANY_OPTIONS>(bytes, start, payload_len, captured)?;
    let ip = ip::<VERSION, PROTOCOL>(head, network, start, payload_len, captured)?;
    Some(View { link: link::<LINK>(head)?, ip: Some(ip), transport, stop: None })
}

/// Length of the payload of an IP header as `kind` reads it, if it is one.
#[inline(always)]
fn payload_len<const VERSION: u8>(head: &[u8], at: usize) -> Option<usize> {
    let word = |place: usize| be16(head, at + place);
    match VERSION {
        // RFC 791, section 3.1: neither options, nor More Fragments and Fragment Offset.
        4 if *head.get(at)? == 0x45 && word(6)? & 0x3fff == 0 => usize::from(word(2)?).checked_sub(20),
        // RFC 8200, section 3: a Payload Length of 0 leaves it open.
        6 if *head.get(at)? >> 4 == 6 => Some(usize::from(word(4)?)).filter(|&len| len > 0),
        _ => None,
    }
}

#[inline(always)]
fn ip<const VERSION: u8, const PROTOCOL: u8>(
    head: &[u8],
    at: usize,
    start: usize,
    payload_len: usize,
    captured: usize,
) -> Option<Ip> {
    let (source, destination) = match VERSION {
        4 => (array::<4>(head, at + 12)?.into(), array::<4>(head, at + 16)?.into()),
        _ => (array::<16>(head, at + 8)?.into(), array::<16>(head, at + 24)?.into()),
    };
    // All of them have 17 bits at most.
    let (payload, end, payload_len) = (start as u32, (start + captured) as u32, payload_len as u32);
    Some(Ip { source, destination, protocol: PROTOCOL, fragment: None, payload, end, payload_len })
}

#[inline(always)]
fn link<const LINK: u16>(head: &[u8]) -> Option<Link> {
    let (network, ethertype) = const { places(LINK) };
    let (origin, ifindex) = match LINK {
        ETHERNET if array::<12>(head, 0)? == [0; 12] => (Origin::Loopback, [0; 4]),
        ETHERNET => (Origin::Network, [0; 4]),
        SLL => (cooked(be16(head, 2)?)?, [0; 4]),
        _ => (cooked(be16(head, 8)?)?, array(head, 4)?),
    };
    let ethertype = be16(head, ethertype)?;
    Some(Link { link_type: LinkType(LINK), network: network as u8, ethertype, origin, ifindex })
}

#[inline(always)]
fn cooked(arphrd: u16) -> Option<Origin> {
    match arphrd {
        ARPHRD_LOOPBACK => Some(Origin::Loopback),
        other if ARPHRD_WITHOUT_ETHERTYPE.contains(&other) => None,
        _ => Some(Origin::Network),
    }
}

/// The transport header at `at`. Of TCP, one without options, or with no more than most segments have, or with any.
#[inline(always)]
fn transport<const PROTOCOL: u8, const ANY_OPTIONS: bool>(
    bytes: &[u8],
    at: usize,
    payload_len: usize,
    captured: usize,
) -> Option<Transport> {
    let (source, destination) = (be16(bytes, at)?, be16(bytes, at + 2)?);
    if PROTOCOL == protocol::UDP {
        return (captured >= 8).then_some(Transport::Udp(Udp { source, destination }));
    }
    // RFC 9293, section 3.1: Data Offset, in 32-bit words.
    let header_len = usize::from(*bytes.get(at + 12)? >> 4) * 4;
    let (has_timestamps, tsval, tsecr) = match header_len {
        20 if captured >= 20 => (false, 0, 0),
        // RFC 7323, appendix A: NOP, NOP, Timestamps.
        32 if captured >= 32 && array(bytes, at + 20)? == [1, 1, 8, 10] => {
            (true, be32(bytes, at + 24)?, be32(bytes, at + 28)?)
        }
        21.. if ANY_OPTIONS && captured >= header_len => {
            let found = timestamps(bytes.get(at + 20..at + header_len)?);
            found.map_or((false, 0, 0), |(tsval, tsecr)| (true, tsval, tsecr))
        }
        _ => return None,
    };
    Some(Transport::Tcp(Tcp {
        source,
        destination,
        seq: be32(bytes, at + 4)?,
        ack: be32(bytes, at + 8)?,
        flags: *bytes.get(at + 13)?,
        window: be16(bytes, at + 14)?,
        data_len: (payload_len - header_len) as u32, // 16 bits
        has_timestamps,
        tsval,
        tsecr,
    }))
}

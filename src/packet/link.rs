//! Link layers: where the network header starts and which it is.
//!
//! What comes in is a frame and its link type; what goes out is a [`Link`] and, if no IP header follows, why. LLC and
//! SNAP are not looked into: no sidecar's interface carries IP that way.

use super::bytes::{array, be16};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Link, Origin, Stop};
use crate::capture::LinkType;

/// VLAN tags that are followed.
const MAX_TAGS: usize = 8;

/// ARPHRD_LOOPBACK (Linux, if_arp.h).
pub(super) const ARPHRD_LOOPBACK: u16 = 772;

/// ARPHRD_FRAD, ARPHRD_IEEE80211_RADIOTAP and ARPHRD_NETLINK: here the protocol field of LINKTYPE_LINUX_SLL and
/// LINKTYPE_LINUX_SLL2 is no EtherType (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>).
pub(super) const ARPHRD_WITHOUT_ETHERTYPE: [u16; 3] = [770, 803, 824];

/// Reads the link layer; the one list of the link types that are read. The network offset is at most `bytes.len()`.
pub(super) fn decode(link_type: LinkType, bytes: &[u8]) -> (Link, Option<Stop>) {
    match link_type {
        LinkType::ETHERNET => ethernet(bytes),
        LinkType::LINUX_SLL => sll(bytes),
        LinkType::LINUX_SLL2 => sll2(bytes),
        LinkType::RAW => raw(bytes),
        LinkType::IPV4 => (Link { ethertype: ETHERTYPE_IPV4, ..nothing(link_type) }, None),
        LinkType::IPV6 => (Link { ethertype: ETHERTYPE_IPV6, ..nothing(link_type) }, None),
        LinkType::NULL => family(link_type, bytes, true),
        LinkType::LOOP => family(link_type, bytes, false),
        _ => (nothing(link_type), Some(Stop::LinkType)),
    }
}

/// Whether the headers of a link type are understood.
pub fn is_understood(link_type: LinkType) -> bool {
    decode(link_type, &[]).1 != Some(Stop::LinkType)
}

fn nothing(link_type: LinkType) -> Link {
    Link { link_type, network: 0, ethertype: 0, origin: Origin::Unknown, ifindex: [0; 4] }
}

/// Ethernet (IEEE 802.3, clause 3): destination, source, EtherType.
#[inline(always)]
pub(super) fn ethernet(bytes: &[u8]) -> (Link, Option<Stop>) {
    let link = nothing(LinkType::ETHERNET);
    let (Some(addresses), Some(ethertype)) = (array::<12>(bytes, 0), be16(bytes, 12)) else {
        return (link, Some(Stop::Truncated));
    };
    let origin = if addresses == [0; 12] { Origin::Loopback } else { Origin::Network };
    skip_tags(Link { network: 14, ethertype, origin, ..link }, bytes)
}

/// LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address (8 octets), protocol.
#[inline(always)]
fn sll(bytes: &[u8]) -> (Link, Option<Stop>) {
    let link = nothing(LinkType::LINUX_SLL);
    let (Some(arphrd), Some(protocol)) = (be16(bytes, 2), be16(bytes, 14)) else {
        return (link, Some(Stop::Truncated));
    };
    cooked(Link { network: 16, ..link }, arphrd, protocol, bytes)
}

/// LINKTYPE_LINUX_SLL2: protocol, reserved, interface index (4 octets), ARPHRD, packet type (1 octet), address length
/// (1 octet), address (8 octets).
#[inline(always)]
pub(super) fn sll2(bytes: &[u8]) -> (Link, Option<Stop>) {
    let link = nothing(LinkType::LINUX_SLL2);
    let Some(header) = array::<20>(bytes, 0) else {
        return (link, Some(Stop::Truncated));
    };
    let [p0, p1, _, _, i0, i1, i2, i3, a0, a1, ..] = header;
    let link = Link { network: 20, ifindex: [i0, i1, i2, i3], ..link };
    cooked(link, u16::from_be_bytes([a0, a1]), u16::from_be_bytes([p0, p1]), bytes)
}

#[inline(always)]
fn cooked(link: Link, arphrd: u16, protocol: u16, bytes: &[u8]) -> (Link, Option<Stop>) {
    let origin = if arphrd == ARPHRD_LOOPBACK { Origin::Loopback } else { Origin::Network };
    if ARPHRD_WITHOUT_ETHERTYPE.contains(&arphrd) {
        return (Link { origin, ..link }, Some(Stop::NotIp));
    }
    skip_tags(Link { ethertype: protocol, origin, ..link }, bytes)
}

/// LINKTYPE_RAW: the version nibble tells.
#[inline(always)]
fn raw(bytes: &[u8]) -> (Link, Option<Stop>) {
    let link = nothing(LinkType::RAW);
    match bytes.first().map(|octet| octet >> 4) {
        None => (link, Some(Stop::Truncated)),
        Some(4) => (Link { ethertype: ETHERTYPE_IPV4, ..link }, None),
        Some(6) => (Link { ethertype: ETHERTYPE_IPV6, ..link }, None),
        Some(_) => (link, Some(Stop::Malformed)),
    }
}

/// LINKTYPE_NULL and LINKTYPE_LOOP: an address family in four octets, big-endian or (NULL only) either way. AF_INET is 2
/// everywhere; AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on Darwin.
#[inline(always)]
fn family(link_type: LinkType, bytes: &[u8], either_order: bool) -> (Link, Option<Stop>) {
    let link = Link { origin: Origin::Loopback, ..nothing(link_type) };
    let Some(octets) = array::<4>(bytes, 0) else {
        return (link, Some(Stop::Truncated));
    };
    let ethertype = |family: u32| match family {
        2 => Some(ETHERTYPE_IPV4),
        10 | 24 | 28 | 30 => Some(ETHERTYPE_IPV6),
        _ => None,
    };
    let little = || either_order.then(|| ethertype(u32::from_le_bytes(octets))).flatten();
    match ethertype(u32::from_be_bytes(octets)).or_else(little) {
        Some(ethertype) => (Link { network: 4, ethertype, ..link }, None),
        None => (Link { network: 4, ..link }, Some(Stop::NotIp)),
    }
}

/// Steps over VLAN tags (IEEE 802.1Q, clause 9: TPID, TCI): 0x8100 C-tag, 0x88a8 S-tag, 0x9100 the S-tag of before 802.1ad.
#[inline(always)]
fn skip_tags(mut link: Link, bytes: &[u8]) -> (Link, Option<Stop>) {
    let is_tag = |ethertype| matches!(ethertype, 0x8100 | 0x88a8 | 0x9100);
    for _ in 0..MAX_TAGS {
        if !is_tag(link.ethertype) {
            break;
        }
        let Some(inner) = be16(bytes, link.network() + 2) else {
            return (link, Some(Stop::Truncated));
        };
        link.network += 4; // at most 20 + 4 * MAX_TAGS
        link.ethertype = inner;
    }
    let stop = match link.ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => None,
        tag if is_tag(tag) => Some(Stop::TooDeep),
        _ => Some(Stop::NotIp),
    };
    (link, stop)
}

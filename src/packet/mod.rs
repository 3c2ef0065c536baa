//! The headers of a frame, as offsets into its bytes.
//!
//! What comes in is one frame and its link type; what goes out is a [`View`]: where the headers stand and what
//! they say. A damaged packet is data: decoding goes as far as it can and tells where and why it stopped.
//! This stage changes nothing and knows no files. It refuses to look behind encryption and authentication (ESP, AH),
//! into tunnels, and behind an IPv6 Routing header that still has segments to visit.
//!
//! The headers are read by hand: docs/decisions/0002-own-header-decoder.md.

mod bytes;
mod ip;
mod link;
#[cfg(test)]
pub(crate) mod tests;
mod transport;

use std::net::{IpAddr, SocketAddr};

use crate::capture::{Described, LinkType};

pub(crate) use bytes::{array, be16};

/// Reads the headers of a frame.
///
/// `bytes` is what was captured of it; `original_len` is its length in octets on the wire, which counts only where a
/// header leaves the length open (IPv4 Total Length 0, IPv6 Payload Length 0).
///
/// Every offset in the result is at most `bytes.len()`, and an [`Ip`] has `offset <= payload <= end`.
pub fn decode(link_type: LinkType, bytes: &[u8], original_len: usize) -> View {
    // One path per common link type and IP version, down to the one place where the view is put together: a view that is
    // passed on in parts takes four times as long.
    match link_type {
        LinkType::ETHERNET => behind_link(link::ethernet(bytes), bytes, original_len),
        LinkType::LINUX_SLL2 => behind_link(link::sll2(bytes), bytes, original_len),
        _ => behind_link(link::decode(link_type, bytes), bytes, original_len),
    }
}

/// The same of a packet of an interface, as its capture describes that.
pub fn decode_packet(capture: &Described, interface: u32, bytes: &[u8], original_len: u32) -> View {
    decode(capture.interfaces[interface as usize].link_type, bytes, original_len as usize)
}

/// Whether headers are read of frames of this link type: the list is that of `link::decode`.
pub fn is_read(link_type: LinkType) -> bool {
    link::decode(link_type, &[]).1 != Some(Stop::LinkType)
}

#[inline(always)]
fn behind_link((link, stop): (Link, Option<Stop>), bytes: &[u8], original_len: usize) -> View {
    if stop.is_some() {
        return View { link, ip: None, transport: Transport::Other, stop };
    }
    if link.ethertype == ETHERTYPE_IPV4 {
        return behind_ip(link, ip::v4(bytes, link.network, original_len), bytes);
    }
    match ip::v6(bytes, link.network, original_len) {
        (Some(ip), None) if ip::is_extension(ip.protocol) => behind_ip(link, ip::extensions(bytes, ip), bytes),
        fixed => behind_ip(link, fixed, bytes),
    }
}

#[inline(always)]
fn behind_ip(link: Link, (ip, stop): (Option<Ip>, Option<Stop>), bytes: &[u8]) -> View {
    let (Some(ip), None) = (ip, stop) else {
        return View { link, ip, transport: Transport::Other, stop };
    };
    if ip.protocol == protocol::TCP
        && ip.fragment.is_none()
        && let Some(tcp) = transport::whole_tcp(bytes, &ip)
    {
        return View { link, ip: Some(ip), transport: Transport::Tcp(tcp), stop: None };
    }
    let (transport, stop) = transport::decode(bytes, &ip);
    View { link, ip: Some(ip), transport, stop }
}

/// What one frame holds.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The link layer.
    pub link: Link,
    /// The outermost IP header, if there is one.
    pub ip: Option<Ip>,
    /// What the IP datagram carries, as far as it could be read.
    pub transport: Transport,
    /// Why decoding stopped early, if it did.
    pub stop: Option<Stop>,
}

/// The link layer, VLAN tags included.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What the frame starts with.
    pub link_type: LinkType,
    /// Offset of the network header in the frame.
    pub network: usize,
    /// The EtherType of the network header, after VLAN tags; 0x0800 and 0x86dd also where the link type has no
    /// EtherType. 0 if there is none.
    pub ethertype: u16,
    /// Where the packet was seen, as far as the link layer tells.
    pub origin: Origin,
    /// SLL2: the interface index.
    pub ifindex: Option<u32>,
}

/// What the link layer tells of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A loopback interface: both Ethernet addresses zero, ARPHRD_LOOPBACK (772), NULL or LOOP.
    Loopback,
    /// Any other interface.
    Network,
    /// The link layer does not tell (raw IP).
    Unknown,
}

/// An IP header.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Offset of the IP header in the frame.
    pub offset: usize,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The protocol of the payload, after IPv6 extension headers.
    pub protocol: u8,
    /// Offset of the payload in the frame, after options and extension headers.
    pub payload: usize,
    /// Where the datagram ends in the frame: link-layer padding lies behind it; never past the captured bytes.
    pub end: usize,
    /// Length in octets of the payload as the header claims it, captured or not. For a fragment, that of the fragment.
    pub payload_len: usize,
    /// Set if the datagram is a fragment. An IPv6 "atomic fragment" (RFC 6946) is whole, and none.
    pub fragment: Option<Fragment>,
}

impl Ip {
    /// Whether every octet of the payload was captured.
    pub fn is_whole(&self) -> bool {
        self.end - self.payload == self.payload_len
    }
}

/// What tells the fragments of one datagram together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// IPv4 Identification, or the IPv6 Fragment header's.
    pub identification: u32,
    /// Whether this fragment holds the start of the datagram.
    pub first: bool,
    /// Fragment Offset, in octets.
    pub offset: u16,
    /// Whether more fragments follow behind this one.
    pub more: bool,
}

/// A transport header.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    /// A TCP header (RFC 9293, section 3.1), whole up to and including its fixed 20 octets.
    Tcp(Tcp),
    /// A UDP header.
    Udp(Udp),
    /// An ICMP or ICMPv6 error with the header of the datagram that it is about.
    IcmpError(Quote),
    /// A TCP or UDP header of which no more than the ports can be had: it is cut, or its length is below the minimum.
    Ports(Ports),
    /// None of these: another protocol, a later fragment, or a header that is not there whole.
    Other,
}

impl Transport {
    /// Source and destination port, where there are any: TCP and UDP, cut or not.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match *self {
            Transport::Tcp(Tcp { source, destination, .. })
            | Transport::Udp(Udp { source, destination, .. })
            | Transport::Ports(Ports { source, destination, .. }) => Some((source, destination)),
            Transport::IcmpError(_) | Transport::Other => None,
        }
    }

    /// The places of source and destination port, as [`Transport::ports`].
    pub(crate) fn ports_mut(&mut self) -> Option<(&mut u16, &mut u16)> {
        match self {
            Transport::Tcp(Tcp { source, destination, .. })
            | Transport::Udp(Udp { source, destination, .. })
            | Transport::Ports(Ports { source, destination, .. }) => Some((source, destination)),
            Transport::IcmpError(_) | Transport::Other => None,
        }
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; meaningful if `flags` has ACK.
    pub ack: u32,
    /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the high bit down.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Length in octets of the segment's data as the headers claim it, captured or not.
    pub data_len: u32,
    /// Offset of the data in the frame; [`Ip::end`] if nothing of it was captured.
    pub data: usize,
    /// TSval and TSecr of the Timestamps option (RFC 7323).
    pub timestamps: Option<(u32, u32)>,
}

/// A UDP header.
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Offset of the data in the frame.
    pub data: usize,
}

/// The ports of a TCP or UDP header that could not be read further.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TCP (6) or UDP (17).
    pub protocol: u8,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// The IP header that an ICMP error quotes, and the ports behind it.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Offset of the quoted IP header in the frame.
    pub offset: usize,
    /// Its protocol: TCP (6) or UDP (17).
    pub protocol: u8,
    /// Offset of the quoted transport header in the frame.
    pub transport: usize,
    /// Where the quoted octets end in the frame: before an extension (RFC 4884), if the message has one.
    pub end: usize,
    /// The quoted source.
    pub source: SocketAddr,
    /// The quoted destination.
    pub destination: SocketAddr,
}

/// Why decoding stopped before or in the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The link type is not one of those that are looked into.
    LinkType,
    /// Not IP.
    NotIp,
    /// The capture, or the first fragment, ends inside a header.
    Truncated,
    /// A header contradicts itself: a length below its minimum, a wrong version.
    Malformed,
    /// More link-layer tags or extension headers than are followed.
    TooDeep,
}

/// The protocol numbers of IPv4's Protocol and IPv6's Next Header field (IANA, "Assigned Internet Protocol Numbers").
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

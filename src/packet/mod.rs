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
mod usual;

pub use link::is_understood;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::Range;

use crate::capture::{Described, LinkType};

pub(crate) use bytes::{array, be16};

/// Reads the headers of a frame.
///
/// `bytes` is what was captured of it; `original_len` is its length in octets on the wire, which counts only where a
/// header leaves the length open (IPv4 Total Length 0, IPv6 Payload Length 0).
///
/// Every offset in the result is at most `bytes.len()`, and [`Link::network`] <= [`Ip::payload`] <= [`Ip::end`]. Nothing is
/// looked at behind the first 4 GiB.
pub fn decode(link_type: LinkType, bytes: &[u8], original_len: usize) -> View {
    usual::decode(link_type, bytes, original_len)
}

/// The same, step by step; [`usual`] reads most frames.
#[inline(never)]
fn stepwise(link_type: LinkType, bytes: &[u8], original_len: usize) -> View {
    // Offsets and lengths have 32 bits in a view.
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    let (link, stop) = link::decode(link_type, bytes);
    let without_ip = View { link, ip: None, transport: Transport::Other, stop };
    if stop.is_some() {
        return without_ip;
    }
    let (ip, stop) = ip::decode(link.ethertype, bytes, link.network(), original_len);
    let (Some(ip), None) = (ip, stop) else {
        return View { ip, stop, ..without_ip };
    };
    let (transport, stop) = transport::decode(bytes, &ip);
    View { ip: Some(ip), transport, stop, ..without_ip }
}

/// The same of a packet of an interface, as its capture describes that.
pub fn decode_packet(capture: &Described, interface: u32, bytes: &[u8], original_len: u32) -> View {
    decode(capture.interfaces[interface as usize].link_type, bytes, original_len as usize)
}

/// Whether headers are read of frames of this link type: the list is that of `link::decode`.
pub fn is_read(link_type: LinkType) -> bool {
    link::decode(link_type, &[]).1 != Some(Stop::LinkType)
}

/// A length or offset as a view holds it.
#[inline]
fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
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

impl View {
    /// The data of a TCP segment or UDP datagram, as far as they were captured; nothing of anything else. `frame` is what
    /// the view is of.
    #[inline]
    pub fn data<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.data_range()).unwrap_or_default()
    }

    /// Where they are in the frame.
    #[inline]
    pub fn data_range(&self) -> Range<usize> {
        self.ip.and_then(|ip| Some(self.transport.data(&ip)?..ip.end())).unwrap_or_default()
    }
}

/// The link layer, VLAN tags included.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What the frame starts with.
    pub link_type: LinkType,
    network: u8,
    /// The EtherType of the network header, after VLAN tags; 0x0800 and 0x86dd also where the link type has no
    /// EtherType. 0 if there is none.
    pub ethertype: u16,
    /// Where the packet was seen, as far as the link layer tells.
    pub origin: Origin,
    /// SLL2: the interface index, in network byte order.
    ifindex: [u8; 4],
}

impl Link {
    /// Offset of the network header in the frame: where an [`Ip`] starts.
    #[inline]
    pub fn network(&self) -> usize {
        usize::from(self.network)
    }

    /// SLL2: the interface index.
    #[inline]
    pub fn ifindex(&self) -> Option<u32> {
        let is_there = self.link_type == LinkType::LINUX_SLL2 && self.network > 0;
        is_there.then_some(u32::from_be_bytes(self.ifindex))
    }
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
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The protocol of the payload, after IPv6 extension headers.
    pub protocol: u8,
    /// Set if the datagram is a fragment. An IPv6 "atomic fragment" (RFC 6946) is whole, and none.
    pub fragment: Option<Fragment>,
    payload: u32,
    end: u32,
    payload_len: u32,
}

impl Ip {
    /// Offset of the payload in the frame, after options and extension headers.
    #[inline]
    pub fn payload(&self) -> usize {
        self.payload as usize
    }

    /// Where the datagram ends in the frame: link-layer padding lies behind it; never past the captured bytes.
    #[inline]
    pub fn end(&self) -> usize {
        self.end as usize
    }

    /// Length in octets of the payload as the header claims it, captured or not. For a fragment, that of the fragment.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.payload_len as usize
    }

    /// Whether every octet of the payload was captured.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.end - self.payload == self.payload_len
    }

    /// Whether this is a fragment other than the first: it bears no transport header.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_first())
    }
}

/// What tells the fragments of one datagram together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// IPv4 Identification, or the IPv6 Fragment header's.
    pub identification: u32,
    /// As in the IPv6 Fragment header: the offset, a multiple of 8, and the M flag as bit 0.
    word: NonZeroU16,
}

impl Fragment {
    /// None if it is all of the datagram.
    fn new(identification: u32, offset: u16, more: bool) -> Option<Fragment> {
        NonZeroU16::new(offset & !7 | u16::from(more)).map(|word| Fragment { identification, word })
    }

    /// Whether this fragment holds the start of the datagram.
    pub fn is_first(&self) -> bool {
        self.offset() == 0
    }

    /// Fragment Offset, in octets.
    pub fn offset(&self) -> u16 {
        self.word.get() & !7
    }

    /// Whether more fragments follow behind this one.
    pub fn has_more(&self) -> bool {
        self.word.get() & 1 != 0
    }
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

    /// Where the data of a segment or datagram starts in the frame; [`Ip::end`] if nothing of it was captured.
    #[inline]
    fn data(&self, ip: &Ip) -> Option<usize> {
        match self {
            // A header in several fragments is longer than the payload, and claims no data.
            Transport::Tcp(tcp) => Some(ip.end().min(ip.payload() + (ip.payload_len - tcp.data_len) as usize)),
            Transport::Udp(_) => Some(ip.payload() + 8),
            _ => None,
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
    has_timestamps: bool,
    tsval: u32,
    tsecr: u32,
}

impl Tcp {
    /// TSval and TSecr of the Timestamps option (RFC 7323).
    #[inline]
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.has_timestamps.then_some((self.tsval, self.tsecr))
    }
}

/// A UDP header.
#[derive(Clone, Copy, Debug)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
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
    /// Its protocol: TCP (6) or UDP (17).
    pub protocol: u8,
    offset: u32,
    transport: u32,
    end: u32,
}

impl Quote {
    /// Offset of the quoted IP header in the frame.
    pub fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Offset of the quoted transport header in the frame.
    pub fn transport(&self) -> usize {
        self.transport as usize
    }

    /// Where the quoted octets end in the frame: before an extension (RFC 4884), if the message has one.
    pub fn end(&self) -> usize {
        self.end as usize
    }

    /// The quoted source and destination. `frame` is what the view is of; none if it is another one.
    pub fn ends(&self, frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let (source, destination) = ip::addresses(frame.get(self.offset()..)?)?;
        let (from, to) = (be16(frame, self.transport())?, be16(frame, self.transport() + 2)?);
        Some((SocketAddr::new(source, from), SocketAddr::new(destination, to)))
    }
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

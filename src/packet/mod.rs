//! The headers of a frame, as offsets into its bytes.
//!
//! What comes in is one frame and its link type; what goes out is a [`View`]: where the headers stand and what
//! they say. A damaged packet is data: decoding goes as far as it can and tells where and why it stopped.
//! This stage changes nothing and knows no files.

use std::net::{IpAddr, SocketAddr};

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
    /// Offset of the network header in the frame.
    pub network: usize,
    /// The EtherType of the network header; 0x0800 and 0x86dd also where the link type has no EtherType.
    pub ethertype: u16,
    /// Where the packet was seen, as far as the link layer tells.
    pub origin: Origin,
    /// SLL2: the interface index.
    pub ifindex: Option<u32>,
    /// SLL and SLL2: the packet type (0 to us, 1 broadcast, 2 multicast, 3 to someone else, 4 sent by us).
    pub packet_type: Option<u16>,
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
    /// Length in octets of the payload as sent, captured or not.
    pub payload_len: usize,
    /// Set if the datagram is a fragment.
    pub fragment: Option<Fragment>,
}

impl Ip {
    /// Whether every octet of the datagram was captured.
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
    /// None of these: another protocol, a later fragment, or a header that is not there whole.
    Other,
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
    /// Length in octets of the segment's data as sent, captured or not.
    pub data_len: u32,
    /// Offset of the data in the frame.
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

/// The IP header that an ICMP error quotes, and the ports behind it.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Offset of the quoted IP header in the frame.
    pub offset: usize,
    /// Its protocol: TCP (6) or UDP (17).
    pub protocol: u8,
    /// Offset of the quoted transport header in the frame.
    pub transport: usize,
    /// The quoted source.
    pub source: SocketAddr,
    /// The quoted destination.
    pub destination: SocketAddr,
}

/// Why decoding stopped before the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The link type is not one of those that are looked into.
    LinkType,
    /// Not IP.
    NotIp,
    /// The capture ends inside a header.
    Truncated,
    /// A header contradicts itself: a length below its minimum, a wrong version.
    Malformed,
    /// More link-layer tags or extension headers than are followed.
    TooDeep,
}

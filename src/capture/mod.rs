//! Captures in: pcap and pcapng, plain or compressed, from files and pipes.
//!
//! What comes in is bytes that nobody vouches for; what goes out is one [`Record`] after the other, in the
//! order of the file. Whatever the byte order and the resolution of the file were, what leaves here is in one
//! form: times in nanoseconds, numbers in options and block bodies little-endian, interfaces numbered
//! across sections. This stage does not look inside packets.

/// A time as pcapng's nanosecond interfaces write it: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A link type, as registered at <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    /// `LINKTYPE_NULL`: a 4-byte address family in the byte order of the capturing host.
    pub const NULL: LinkType = LinkType(0);
    /// `LINKTYPE_ETHERNET`.
    pub const ETHERNET: LinkType = LinkType(1);
    /// `LINKTYPE_RAW`: the packet starts with an IPv4 or IPv6 header.
    pub const RAW: LinkType = LinkType(101);
    /// `LINKTYPE_LOOP`: as NULL, the address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// `LINKTYPE_LINUX_SLL`: Linux "cooked" capture.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// `LINKTYPE_IPV4`: raw IPv4.
    pub const IPV4: LinkType = LinkType(228);
    /// `LINKTYPE_IPV6`: raw IPv6.
    pub const IPV6: LinkType = LinkType(229);
    /// `LINKTYPE_LINUX_SLL2`: Linux "cooked" capture v2, which names the interface by index.
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// An interface as the capture describes it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// What the packets of this interface start with.
    pub link_type: LinkType,
    /// Length in octets of the frame check sequence at the end of each packet, where the file says so.
    pub fcs_len: Option<u8>,
    /// The snapshot length in octets; 0 for none.
    pub snaplen: u32,
    /// The name that the capture gives, lossily decoded if it is not UTF-8.
    pub name: Option<String>,
    /// The section that describes this interface; an index into [`Capture::sections`].
    pub section: usize,
    /// The raw options of the Interface Description Block, little-endian, each padded to 4 octets, without
    /// `opt_endofopt`, `if_tsresol`, `if_tsoffset` and (as it stands in `name`) `if_name`.
    pub options: Vec<u8>,
}

/// A section of a capture; a pcap file is one section without options.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The raw options of the Section Header Block, in the form of [`Interface::options`].
    pub options: Vec<u8>,
}

/// What a capture holds next. The bytes stay in the capture: see [`Capture::bytes`].
#[derive(Clone, Copy, Debug)]
pub enum Record {
    /// A captured packet.
    Packet(PacketRecord),
    /// Any other pcapng block that goes with the packets; its body is what [`Capture::bytes`] returns.
    Block(BlockRecord),
}

/// A packet, as its record describes it.
#[derive(Clone, Copy, Debug)]
pub struct PacketRecord {
    /// Index into [`Capture::interfaces`].
    pub interface: u32,
    /// When it was captured.
    pub time: Timestamp,
    /// Length in octets on the wire.
    pub original_len: u32,
    /// The number of this packet in its capture, from 1, as tshark's `frame.number` counts.
    pub number: u64,
    /// Where its record starts in the (decompressed) capture, in octets.
    pub offset: u64,
}

/// A pcapng block that is neither a packet nor a description of sections and interfaces.
#[derive(Clone, Copy, Debug)]
pub struct BlockRecord {
    /// The block type as registered.
    pub block_type: u32,
    /// The interface of an Interface Statistics Block; an index into [`Capture::interfaces`].
    pub interface: Option<u32>,
    /// Where the block starts in the (decompressed) capture, in octets.
    pub offset: u64,
}

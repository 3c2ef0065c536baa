//! The number that Wireshark will give a conversation: `tcp.stream`, `udp.stream`.
//!
//! Wireshark counts conversations in the order in which they first appear in the file. Addresses and ports
//! tell them apart, and a SYN with another initial sequence number starts a new one (`packet-tcp.c`,
//! `dissect_tcp`; the same in 3.x and 4.x). A datagram in fragments counts where the last of them makes it whole.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::datagrams::Datagrams;
use crate::flow::{Key, ShortKey, flags};
use crate::nat::Protocol;
use crate::packet::{Ip, Transport, View, array, protocol};

/// How many conversations are remembered. Wireshark never forgets one; past this bound, new ones get no
/// number, rather than a wrong one.
const LIMIT: usize = 1 << 20;

/// The conversations of the output so far.
#[derive(Default)]
pub(crate) struct Streams {
    known: Known,
    datagrams: Datagrams<Header>,
    tcp: u32,
    udp: u32,
}

/// The latest stream of each pair of ends.
#[derive(Default)]
struct Known {
    streams: Vec<Stream>,
    /// The addresses of those of IPv6.
    wide: Vec<[u128; 2]>,
    /// The streams by their ends, which stand in them.
    index: HashTable<u32>,
    hasher: RandomState,
}

struct Stream {
    key: ShortKey,
    number: u32,
    /// Of each end: the sequence number that Wireshark counts from, if it has one.
    base: [u32; 2],
    has_base: [bool; 2],
}

impl Streams {
    /// The number of the conversation of a packet that is written now, with these bytes.
    ///
    /// A header that an ICMP error quotes counts as well, if Wireshark reads it as TCP or UDP: the ICMP packet
    /// has no number of its own, but the next conversation has the next one.
    #[inline(never)]
    pub fn of(&mut self, view: &View, bytes: &[u8]) -> Option<u32> {
        let ip = view.ip.as_ref()?;
        match self.datagrams.read(ip, || Header::of(view, ip, bytes)) {
            Some(header) => self.count(&header),
            None => self.expected(view, ip, bytes),
        }
    }

    /// A datagram counts where it becomes whole. For its first fragment, the number that it gets if no other conversation
    /// begins in between.
    #[cold]
    fn expected(&self, view: &View, ip: &Ip, bytes: &[u8]) -> Option<u32> {
        ip.fragment.filter(|fragment| fragment.is_first() && ip.is_whole())?;
        let header = Header::of(view, ip, bytes).filter(|header| !header.is_quoted)?;
        let (key, _) = Key::new(header.protocol, false, header.source, header.destination);
        let next = if header.protocol == Protocol::Tcp { self.tcp } else { self.udp };
        match self.known.get(key) {
            Some(stream) => Some(stream.number),
            None => (self.known.streams.len() < LIMIT).then_some(next),
        }
    }

    /// The number of the conversation of a header that Wireshark reads next.
    #[inline(always)]
    pub fn count(&mut self, header: &Header) -> Option<u32> {
        let Header { source, destination, seq, ack, control, .. } = *header;
        let number = match header.protocol {
            Protocol::Tcp => self.tcp(source, destination, seq, ack, control),
            Protocol::Udp => self.udp(source, destination),
        };
        number.filter(|_| !header.is_quoted)
    }

    /// The number of the TCP conversation of a packet that is written now.
    fn tcp(&mut self, source: SocketAddr, destination: SocketAddr, seq: u32, ack: u32, control: u8) -> Option<u32> {
        let (key, side) = Key::new(Protocol::Tcp, false, source, destination);
        let stream = self.known.find(&mut self.tcp, key)?;
        let syn = control & (flags::SYN | flags::ACK) == flags::SYN;
        if syn && stream.has_base[side] && stream.base[side] != seq {
            (stream.number, stream.has_base) = (self.tcp, [false; 2]);
            self.tcp += 1;
        }
        if control & flags::SYN != 0 && control & flags::ACK != 0 && stream.has_base[side] {
            stream.base[side] = seq;
        }
        let before_data = u32::from(control & flags::SYN == 0);
        stream.count_from(side, seq.wrapping_sub(before_data));
        if control & flags::ACK != 0 {
            stream.count_from(1 - side, ack.wrapping_sub(1));
        }
        Some(stream.number)
    }

    /// The number of the UDP conversation of a packet that is written now.
    fn udp(&mut self, source: SocketAddr, destination: SocketAddr) -> Option<u32> {
        let (key, _) = Key::new(Protocol::Udp, false, source, destination);
        self.known.find(&mut self.udp, key).map(|stream| stream.number)
    }
}

impl Stream {
    /// Notes the number that an end counts from, unless it has one.
    fn count_from(&mut self, end: usize, base: u32) {
        if !std::mem::replace(&mut self.has_base[end], true) {
            self.base[end] = base;
        }
    }
}

impl Known {
    /// The stream of two ends.
    fn get(&self, key: Key) -> Option<&Stream> {
        let is_it = |place: &u32| key_of(&self.streams, &self.wide, *place) == key;
        self.index.find(self.hasher.hash_one(key), is_it).map(|place| &self.streams[*place as usize])
    }

    /// The stream of two ends: the next one, if they have none yet, and there is room.
    fn find(&mut self, next: &mut u32, key: Key) -> Option<&mut Stream> {
        let Known { streams, wide, index, hasher } = self;
        let is_it = |place: &u32| key_of(streams, wide, *place) == key;
        let hash_of = |place: &u32| hasher.hash_one(key_of(streams, wide, *place));
        let place = match index.entry(hasher.hash_one(key), is_it, hash_of) {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(_) if streams.len() >= LIMIT => return None,
            Entry::Vacant(entry) => {
                let place = streams.len();
                entry.insert(place as u32);
                let key = ShortKey::new(key, |addresses| {
                    wide.push(addresses);
                    wide.len() as u32 - 1
                });
                streams.push(Stream { key, number: *next, base: [0; 2], has_base: [false; 2] });
                *next += 1;
                place
            }
        };
        Some(&mut streams[place])
    }
}

fn key_of(streams: &[Stream], wide: &[[u128; 2]], place: u32) -> Key {
    streams[place as usize].key.key(|stored| wide[stored as usize])
}

/// A transport header as far as Wireshark's numbering depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    /// TCP's control bits.
    pub control: u8,
    /// Whether an ICMP error quotes it.
    pub is_quoted: bool,
}

impl Header {
    /// The header of a packet, or the one that it quotes; none if Wireshark numbers neither.
    #[inline(always)]
    pub fn of(view: &View, ip: &Ip, bytes: &[u8]) -> Option<Header> {
        let ends =
            |source, destination| (SocketAddr::new(ip.source, source), SocketAddr::new(ip.destination, destination));
        match &view.transport {
            Transport::Tcp(tcp) => {
                let (source, destination) = ends(tcp.source, tcp.destination);
                let (seq, ack, control) = (tcp.seq, tcp.ack, tcp.flags);
                Some(Header { protocol: Protocol::Tcp, source, destination, seq, ack, control, is_quoted: false })
            }
            Transport::Udp(udp) => Header::udp(ends(udp.source, udp.destination), bytes.get(ip.payload()..ip.end())?),
            Transport::Ports(ports) if ports.protocol == protocol::TCP => {
                Header::tcp(ends(ports.source, ports.destination), bytes.get(ip.payload()..ip.end())?)
            }
            Transport::IcmpError(quote) => {
                let header = bytes.get(quote.transport()..quote.end()).unwrap_or_default();
                let ends = quote.ends(bytes)?;
                let quoted = match quote.protocol {
                    protocol::UDP => Header::udp(ends, header),
                    _ => Header::tcp(ends, header),
                };
                quoted.map(|header| Header { is_quoted: true, ..header })
            }
            _ => None,
        }
    }

    /// A TCP header that may be cut or contradict itself: up to the window, it counts.
    fn tcp((source, destination): (SocketAddr, SocketAddr), header: &[u8]) -> Option<Header> {
        let header = header.first_chunk::<16>()?;
        let word = |at: usize| array(header, at).map_or(0, u32::from_be_bytes);
        let (seq, ack, control) = (word(4), word(8), header[13]);
        Some(Header { protocol: Protocol::Tcp, source, destination, seq, ack, control, is_quoted: false })
    }

    /// A UDP header: one whose length is below its own does not count, but for IPv6's 0, a jumbogram.
    fn udp((source, destination): (SocketAddr, SocketAddr), header: &[u8]) -> Option<Header> {
        let header = header.first_chunk::<8>()?;
        let counts = match u16::from_be_bytes([header[4], header[5]]) {
            0 => source.is_ipv6(),
            len => len >= 8,
        };
        let read =
            Header { protocol: Protocol::Udp, source, destination, seq: 0, ack: 0, control: 0, is_quoted: false };
        counts.then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(streams: &mut Streams, from: &str, to: &str, seq: u32, ack: u32, control: u8) -> Option<u32> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("address"), to.parse().expect("address"));
        streams.tcp(from, to, seq, ack, control)
    }

    #[test]
    fn a_syn_with_another_number_starts_a_stream() {
        let (a, b) = ("10.0.0.1:1000", "10.0.0.2:80");
        let mut s = Streams::default();
        assert_eq!(packet(&mut s, a, b, 5, 0, flags::SYN), Some(0));
        assert_eq!(packet(&mut s, b, a, 9, 6, flags::SYN | flags::ACK), Some(0));
        assert_eq!(packet(&mut s, a, b, 5, 0, flags::SYN), Some(0), "a retransmission");
        assert_eq!(packet(&mut s, a, "10.0.0.2:81", 5, 0, flags::SYN), Some(1));
        assert_eq!(packet(&mut s, a, b, 77, 0, flags::SYN), Some(2), "the port is used again");
        assert_eq!(packet(&mut s, b, a, 9, 78, flags::ACK), Some(2));
    }

    /// As tshark 4.0 numbers them; headers that it does not number were counted, and the other way round.
    #[test]
    fn damaged_headers() {
        use crate::capture::LinkType;
        use crate::packet::decode;
        use crate::packet::tests::build;

        let mut s = Streams::default();
        let mut of = |packet: &[u8]| s.of(&decode(LinkType::RAW, packet, packet.len()), packet);
        let tcp = |port: u8, data_offset: u8| {
            let mut segment = build::tcp(&[], b"");
            (segment[1], segment[12]) = (port, data_offset << 4);
            segment
        };
        assert_eq!(of(&build::v4(6, &tcp(1, 4))), Some(0), "a header of 16 octets");
        assert_eq!(of(&build::v4(6, &tcp(2, 7))), Some(1), "a header longer than the segment");
        assert_eq!(of(&build::v4(6, &tcp(3, 5))[..36]), Some(2), "cut behind the window");
        assert_eq!(of(&build::v4(6, &tcp(4, 5))[..35]), None);
        assert_eq!(of(&build::v4(1, &build::icmp(3, &build::v4(6, &tcp(5, 4))))), None);
        assert_eq!(of(&build::v4(6, &tcp(6, 5))), Some(4), "what the ICMP error quotes counts");

        let udp = |port: u8, length: u8| {
            let mut datagram = build::udp(b"data");
            (datagram[1], datagram[5]) = (port, length);
            datagram
        };
        for length in [0, 3, 7] {
            assert_eq!(of(&build::v4(17, &udp(1, length))), None, "{length}");
            assert_eq!(of(&build::v4(1, &build::icmp(3, &build::v4(17, &udp(2, length))))), None, "{length}");
        }
        assert_eq!(of(&build::v6(17, &udp(3, 7))), None);
        assert_eq!(of(&build::v6(17, &udp(4, 0))), Some(0), "a jumbogram");
        assert_eq!(of(&build::v4(17, &udp(5, 100))), Some(1));
        assert_eq!(of(&build::v4(17, &udp(6, 12))[..27]), None, "cut");
        assert_eq!(of(&build::v4(1, &build::icmp(3, &build::v4(17, &udp(7, 100))))), None);
        assert_eq!(of(&build::v4(17, &udp(8, 12))), Some(3), "what the ICMP error quotes counts");
    }

    /// As tshark 4.0 numbers them; the first fragment counted, whether or not the others came.
    #[test]
    fn fragments_count_where_they_become_whole() {
        use crate::capture::LinkType;
        use crate::packet::decode;
        use crate::packet::tests::build;

        let datagram = |port: u8| {
            let mut datagram = build::udp(&[0; 24]);
            datagram[1] = port;
            datagram
        };
        let part = |port: u8, range: std::ops::Range<usize>| {
            let data = &datagram(port)[range.clone()];
            let mut packet = build::v4(17, data);
            let more = if range.end < 32 { 0x20 } else { 0 };
            (packet[4], packet[5], packet[6], packet[7]) = (0, port, more, (range.start / 8) as u8);
            packet
        };
        let whole = |port: u8| build::v4(17, &datagram(port));
        let number = |s: &mut Streams, packet: &[u8]| s.of(&decode(LinkType::RAW, packet, packet.len()), packet);

        let mut s = Streams::default();
        assert_eq!(number(&mut s, &part(1, 0..16)), Some(0), "if nothing comes in between");
        assert_eq!(number(&mut s, &part(1, 16..32)), Some(0));
        assert_eq!(number(&mut s, &part(2, 0..16)), Some(1), "if nothing comes in between");
        assert_eq!(number(&mut s, &whole(3)), Some(1), "it comes in between");
        assert_eq!(number(&mut s, &part(2, 16..32)), Some(2));
        assert_eq!(number(&mut s, &part(2, 0..16)), Some(2), "known");
        assert_eq!(number(&mut s, &part(4, 16..32)), None, "the end before the start");
        assert_eq!(number(&mut s, &whole(5)), Some(3));
        assert_eq!(number(&mut s, &part(4, 0..16)), Some(4));
        let lost = part(6, 0..16);
        assert_eq!(number(&mut s, &lost), Some(5), "what will be lost is not known");
        assert_eq!(number(&mut s, &whole(7)), Some(5));
        // One that is cut is not put together. IPv4's is read nevertheless, IPv6's is not.
        let cut = &part(8, 0..16)[..30];
        assert_eq!(s.of(&decode(LinkType::RAW, cut, 36), cut), Some(6));
        let (fragment, header) = ([17, 0, 0, 1, 0, 0, 0, 8], &datagram(10)[..16]);
        let cut = &build::v6(44, &[&fragment[..], header].concat())[..60];
        assert_eq!(s.of(&decode(LinkType::RAW, cut, 64), cut), None);
        assert_eq!(number(&mut s, &whole(9)), Some(7));
    }

    #[test]
    fn a_syn_after_a_beginning_mid_stream() {
        let (a, b) = ("10.0.0.1:1000", "10.0.0.2:80");
        let mut s = Streams::default();
        assert_eq!(packet(&mut s, b, a, 100, 51, flags::ACK), Some(0));
        assert_eq!(packet(&mut s, a, b, 50, 0, flags::SYN), Some(0), "the number that the ACK told");
        assert_eq!(packet(&mut s, a, b, 51, 0, flags::SYN), Some(1));
    }
}

//! The output read back: pcapng by the letter of the draft, headers by etherparse, checksums summed afresh.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::packet::{Link, ones_sum, pseudo_header};

/// A pcapng file of one section.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pub section: Vec<(u16, Vec<u8>)>,
    pub interfaces: Vec<Interface>,
    pub packets: Vec<Packet>,
    /// Block types in the order of the file.
    pub order: Vec<u32>,
    /// Blocks of other types, with their bodies.
    pub blocks: Vec<(u32, Vec<u8>)>,
}

#[derive(Clone, Debug)]
pub struct Interface {
    pub link_type: u16,
    pub options: Vec<(u16, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub interface: u32,
    pub link_type: u16,
    pub time: u64,
    pub length: u32,
    pub bytes: Vec<u8>,
    pub options: Vec<(u16, Vec<u8>)>,
}

/// What is wrong or right with the transport checksum of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    /// The sum over everything, which should be all ones.
    Wrong(u16),
    None,
}

impl Output {
    pub fn read(mut rest: &[u8]) -> Output {
        let mut output = Output::default();
        while !rest.is_empty() {
            let length = word(rest, 4) as usize;
            assert!(length >= 12 && length.is_multiple_of(4), "block length {length}");
            let (block, after) = rest.split_at(length);
            assert_eq!(word(block, length - 4) as usize, length, "both lengths");
            rest = after;
            output.block(word(block, 0), &block[8..length - 4]);
        }
        output
    }

    fn block(&mut self, block_type: u32, body: &[u8]) {
        self.order.push(block_type);
        match block_type {
            0x0a0d_0d0a => {
                assert_eq!(self.order.len(), 1, "one section");
                assert_eq!(word(body, 0), 0x1a2b_3c4d, "little-endian");
                self.section = options(&body[16..]);
            }
            1 => {
                let interface = Interface { link_type: word(body, 0) as u16, options: options(&body[8..]) };
                assert_eq!(interface.options(9), [[9]], "nanoseconds");
                self.interfaces.push(interface);
            }
            6 => {
                let interface = word(body, 0);
                let captured = word(body, 12) as usize;
                self.packets.push(Packet {
                    interface,
                    link_type: self.interfaces[interface as usize].link_type,
                    time: u64::from(word(body, 4)) << 32 | u64::from(word(body, 8)),
                    length: word(body, 16),
                    bytes: body[20..20 + captured].to_vec(),
                    options: options(&body[20 + captured.next_multiple_of(4)..]),
                });
            }
            _ => self.blocks.push((block_type, body.to_vec())),
        }
    }

    /// Source and destination of every packet.
    pub fn ends(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.packets.iter().map(Packet::ends).collect()
    }

    /// The blocks of a type, each with how many packets stand before it.
    pub fn blocks_of(&self, block_type: u32) -> Vec<(usize, &[u8])> {
        let (mut packets, mut blocks, mut found) = (0, self.blocks.iter(), Vec::new());
        for &kind in &self.order {
            match kind {
                6 => packets += 1,
                1 | 0x0a0d_0d0a => {}
                _ => {
                    let (kind, body) = blocks.next().expect("as many as in the order");
                    if *kind == block_type {
                        found.push((packets, &body[..]));
                    }
                }
            }
        }
        found
    }

    pub fn times(&self) -> Vec<u64> {
        self.packets.iter().map(|packet| packet.time).collect()
    }

    /// The comments of every packet that has some.
    pub fn comments(&self) -> Vec<String> {
        self.packets.iter().flat_map(Packet::comments).collect()
    }

    /// The names of the interfaces, and what is said of them.
    pub fn interface_names(&self) -> Vec<String> {
        self.interfaces.iter().map(|i| i.options(2).first().map(|name| text(name)).unwrap_or_default()).collect()
    }

    /// Every packet has a right checksum, or none.
    pub fn assert_sums(&self) {
        for (number, packet) in self.packets.iter().enumerate() {
            assert!(!matches!(packet.checksum(), Checksum::Wrong(_)), "packet {}: {packet:?}", number + 1);
        }
    }
}

impl Interface {
    pub fn options(&self, code: u16) -> Vec<&[u8]> {
        self.options.iter().filter(|(c, _)| *c == code).map(|(_, value)| &value[..]).collect()
    }

    pub fn texts(&self, code: u16) -> Vec<String> {
        self.options(code).into_iter().map(text).collect()
    }
}

impl Packet {
    /// From the IP header on.
    pub fn datagram(&self) -> &[u8] {
        &self.bytes[Link::header_len(self.link_type, &self.bytes)..]
    }

    /// Source and destination as etherparse reads them; port 0 where it finds none.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        ends(self.datagram())
    }

    pub fn comments(&self) -> Vec<String> {
        self.options.iter().filter(|(code, _)| *code == 1).map(|(_, value)| text(value)).collect()
    }

    /// The checksums of the IP header, which must be right, and of TCP or UDP.
    pub fn checksum(&self) -> Checksum {
        checksum(self.datagram())
    }
}

/// Source and destination of a datagram.
pub fn ends(datagram: &[u8]) -> (SocketAddr, SocketAddr) {
    let packet = LaxSlicedPacket::from_ip(datagram).expect("an IP header");
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref().expect("a network layer") {
        LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => panic!("not IP"),
    };
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    };
    (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1))
}

/// The IP header's checksum must be right; TCP's or UDP's is summed over the whole datagram.
pub fn checksum(datagram: &[u8]) -> Checksum {
    let (source, destination) = ends(datagram);
    let (protocol, payload) = if source.is_ipv4() {
        let header = usize::from(datagram[0] & 15) * 4;
        assert_eq!(ones_sum(&datagram[..header]), 0xffff, "IPv4 header checksum");
        if u16::from_be_bytes([datagram[6], datagram[7]]) & 0x3fff != 0 {
            return Checksum::None; // a fragment
        }
        (datagram[9], &datagram[header..])
    } else {
        (datagram[6], &datagram[40..])
    };
    if !matches!(protocol, 6 | 17) || (protocol == 17 && payload[6..8] == [0, 0]) {
        return Checksum::None;
    }
    let pseudo = pseudo_header(source.ip(), destination.ip(), protocol, payload.len());
    match ones_sum(&[&pseudo[..], payload].concat()) {
        0xffff => Checksum::Right,
        sum => Checksum::Wrong(sum),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four octets"))
}

fn options(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while rest.len() >= 4 {
        let (code, length) = (word(rest, 0) as u16, (word(rest, 0) >> 16) as usize);
        if code == 0 {
            assert_eq!(rest.len(), 4, "opt_endofopt ends the options");
            break;
        }
        options.push((code, rest[4..4 + length].to_vec()));
        rest = &rest[4 + length.next_multiple_of(4)..];
    }
    options
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).expect("UTF-8")
}

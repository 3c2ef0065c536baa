//! IP datagrams as Linux makes them, and the link layers that captures put in front of them.

use std::net::{IpAddr, SocketAddr};

/// An address with a port, from text.
pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

/// What stands in the place of a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The right one.
    Right,
    /// Left to the network card: the pseudo header summed up, not complemented.
    Partial,
    /// The right one, and this much more.
    Wrong(u16),
    /// UDP: none.
    None,
}

/// A frame at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub bytes: Vec<u8>,
    /// On the wire.
    pub length: u32,
}

pub fn shot(time: u64, bytes: Vec<u8>) -> Shot {
    let length = bytes.len() as u32;
    Shot { time, bytes, length }
}

impl Shot {
    /// As a snaplen of so many octets leaves it.
    pub fn cut(mut self, snaplen: usize) -> Shot {
        self.bytes.truncate(snaplen);
        self
    }
}

/// The sum of 16-bit words, folded (RFC 1071).
pub fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1) in the octets that are summed.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut octets = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => [s.octets(), d.octets()].concat(),
        (IpAddr::V6(s), IpAddr::V6(d)) => [s.octets(), d.octets()].concat(),
        _ => panic!("one family"),
    };
    octets.extend((len as u32).to_be_bytes());
    octets.extend([0, 0, 0, protocol]);
    octets
}

/// A TCP segment to be.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    /// FIN lowest.
    pub flags: u8,
    pub timestamps: Option<(u32, u32)>,
    pub data: Vec<u8>,
    pub sum: Sum,
    pub id: u16,
}

impl Tcp {
    pub fn new(from: SocketAddr, to: SocketAddr) -> Tcp {
        Tcp { from, to, seq: 0, ack: 0, flags: 0x10, timestamps: None, data: Vec::new(), sum: Sum::Partial, id: 0 }
    }

    /// Control bits by their letters.
    pub fn flags(mut self, letters: &str) -> Tcp {
        let bit = |letter| 1 << "FSRPAU".find(letter).unwrap_or_else(|| panic!("no flag {letter}"));
        self.flags = letters.chars().map(bit).sum();
        self
    }

    pub fn numbers(mut self, seq: u32, ack: u32) -> Tcp {
        (self.seq, self.ack) = (seq, ack);
        self
    }

    pub fn data(mut self, data: &[u8]) -> Tcp {
        self.data = data.to_vec();
        self
    }

    pub fn sum(mut self, sum: Sum) -> Tcp {
        self.sum = sum;
        self
    }

    /// The datagram.
    pub fn ip(&self) -> Vec<u8> {
        let options = self.timestamps.map_or(Vec::new(), |(value, echo)| {
            [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
        });
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([((20 + options.len()) << 2) as u8, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(&self.data);
        put_sum(&mut segment, 16, self.from.ip(), self.to.ip(), 6, self.sum);
        ip(self.from.ip(), self.to.ip(), 6, self.id, &segment)
    }
}

/// A UDP datagram to be.
#[derive(Clone, Debug)]
pub struct Udp {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
    pub sum: Sum,
    pub id: u16,
}

impl Udp {
    pub fn new(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Udp {
        Udp { from, to, data: data.to_vec(), sum: Sum::Partial, id: 0 }
    }

    pub fn sum(mut self, sum: Sum) -> Udp {
        self.sum = sum;
        self
    }

    /// Header and data.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        payload.extend((8 + self.data.len() as u16).to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(&self.data);
        put_sum(&mut payload, 6, self.from.ip(), self.to.ip(), 17, self.sum);
        payload
    }

    pub fn ip(&self) -> Vec<u8> {
        ip(self.from.ip(), self.to.ip(), 17, self.id, &self.payload())
    }

    /// The datagram in fragments of so many octets, a multiple of 8.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let payload = self.payload();
        let count = payload.chunks(size).count();
        let fragment = |(n, part): (usize, &[u8])| fragment(self, n * size, n + 1 < count, part);
        payload.chunks(size).enumerate().map(fragment).collect()
    }
}

fn fragment(udp: &Udp, offset: usize, more: bool, part: &[u8]) -> Vec<u8> {
    let (source, destination) = (udp.from.ip(), udp.to.ip());
    if source.is_ipv4() {
        let mut datagram = ip(source, destination, 17, udp.id, part);
        let field = (offset / 8) as u16 | u16::from(more) << 13;
        datagram[6..8].copy_from_slice(&field.to_be_bytes());
        datagram[10..12].fill(0);
        let sum = !ones_sum(&datagram[..20]);
        datagram[10..12].copy_from_slice(&sum.to_be_bytes());
        return datagram;
    }
    // RFC 8200, section 4.5.
    let field = offset as u16 | u16::from(more);
    let mut body = vec![17, 0];
    body.extend(field.to_be_bytes());
    body.extend(u32::from(udp.id).to_be_bytes());
    body.extend(part);
    ip(source, destination, 44, 0, &body)
}

/// An ICMP error "port unreachable" about a datagram, of which it quotes the start.
pub fn icmp_error(from: IpAddr, to: IpAddr, about: &[u8]) -> Vec<u8> {
    let quoted = &about[..about.len().min(if from.is_ipv4() { 28 } else { 1200 })];
    let kind = if from.is_ipv4() { [3, 3] } else { [1, 4] };
    let mut message = [&kind[..], &[0; 6], quoted].concat();
    let protocol = if from.is_ipv4() { 1 } else { 58 };
    let pseudo = if from.is_ipv4() { Vec::new() } else { pseudo_header(from, to, 58, message.len()) };
    let sum = !ones_sum(&[&pseudo[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, protocol, 0, &message)
}

fn put_sum(segment: &mut [u8], at: usize, source: IpAddr, destination: IpAddr, protocol: u8, sum: Sum) {
    let pseudo = pseudo_header(source, destination, protocol, segment.len());
    let right = match !ones_sum(&[&pseudo[..], segment].concat()) {
        0 if protocol == 17 => 0xffff,
        right => right,
    };
    let value = match sum {
        Sum::Right => right,
        Sum::Partial => ones_sum(&pseudo),
        Sum::Wrong(by) => right.wrapping_add(by),
        Sum::None => 0,
    };
    segment[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// An IP header, and what it carries.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + payload.len() as u16).to_be_bytes());
            header.extend(id.to_be_bytes());
            header.extend([0, 0, 64, protocol, 0, 0]);
            header.extend([s.octets(), d.octets()].concat());
            let sum = !ones_sum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header[..], payload].concat()
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((payload.len() as u16).to_be_bytes());
            header.extend([protocol, 64]);
            header.extend([s.octets(), d.octets()].concat());
            [&header[..], payload].concat()
        }
        _ => panic!("one family"),
    }
}

/// A link layer, and on which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet on lo.
    Lo,
    /// Ethernet on eth0.
    Eth,
    /// Ethernet on lo, with so many VLAN tags.
    Tagged(u8),
    /// Linux cooked capture, lo or not.
    Sll {
        lo: bool,
    },
    /// Linux cooked capture v2.
    Sll2 {
        index: u32,
        lo: bool,
    },
    Null,
    Loop,
    Raw,
    Ipv4,
    Ipv6,
}

impl Link {
    /// The number of the link type (tcpdump.org/linktypes.html).
    pub fn number(self) -> u16 {
        match self {
            Link::Lo | Link::Eth | Link::Tagged(_) => 1,
            Link::Sll { .. } => 113,
            Link::Sll2 { .. } => 276,
            Link::Null => 0,
            Link::Loop => 108,
            Link::Raw => 101,
            Link::Ipv4 => 228,
            Link::Ipv6 => 229,
        }
    }

    /// A datagram with the link layer in front.
    pub fn frame(self, datagram: &[u8]) -> Vec<u8> {
        let v6 = datagram[0] >> 4 == 6;
        let ethertype: [u8; 2] = if v6 { [0x86, 0xdd] } else { [8, 0] };
        let arphrd = |lo| if lo { 772_u16 } else { 1 }.to_be_bytes();
        let mac = |lo| if lo { [0; 8] } else { [2, 0, 0, 0, 0, 1, 0, 0] };
        let head: Vec<u8> = match self {
            Link::Lo => [&[0; 12][..], &ethertype].concat(),
            Link::Eth => [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1][..], &ethertype].concat(),
            Link::Tagged(tags) => {
                let tag = |n: u8| [if n + 1 < tags { [0x88, 0xa8] } else { [0x81, 0] }, [0, 7 + n]].concat();
                [&[0; 12][..], &(0..tags).flat_map(tag).collect::<Vec<_>>(), &ethertype].concat()
            }
            Link::Sll { lo } => [&[0, 0][..], &arphrd(lo), &[0, 6], &mac(lo), &ethertype].concat(),
            Link::Sll2 { index, lo } => {
                [&ethertype[..], &[0, 0], &index.to_be_bytes(), &arphrd(lo), &[0, 6], &mac(lo)].concat()
            }
            Link::Null => if v6 { 10_u32 } else { 2 }.to_le_bytes().to_vec(),
            Link::Loop => if v6 { 24_u32 } else { 2 }.to_be_bytes().to_vec(),
            Link::Raw | Link::Ipv4 | Link::Ipv6 => Vec::new(),
        };
        [&head[..], datagram].concat()
    }

    /// Where the IP header starts in a frame of a link type.
    pub fn header_len(link_type: u16, frame: &[u8]) -> usize {
        match link_type {
            1 => {
                let mut at = 12;
                while matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8])) {
                    at += 4;
                }
                at + 2
            }
            113 => 16,
            276 => 20,
            0 | 108 => 4,
            _ => 0,
        }
    }
}

//! Ethernet frames with IPv4, TCP and UDP headers: words on lo, as plaintext is, and on eth0 what does not compress.

use std::net::Ipv4Addr;

use super::End;
use super::random::Random;

/// TCP control bits (RFC 9293, section 3.1).
pub(super) mod flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// Octets of noise and of words; a power of two, and twice the largest segment.
const NOISE: usize = 1 << 17;

/// Ethernet, IPv4.
const BEFORE_TRANSPORT: usize = 14 + 20;

/// A TCP segment without its addresses.
pub(super) struct Tcp {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// TSval and TSecr.
    pub timestamps: [u32; 2],
    /// Octets of data.
    pub len: u32,
    /// The content type of the TLS record that they are.
    pub record: Option<u8>,
}

/// A DNS message.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Query { id: u16 },
    Answer { id: u16 },
}

/// Builds frames, one at a time.
pub(super) struct Frames {
    frame: Vec<u8>,
    noise: Vec<u8>,
    words: Vec<u8>,
    identification: u16,
}

impl Frames {
    pub fn new(random: &mut Random) -> Frames {
        let noise = (0..NOISE / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let words = (0..NOISE / 8).flat_map(|_| words(random)).collect();
        Frames { frame: Vec::new(), noise, words, identification: 0 }
    }

    /// A TCP segment.
    pub fn tcp(&mut self, on_lo: bool, source: End, destination: End, tcp: Tcp, partial: bool) -> &[u8] {
        // RFC 9293, section 3.2 and RFC 7323: MSS, SACK permitted, timestamps, window scale; NOP, NOP, timestamps.
        const ON_SYN: [u8; 20] = [2, 4, 0xff, 0xd7, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7];
        const LATER: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
        let (options, timestamps): (&[u8], usize) =
            if tcp.flags & flags::SYN != 0 { (&ON_SYN, 8) } else { (&LATER, 4) };
        let header = 20 + options.len();
        self.start(on_lo, source.0, destination.0, 6, header + tcp.len as usize);
        let at = self.frame.len();
        self.frame.extend_from_slice(&source.1.to_be_bytes());
        self.frame.extend_from_slice(&destination.1.to_be_bytes());
        self.frame.extend_from_slice(&tcp.seq.to_be_bytes());
        self.frame.extend_from_slice(&tcp.ack.to_be_bytes());
        // Data offset, control bits, window, checksum, urgent pointer.
        self.frame.extend_from_slice(&[(header as u8 / 4) << 4, tcp.flags, 2, 0, 0, 0, 0, 0]);
        self.frame.extend_from_slice(options);
        for (place, timestamp) in [(timestamps, tcp.timestamps[0]), (timestamps + 4, tcp.timestamps[1])] {
            self.frame[at + 20 + place..][..4].copy_from_slice(&timestamp.to_be_bytes());
        }
        self.data(on_lo, tcp.len as usize, tcp.seq);
        if let Some(content_type) = tcp.record {
            let record = (tcp.len - 5).min(0x4000) as u16;
            self.frame[at + header..][..3].copy_from_slice(&[content_type, 3, 3]);
            self.frame[at + header + 3..][..2].copy_from_slice(&record.to_be_bytes());
        }
        self.checksum(at, 16, partial);
        &self.frame
    }

    /// A DNS message.
    pub fn udp(&mut self, on_lo: bool, source: End, destination: End, content: Content) -> &[u8] {
        const QUESTION: &[u8] = b"\x06orders\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01";
        const ANSWER: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x60\x01\x05";
        let (id, counts, answer): (u16, [u8; 10], &[u8]) = match content {
            Content::Query { id } => (id, [1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[]),
            Content::Answer { id } => (id, [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], ANSWER),
        };
        let length = 8 + 12 + QUESTION.len() + answer.len();
        self.start(on_lo, source.0, destination.0, 17, length);
        let at = self.frame.len();
        self.frame.extend_from_slice(&source.1.to_be_bytes());
        self.frame.extend_from_slice(&destination.1.to_be_bytes());
        self.frame.extend_from_slice(&(length as u16).to_be_bytes());
        self.frame.extend_from_slice(&[0, 0]);
        self.frame.extend_from_slice(&id.to_be_bytes());
        self.frame.extend_from_slice(&counts);
        self.frame.extend_from_slice(QUESTION);
        self.frame.extend_from_slice(answer);
        self.checksum(at, 6, on_lo);
        &self.frame
    }

    /// Ethernet and IPv4 header (RFC 791, section 3.1).
    fn start(&mut self, on_lo: bool, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: usize) {
        const ADDRESSES: [u8; 12] = [0x0a, 0x58, 0xac, 0x15, 0xce, 0xe3, 0x0a, 0x58, 0xac, 0x15, 0xce, 1];
        self.identification = self.identification.wrapping_add(1);
        self.frame.clear();
        self.frame.extend_from_slice(if on_lo { &[0; 12] } else { &ADDRESSES });
        let mut ip = [0; 22];
        ip[0..4].copy_from_slice(&[8, 0, 0x45, 0]);
        ip[4..6].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&self.identification.to_be_bytes());
        ip[8..12].copy_from_slice(&[0x40, 0, 64, protocol]);
        ip[14..18].copy_from_slice(&source.octets());
        ip[18..22].copy_from_slice(&destination.octets());
        let checksum = !sum(&ip[2..]);
        ip[12..14].copy_from_slice(&checksum.to_be_bytes());
        self.frame.extend_from_slice(&ip);
    }

    fn data(&mut self, on_lo: bool, len: usize, salt: u32) {
        let start = salt as usize % (NOISE - len);
        let data = if on_lo { &self.words } else { &self.noise };
        self.frame.extend_from_slice(&data[start..start + len]);
    }

    /// Fills in the checksum of a transport header at `at`: whole, or as the kernel leaves it to the card.
    fn checksum(&mut self, at: usize, field: usize, partial: bool) {
        let length = (self.frame.len() - at) as u32;
        let addresses = sum(&self.frame[BEFORE_TRANSPORT - 8..BEFORE_TRANSPORT]);
        let pseudo = fold(u64::from(addresses) + u64::from(self.frame[BEFORE_TRANSPORT - 11]) + u64::from(length));
        self.frame[at + field..][..2].copy_from_slice(&pseudo.to_be_bytes());
        if !partial {
            let whole = !sum(&self.frame[at..]);
            self.frame[at + field..][..2].copy_from_slice(&whole.to_be_bytes());
        }
    }
}

/// Eight octets of text: a common word and a number.
fn words(random: &mut Random) -> [u8; 8] {
    const WORDS: [&[u8; 5]; 8] = [b"id\":\"", b"name=", b"order", b"price", b"total", b"items", b"user:", b",true"];
    let [a, b, c, ..] = random.next().to_le_bytes();
    let [w, o, r, d, s] = *WORDS[usize::from(a % 8)];
    [w, o, r, d, s, b'0' + b % 10, b'0' + c % 10, b' ']
}

/// The one's-complement sum (RFC 1071) of octets.
fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<4>();
    let total: u64 = words.iter().map(|&word| u64::from(u32::from_be_bytes(word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    fold(total + u64::from(u32::from_be_bytes(last)))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

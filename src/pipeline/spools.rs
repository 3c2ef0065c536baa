//! What the first pass over files leaves for the second one: whose each packet is, in their order, and the headers that
//! Wireshark's numbering depends on. Both are read once, from the front, and spill to temporary files.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::queue::Queue;
use crate::nat::Protocol;
use crate::output::{Frame, Header};

/// Octets that are put into the queue at a time.
const BATCH: usize = 16 * 1024;

/// Octets at the front that stay in memory. Of the others, what came last does, up to as many; what is between is in a temporary
/// file.
const IN_MEMORY: usize = 256 * 1024;

/// Whose a packet is. Conversations are numbered as in [`crate::flow::Part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nobody's: it leaves as it was captured.
    AsCaptured,
    /// Another input's, too: it is not written.
    Duplicate,
    /// Another input's, too, and of a connection on the wire: it is written if this input's copies are.
    Copy { conversation: u32 },
    /// A conversation's.
    Packet { conversation: u32, from_first: bool },
    /// An ICMP error about a packet of a conversation.
    Quote { conversation: u32, from_first: bool },
    /// A later fragment; its group tells whose.
    Fragment { group: u32 },
}

/// Bits for the number: there is no memory for more conversations.
const NUMBER: u32 = (1 << 29) - 1;

impl Entry {
    fn encode(self) -> u32 {
        let (kind, number) = match self {
            Entry::AsCaptured => (0, 0),
            Entry::Duplicate => (1, 0),
            Entry::Copy { conversation } => (7, conversation),
            Entry::Packet { conversation, from_first } => (2 + u32::from(from_first), conversation),
            Entry::Quote { conversation, from_first } => (4 + u32::from(from_first), conversation),
            Entry::Fragment { group } => (6, group),
        };
        if number > NUMBER { 0 } else { kind << 29 | number }
    }

    fn decode(word: u32) -> Entry {
        let number = word & NUMBER;
        match word >> 29 {
            1 => Entry::Duplicate,
            kind @ (2 | 3) => Entry::Packet { conversation: number, from_first: kind == 3 },
            kind @ (4 | 5) => Entry::Quote { conversation: number, from_first: kind == 5 },
            6 => Entry::Fragment { group: number },
            7 => Entry::Copy { conversation: number },
            _ => Entry::AsCaptured,
        }
    }
}

/// Entries, one for each packet that was read, each with what tells its packet from another one.
#[derive(Default)]
pub(super) struct Plan {
    spool: Spool,
}

impl Plan {
    #[inline]
    pub fn push(&mut self, entry: Entry, frame: &Frame<'_>) -> io::Result<()> {
        let words = u64::from(entry.encode()) | u64::from(mark(frame)) << 32;
        self.spool.push(&words.to_le_bytes())
    }

    /// The entry of a packet; none if the first pass saw another one here.
    #[inline]
    pub fn advance(&mut self, frame: &Frame<'_>) -> io::Result<Option<Entry>> {
        let words = self.spool.pop()?.map(u64::from_le_bytes);
        Ok(words.filter(|words| (words >> 32) as u32 == mark(frame)).map(|words| Entry::decode(words as u32)))
    }

    /// The entry of the next packet, which is not at hand; none at the end.
    pub fn skip(&mut self) -> io::Result<Option<Entry>> {
        Ok(self.spool.pop()?.map(|words| Entry::decode(u64::from_le_bytes(words) as u32)))
    }

    /// Whether every entry had its packet.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.spool.pop::<8>()?.is_none())
    }
}

/// What tells a packet from others at its place: input, time, lengths. Files that change while they are read are no
/// attack, so this need not be a good hash.
fn mark(frame: &Frame<'_>) -> u32 {
    let lengths = u64::from(frame.original_len) << 32 | frame.bytes.len() as u64;
    let mixed = (frame.time.0 ^ lengths.rotate_left(17)).wrapping_add(u64::from(frame.input));
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// Of packets, in their order: the input of each, and what two captures of one packet have in common.
#[derive(Default)]
pub(super) struct Origins {
    spool: Spool,
}

impl Origins {
    pub fn push(&mut self, input: u16, mark: u32) -> io::Result<()> {
        let ([a, b], [c, d, e, f]) = (input.to_le_bytes(), mark.to_le_bytes());
        self.spool.push(&[a, b, c, d, e, f])
    }

    pub fn advance(&mut self) -> io::Result<(u16, u32)> {
        let [a, b, c, d, e, f] = self.spool.pop()?.unwrap_or_default();
        Ok((u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f])))
    }
}

/// A header that counts, and whose it is: a conversation's, sent by this end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub header: Header,
    pub owner: Option<(u32, bool)>,
    /// The input that showed it.
    pub input: u16,
    /// Whether another input had shown it before.
    pub is_copy: bool,
}

/// Octets of an encoded [`Counted`], up to its ends, and of both ends: of IPv4, of IPv6.
const HEAD: usize = 16;
const NARROW: usize = 12;
const WIDE: usize = 36;

/// Headers in their order.
#[derive(Default)]
pub(super) struct Headers {
    spool: Spool,
}

impl Headers {
    pub fn push(&mut self, counted: &Counted) -> io::Result<()> {
        let Counted { header, owner, input, is_copy } = counted;
        let is_narrow = header.source.is_ipv4() && header.destination.is_ipv4();
        let mut encoded = [0; HEAD + WIDE];
        let (number, from_first) = owner.unwrap_or((u32::MAX, false));
        encoded[0..4].copy_from_slice(&number.to_le_bytes());
        encoded[4..8].copy_from_slice(&header.seq.to_le_bytes());
        encoded[8..12].copy_from_slice(&header.ack.to_le_bytes());
        encoded[12] = header.control;
        encoded[13] = u8::from(from_first)
            | u8::from(header.is_quoted) << 1
            | u8::from(header.protocol == Protocol::Udp) << 2
            | u8::from(header.source.is_ipv6()) << 3
            | u8::from(header.destination.is_ipv6()) << 4
            | u8::from(*is_copy) << 5;
        encoded[14..16].copy_from_slice(&input.to_le_bytes());
        let ends = if is_narrow { NARROW } else { WIDE };
        for (encoded, end) in encoded[HEAD..].chunks_exact_mut(ends / 2).zip([header.source, header.destination]) {
            let octets = match end.ip() {
                IpAddr::V4(address) => u128::from(address.to_bits()),
                IpAddr::V6(address) => address.to_bits(),
            };
            let (port, address) = encoded.split_at_mut(2);
            port.copy_from_slice(&end.port().to_le_bytes());
            address.copy_from_slice(&octets.to_le_bytes()[..address.len()]);
        }
        self.spool.push(&encoded[..HEAD + ends])
    }

    pub fn advance(&mut self) -> io::Result<Option<Counted>> {
        let Some(encoded) = self.spool.pop::<HEAD>()? else { return Ok(None) };
        let mut ends = [0; WIDE];
        let word = |at: usize| u32::from_le_bytes([encoded[at], encoded[at + 1], encoded[at + 2], encoded[at + 3]]);
        let is = |bit: u8| encoded[13] & 1 << bit != 0;
        let ends = if is(3) || is(4) { &mut ends[..] } else { &mut ends[..NARROW] };
        if !self.spool.fill(ends)? {
            return Ok(None);
        }
        let (source, destination) = ends.split_at(ends.len() / 2);
        let end = |encoded: &[u8], is_ipv6: bool| {
            let (port, address) = encoded.split_at(2);
            let mut octets = [0; 16];
            octets[..address.len()].copy_from_slice(address);
            let octets = u128::from_le_bytes(octets);
            let address: IpAddr =
                if is_ipv6 { Ipv6Addr::from_bits(octets).into() } else { Ipv4Addr::from_bits(octets as u32).into() };
            SocketAddr::new(address, u16::from_le_bytes([port[0], port[1]]))
        };
        let header = Header {
            protocol: if is(2) { Protocol::Udp } else { Protocol::Tcp },
            source: end(source, is(3)),
            destination: end(destination, is(4)),
            seq: word(4),
            ack: word(8),
            control: encoded[12],
            is_quoted: is(1),
        };
        let owner = Some((word(0), is(0))).filter(|(number, _)| *number != u32::MAX);
        let input = u16::from_le_bytes([encoded[14], encoded[15]]);
        Ok(Some(Counted { header, owner, input, is_copy: is(5) }))
    }
}

/// Octets in, the same octets out; in memory up to a bound, in a temporary file past it.
struct Spool {
    queue: Queue,
    last: Vec<u8>,
    front: Vec<u8>,
    read: usize,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { queue: Queue::new(IN_MEMORY), last: Vec::new(), front: Vec::new(), read: 0 }
    }
}

impl Spool {
    #[inline]
    fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.last.extend_from_slice(octets);
        if self.last.len() >= BATCH { self.put_by() } else { Ok(()) }
    }

    #[cold]
    fn put_by(&mut self) -> io::Result<()> {
        self.queue.push([&[], &[]], &self.last)?;
        self.last.clear();
        Ok(())
    }

    /// The next octets, if there are any: what is read is as long as what was pushed.
    #[inline]
    fn pop<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.read == self.front.len() {
            self.turn()?;
        }
        let octets = self.front.get(self.read..).and_then(<[u8]>::first_chunk).copied();
        self.read += octets.map_or(0, |_| N);
        Ok(octets)
    }

    /// The same for octets of which it depends on others how many they are.
    fn fill(&mut self, octets: &mut [u8]) -> io::Result<bool> {
        if self.read == self.front.len() {
            self.turn()?;
        }
        let Some(there) = self.front.get(self.read..self.read + octets.len()) else { return Ok(false) };
        octets.copy_from_slice(there);
        self.read += octets.len();
        Ok(true)
    }

    /// Takes the next octets that were put by.
    #[cold]
    fn turn(&mut self) -> io::Result<()> {
        self.front.clear();
        self.read = 0;
        match self.queue.front() {
            Some((_, batch)) => {
                self.front.extend_from_slice(batch);
                self.queue.pop()
            }
            None => {
                std::mem::swap(&mut self.front, &mut self.last);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Timestamp;

    #[test]
    fn entries_come_back_in_order() {
        let kinds = |number: u32| {
            [
                Entry::AsCaptured,
                Entry::Duplicate,
                Entry::Copy { conversation: number },
                Entry::Packet { conversation: number, from_first: number.is_multiple_of(2) },
                Entry::Quote { conversation: number, from_first: number.is_multiple_of(3) },
                Entry::Fragment { group: number },
            ]
        };
        let mut plan = Plan::default();
        for (entry, time) in (0..20_000).flat_map(kinds).zip(0..) {
            plan.push(entry, &frame(0, time)).expect("there is room");
        }
        for (entry, time) in (0..20_000).flat_map(kinds).zip(0..) {
            assert_eq!(plan.advance(&frame(0, time)).expect("it is there"), Some(entry));
        }
        assert!(plan.is_at_end().expect("nothing is wrong"));
        assert_eq!(plan.advance(&frame(0, 0)).expect("nothing is wrong"), None, "no such packet");
    }

    #[test]
    fn another_packet_has_no_entry() {
        for other in [frame(1, 7), frame(0, 8), Frame { bytes: b"other", ..frame(0, 7) }] {
            let mut plan = Plan::default();
            plan.push(Entry::AsCaptured, &frame(0, 7)).expect("there is room");
            assert_eq!(plan.advance(&other).expect("it is there"), None);
        }
    }

    fn frame(input: u16, time: u64) -> Frame<'static> {
        Frame { input, interface: 0, time: Timestamp(time), original_len: 60, bytes: b"bytes of it", options: &[] }
    }

    #[test]
    fn headers_come_back_as_they_were() {
        let header = |source: &str, destination: &str| Header {
            protocol: Protocol::Tcp,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            seq: 0x0102_0304,
            ack: 0xfffe_fdfc,
            control: 0x12,
            is_quoted: false,
        };
        let all = [
            Counted { header: header("10.0.0.1:1", "10.0.0.2:65535"), owner: Some((7, true)), input: 3, is_copy: true },
            Counted {
                header: Header { protocol: Protocol::Udp, is_quoted: true, ..header("[fd00::1]:2", "[::1]:3") },
                owner: None,
                input: 0,
                is_copy: false,
            },
            Counted {
                header: header("0.0.0.0:0", "255.255.255.255:0"),
                owner: Some((0, false)),
                input: u16::MAX,
                is_copy: false,
            },
        ];
        let mut headers = Headers::default();
        for counted in &all {
            headers.push(counted).expect("there is room");
        }
        for counted in all {
            assert_eq!(headers.advance().expect("it is there"), Some(counted));
        }
        assert_eq!(headers.advance().expect("nothing is wrong"), None);
    }
}

//! The pcap format and the dialects of it that tshark reads.
//!
//! In comes a header and records in either byte order; out go packets. A record that promises more than any
//! capture of its link type holds is damage. Everything else that a record says is delivered as it says:
//! packets longer than the snapshot length or than on the wire, a million microseconds and more.

use super::buffer::Buffer;
use super::bytes::Order;
use super::current::{Current, Span};
use super::error::Fault;
use super::{Interface, LinkType, PacketRecord, Section, Seen, Step, Timestamp};

/// Octets of the file header.
const HEADER: usize = 24;

/// Octets before each packet, but for some dialects.
const USUAL_HEADER: usize = 16;

/// A pcap file whose header is read.
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds per unit of the fraction of a second.
    unit: u64,
    /// Octets before the bytes of each packet.
    record_header: usize,
    lengths: Lengths,
    largest: u32,
    /// Whether records are as nearly all are: little-endian, 16 octets before each packet, its captured length first.
    is_usual: bool,
}

/// In which order a record has its two lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Before version 2.3, and in DG/UX's.
    OriginalFirst,
    /// Version 2.3 was written both ways; a packet is not captured longer than it was.
    SmallerIsCaptured,
}

/// What follows from the magic number.
#[derive(Clone, Copy)]
struct Magic {
    order: Order,
    unit: u64,
    /// Kuznetsov's patches: records say more than usual.
    modified: bool,
    /// Ixia's: the file header has 4 octets more.
    ixia: bool,
}

impl Magic {
    fn of(bytes: &[u8]) -> Option<Magic> {
        [Order::Little, Order::Big].into_iter().find_map(|order| {
            let (unit, modified, ixia) = match order.u32(bytes, 0) {
                0xa1b2_c3d4 => (1000, false, false),
                0xa1b2_3c4d => (1, false, false),
                0xa1b2_cd34 => (1000, true, false),
                0x1c00_01ac => (1, false, true),
                0x1c00_01ab => (1000, false, true),
                _ => return None,
            };
            Some(Magic { order, unit, modified, ixia })
        })
    }
}

impl Pcap {
    /// Whether a file that starts like this is pcap.
    pub fn is_pcap(bytes: &[u8]) -> bool {
        Magic::of(bytes).is_some()
    }

    /// Reads the file header.
    pub fn open(buffer: &mut Buffer, seen: &mut Seen) -> Result<Pcap, Fault> {
        let whole = buffer.ensure(HEADER)?;
        let header = buffer.ahead();
        let Some(magic) = Magic::of(header).filter(|_| whole) else {
            return Err(Fault::Cut(format!("a pcap header has {HEADER} bytes, here are {}", header.len())));
        };
        let Magic { order, mut unit, modified, ixia } = magic;
        let version = (order.u16(header, 4), order.u16(header, 6));
        let snaplen = order.u32(header, 16);
        let network = order.u32(header, 20);
        if version.0 < 2 {
            return Err(Fault::Unsupported(format!("pcap version {}.{}", version.0, version.1)));
        }
        let lengths = match version {
            (2, 0..=2) | (543, _) => Lengths::OriginalFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            _ => Lengths::CapturedFirst,
        };
        let mut link_type = LinkType(network as u16);
        if version == (2, 2)
            && unit == 1000
            && let Some(translated) = aix_link_type(network)
        {
            (link_type, unit) = (translated, 1);
        }
        let largest = largest_packet(link_type);
        buffer.consume(if ixia { HEADER + 4 } else { HEADER });

        let mut pcap = Pcap { order, unit, record_header: 16, lengths, largest, is_usual: false };
        pcap.record_header = match (modified, lengths) {
            (true, Lengths::CapturedFirst) => pcap.guess_record_header(buffer, snaplen, &[24, 28]),
            // Red Hat 6.1 and Nokia IPSO wrote longer records without saying so.
            (false, Lengths::CapturedFirst) if unit == 1000 && !ixia => {
                pcap.guess_record_header(buffer, snaplen, &[16, 24, 20])
            }
            _ => 16,
        };
        pcap.is_usual =
            order == Order::Little && pcap.record_header == USUAL_HEADER && lengths == Lengths::CapturedFirst;
        seen.described.sections.push(Section::default());
        seen.described.interfaces.push(Interface {
            link_type,
            // Bit 26 says that bits 28 to 31 are the length, in units of 16 bits.
            fcs_len: (network & 1 << 26 != 0).then_some((network >> 28) as u8 * 2),
            snaplen,
            name: None,
            section: 0,
            options: Vec::new(),
        });
        Ok(pcap)
    }

    /// Whether the next record, or what shows that there cannot be one, is all at hand.
    #[inline]
    pub fn has_record(&self, ahead: &[u8]) -> bool {
        ahead.len() >= self.record_header && {
            let (captured, _) = self.lengths.read(self.order.u32(ahead, 8), self.order.u32(ahead, 12));
            captured > self.largest || ahead.len() - self.record_header >= captured as usize
        }
    }

    /// Moves to the next packet.
    #[inline(always)]
    pub fn next(&mut self, buffer: &mut Buffer, current: &mut Current, seen: &mut Seen) -> Result<Step, Fault> {
        if self.is_usual
            && let Some((header, rest)) = buffer.ahead().split_first_chunk::<USUAL_HEADER>()
        {
            let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let captured = word(8);
            if captured > 0 && captured <= self.largest && rest.len() >= captured as usize {
                self.deliver(buffer, current, seen, USUAL_HEADER, [word(0), word(4), captured, word(12)]);
                return Ok(Step::Packet);
            }
        }
        self.next_of_any(buffer, current, seen)
    }

    /// The next packet of any dialect, which may have to be read first.
    #[inline(never)]
    fn next_of_any(&mut self, buffer: &mut Buffer, current: &mut Current, seen: &mut Seen) -> Result<Step, Fault> {
        let header_len = self.record_header;
        seen.in_packet = true;
        if !buffer.ensure(header_len)? {
            buffer.end(|have| format!("a record header has {header_len} bytes, {have} follow"))?;
            return Ok(Step::End);
        }
        let header = buffer.ahead();
        let order = self.order;
        let (seconds, fraction) = (order.u32(header, 0), order.u32(header, 4));
        let (captured, original_len) = self.lengths.read(order.u32(header, 8), order.u32(header, 12));
        if (captured == 0 || captured > self.largest) && another_begins(header) {
            let what = "another capture begins here, as `cat` makes of two (cut them apart here, give both as inputs)";
            return Err(Fault::Corrupt(what.to_owned()));
        }
        if captured > self.largest {
            return Err(Fault::Corrupt(format!(
                "the record promises {captured} bytes, the largest packet of this kind has {}",
                self.largest
            )));
        }
        let len = header_len + captured as usize;
        if !buffer.ensure(len)? {
            let cut = |have: usize| {
                format!("the record promises {captured} bytes, {} follow", have.saturating_sub(header_len))
            };
            buffer.end(cut)?;
            return Ok(Step::End);
        }
        self.deliver(buffer, current, seen, header_len, [seconds, fraction, captured, original_len]);
        Ok(Step::Packet)
    }

    /// Takes a record that is all at hand, with what its header says.
    #[inline(always)]
    fn deliver(
        &self,
        buffer: &mut Buffer,
        current: &mut Current,
        seen: &mut Seen,
        header_len: usize,
        [seconds, fraction, captured, original_len]: [u32; 4],
    ) {
        let offset = buffer.offset();
        let record = buffer.consume(header_len + captured as usize);
        current.body = Span::Buffered(record.start + header_len..record.end);
        seen.in_packet = true;
        seen.frames += 1;
        current.packet = PacketRecord {
            interface: 0,
            // Both are below 2^32: the sum stays below 2^63.
            time: Timestamp(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit),
            original_len,
            number: seen.frames,
            offset,
        };
    }

    /// The length of the record headers that fits the first records best, the first of equally good ones.
    ///
    /// On a pipe the first records may be long in coming, so that there the first candidate is it.
    fn guess_record_header(&self, buffer: &mut Buffer, snaplen: u32, candidates: &[usize]) -> usize {
        if buffer.input().is_stream {
            return candidates.first().copied().unwrap_or(16);
        }
        let is_all = buffer.look_ahead();
        // That the file ends within a record speaks against the others, not against the usual one: captures are
        // cut short more often than they are in dialects.
        let usual = candidates.first();
        let oddities = |len: &usize| self.oddities(buffer.ahead(), is_all && Some(len) != usual, *len, snaplen);
        candidates.iter().copied().min_by_key(oddities).unwrap_or(16)
    }

    /// How odd the first three records look with headers of `header_len` octets; 0 is not at all. With `is_all`
    /// it is odd too if they are not whole.
    fn oddities(&self, mut rest: &[u8], is_all: bool, header_len: usize, snaplen: u32) -> u32 {
        for _ in 0..3 {
            if rest.is_empty() {
                break;
            }
            if rest.len() < header_len {
                return u32::from(is_all);
            }
            let [fraction, captured, original] = [4, 8, 12].map(|at| self.order.u32(rest, at));
            let odd = [
                fraction >= 1_000_000,
                captured > self.largest,
                original > 128 << 20,
                captured > snaplen,
                captured > original,
            ];
            let odd: u32 = odd.into_iter().map(u32::from).sum();
            if odd > 0 {
                return odd;
            }
            match rest.get(header_len + captured as usize..) {
                Some(after) => rest = after,
                None => return u32::from(is_all),
            }
        }
        0
    }
}

impl Lengths {
    /// The captured and the original length.
    #[inline]
    fn read(self, first: u32, second: u32) -> (u32, u32) {
        match self {
            Lengths::CapturedFirst => (first, second),
            Lengths::SmallerIsCaptured if first <= second => (first, second),
            Lengths::OriginalFirst | Lengths::SmallerIsCaptured => (second, first),
        }
    }
}

/// The most octets that a capture of a link type has in one packet; more is damage (wiretap's limits).
pub(super) fn largest_packet(link_type: LinkType) -> u32 {
    match link_type.0 {
        // USB: FreeBSD, Linux, Linux with mmap, USBPcap, Darwin; and D-Bus.
        186 | 189 | 220 | 249 | 266 | 231 => 128 << 20,
        // Elektrobit's high speed capture and replay.
        279 => 8 << 20,
        _ => 256 << 10,
    }
}

/// Whether what should be a record is the start of a file: pcap with microseconds or nanoseconds, pcapng.
#[cold]
fn another_begins(header: &[u8]) -> bool {
    let starts_with = |magic: u32| header.starts_with(&magic.to_le_bytes()) || header.starts_with(&magic.to_be_bytes());
    [0xa1b2_c3d4, 0xa1b2_3c4d, 0x0a0d_0d0a].into_iter().any(starts_with)
}

/// AIX puts the interface type of RFC 1573 where others put the link type, and writes nanoseconds.
fn aix_link_type(network: u32) -> Option<LinkType> {
    match network {
        6 => Some(LinkType::ETHERNET),
        9 => Some(LinkType(6)),
        15 => Some(LinkType(10)),
        24 => Some(LinkType::NULL),
        _ => None,
    }
}

//! Captures in: pcap and pcapng, plain or compressed, from files and pipes.
//!
//! What comes in is bytes that nobody vouches for; what goes out is one [`Record`] after the other, in the
//! order of the file. Whatever the byte order and the resolution of the file were, what leaves here is in one
//! form: times in nanoseconds, numbers in options and block bodies little-endian, interfaces numbered
//! across sections. This stage does not look inside packets, and does not seek.
//!
//! ```text
//! source    a path or standard input -> bytes    decompressed (coding), once for two times (unpacked);
//!                                                pipes read ahead in threads (feed)
//! buffer    bytes -> the next n of them          where records are parsed in place
//! pcap      header, records -> packets
//! pcapng    blocks -> packets and blocks         options and block bodies made uniform (options, blocks, clock)
//! ```
//!
//! What is refused: captures of other kinds, at [`Capture::open`]; a record whose length contradicts the file,
//! or that is not all there, at [`Capture::advance`], with everything before it delivered. Where tshark reads on,
//! so do we. Memory: 256 KiB per input, up to the size of its largest record; and what is read ahead, 4 MiB per
//! pipe and 1 MiB per compressed input.

mod blocks;
mod buffer;
mod bytes;
mod clock;
mod coding;
mod current;
mod error;
mod feed;
mod magic;
mod options;
mod pcap;
mod pcapng;
mod source;
#[cfg(test)]
mod tests;
mod unpacked;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use buffer::Buffer;
use current::Current;
use error::Fault;
pub use error::{Error, Place};
pub(crate) use options::CUSTOM_NO_COPY;
use pcap::Pcap;
use pcapng::PcapNg;
pub use source::{Input, Source};
pub use unpacked::Unpacked;

/// Block types (pcapng, section 4; the last ones sections 4.8 and 4.9) that are treated in a way of their own.
pub(crate) mod block_type {
    /// Name Resolution Block.
    pub const NAME_RESOLUTION: u32 = 4;
    /// Interface Statistics Block.
    pub const INTERFACE_STATISTICS: u32 = 5;
    /// Enhanced Packet Block.
    pub const ENHANCED_PACKET: u32 = 6;
    /// systemd Journal Export Block.
    pub const JOURNAL: u32 = 9;
    /// Decryption Secrets Block.
    pub const DECRYPTION_SECRETS: u32 = 10;
    /// Custom Block that a program which does not know it may copy.
    pub const CUSTOM: u32 = 0x0bad;
    /// Custom Block that should not be copied into another file.
    pub const CUSTOM_NO_COPY: u32 = 0x4000_0bad;
}

/// A capture that is being read, record by record.
///
/// After an error, and after the end, it is at its end for good.
pub struct Capture {
    buffer: Buffer,
    format: Format,
    seen: Seen,
    current: Current,
    /// The number of the last packet that is looked at.
    last: u64,
    ended: bool,
}

impl Capture {
    /// Opens input number `number` (from 0; for the names of threads) and reads its header, which on a pipe
    /// waits for the writer.
    ///
    /// When `interrupted` becomes true, the capture ends as if there were no more bytes. Errors: the file cannot
    /// be opened or is a directory, it is empty, it is no capture, or its header is cut, damaged or of a version
    /// that is not supported.
    pub fn open(source: &Source, number: usize, interrupted: Arc<AtomicBool>) -> Result<Capture, Error> {
        Capture::from_input(Input::start(source, number, interrupted)?)
    }

    /// Reads the header of an input that is already started. With several pipes, start all before reading the
    /// header of any: see [`Input::start`].
    pub fn from_input(input: Input) -> Result<Capture, Error> {
        let name = input.name.clone();
        let input = input.decompressed().map_err(|source| Error::Io { name: name.clone(), source })?;
        let mut buffer = Buffer::new(input);
        let mut seen = Seen::default();
        match Format::open(&mut buffer, &mut seen) {
            Ok(Some(format)) => {
                seen.in_packet = false;
                Ok(Capture { buffer, format, seen, current: Current::new(), last: u64::MAX, ended: false })
            }
            Ok(None) if buffer.ahead().is_empty() => Err(Error::Empty { name }),
            Ok(None) => {
                let looks_like = magic::looks_like(buffer.ahead(), buffer.input().coding);
                Err(Error::NotACapture { name, looks_like })
            }
            Err(fault) => Err(Error::from_fault(fault, &name, Place { frame: 1, in_packet: false, offset: 0 })),
        }
    }

    /// Reads from any reader, in the caller's thread; decompresses there too.
    ///
    /// Errors: as [`Capture::open`].
    pub fn from_reader(name: String, reader: Box<dyn Read + Send>) -> Result<Capture, Error> {
        Capture::from_input(Input::from_reader(name, reader))
    }

    /// Moves to the next record; the bytes of the one before are gone. `None` is the end.
    ///
    /// Errors: the record is not whole, or not possible; those before it were. Only the first call that meets
    /// one returns it, the next ones return `None`.
    #[inline(always)]
    pub fn advance(&mut self) -> Result<Option<Record>, Error> {
        if self.ended {
            return Ok(None);
        }
        let Capture { buffer, current, seen, .. } = self;
        let step = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(buffer, current, seen),
            Format::PcapNg(pcapng) => pcapng.next(buffer, current, seen),
        };
        match step {
            // Field by field, and always inline: a record that is copied as a whole is loaded in other widths
            // than it was stored in, which stalls (measured: 5 ns a packet, a third of all that is done here).
            Ok(Step::Packet) => {
                if current.packet.number > self.last {
                    return self.end(None);
                }
                let PacketRecord { interface, time, original_len, number, offset } = current.packet;
                Ok(Some(Record::Packet(PacketRecord { interface, time, original_len, number, offset })))
            }
            Ok(Step::Block(block)) => Ok(Some(Record::Block(block))),
            Ok(Step::End) => self.end(None),
            Err(fault) => self.end(Some(fault)),
        }
    }

    /// The capture ends behind the packet with this [number](PacketRecord::number), though the file may go on.
    pub fn end_behind(&mut self, packet: u64) {
        self.last = packet;
    }

    /// The current packet; of other records, the packet before them.
    #[inline]
    pub fn packet(&self) -> &PacketRecord {
        &self.current.packet
    }

    /// The captured bytes of the current packet, or the body of the current block. Numbers in the bodies of
    /// blocks that are known here are little-endian, times in them nanoseconds.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.current.bytes(&self.buffer)
    }

    /// The options of the current packet: codes, lengths and numbers little-endian, values padded to 4 octets,
    /// without `opt_endofopt`. Options of impossible length, and those after them, are not there.
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.current.options(&self.buffer)
    }

    /// What is described up to the current record.
    #[inline]
    pub fn described(&self) -> &Described {
        &self.seen.described
    }

    /// The name for messages: the path as given, or "standard input".
    pub fn name(&self) -> &str {
        &self.buffer.input().name
    }

    /// Whether it may pause: a pipe, a FIFO, a terminal; not a regular file.
    pub fn is_stream(&self) -> bool {
        self.buffer.input().is_stream
    }

    /// Whether reading the next record has to wait for the writer of a pipe.
    #[inline]
    pub fn may_block(&self) -> bool {
        self.is_stream() && self.is_silent(Duration::ZERO)
    }

    /// Whether the writer of a pipe delivers no whole record within this time, nor the end of the capture.
    pub fn is_silent(&self, time: Duration) -> bool {
        let ahead = self.buffer.ahead();
        let whole = match &self.format {
            Format::Pcap(pcap) => pcap.has_record(ahead),
            Format::PcapNg(pcapng) => pcapng.has_record(ahead),
        };
        !whole && self.buffer.input().watch.as_ref().is_some_and(|watch| watch.is_silent(time))
    }

    /// How far it has been read, now and later.
    pub fn progress(&self) -> Progress {
        let input = self.buffer.input();
        Progress { octets: Arc::clone(&input.meter.octets), total: input.total }
    }

    /// Ends for good, with an error if there was a fault.
    #[cold]
    fn end(&mut self, fault: Option<Fault>) -> Result<Option<Record>, Error> {
        self.ended = true;
        self.current.body = Current::NOTHING;
        self.current.options = Current::NOTHING;
        let Seen { frames, in_packet, .. } = self.seen;
        let place = Place { frame: frames + 1, in_packet, offset: self.buffer.offset() };
        match fault {
            Some(fault) => Err(Error::from_fault(fault, self.name(), place)),
            None => Ok(None),
        }
    }
}

/// The format of a capture, its header read.
enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

impl Format {
    /// `None`: neither; what there is then is [`Buffer::ahead`].
    fn open(buffer: &mut Buffer, seen: &mut Seen) -> Result<Option<Format>, Fault> {
        buffer.ensure(4)?;
        if PcapNg::is_pcapng(buffer.ahead()) {
            Ok(Some(Format::PcapNg(PcapNg::open(buffer, seen)?)))
        } else if Pcap::is_pcap(buffer.ahead()) {
            Ok(Some(Format::Pcap(Pcap::open(buffer, seen)?)))
        } else {
            // For a better guess at what it is; whatever arrives next, without waiting for more on a pipe.
            buffer.ensure(5)?;
            Ok(None)
        }
    }
}

/// What a parser came to.
enum Step {
    /// A packet: [`Current::packet`].
    Packet,
    Block(BlockRecord),
    End,
}

/// What was seen of a capture so far.
#[derive(Default)]
struct Seen {
    described: Described,
    /// Packets, and the blocks that tshark counts as frames.
    frames: u64,
    /// Whether what is being read is a packet, for error messages.
    in_packet: bool,
}

/// What a capture describes besides its packets.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// The interfaces, of all sections. A pcap file has one.
    pub interfaces: Vec<Interface>,
    /// The sections; at least one.
    pub sections: Vec<Section>,
}

impl Described {
    /// How many interfaces and sections there are.
    pub(crate) fn counts(&self) -> [usize; 2] {
        [self.interfaces.len(), self.sections.len()]
    }

    /// What is described beyond the first ones, of which there are so many.
    pub(crate) fn beyond(&self, [interfaces, sections]: [usize; 2]) -> Described {
        Described { interfaces: self.interfaces[interfaces..].to_vec(), sections: self.sections[sections..].to_vec() }
    }

    /// Takes in what is described besides.
    pub(crate) fn append(&mut self, mut more: Described) {
        self.interfaces.append(&mut more.interfaces);
        self.sections.append(&mut more.sections);
    }
}

/// How far a capture has been read, in bytes before decompression.
#[derive(Clone, Debug)]
pub struct Progress {
    octets: Arc<AtomicU64>,
    /// How many there are to read, if it is a regular file.
    pub total: Option<u64>,
}

impl Progress {
    /// How many were read so far.
    pub fn read(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }
}

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
    /// The section that describes this interface; an index into [`Described::sections`].
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
    /// Index into [`Described::interfaces`].
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
    /// The interface of an Interface Statistics Block; an index into [`Described::interfaces`].
    pub interface: Option<u32>,
    /// Where the block starts in the (decompressed) capture, in octets.
    pub offset: u64,
}

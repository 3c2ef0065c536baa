//! The pcapng format (draft-ietf-opsawg-pcapng).
//!
//! In come blocks in the byte order of their section; out go packets and the blocks that go with them, while
//! sections and interfaces are collected on the side. As strict as tshark where lengths frame blocks and
//! packets: one that contradicts another is damage, since where the next block starts is then a guess. Lenient
//! inside options, which nothing else depends on.

use std::ops::Range;

use super::blocks;
use super::buffer::Buffer;
use super::bytes::{Order, padded};
use super::clock::Clock;
use super::current::{Current, Span};
use super::error::Fault;
use super::options::{self, Kind, Options};
use super::pcap::largest_packet;
use super::{BlockRecord, Interface, LinkType, PacketRecord, Section, Seen, Step, Timestamp, block_type};

/// Section Header Block; reads the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
/// Interface Description Block.
const INTERFACE: u32 = 1;
/// Packet Block, obsolete.
const OLD_PACKET: u32 = 2;
/// Simple Packet Block.
const SIMPLE_PACKET: u32 = 3;
/// Enhanced Packet Block.
const PACKET: u32 = 6;

/// Octets of type and length before the body of a block.
const HEADER: usize = 8;
/// Octets of type and both lengths around the body.
const FRAME: usize = 12;
/// The longest block (wiretap's limit): the largest packet, and 128 KiB of options.
const LONGEST: u32 = (128 << 20) + (128 << 10) + 32;

/// Octets that the interfaces and sections of a capture may take: more than a hundred thousand of them.
const DESCRIBED: usize = 16 << 20;

/// A pcapng file whose first section header is read.
pub(super) struct PcapNg {
    order: Order,
    /// One for each of [`Described::interfaces`](super::Described::interfaces).
    details: Vec<Details>,
    /// The first interface of the current section.
    first: usize,
    /// When the last packet was captured.
    last: Timestamp,
    /// Octets that the interfaces and sections take.
    described: usize,
}

/// What reading the packets of an interface takes.
#[derive(Clone, Copy)]
struct Details {
    clock: Clock,
    snaplen: u32,
    largest: u32,
}

impl PcapNg {
    /// Whether a file that starts like this is pcapng.
    pub fn is_pcapng(bytes: &[u8]) -> bool {
        Order::Little.u32(bytes, 0) == SECTION
    }

    /// Reads the first section header.
    pub fn open(buffer: &mut Buffer, seen: &mut Seen) -> Result<PcapNg, Fault> {
        let mut pcapng =
            PcapNg { order: Order::Little, details: Vec::new(), first: 0, last: Timestamp(0), described: 0 };
        let Some(header) = pcapng.block_header(buffer)? else {
            return Err(Fault::Cut("a section header has at least 28 bytes".to_owned()));
        };
        if !pcapng.complete(buffer, header)? {
            return Err(Fault::Cut("the section header is not whole".to_owned()));
        }
        pcapng.section(buffer, seen, header.len)?;
        Ok(pcapng)
    }

    /// Whether the next block, or what shows that there cannot be one, is all at hand.
    #[inline]
    pub fn has_record(&self, ahead: &[u8]) -> bool {
        ahead.len() >= FRAME && {
            let promised = self.order.u32(ahead, 4);
            promised > LONGEST || ahead.len() >= padded(promised as usize)
        }
    }

    /// Moves to the next packet or block that goes with packets.
    #[inline]
    pub fn next(&mut self, buffer: &mut Buffer, current: &mut Current, seen: &mut Seen) -> Result<Step, Fault> {
        loop {
            seen.in_packet = false;
            let Some(header) = self.block_header(buffer)? else { return Ok(Step::End) };
            if header.block_type != PACKET {
                match self.other(buffer, current, seen, header)? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            seen.in_packet = true;
            let packet = self.packet(buffer, header.len)?;
            if !self.complete(buffer, header)? {
                return Ok(Step::End);
            }
            self.take(buffer, current, seen, header.len, &packet);
            return Ok(Step::Packet);
        }
    }

    /// Anything but an Enhanced Packet Block: seldom, and long. `None` if it is only remembered.
    #[inline(never)]
    fn other(
        &mut self,
        buffer: &mut Buffer,
        current: &mut Current,
        seen: &mut Seen,
        header: BlockHeader,
    ) -> Result<Option<Step>, Fault> {
        seen.in_packet = matches!(header.block_type, SIMPLE_PACKET | OLD_PACKET);
        let packet = match header.block_type {
            OLD_PACKET => Some(self.old_packet(buffer, header.len)?),
            SIMPLE_PACKET => Some(self.simple_packet(buffer, header.len)?),
            _ => None,
        };
        if !self.complete(buffer, header)? {
            return Ok(Some(Step::End));
        }
        let offset = buffer.offset();
        match (packet, header.block_type) {
            (Some(packet), _) => {
                self.take(buffer, current, seen, header.len, &packet);
                Ok(Some(Step::Packet))
            }
            (None, SECTION) => self.section(buffer, seen, header.len).map(|()| None),
            (None, INTERFACE) => self.interface(buffer, seen, header.len).map(|()| None),
            (None, block_type) => {
                let interface = self.other_block(buffer, current, header)?;
                seen.frames += u64::from(blocks::is_numbered(block_type));
                Ok(Some(Step::Block(BlockRecord { block_type, interface, offset })))
            }
        }
    }

    /// Type and length of the block that comes next, in [`Buffer::ahead`]; `None` is the end.
    #[inline]
    fn block_header(&mut self, buffer: &mut Buffer) -> Result<Option<BlockHeader>, Fault> {
        if !buffer.ensure(FRAME)? {
            buffer.end(|have| format!("a block has at least {FRAME} bytes, {have} follow"))?;
            return Ok(None);
        }
        let bytes = buffer.ahead();
        let block_type = self.order.u32(bytes, 0);
        let mut least = FRAME;
        if block_type == SECTION {
            least = 28;
            self.order = match Order::Little.u32(bytes, 8) {
                0x1a2b_3c4d => Order::Little,
                0x4d3c_2b1a => Order::Big,
                other => {
                    return Err(Fault::Corrupt(format!("a section header has the byte-order magic {other:#010x}")));
                }
            };
        }
        let promised = self.order.u32(bytes, 4);
        if promised > LONGEST {
            return Err(Fault::Corrupt(format!("the block promises {promised} bytes, the longest has {LONGEST}")));
        }
        // Some writers do not count the padding of the packet, but write it (as wiretap knows).
        let len = padded(promised as usize);
        if len < least {
            return Err(Fault::Corrupt(format!("the block has {promised} bytes, the shortest has {least}")));
        }
        Ok(Some(BlockHeader { block_type, len }))
    }

    /// Sees to it that the whole block is at hand and that its two lengths agree; false is an interrupted end.
    #[inline]
    fn complete(&self, buffer: &mut Buffer, header: BlockHeader) -> Result<bool, Fault> {
        let len = header.len;
        if !buffer.ensure(len)? {
            buffer.end(|have| format!("the block promises {len} bytes, {have} are left"))?;
            return Ok(false);
        }
        let trailer = self.order.u32(buffer.ahead(), len - 4);
        if padded(trailer as usize) != len {
            return Err(Fault::Corrupt(format!("the block has {len} bytes at its start, {trailer} at its end")));
        }
        Ok(true)
    }

    /// Section 4.3. Checks what it says before all of it is asked for.
    #[inline]
    fn packet(&self, buffer: &mut Buffer, len: usize) -> Result<Packet, Fault> {
        let bytes = fixed_part(buffer, len, 20)?;
        let order = self.order;
        let id = order.u32(bytes, 8);
        let captured = order.u32(bytes, 20);
        let (interface, details) = self.details(id)?;
        check_packet(details, captured, len, 28)?;
        Ok(Packet {
            interface,
            time: details.clock.time(order.high_low(bytes, 12)),
            data: 28,
            captured: captured as usize,
            original_len: order.u32(bytes, 24),
            drops: None,
        })
    }

    /// Appendix A.
    fn old_packet(&self, buffer: &mut Buffer, len: usize) -> Result<Packet, Fault> {
        let bytes = fixed_part(buffer, len, 20)?;
        let order = self.order;
        let captured = order.u32(bytes, 20);
        let (interface, details) = self.details(u32::from(order.u16(bytes, 8)))?;
        check_packet(details, captured, len, 28)?;
        let drops = order.u16(bytes, 10);
        Ok(Packet {
            interface,
            time: details.clock.time(order.high_low(bytes, 12)),
            data: 28,
            captured: captured as usize,
            original_len: order.u32(bytes, 24),
            drops: (drops != 0xffff).then_some(drops),
        })
    }

    /// Section 4.4: no interface (the first is meant), no captured length, no time.
    fn simple_packet(&self, buffer: &mut Buffer, len: usize) -> Result<Packet, Fault> {
        let bytes = fixed_part(buffer, len, 4)?;
        let original_len = self.order.u32(bytes, 8);
        let (interface, details) = self.details(0)?;
        let limit = if details.snaplen == 0 { u32::MAX } else { details.snaplen };
        let captured = original_len.min(limit);
        check_packet(details, captured, len, 12)?;
        Ok(Packet { interface, time: self.last, data: 12, captured: captured as usize, original_len, drops: None })
    }

    /// Takes a packet's block from the buffer. Data and padding fit into the block: [`check_packet`].
    #[inline]
    fn take(&mut self, buffer: &mut Buffer, current: &mut Current, seen: &mut Seen, len: usize, packet: &Packet) {
        let offset = buffer.offset();
        let block = buffer.consume(len);
        let data = block.start + packet.data;
        let after = data + padded(packet.captured);
        let end = block.end - 4;
        current.body = Span::Buffered(data..data + packet.captured);
        // A Simple Packet Block has none, only padding perhaps.
        let options = if packet.data == 28 { after..end } else { after..after };
        if options.is_empty() && packet.drops.is_none() {
            current.options = Span::Buffered(options);
        } else {
            self.take_options(buffer, current, options, packet.drops);
        }
        self.last = packet.time;
        seen.frames += 1;
        current.packet = PacketRecord {
            interface: packet.interface,
            time: packet.time,
            original_len: packet.original_len,
            number: seen.frames,
            offset,
        };
    }

    /// Makes a packet's options the current ones, as they are if they can stay so.
    fn take_options(&self, buffer: &Buffer, current: &mut Current, range: Range<usize>, drops: Option<u16>) {
        let raw = buffer.slice(range.clone());
        if self.order == Order::Little && drops.is_none() {
            current.options = Span::Buffered(range.start..range.start + options::sound_len(raw));
            return;
        }
        current.options = Span::Copied;
        current.options_copy.clear();
        let mut counted = false;
        for option in Options::new(raw, self.order).take_while(|option| option.is_sound(Kind::Packet)) {
            counted |= option.code == 4;
            options::append(&mut current.options_copy, Kind::Packet, option, self.order);
        }
        if let Some(drops) = drops.filter(|_| !counted) {
            let value = &u64::from(drops).to_le_bytes();
            let dropcount = options::Opt { code: 4, value };
            options::append(&mut current.options_copy, Kind::Packet, dropcount, Order::Little);
        }
    }

    /// Section 4.1; the interfaces of the sections before are not the ones that numbers mean from now on.
    /// Makes room for an interface or a section, unless there are too many of them.
    fn describe(&mut self, octets: usize) -> Result<(), Fault> {
        self.described += octets;
        if self.described > DESCRIBED {
            return Err(Fault::Corrupt("there are more interfaces and sections than a capture has".to_owned()));
        }
        Ok(())
    }

    fn section(&mut self, buffer: &mut Buffer, seen: &mut Seen, len: usize) -> Result<(), Fault> {
        let block = buffer.ahead();
        let (major, minor) = (self.order.u16(block, 12), self.order.u16(block, 14));
        if !matches!((major, minor), (1, 0 | 2)) {
            let what = format!("pcapng version {major}.{minor}");
            let is_first = seen.described.sections.is_empty();
            return Err(if is_first { Fault::Unsupported(what) } else { Fault::Corrupt(what) });
        }
        let mut section = Section::default();
        let raw = block.get(24..len - 4).unwrap_or(&[]);
        options::append_all(&mut section.options, Kind::Section, raw, self.order);
        self.describe(size_of::<Section>() + section.options.len())?;
        seen.described.sections.push(section);
        self.first = seen.described.interfaces.len();
        buffer.consume(len);
        Ok(())
    }

    /// Section 4.2.
    fn interface(&mut self, buffer: &mut Buffer, seen: &mut Seen, len: usize) -> Result<(), Fault> {
        let block = fixed_part(buffer, len, 8)?;
        let order = self.order;
        let snaplen = order.u32(block, 12);
        let mut interface = Interface {
            link_type: LinkType(order.u16(block, 8)),
            fcs_len: None,
            snaplen,
            name: None,
            section: seen.described.sections.len().saturating_sub(1),
            options: Vec::new(),
        };
        let (mut resolution, mut offset) = (None, None);
        for option in Options::new(block.get(16..len - 4).unwrap_or(&[]), order) {
            match (option.code, option.value) {
                (2, name) if interface.name.is_none() => {
                    interface.name = Some(String::from_utf8_lossy(name).into_owned());
                    continue;
                }
                // Of several, and of those with impossible lengths, tshark takes the first that makes sense.
                (9, [octet]) => resolution = resolution.or(Some(*octet)),
                (14, value) if value.len() == 8 => offset = offset.or(Some(order.u64(value, 0) as i64)),
                (13, [fcs]) => interface.fcs_len = interface.fcs_len.or(Some(fcs_octets(*fcs))),
                _ => {}
            }
            if !matches!(option.code, 9 | 14) {
                options::append(&mut interface.options, Kind::Interface, option, order);
            }
        }
        let name = interface.name.as_ref().map_or(0, String::len);
        self.describe(size_of::<Interface>() + name + interface.options.len())?;
        self.details.push(Details {
            clock: Clock::new(resolution.unwrap_or(6), offset.unwrap_or(0)),
            snaplen,
            largest: largest_packet(interface.link_type),
        });
        seen.described.interfaces.push(interface);
        buffer.consume(len);
        Ok(())
    }

    /// Takes any other block from the buffer; returns the interface that it is about.
    fn other_block(
        &mut self,
        buffer: &mut Buffer,
        current: &mut Current,
        header: BlockHeader,
    ) -> Result<Option<u32>, Fault> {
        let body = buffer.ahead().get(HEADER..header.len - 4).unwrap_or(&[]);
        let is_statistics = header.block_type == block_type::INTERFACE_STATISTICS && body.len() >= 4;
        let interface = is_statistics.then(|| self.find(self.order.u32(body, 0))).flatten();
        current.body_copy.clear();
        let clock = interface.map(|(_, details)| details.clock);
        let interface = interface.map(|(index, _)| index);
        let copied = blocks::normalise(&mut current.body_copy, header.block_type, body, self.order, clock)?;
        let block = buffer.consume(header.len);
        current.options = Current::NOTHING;
        current.body = if copied { Span::Copied } else { Span::Buffered(block.start + HEADER..block.end - 4) };
        Ok(interface)
    }

    /// The interface of a packet, which must be described.
    #[inline]
    fn details(&self, id: u32) -> Result<(u32, &Details), Fault> {
        self.find(id).ok_or_else(|| {
            let described = self.details.len() - self.first;
            Fault::Corrupt(format!("the packet is of interface {id}, the section describes {described} before it"))
        })
    }

    /// The interface that has a number in this section: its index among all, and what reading it takes.
    #[inline]
    fn find(&self, id: u32) -> Option<(u32, &Details)> {
        let index = self.first.checked_add(usize::try_from(id).ok()?)?;
        Some((u32::try_from(index).ok()?, self.details.get(index)?))
    }
}

/// The start of a block; `len` is that of the whole block, a multiple of 4.
#[derive(Clone, Copy)]
struct BlockHeader {
    block_type: u32,
    len: usize,
}

/// A packet's block, understood but not taken yet.
struct Packet {
    interface: u32,
    time: Timestamp,
    /// Where in the block its bytes start.
    data: usize,
    captured: usize,
    original_len: u32,
    drops: Option<u16>,
}

/// The part of a block that comes before anything variable, with the block's header: [`Buffer::ahead`].
#[inline]
fn fixed_part(buffer: &mut Buffer, len: usize, fixed: usize) -> Result<&[u8], Fault> {
    if len < FRAME + fixed {
        return Err(Fault::Corrupt(format!("the block has {len} bytes, its type needs {}", FRAME + fixed)));
    }
    // If it is not all there, what is missing reads as 0; the block will not be complete either.
    buffer.ensure(HEADER + fixed)?;
    Ok(buffer.ahead())
}

/// Checks that a packet is not larger than any, and fits into its block after `before` octets.
#[inline]
fn check_packet(details: &Details, captured: u32, len: usize, before: usize) -> Result<(), Fault> {
    if captured > details.largest {
        return Err(Fault::Corrupt(format!(
            "the packet promises {captured} bytes, the largest of this kind has {}",
            details.largest
        )));
    }
    if before + padded(captured as usize) + 4 > len {
        return Err(Fault::Corrupt(format!("the packet promises {captured} bytes in a block of {len}")));
    }
    Ok(())
}

/// `if_fcslen` is in bits (section 4.2), but the specification's own example has octets, and so do some files.
fn fcs_octets(value: u8) -> u8 {
    if value < 8 { value } else { value / 8 }
}

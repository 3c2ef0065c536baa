//! The blocks that are written once in a while: section header, interfaces, whatever an input carried along.
//!
//! They go through `pcap-file`; packets, which are many, are encoded in [`super::packet`].

use std::borrow::Cow;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::block_common::PcapNgBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::opt_common::{CommonOption, UnknownOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::{DataLink, Endianness};

use crate::capture::LinkType;

/// The snapshot length in every Interface Description Block: tcpdump's default and its maximum. libpcap refuses
/// a file whose interfaces differ in it.
const SNAPLEN: u32 = 262_144;

/// Option codes (pcapng, sections 3.5, 4.1, 4.2 and 4.3).
pub(super) mod code {
    pub const COMMENT: u16 = 1;
    pub const IF_NAME: u16 = 2;
    pub const IF_DESCRIPTION: u16 = 3;
    pub const IF_TSRESOL: u16 = 9;
    pub const IF_OS: u16 = 12;
    pub const IF_FCSLEN: u16 = 13;
    pub const IF_HARDWARE: u16 = 15;
    /// Interface options that stand once: all that the draft registers but the addresses, 4 and 5.
    pub const IF_UNIQUE: [u16; 15] = [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18];
    pub const EPB_FLAGS: u16 = 2;
    pub const EPB_HASH: u16 = 3;
    pub const SHB_HARDWARE: u16 = 2;
    pub const SHB_OS: u16 = 3;
    pub const SHB_USERAPPL: u16 = 4;
    pub(crate) use crate::capture::CUSTOM_NO_COPY;
}

/// An option as it is written: code and value.
pub(super) type Opt<'a> = (u16, Cow<'a, [u8]>);

/// The options in raw little-endian form, one after the other.
pub(super) fn options(mut raw: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = raw.split_first_chunk::<4>()?;
        let code = u16::from_le_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        raw = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

/// Encodes cold blocks, little-endian.
pub(super) struct Blocks {
    writer: PcapNgWriter<Vec<u8>>,
}

impl Blocks {
    /// Starts the section.
    pub fn new(section: &[Opt<'_>]) -> Result<Blocks, std::io::Error> {
        let options = section.iter().map(|(code, value)| SectionHeaderOption::Common(unknown(*code, value))).collect();
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            major_version: 1,
            minor_version: 0,
            section_length: -1,
            options,
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), header).map_err(std::io::Error::other)?;
        Ok(Blocks { writer })
    }

    /// Moves what was encoded since the last call to the end of `buffer`.
    #[inline]
    pub fn take(&mut self, buffer: &mut Vec<u8>) {
        let encoded = self.writer.get_mut();
        if !encoded.is_empty() {
            buffer.append(encoded);
        }
    }

    /// Describes an interface.
    pub fn interface(&mut self, link_type: LinkType, interface: &[Opt<'_>]) -> Result<(), std::io::Error> {
        let mut description = InterfaceDescriptionBlock::new(DataLink::from(u32::from(link_type.0)), SNAPLEN);
        description.options =
            interface.iter().map(|(code, value)| InterfaceDescriptionOption::Common(unknown(*code, value))).collect();
        self.writer.write_block(&description.into_block()).map_err(std::io::Error::other)?;
        Ok(())
    }

    /// Any other block, body as it is.
    pub fn other(&mut self, block_type: u32, body: &[u8]) -> Result<(), std::io::Error> {
        let length = body.len() as u32;
        self.writer
            .write_block(&UnknownBlock::new(block_type, length, body).into_block())
            .map_err(std::io::Error::other)?;
        Ok(())
    }
}

fn unknown<'a>(code: u16, value: &'a [u8]) -> CommonOption<'a> {
    CommonOption::Unknown(UnknownOption::new(code, clipped(value)))
}

/// As much of a value as its 16-bit length can tell, whole characters of UTF-8: names grow where they are decoded lossily,
/// texts where something is put before them.
pub(super) fn clipped(value: &[u8]) -> &[u8] {
    let is_inside = |at: usize| value.get(at).is_some_and(|octet| octet & 0xc0 == 0x80);
    let mut len = value.len().min(usize::from(u16::MAX));
    // A character has at most four octets; what has more is no UTF-8.
    for _ in 0..3 {
        len -= usize::from(len > 0 && is_inside(len));
    }
    &value[..len]
}

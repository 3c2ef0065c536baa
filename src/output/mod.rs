//! One pcapng section out: every packet, in the order given, with what its input said about it.
//!
//! What comes in is frames whose changes are decided; what goes out is a file that appears whole or not at
//! all, or a stream. This stage writes changes and decides none; [`Output::finish`] has to be called.

mod blocks;
pub(crate) mod comment;
mod datagrams;
mod file;
mod interfaces;
mod names;
mod packet;
mod secrets;
mod sink;
mod streams;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::beside::Loaded;
use crate::capture::{Capture, Described, LinkType, PacketRecord, Source, Timestamp, block_type};
use crate::flow::{Translation, Written};
use crate::packet::View;
use crate::rewrite;

pub(crate) use datagrams::Datagrams;
pub(crate) use file::{NewFile, is_same_file};
pub use interfaces::GivenName;
pub(crate) use interfaces::given;
pub use sink::Destination;
pub(crate) use streams::{Header, Streams};

use blocks::{Blocks, Opt, code};
use interfaces::{Description, Interfaces};
use names::Names;
use secrets::Secrets;
use sink::{BUFFER, Sink};

/// What the user decides about the output.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names for interfaces.
    pub names: Vec<GivenName>,
    /// Whether frames of other link types are written as Ethernet where they can be.
    pub ethernet: bool,
    /// Whether conversations are counted as Wireshark does, which the report needs.
    pub numbered: bool,
    /// Of each capture: which of the user's inputs it is, from 0. Those that hold no capture have none.
    pub numbers: Vec<u16>,
    /// Names and secrets: what occurs in the packets is written with them.
    pub beside: Arc<Loaded>,
}

/// A frame on its way out.
pub struct Frame<'a> {
    /// The input it comes from, from 0.
    pub input: u16,
    /// Its interface in this input.
    pub interface: u32,
    /// When it was captured.
    pub time: Timestamp,
    /// Octets on the wire.
    pub original_len: u32,
    /// The octets captured.
    pub bytes: &'a [u8],
    /// Raw pcapng options, little-endian.
    pub options: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The packet that an input has just handed out.
    pub fn new(input: u16, record: &PacketRecord, bytes: &'a [u8], options: &'a [u8]) -> Frame<'a> {
        let PacketRecord { interface, time, original_len, .. } = *record;
        Frame { input, interface, time, original_len, bytes, options }
    }
}

/// What is to be done to a frame besides completing its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It gets these addresses.
    Translate(Translation),
    /// The header that it quotes gets these addresses.
    TranslateQuote(Translation),
}

/// Counts of what was done, beyond what the legs tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets written.
    pub packets: u64,
    /// Packets whose addresses were changed.
    pub translated: u64,
    /// Partial checksums that were completed.
    pub completed: u64,
    /// Packets that could not be written as Ethernet though it was asked for.
    pub not_ethernet: u64,
    /// Custom blocks that say of themselves that they must not be copied.
    pub not_copied: u64,
    /// Addresses whose names were written, if there are names.
    pub named: Option<u64>,
    /// TLS sessions whose secrets were written, if there are secrets.
    pub sessions: Option<u64>,
}

/// What is known of an output that is in its place.
#[derive(Debug)]
pub struct Finished {
    /// What was done.
    pub counts: Counts,
    /// The link types of its interfaces.
    pub link_types: Vec<LinkType>,
    /// Names that the user gave interfaces which did not occur.
    pub unused_names: Vec<GivenName>,
}

/// What the section of an output calls its writer, before the version.
const WRITER: &str = "meshpcap ";

/// Whether a file is a capture that a merge wrote.
pub fn is_repaired(path: &Path) -> bool {
    is_own(path) == Some(true)
}

/// Whether a file is there and is a capture that this program did not write.
pub(crate) fn is_other_capture(path: &Path) -> bool {
    is_own(path) == Some(false)
}

/// Whether this program wrote a capture; `None` if there is none.
fn is_own(path: &Path) -> Option<bool> {
    let source = Source::Path(path.to_owned());
    let capture = source.is_file().then(|| Capture::open(&source, 0, Arc::default()))?.ok()?;
    let own = |(code, value): (u16, &[u8])| code == code::SHB_USERAPPL && value.starts_with(WRITER.as_bytes());
    Some(capture.described().sections.first().is_some_and(|section| blocks::options(&section.options).any(own)))
}

/// The comments among the raw options of a packet.
pub(crate) fn comments(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    blocks::options(options).filter(|(code, _)| *code == code::COMMENT).map(|(_, value)| value)
}

/// The pcapng output.
pub struct Output {
    sink: Sink,
    buffer: Vec<u8>,
    blocks: Blocks,
    interfaces: Interfaces,
    /// Counts conversations; none where somebody else does.
    streams: Option<Streams>,
    names: Option<Names>,
    secrets: Option<Secrets>,
    options: Options,
    counts: Counts,
    scratch: Vec<u8>,
}

impl Output {
    /// Opens the output and starts its section, which carries the comments of the captures' first sections.
    pub fn create<'a>(
        destination: &Destination,
        options: Options,
        captures: impl Iterator<Item = &'a Described>,
    ) -> io::Result<Output> {
        let mut section: Vec<Opt<'_>> = Vec::new();
        for capture in captures {
            let Some(first) = capture.sections.first() else { continue };
            let kept = blocks::options(&first.options).filter(|(code, _)| {
                // Hardware, system and application stand with the interfaces.
                let moved = [code::SHB_HARDWARE, code::SHB_OS, code::SHB_USERAPPL];
                !moved.contains(code) && !code::CUSTOM_NO_COPY.contains(code)
            });
            section.extend(kept.map(|(code, value)| (code, Cow::Borrowed(value))));
        }
        let writer = format!("{WRITER}{}", env!("CARGO_PKG_VERSION"));
        section.push((code::SHB_USERAPPL, Cow::Owned(writer.into_bytes())));
        Ok(Output {
            sink: Sink::create(destination, !options.beside.keys.is_empty())?,
            buffer: Vec::with_capacity(BUFFER + BUFFER / 4),
            blocks: Blocks::new(&section)?,
            interfaces: Interfaces::new(options.names.clone(), options.numbers.clone()),
            streams: options.numbered.then(Streams::default),
            names: Names::new(&options.beside),
            secrets: Secrets::new(&options.beside),
            options,
            counts: Counts::default(),
            scratch: Vec::new(),
        })
    }

    /// Writes a frame. `view` follows the changes.
    pub fn packet(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        view: &mut View,
        change: Change,
        comment: Option<&str>,
    ) -> io::Result<Written> {
        let link_type = capture.interfaces[frame.interface as usize].link_type;
        let ethernet = self.options.ethernet && link_type != LinkType::ETHERNET && self.convert(frame, view);
        let interface = match self.interfaces.same(frame.input, frame.interface, &view.link, ethernet) {
            Some(interface) => interface,
            None => {
                let description = describe(capture, frame.input, frame.interface);
                self.interfaces.id(&description, Some(&view.link), ethernet, &mut self.blocks)?
            }
        };
        if self.names.is_some() || self.secrets.is_some() {
            self.blocks_before(frame, view, change)?;
        }
        self.flush_blocks();
        let mut header = packet::Header { interface, time: frame.time, original_len: frame.original_len };
        let mut data = frame.bytes;
        if ethernet {
            data = &self.scratch;
            let grown = data.len() as i64 - frame.bytes.len() as i64;
            header.original_len = (i64::from(frame.original_len) + grown).clamp(0, i64::from(u32::MAX)) as u32;
            *view = crate::packet::decode(LinkType::ETHERNET, data, header.original_len as usize);
        }
        let start = packet::begin(&mut self.buffer, &header, data);
        let bytes = &mut self.buffer[start..];
        let checksum = match change {
            Change::None => rewrite::complete_checksum(bytes, view),
            Change::Translate(to) => rewrite::translate(bytes, view, to.source, to.destination),
            Change::TranslateQuote(to) => rewrite::translate_quote(bytes, view, to.source, to.destination),
        };
        let stream = self.streams.as_mut().and_then(|s| s.of(view, &self.buffer[start..]));
        let (translated, completed) = (!matches!(change, Change::None), checksum == rewrite::Checksum::Completed);
        self.counts.translated += u64::from(translated);
        self.counts.completed += u64::from(completed);
        self.counts.packets += 1;
        let done = packet::Done { changed: ethernet || completed || translated, completed };
        packet::end(&mut self.buffer, start, frame.options, done, comment);
        self.spill()?;
        Ok(Written { frame: self.counts.packets, stream, interface })
    }

    /// Puts a frame into `scratch` as an Ethernet frame, if it can be one.
    #[inline(never)]
    fn convert(&mut self, frame: &Frame<'_>, view: &View) -> bool {
        let converted = rewrite::to_ethernet(view, frame.bytes, &mut self.scratch);
        self.counts.not_ethernet += u64::from(!converted);
        converted
    }

    /// Writes names and secrets that a packet is the first to need.
    #[inline(never)]
    fn blocks_before(&mut self, frame: &Frame<'_>, view: &View, change: Change) -> io::Result<()> {
        if let Some(names) = &mut self.names {
            names.before(view, frame.bytes, change, &mut self.blocks)?;
        }
        if let Some(secrets) = &mut self.secrets {
            secrets.before(view, frame.bytes, &mut self.blocks)?;
        }
        Ok(())
    }

    /// Writes a block that an input carried along.
    pub fn block(
        &mut self,
        capture: &Described,
        input: u16,
        block_type: u32,
        interface: Option<u32>,
        body: &[u8],
    ) -> io::Result<()> {
        match (block_type, interface) {
            (block_type::CUSTOM_NO_COPY, _) => {
                self.counts.not_copied += 1;
                return Ok(());
            }
            (block_type::INTERFACE_STATISTICS, Some(interface)) if body.len() >= 4 => {
                let description = describe(capture, input, interface);
                let ethernet = self.options.ethernet && rewrite::can_be_ethernet(description.interface.link_type);
                let id = self.interfaces.id(&description, None, ethernet, &mut self.blocks)?;
                let mut renumbered = body.to_vec();
                renumbered[..4].copy_from_slice(&id.to_le_bytes());
                self.blocks.other(block_type, &renumbered)?;
            }
            // Of an interface that its capture does not describe: its number is another interface's here.
            (block_type::INTERFACE_STATISTICS, _) => return Ok(()),
            _ => {
                match block_type {
                    block_type::NAME_RESOLUTION => self.names.iter_mut().for_each(|names| names.carry(body)),
                    block_type::DECRYPTION_SECRETS => self.secrets.iter_mut().for_each(|secrets| secrets.carry(body)),
                    _ => {}
                }
                self.blocks.other(block_type, body)?;
            }
        }
        self.flush_blocks();
        self.spill()
    }

    /// Hands everything so far to the writer: nothing more is to come for a while.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.buffer = self.sink.write(std::mem::take(&mut self.buffer))?;
        }
        Ok(())
    }

    /// Describes the interfaces that had no packets, and puts the output in its place.
    pub fn finish(mut self, captures: &[Described]) -> io::Result<Finished> {
        for (input, capture) in captures.iter().enumerate() {
            for interface in 0..capture.interfaces.len() {
                let description = describe(capture, input as u16, interface as u32);
                let ethernet = self.options.ethernet && rewrite::can_be_ethernet(description.interface.link_type);
                self.interfaces.id(&description, None, ethernet, &mut self.blocks)?;
            }
        }
        self.flush_blocks();
        self.flush()?;
        let link_types = self.interfaces.link_types().to_vec();
        let unused_names = self.interfaces.unused_names();
        self.counts.named = self.names.as_ref().map(Names::named);
        self.counts.sessions = self.secrets.as_ref().map(Secrets::sessions);
        self.sink.finish()?;
        Ok(Finished { counts: self.counts, link_types, unused_names })
    }

    #[inline]
    fn flush_blocks(&mut self) {
        self.blocks.take(&mut self.buffer);
    }

    #[inline]
    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }
}

fn describe(capture: &Described, input: u16, number: u32) -> Description<'_> {
    let interface = &capture.interfaces[number as usize];
    let section = &capture.sections[interface.section];
    Description { input, number, interface, section }
}

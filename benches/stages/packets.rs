//! Captures in memory, for stages behind the first one.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::RandomState;
use meshpcap::capture::{Capture, Described, PacketRecord, Record, Source};
use meshpcap::flow::{Flows, Limits, Mark, Place, Segment};
use meshpcap::nat::Model;
use meshpcap::output::Frame;
use meshpcap::packet::{View, decode};

/// All packets of some captures, in the order of time.
pub struct Packets {
    pub described: Vec<Described>,
    pub packets: Vec<Packet>,
    octets: Vec<u8>,
}

pub struct Packet {
    pub input: usize,
    pub record: PacketRecord,
    pub view: View,
    bytes: Range<usize>,
}

pub fn open(path: &Path) -> io::Result<Capture> {
    Capture::open(&Source::Path(path.to_owned()), 0, Arc::default()).map_err(io::Error::other)
}

impl Packets {
    pub fn load(paths: &[PathBuf]) -> io::Result<Packets> {
        let mut all = Packets { described: Vec::new(), packets: Vec::new(), octets: Vec::new() };
        for (input, path) in paths.iter().enumerate() {
            let mut capture = open(path)?;
            while let Some(record) = capture.advance().map_err(io::Error::other)? {
                let Record::Packet(record) = record else { continue };
                let link_type = capture.described().interfaces[record.interface as usize].link_type;
                let view = decode(link_type, capture.bytes(), record.original_len as usize);
                let start = all.octets.len();
                all.octets.extend_from_slice(capture.bytes());
                all.packets.push(Packet { input, record, view, bytes: start..all.octets.len() });
            }
            all.described.push(capture.described().clone());
        }
        all.packets.sort_by_key(|packet| (packet.record.time, packet.input, packet.record.number));
        Ok(all)
    }

    pub fn bytes(&self, packet: &Packet) -> &[u8] {
        &self.octets[packet.bytes.clone()]
    }

    pub fn frame(&self, packet: &Packet) -> Frame<'_> {
        Frame::new(packet.input as u16, &packet.record, self.bytes(packet), &[])
    }

    /// Changes each packet's octets.
    pub fn change(&mut self, mut change: impl FnMut(&mut [u8], &mut View)) {
        for packet in &mut self.packets {
            change(&mut self.octets[packet.bytes.clone()], &mut packet.view);
        }
    }

    /// Pairs all packets; `taken` gets each one's conversation and whether its first end sent it.
    pub fn pair(&self, mut taken: impl FnMut(&Packet, u64, bool)) {
        let mut flows = Flows::new(Model::usual(), Limits::default());
        let hasher = RandomState::default();
        for packet in &self.packets {
            let Packet { view, record, input, .. } = packet;
            let place = Place { input: *input as u16, frame: record.number };
            let origin = view.link.origin;
            let mark = match Segment::from_view(view, self.bytes(packet), origin, record.time, place, &hasher) {
                Some(segment) => flows.observe(&segment),
                None => flows.observe_other(view, self.bytes(packet), origin, record.time),
            };
            if let (Mark::Conversation { from_first, .. }, Some(number)) = (mark, flows.number(mark)) {
                taken(packet, number, from_first);
            }
            flows.release(mark);
            flows.retired();
        }
        flows.finish();
        while flows.retire_more() {}
    }
}

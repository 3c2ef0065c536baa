//! The stages, each alone: what it needs is made ready before, and not counted.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use meshpcap::merge::Duplicates;
use meshpcap::output::{Change, Destination, Options, Output};
use meshpcap::packet::{Tcp, Transport, decode};
use meshpcap::rewrite::{complete_checksum, translate};
use meshpcap::tie::infer::{self, Half, Observer};

use crate::budget::Stage;
use crate::count::counted;
use crate::packets::{Packets, open};

/// Runs one over the captures in a folder.
pub fn run(stage: Stage, folder: &Path) -> io::Result<()> {
    let paths = ["eth0.pcap", "lo.pcap"].map(|name| folder.join(name));
    let load = || Packets::load(&paths);
    match stage {
        Stage::Read => read(&paths)?,
        Stage::Decode => decode_all(&load()?),
        Stage::Duplicates => duplicates(&load()?),
        Stage::Pair => {
            let packets = load()?;
            counted(|| packets.pair(|_, number, _| _ = black_box(number)));
        }
        Stage::Observe => observe(&load()?),
        Stage::Rewrite => {
            let mut packets = load()?;
            let end = SocketAddr::from(([10, 96, 0, 10], 80));
            counted(|| packets.change(|bytes, view| _ = translate(bytes, view, end, end)));
        }
        Stage::Checksum => {
            let mut packets = load()?;
            counted(|| packets.change(|bytes, view| _ = complete_checksum(bytes, view)));
        }
        Stage::Encode => encode(load()?, &folder.join("encoded"))?,
        Stage::Merge | Stage::MergeSmall => {}
    }
    Ok(())
}

fn read(paths: &[PathBuf]) -> io::Result<()> {
    let mut captures = paths.iter().map(|path| open(path)).collect::<io::Result<Vec<_>>>()?;
    counted(|| {
        for capture in &mut captures {
            while capture.advance().map_err(io::Error::other)?.is_some() {
                black_box(capture.bytes());
            }
        }
        Ok(())
    })
}

fn decode_all(packets: &Packets) {
    counted(|| {
        for packet in &packets.packets {
            let link_type = packets.described[packet.input].interfaces[packet.record.interface as usize].link_type;
            black_box(decode(link_type, packets.bytes(packet), packet.record.original_len as usize));
        }
    });
}

fn duplicates(packets: &Packets) {
    let mut duplicates = Duplicates::default();
    counted(|| {
        for packet in &packets.packets {
            let bytes = packets.bytes(packet);
            black_box(duplicates.is_duplicate(packet.input, packet.record.time, &packet.view, bytes));
        }
    });
}

fn observe(packets: &Packets) {
    let mut segments = Vec::new();
    packets.pair(|packet, conversation, from_first| {
        let Transport::Tcp(tcp) = packet.view.transport else { return };
        let data = packet.view.data(packets.bytes(packet));
        segments.push((Half { conversation: conversation as u32, from_first }, packet.record.time, tcp, data));
    });
    let mut observer = Observer::new(infer::Limits::default());
    counted(|| {
        for &(half, time, Tcp { seq, ack, flags, data_len, .. }, data) in &segments {
            observer.segment(&infer::Segment { half, time, seq, ack, flags, data, data_len });
        }
    });
    black_box(&observer);
}

/// Without their checksums, which are complete then.
fn encode(mut packets: Packets, path: &Path) -> io::Result<()> {
    packets.change(|bytes, view| _ = complete_checksum(bytes, view));
    let described = packets.described.clone();
    let options = Options { numbers: vec![0, 1], ..Options::default() };
    let mut output = Output::create(&Destination::Path(path.to_owned()), options, described.iter())?;
    counted(|| {
        for packet in &packets.packets {
            let mut view = packet.view;
            output.packet(&described[packet.input], &packets.frame(packet), &mut view, Change::None, None)?;
        }
        io::Result::Ok(())
    })?;
    output.finish(&described).map(|_| ())
}

//! Two captures, arbitrary or of arbitrary packets, through the whole pipeline: every packet in is a packet out,
//! duplicates aside, and what comes out can be read again.
#![no_main]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use meshpcap::capture::{Capture, Record, Source};
use meshpcap::output::Destination;
use meshpcap::pipeline::{LookAhead, Merge, merge};

#[derive(Arbitrary, Debug)]
struct Input {
    captures: [Contents; 2],
    ethernet: bool,
    keep_duplicates: bool,
    look_ahead: Option<(u32, u16)>,
    report: Option<bool>,
}

#[derive(Arbitrary, Debug)]
enum Contents {
    Bytes(Vec<u8>),
    Packets { link_type: u8, packets: Vec<Packet> },
}

#[derive(Arbitrary, Debug)]
struct Packet {
    /// Microseconds since the packet before, or back.
    step: i16,
    longer: u8,
    bytes: PacketBytes,
}

#[derive(Arbitrary, Debug)]
enum PacketBytes {
    Any(Vec<u8>),
    /// TCP on loopback between few addresses, so that halves meet.
    Tcp {
        ends: u8,
        seq: u8,
        ack: u8,
        flags: u8,
        data: u8,
        cut: u8,
    },
    /// UDP, perhaps fragmented.
    Udp {
        ends: u8,
        id: u8,
        fragment: u8,
        data: Vec<u8>,
    },
}

impl Contents {
    fn into_bytes(self) -> Vec<u8> {
        let (link_type, packets) = match self {
            Contents::Bytes(bytes) => return bytes,
            Contents::Packets { link_type, packets } => (link_type, packets),
        };
        let link_type = [1_u32, 1, 1, 101, 0, 108, 113, 276][usize::from(link_type % 8)];
        let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0".to_vec();
        file.extend_from_slice(&link_type.to_le_bytes());
        let mut time = 1_700_000_000_000_000_i64;
        for packet in packets {
            time += i64::from(packet.step);
            let frame = packet.bytes.into_frame(link_type);
            file.extend_from_slice(&((time / 1_000_000) as u32).to_le_bytes());
            file.extend_from_slice(&((time % 1_000_000) as u32).to_le_bytes());
            file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            file.extend_from_slice(&(frame.len() as u32 + u32::from(packet.longer)).to_le_bytes());
            file.extend_from_slice(&frame);
        }
        file
    }
}

impl PacketBytes {
    fn into_frame(self, link_type: u32) -> Vec<u8> {
        let (payload, ends, protocol, id, fragment, cut) = match self {
            PacketBytes::Any(bytes) => return bytes,
            PacketBytes::Tcp { ends, seq, ack, flags, data, cut } => {
                let mut tcp = ports(ends, 15001).to_vec();
                tcp.extend_from_slice(&[0, 0, 0, seq, 0, 0, 0, ack, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
                tcp.resize(20 + usize::from(data), data);
                (tcp, ends, 6, 0, 0, cut)
            }
            PacketBytes::Udp { ends, id, fragment, data } => {
                let mut udp = ports(ends, 15053).to_vec();
                udp.extend_from_slice(&(8 + data.len() as u16).to_be_bytes());
                udp.extend_from_slice(&[0, 0]);
                udp.extend_from_slice(&data);
                (udp, ends, 17, id, fragment, 0)
            }
        };
        let mut frame = match link_type {
            1 => b"\0\0\0\0\0\0\0\0\0\0\0\0\x08\0".to_vec(),
            0 | 108 => b"\0\0\0\x02".to_vec(),
            113 => b"\0\0\x03\x04\0\x06\0\0\0\0\0\0\0\0\x08\0".to_vec(),
            276 => b"\x08\0\0\0\0\0\0\x01\x03\x04\0\x06\0\0\0\0\0\0\0\0".to_vec(),
            _ => Vec::new(),
        };
        let total = (20 + payload.len()) as u16;
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&total.to_be_bytes());
        // More Fragments, or an offset.
        frame.extend_from_slice(&[0, id & 3, (fragment & 1) << 5, fragment >> 6, 64, protocol, 0, 0]);
        let [source, destination] = addresses(ends);
        frame.extend_from_slice(&source);
        frame.extend_from_slice(&destination);
        frame.extend_from_slice(&payload);
        frame.truncate(frame.len() - usize::from(cut).min(payload.len()));
        frame
    }
}

fn addresses(ends: u8) -> [[u8; 4]; 2] {
    let (pod, server) = ([10, 0, 0, 1], [10, 96, 0, 10 + (ends >> 6)]);
    match ends & 3 {
        0 | 1 => [pod, [127, 0, 0, 1]],
        2 => [server, pod],
        _ => [[127, 0, 0, 1], pod],
    }
}

fn ports(ends: u8, listener: u16) -> [u8; 4] {
    let client = (1000 + u16::from(ends >> 2 & 3)).to_be_bytes();
    let listener = listener.to_be_bytes();
    match ends & 3 {
        0 | 1 => [client[0], client[1], listener[0], listener[1]],
        2 => [0, 80, client[0], client[1]],
        _ => [listener[0], listener[1], client[0], client[1]],
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let mut inputs = Vec::new();
    let mut expected = Some(0);
    for (contents, name) in input.captures.into_iter().zip(["a", "b"]) {
        let bytes = contents.into_bytes();
        expected = expected.and_then(|n| Some(n + packets(&bytes)?));
        fs::write(path(name), bytes).expect("room in the temporary folder");
        inputs.push(Source::Path(path(name)));
    }
    let run = Merge {
        report: input.report.map(|json| path(if json { "report.json" } else { "report.csv" })),
        ethernet: input.ethernet,
        keep_duplicates: input.keep_duplicates,
        look_ahead: input.look_ahead.map(|(time, bytes)| LookAhead { time: u64::from(time), bytes: u64::from(bytes) }),
        ..Merge::new(inputs, Destination::Path(path("out")))
    };
    let Ok(done) = merge(&run, &Arc::new(AtomicBool::new(false)), &mut |_, _| {}) else {
        assert!(!path("out").exists(), "whole or not at all");
        return;
    };
    assert_eq!(done.summary.counts.packets + done.summary.duplicates, done.summary.read, "every packet in is a packet out");
    if let Some(expected) = expected {
        assert_eq!(done.summary.read, expected, "every packet was read");
    }
    let out = fs::read(path("out")).expect("the output");
    assert_eq!(packets(&out), Some(done.summary.counts.packets), "the output can be read again");
});

/// How many packets a capture holds; `None` if it cannot be opened.
fn packets(bytes: &[u8]) -> Option<u64> {
    let mut capture = Capture::from_reader(String::new(), Box::new(std::io::Cursor::new(bytes.to_vec()))).ok()?;
    let mut packets = 0;
    while let Ok(Some(record)) = capture.advance() {
        packets += u64::from(matches!(record, Record::Packet(_)));
    }
    Some(packets)
}

//! Whole captures, built byte by byte: each feature of the formats, each error, and anything at all.

mod build;
mod compressed;
mod damage;
mod formats;
mod pipes;
mod properties;

use std::io::{Cursor, Read};

use super::*;

/// A packet as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    interface: u32,
    number: u64,
    time: u64,
    original_len: u32,
    offset: u64,
    bytes: Vec<u8>,
    options: Vec<u8>,
}

/// Everything that came out of a capture.
#[derive(Debug, Default)]
struct Outcome {
    packets: Vec<Packet>,
    blocks: Vec<(u32, Option<u32>, Vec<u8>)>,
    interfaces: Vec<Interface>,
    sections: Vec<Section>,
    error: Option<Error>,
}

impl Outcome {
    fn error(&self) -> String {
        self.error.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn times(&self) -> Vec<u64> {
        self.packets.iter().map(|packet| packet.time).collect()
    }
}

fn read(bytes: &[u8]) -> Outcome {
    read_from(Cursor::new(bytes.to_vec()))
}

fn read_from(reader: impl Read + Send + 'static) -> Outcome {
    match Capture::from_reader("x.pcap".to_owned(), Box::new(reader)) {
        Ok(capture) => drain(capture),
        Err(error) => Outcome { error: Some(error), ..Outcome::default() },
    }
}

fn drain(mut capture: Capture) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        match capture.advance() {
            Ok(Some(Record::Packet(packet))) => {
                assert!((packet.interface as usize) < capture.described().interfaces.len());
                outcome.packets.push(Packet {
                    interface: packet.interface,
                    number: packet.number,
                    time: packet.time.0,
                    original_len: packet.original_len,
                    offset: packet.offset,
                    bytes: capture.bytes().to_vec(),
                    options: capture.options().to_vec(),
                });
            }
            Ok(Some(Record::Block(block))) => {
                outcome.blocks.push((block.block_type, block.interface, capture.bytes().to_vec()));
            }
            Ok(None) => break,
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    assert!(matches!(capture.advance(), Ok(None)), "at end for good");
    assert!(capture.bytes().is_empty() && capture.options().is_empty());
    outcome.interfaces = capture.described().interfaces.to_vec();
    outcome.sections = capture.described().sections.to_vec();
    outcome
}

//! Arbitrary bytes as a capture: no panic, no endless reading, and after an error or the end it is at its end for good.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use meshpcap::capture::{Capture, Record};

/// A few octets can decompress to gigabytes; records beyond these show nothing new.
const RECORDS: usize = 100_000;

fuzz_target!(|data: &[u8]| {
    let Ok(mut capture) = Capture::from_reader("fuzz".to_owned(), Box::new(Cursor::new(data.to_vec()))) else { return };
    let mut packets = 0;
    let mut offset = 0;
    for _ in 0..RECORDS {
        match capture.advance() {
            Ok(Some(Record::Packet(packet))) => {
                assert!((packet.interface as usize) < capture.described().interfaces.len(), "an interface that is described");
                assert!(packet.number > packets, "frame numbers go up");
                assert!(packet.offset >= offset, "offsets go up");
                (packets, offset) = (packet.number, packet.offset);
                options_are_whole(capture.options());
            }
            Ok(Some(Record::Block(block))) => {
                assert!(block.interface.is_none_or(|i| (i as usize) < capture.described().interfaces.len()));
                assert!(block.offset >= offset, "offsets go up");
                offset = block.offset;
            }
            end => {
                let failed = end.is_err();
                if let Err(error) = end {
                    assert!(!error.to_string().is_empty());
                }
                for _ in 0..3 {
                    assert!(matches!(capture.advance(), Ok(None)), "at its end for good (failed: {failed})");
                    assert!(capture.bytes().is_empty() && capture.options().is_empty(), "the end has no bytes");
                }
                break;
            }
        }
    }
    for interface in &capture.described().interfaces {
        assert!(interface.section < capture.described().sections.len());
        options_are_whole(&interface.options);
    }
});

/// Options are a code, a length and a padded value each, as `Capture::options` promises.
fn options_are_whole(mut options: &[u8]) {
    while let Some((&[a, b, c, d], rest)) = options.split_first_chunk() {
        assert_ne!(u16::from_le_bytes([a, b]), 0, "no opt_endofopt");
        let padded = usize::from(u16::from_le_bytes([c, d])).next_multiple_of(4);
        options = rest.get(padded..).expect("a whole value");
    }
    assert!(options.is_empty(), "a whole code and length");
}

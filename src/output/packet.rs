//! Enhanced Packet Blocks (pcapng, section 4.3), little-endian.

use super::blocks::code;
use crate::capture::Timestamp;

/// Block type of an Enhanced Packet Block.
const ENHANCED_PACKET: u32 = 6;

/// What stands before the packet data.
pub(super) struct Header {
    pub interface: u32,
    pub time: Timestamp,
    pub original_len: u32,
}

/// Starts a block; the packet data is to be appended, then [`end`] called with the returned place.
pub(super) fn begin(buffer: &mut Vec<u8>, header: &Header) -> usize {
    let start = buffer.len();
    let mut head = [0; 28];
    head[0..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
    head[8..12].copy_from_slice(&header.interface.to_le_bytes());
    head[12..16].copy_from_slice(&((header.time.0 >> 32) as u32).to_le_bytes());
    head[16..20].copy_from_slice(&(header.time.0 as u32).to_le_bytes());
    head[24..28].copy_from_slice(&header.original_len.to_le_bytes());
    buffer.extend_from_slice(&head);
    start
}

/// Where the packet data of a block that began at `start` is.
pub(super) fn data_start(start: usize) -> usize {
    start + 28
}

/// Ends a block: lengths, padding, the options it had (raw, little-endian), a comment.
pub(super) fn end(buffer: &mut Vec<u8>, start: usize, options: &[u8], comment: Option<&str>) {
    let captured = (buffer.len() - data_start(start)) as u32;
    buffer[start + 20..start + 24].copy_from_slice(&captured.to_le_bytes());
    pad(buffer, start);
    buffer.extend_from_slice(options);
    if let Some(comment) = comment {
        let bytes = comment.as_bytes();
        // An option's length is 16 bits wide; a comment is a line.
        let length = bytes.len().min(usize::from(u16::MAX));
        buffer.extend_from_slice(&code::COMMENT.to_le_bytes());
        buffer.extend_from_slice(&(length as u16).to_le_bytes());
        buffer.extend_from_slice(&bytes[..length]);
        pad(buffer, start);
    }
    if comment.is_some() || !options.is_empty() {
        // opt_endofopt
        buffer.extend_from_slice(&[0; 4]);
    }
    let total = (buffer.len() - start + 4) as u32;
    buffer.extend_from_slice(&total.to_le_bytes());
    buffer[start + 4..start + 8].copy_from_slice(&total.to_le_bytes());
}

fn pad(buffer: &mut Vec<u8>, start: usize) {
    let used = (buffer.len() - start) % 4;
    if used != 0 {
        buffer.extend_from_slice(&[0; 3][..4 - used]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_as_the_draft_draws_it() {
        let mut buffer = b"before--".to_vec();
        let header = Header { interface: 2, time: Timestamp(0x1_0000_0002), original_len: 60 };
        let start = begin(&mut buffer, &header);
        buffer.extend_from_slice(b"abcde");
        end(&mut buffer, start, &[], Some("hi"));
        let expected = b"before--\x06\0\0\0\x34\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x05\0\0\0\x3c\0\0\0abcde\0\0\0\
            \x01\0\x02\0hi\0\0\0\0\0\0\x34\0\0\0";
        assert_eq!(buffer, expected);
    }
}

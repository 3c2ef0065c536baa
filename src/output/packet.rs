//! Enhanced Packet Blocks (pcapng, section 4.3), little-endian.

use super::blocks::{clipped, code, options};
use crate::capture::Timestamp;
use crate::capture::block_type::ENHANCED_PACKET;

/// In epb_flags (pcapng, section 4.3.1): the checksum was left to the network card.
const CHECKSUM_NOT_READY: u32 = 1 << 9;

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

/// What was done to the packet data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Some octet is another now.
    pub changed: bool,
    /// A checksum that was not ready is.
    pub completed: bool,
}

/// Ends a block: lengths, padding, those of the options it had (raw, little-endian) that are still true, a comment.
pub(super) fn end(buffer: &mut Vec<u8>, start: usize, raw: &[u8], done: Done, comment: Option<&str>) {
    let captured = (buffer.len() - data_start(start)) as u32;
    buffer[start + 20..start + 24].copy_from_slice(&captured.to_le_bytes());
    pad(buffer, start);
    let options_start = buffer.len();
    if !raw.is_empty() {
        keep(buffer, raw, done);
    }
    if let Some(comment) = comment {
        option(buffer, code::COMMENT, comment.as_bytes());
    }
    if buffer.len() > options_start {
        // opt_endofopt
        buffer.extend_from_slice(&[0; 4]);
    }
    let total = (buffer.len() - start + 4) as u32;
    buffer.extend_from_slice(&total.to_le_bytes());
    buffer[start + 4..start + 8].copy_from_slice(&total.to_le_bytes());
}

/// Copies options, but not those that may not be copied, and a hash only of octets that are as they were.
#[inline(never)]
fn keep(buffer: &mut Vec<u8>, raw: &[u8], done: Done) {
    for (code, value) in options(raw) {
        match (code, value) {
            (code::EPB_HASH, _) if done.changed => {}
            (code, _) if code::CUSTOM_NO_COPY.contains(&code) => {}
            (code::EPB_FLAGS, &[a, b, c, d]) if done.completed => {
                let flags = u32::from_le_bytes([a, b, c, d]) & !CHECKSUM_NOT_READY;
                option(buffer, code, &flags.to_le_bytes());
            }
            _ => option(buffer, code, value),
        }
    }
}

fn option(buffer: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = clipped(value);
    buffer.extend_from_slice(&code.to_le_bytes());
    buffer.extend_from_slice(&(value.len() as u16).to_le_bytes()); // clipped to 16 bits
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
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
        end(&mut buffer, start, &[], Done::default(), Some("hi"));
        let expected = b"before--\x06\0\0\0\x34\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x05\0\0\0\x3c\0\0\0abcde\0\0\0\
            \x01\0\x02\0hi\0\0\0\0\0\0\x34\0\0\0";
        assert_eq!(buffer, expected);
    }

    /// The options that a block with these has in the end.
    fn kept(raw: &[u8], done: Done) -> Vec<(u16, Vec<u8>)> {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer, &Header { interface: 0, time: Timestamp(0), original_len: 0 });
        end(&mut buffer, start, raw, done, None);
        let end = buffer.len() - 4;
        options(&buffer[28..end]).map(|(code, value)| (code, value.to_vec())).filter(|(code, _)| *code != 0).collect()
    }

    /// A hash of what the octets were stayed, and so did "checksum not ready".
    #[test]
    fn options_that_are_no_longer_true() {
        let raw = b"\x03\0\x05\0\x02abcd\0\0\0\x02\0\x04\0\x01\x0e\0\0\x01\0\x02\0\xffx\0\0";
        let hash = (3, b"\x02abcd".to_vec());
        let comment = (1, b"\xffx".to_vec());
        let flags = |word: u16| (2, u32::from(word).to_le_bytes().to_vec());
        let same = Done::default();
        assert_eq!(kept(raw, same), [hash, flags(0x0e01), comment.clone()]);
        let changed = Done { changed: true, completed: false };
        assert_eq!(kept(raw, changed), [flags(0x0e01), comment.clone()]);
        let completed = Done { changed: true, completed: true };
        assert_eq!(kept(raw, completed), [flags(0x0c01), comment]);
    }

    #[test]
    fn options_that_may_not_be_copied() {
        let raw = b"\xac\x4b\x04\0\x01\0\0\0\xad\x4b\x04\0\x01\0\0\0";
        assert_eq!(kept(raw, Done::default()), []);
        assert_eq!(
            kept(&[&raw[..], b"\xad\x0b\x04\0\x01\0\0\0"].concat(), Done::default()),
            [(2989, vec![1, 0, 0, 0])]
        );
    }
}

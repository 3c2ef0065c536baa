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

/// Octets of a block before the packet data, and those behind it where there is nothing but padding and the length.
const HEAD: usize = 28;
const TAIL: usize = 8;

/// Starts a block with its packet data; the data may still be changed where it stands, which is what is returned. Then
/// [`end`] is to be called with that.
#[inline]
pub(super) fn begin(buffer: &mut Vec<u8>, header: &Header, data: &[u8]) -> usize {
    let mut head = [0; HEAD];
    head[0..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
    head[4..8].copy_from_slice(&total(data.len()).to_le_bytes());
    head[8..12].copy_from_slice(&header.interface.to_le_bytes());
    head[12..16].copy_from_slice(&((header.time.0 >> 32) as u32).to_le_bytes());
    head[16..20].copy_from_slice(&(header.time.0 as u32).to_le_bytes());
    head[20..24].copy_from_slice(&(data.len() as u32).to_le_bytes());
    head[24..28].copy_from_slice(&header.original_len.to_le_bytes());
    buffer.reserve(HEAD + data.len() + TAIL);
    buffer.extend_from_slice(&head);
    let start = buffer.len();
    buffer.extend_from_slice(data);
    start
}

/// The length of a block with so many octets of data and nothing else.
#[inline]
fn total(data: usize) -> u32 {
    (HEAD + padded(data) + 4) as u32
}

#[inline]
fn padded(len: usize) -> usize {
    len.wrapping_add(3) & !3
}

/// What was done to the packet data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Some octet is another now.
    pub changed: bool,
    /// A checksum that was not ready is.
    pub completed: bool,
}

/// Ends a block, whose data begin at `start`: padding, those of the options it had (raw, little-endian) that are still true, a
/// comment, the length.
#[inline]
pub(super) fn end(buffer: &mut Vec<u8>, start: usize, raw: &[u8], done: Done, comment: Option<&str>) {
    if !raw.is_empty() || comment.is_some() {
        return end_with_options(buffer, start, raw, done, comment);
    }
    let len = buffer.len() - start;
    let end = start + padded(len) + 4;
    // One number behind the data: as much padding as is needed, and the length.
    let tail = u64::from(total(len)) << (8 * (len.wrapping_neg() % 4));
    buffer.extend_from_slice(&tail.to_le_bytes());
    buffer.truncate(end);
}

#[cold]
fn end_with_options(buffer: &mut Vec<u8>, start: usize, raw: &[u8], done: Done, comment: Option<&str>) {
    let len = buffer.len() - start;
    buffer.resize(start + padded(len), 0);
    let options_start = buffer.len();
    keep(buffer, raw, done);
    if let Some(comment) = comment {
        option(buffer, code::COMMENT, comment.as_bytes());
    }
    if buffer.len() > options_start {
        // opt_endofopt
        buffer.extend_from_slice(&[0; 4]);
    }
    let block = start - HEAD;
    let total = (buffer.len() - block + 4) as u32;
    buffer.extend_from_slice(&total.to_le_bytes());
    buffer[block + 4..block + 8].copy_from_slice(&total.to_le_bytes());
}

/// Copies options, but not those that may not be copied, and a hash only of octets that are as they were.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_as_the_draft_draws_it() {
        let mut buffer = b"before--".to_vec();
        let header = Header { interface: 2, time: Timestamp(0x1_0000_0002), original_len: 60 };
        let start = begin(&mut buffer, &header, b"abcde");
        end(&mut buffer, start, &[], Done::default(), Some("hi"));
        let expected = b"before--\x06\0\0\0\x34\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x05\0\0\0\x3c\0\0\0abcde\0\0\0\
            \x01\0\x02\0hi\0\0\0\0\0\0\x34\0\0\0";
        assert_eq!(buffer, expected);
    }

    #[test]
    fn data_are_padded_to_words() {
        for len in 0..9_u8 {
            let data: Vec<u8> = (1..=len).collect();
            let mut buffer = Vec::new();
            let start = begin(&mut buffer, &Header { interface: 0, time: Timestamp(0), original_len: 9 }, &data);
            assert_eq!(buffer[start..], data);
            end(&mut buffer, start, &[], Done::default(), None);
            let (total, padded) = (buffer.len(), usize::from(len).next_multiple_of(4));
            assert_eq!((total, &buffer[28..28 + data.len()]), (32 + padded, &data[..]));
            assert!(buffer[28 + data.len()..28 + padded].iter().all(|octet| *octet == 0));
            let length = (total as u32).to_le_bytes();
            assert_eq!((&buffer[4..8], &buffer[total - 4..]), (&length[..], &length[..]));
        }
    }

    /// The options that a block with these has in the end.
    fn kept(raw: &[u8], done: Done) -> Vec<(u16, Vec<u8>)> {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer, &Header { interface: 0, time: Timestamp(0), original_len: 0 }, &[]);
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

//! What an [`Observer`](super::Observer) is told.

use crate::capture::Timestamp;

/// One direction of a conversation as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Half {
    /// The serial number of the conversation.
    pub conversation: u32,
    /// Which of its two ends sent it; how they are told apart is up to the caller.
    pub from_first: bool,
}

/// A segment as captured.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Whose it is.
    pub half: Half,
    /// When it was captured.
    pub time: Timestamp,
    /// Its sequence number.
    pub seq: u32,
    /// What it acknowledges.
    pub ack: u32,
    /// Its flags.
    pub flags: u8,
    /// What was captured of its data.
    pub data: &'a [u8],
    /// Octets of data that were sent.
    pub data_len: u32,
}

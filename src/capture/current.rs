//! The current record, and where its bytes are: in the read buffer or, if they had to change, in a copy.

use std::ops::Range;

use super::buffer::Buffer;
use super::{PacketRecord, Timestamp};

/// The current record's bytes and options.
pub(super) struct Current {
    /// What the last packet's record says.
    pub packet: PacketRecord,
    pub body: Span,
    pub options: Span,
    /// Reused from record to record.
    pub body_copy: Vec<u8>,
    /// Reused from record to record.
    pub options_copy: Vec<u8>,
}

/// One of the two places.
#[derive(Clone)]
pub(super) enum Span {
    Buffered(Range<usize>),
    Copied,
}

impl Current {
    pub const NOTHING: Span = Span::Buffered(0..0);

    pub fn new() -> Current {
        Current {
            packet: PacketRecord { interface: 0, time: Timestamp(0), original_len: 0, number: 0, offset: 0 },
            body: Current::NOTHING,
            options: Current::NOTHING,
            body_copy: Vec::new(),
            options_copy: Vec::new(),
        }
    }

    #[inline]
    pub fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        match &self.body {
            Span::Buffered(range) => buffer.slice(range.clone()),
            Span::Copied => &self.body_copy,
        }
    }

    #[inline]
    pub fn options<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        match &self.options {
            Span::Buffered(range) => buffer.slice(range.clone()),
            Span::Copied => &self.options_copy,
        }
    }
}

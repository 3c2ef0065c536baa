//! The bytes of a capture that are at hand.
//!
//! One flat buffer per input: records are parsed in place, and an incomplete one at the end is moved to the
//! front before more is read. It holds 256 KiB and grows, by at most doubling, only when it is full of bytes of
//! one record: a length field alone allocates nothing.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::error::Fault;
use super::source::Input;

/// Octets read at once: the size at which `read` is fastest (measured: larger ones are slower in first touch).
const CAPACITY: usize = 256 << 10;

pub(super) struct Buffer {
    input: Input,
    data: Vec<u8>,
    /// What is not consumed yet is `data[start..end]`; start <= end <= data.len() always.
    start: usize,
    end: usize,
    /// Where `start` is in the capture.
    offset: u64,
    ended: bool,
    /// It ended because the user wants to end, so that a cut record is nobody's fault.
    interrupted: bool,
    /// What [`Buffer::look_ahead`] ran into; due when the bytes before it are used up.
    pending: Option<Fault>,
}

impl Buffer {
    pub fn new(input: Input) -> Buffer {
        Buffer {
            input,
            data: vec![0; CAPACITY],
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
            interrupted: false,
            pending: None,
        }
    }

    pub fn input(&self) -> &Input {
        &self.input
    }

    /// What is at hand and not consumed.
    #[inline]
    pub fn ahead(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// The bytes of a range that [`Buffer::consume`] returned, until the next [`Buffer::ensure`].
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        self.data.get(range).unwrap_or(&[])
    }

    /// Where in the capture [`Buffer::ahead`] starts, in octets.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Sees to it that at least `n` bytes are [`Buffer::ahead`]; false if the input ends before.
    #[inline]
    pub fn ensure(&mut self, n: usize) -> Result<bool, Fault> {
        if self.end - self.start >= n { Ok(true) } else { self.refill(n) }
    }

    /// What it means that a record would need more than there is: fine if nothing of it is there, else `cut`
    /// (told how many bytes there are) says what is missing.
    #[cold]
    pub fn end(&self, cut: impl FnOnce(usize) -> String) -> Result<(), Fault> {
        if self.interrupted || self.start == self.end { Ok(()) } else { Err(Fault::Cut(cut(self.end - self.start))) }
    }

    /// Fills the buffer, for a look at what comes; true if that is all there is.
    pub fn look_ahead(&mut self) -> bool {
        let all = self.data.len() - self.start;
        self.ensure(all).unwrap_or_else(|fault| {
            self.pending = Some(fault);
            false
        });
        self.ended
    }

    /// Takes `n` bytes, which are [`Buffer::ahead`], and returns where they stay until the next refill.
    #[inline]
    pub fn consume(&mut self, n: usize) -> Range<usize> {
        let start = self.start;
        self.start = self.end.min(start + n);
        self.offset += (self.start - start) as u64;
        start..self.start
    }

    #[cold]
    fn refill(&mut self, n: usize) -> Result<bool, Fault> {
        while self.end - self.start < n {
            if !self.input.ends_itself && self.input.interrupted.load(Ordering::Relaxed) {
                self.ended = true;
                self.interrupted = true;
            }
            if self.ended {
                return self.pending.take().map_or(Ok(false), Err);
            }
            self.make_room(n);
            match self.input.read(&mut self.data[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    self.interrupted = self.input.ends_itself && self.input.interrupted.load(Ordering::Relaxed);
                }
                Ok(read) => self.end += read,
                Err(fault) => {
                    self.ended = true;
                    return Err(fault);
                }
            }
        }
        Ok(true)
    }

    /// Makes room after `end` for a record of `n` bytes of which not all are there.
    fn make_room(&mut self, n: usize) {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.data.len() {
            let len = self.data.len();
            self.data.resize(n.clamp(len + 1, len * 2), 0);
        }
    }
}

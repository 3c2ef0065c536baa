//! An input that can be read only once, put in order as far as that goes without stopping it.
//!
//! Packets of one interface can come out of the kernel a few microseconds out of order. Each record waits until
//! a packet [`WINDOW`] later is there, or until its writer pauses; then none that belongs before it is likely
//! to come. Memory: what arrives within the window, and never more than [`MOST`] records.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::capture::{Capture, Error, Record, Timestamp};

/// How long a record waits, in nanoseconds of capture time.
const WINDOW: u64 = 1_000_000;
/// How long a writer must be silent before what waits for it is let go.
const SILENCE: Duration = Duration::from_millis(100);
/// How many records wait at most.
const MOST: usize = 4096;

/// The records of a capture that wait, and the current one.
#[derive(Default)]
pub(super) struct Window {
    /// By time and then by order of arrival; the slot that holds the record.
    order: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    current: Option<usize>,
    arrived: u64,
    newest: Timestamp,
    end: Option<Result<(), Error>>,
}

/// A record that is kept; its memory is used again.
struct Slot {
    record: Record,
    bytes: Vec<u8>,
    options: Vec<u8>,
}

impl Window {
    /// Moves to the next record; `None` is the end. What was wrong with the capture comes last.
    pub fn advance(&mut self, capture: &mut Capture) -> Result<Option<Record>, Error> {
        self.free.extend(self.current.take());
        while self.end.is_none() && !self.is_due() && !(self.waits() && capture.is_silent(SILENCE)) {
            match capture.advance() {
                Ok(Some(record)) => self.keep(record, capture),
                Ok(None) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
            }
        }
        match self.order.pop() {
            Some(Reverse((_, _, slot))) => {
                self.current = Some(slot);
                Ok(Some(self.slots[slot].record))
            }
            None => self.end.replace(Ok(())).map_or(Ok(None), |end| end.map(|()| None)),
        }
    }

    /// The bytes of the current record.
    pub fn bytes(&self) -> &[u8] {
        self.current.map_or(&[], |slot| &self.slots[slot].bytes)
    }

    /// The options of the current record.
    pub fn options(&self) -> &[u8] {
        self.current.map_or(&[], |slot| &self.slots[slot].options)
    }

    fn waits(&self) -> bool {
        !self.order.is_empty()
    }

    fn is_due(&self) -> bool {
        let first = self.order.peek().map(|Reverse((time, ..))| self.newest.0.saturating_sub(time.0));
        first.is_some_and(|age| age >= WINDOW) || self.order.len() >= MOST
    }

    fn keep(&mut self, record: Record, capture: &Capture) {
        // A block goes with the packet before it.
        let time = match &record {
            Record::Packet(packet) => packet.time,
            Record::Block(_) => self.newest,
        };
        self.newest = self.newest.max(time);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { record, bytes: Vec::new(), options: Vec::new() });
            self.slots.len() - 1
        });
        let kept = &mut self.slots[slot];
        kept.record = record;
        kept.bytes.clear();
        kept.bytes.extend_from_slice(capture.bytes());
        kept.options.clear();
        kept.options.extend_from_slice(capture.options());
        self.order.push(Reverse((time, self.arrived, slot)));
        self.arrived += 1;
    }
}

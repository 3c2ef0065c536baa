//! All inputs in one order: by time, at equal times by input, within an input as it stands there.
//!
//! What comes in is open captures; what goes out is which of them holds the next record. An input whose
//! packets go back in time keeps its own order as far as the others allow. This stage changes no record.

mod duplicates;

use crate::capture::{Capture, Error, Record, Timestamp};

pub use duplicates::Duplicates;

/// The inputs, each at its next record.
pub struct Inputs {
    captures: Vec<Capture>,
    heads: Vec<Head>,
    damage: Vec<Error>,
}

/// The next record of an input.
struct Head {
    record: Option<Record>,
    /// Before which time nothing more comes; [`Timestamp`]'s maximum at the end.
    time: Timestamp,
    /// Whether the record was handed out and the next one is due.
    used: bool,
}

impl Inputs {
    /// The captures in the order in which the user named them.
    pub fn new(captures: Vec<Capture>) -> Inputs {
        let heads = captures.iter().map(|_| Head { record: None, time: Timestamp(0), used: true }).collect();
        Inputs { captures, heads, damage: Vec::new() }
    }

    /// The captures.
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// What was wrong with the inputs; what stood before was delivered.
    pub fn into_damage(self) -> Vec<Error> {
        self.damage
    }

    /// The input that is next and its record, whose bytes are in the capture until the next call.
    pub fn next(&mut self) -> Option<(usize, Record)> {
        self.refill();
        let mut first: Option<usize> = None;
        for (input, head) in self.heads.iter().enumerate() {
            if head.record.is_some() && first.is_none_or(|f| head.time < self.heads[f].time) {
                first = Some(input);
            }
        }
        let input = first?;
        let head = &mut self.heads[input];
        head.used = true;
        head.record.take().map(|record| (input, record))
    }

    /// Whether the next call may have to wait for bytes that have not been written yet.
    pub fn may_block(&self) -> bool {
        self.captures.iter().zip(&self.heads).any(|(capture, head)| head.used && capture.is_stream())
    }

    fn refill(&mut self) {
        for (capture, head) in self.captures.iter_mut().zip(&mut self.heads) {
            if !head.used {
                continue;
            }
            head.used = false;
            match capture.advance() {
                Ok(Some(record)) => {
                    // A block has no time: it comes at once, before the packet that follows it.
                    if let Record::Packet(packet) = record {
                        head.time = packet.time;
                    }
                    head.record = Some(record);
                }
                Ok(None) => head.time = Timestamp(u64::MAX),
                Err(error) => {
                    self.damage.push(error);
                    head.time = Timestamp(u64::MAX);
                }
            }
        }
    }
}

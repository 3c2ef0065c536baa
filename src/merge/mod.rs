//! All inputs in one order: by time, at equal times by input, within an input as it stands there.
//!
//! What comes in is open captures; what goes out is which of them holds the next record. Captures are in
//! order but for a few packets, if any: [`Order`] says what is done about these. This stage changes no record.

mod duplicates;
mod sorted;
mod window;

use std::io;

use crate::capture::{Capture, Error, Record, Timestamp};

pub use duplicates::Duplicates;

use sorted::Sorted;
use window::Window;

/// How the packets of an input are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They are taken as they come: [`Inputs::late`] tells if they should not have been.
    AsRead,
    /// Those that are out of order by a millisecond at most are put in order while they arrive.
    Window,
    /// The input is read to its end first, and put in order wholly.
    Sorted,
}

/// The inputs, each at its next record.
pub struct Inputs {
    captures: Vec<Capture>,
    ordered: Vec<Ordered>,
    heads: Vec<Head>,
    damage: Vec<Error>,
    late: u64,
}

/// Whether no packet of a capture has an earlier time than the one before it.
pub fn is_in_order(mut capture: Capture) -> bool {
    let mut last = Timestamp(0);
    while let Ok(Some(record)) = capture.advance() {
        if let Record::Packet(packet) = record {
            if packet.time < last {
                return false;
            }
            last = packet.time;
        }
    }
    true
}

/// Where the records of an input come from.
enum Ordered {
    AsRead,
    Window(Box<Window>),
    Sorted(Box<Sorted>),
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
    /// The captures in the order in which the user named them, and how to put each in order.
    ///
    /// Errors: a temporary file cannot be written.
    pub fn new(mut captures: Vec<Capture>, orders: &[Order]) -> io::Result<Inputs> {
        let heads = captures.iter().map(|_| Head { record: None, time: Timestamp(0), used: true }).collect();
        let ordered = captures.iter_mut().zip(orders).map(|(capture, order)| {
            Ok(match order {
                Order::AsRead => Ordered::AsRead,
                Order::Window => Ordered::Window(Box::default()),
                Order::Sorted => Ordered::Sorted(Box::new(Sorted::read(capture)?)),
            })
        });
        let ordered = ordered.collect::<io::Result<_>>()?;
        Ok(Inputs { captures, ordered, heads, damage: Vec::new(), late: 0 })
    }

    /// The bytes of the record that an input handed out last.
    #[inline]
    pub fn bytes(&self, input: usize) -> &[u8] {
        match &self.ordered[input] {
            Ordered::AsRead => self.captures[input].bytes(),
            Ordered::Window(window) => window.bytes(),
            Ordered::Sorted(sorted) => sorted.bytes(),
        }
    }

    /// The options of the packet that an input handed out last.
    #[inline]
    pub fn options(&self, input: usize) -> &[u8] {
        match &self.ordered[input] {
            Ordered::AsRead => self.captures[input].options(),
            Ordered::Window(window) => window.options(),
            Ordered::Sorted(sorted) => sorted.options(),
        }
    }

    /// How many packets came behind one of their input with a later time.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// The captures.
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// Whether an input has no more records.
    pub fn is_at_end(&self, input: usize) -> bool {
        let head = &self.heads[input];
        !head.used && head.record.is_none()
    }

    /// What was wrong with the inputs; what stood before was delivered.
    pub fn into_damage(self) -> Vec<Error> {
        self.damage
    }

    /// The input that is next and its record, whose bytes are [`Inputs::bytes`] until the next call.
    pub fn advance(&mut self) -> Option<(usize, Record)> {
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
        self.captures.iter().zip(&self.heads).any(|(capture, head)| head.used && capture.may_block())
    }

    fn refill(&mut self) {
        for (input, head) in self.heads.iter_mut().enumerate() {
            if !head.used {
                continue;
            }
            head.used = false;
            let capture = &mut self.captures[input];
            let record = match &mut self.ordered[input] {
                Ordered::AsRead => capture.advance(),
                Ordered::Window(window) => window.advance(capture),
                Ordered::Sorted(sorted) => sorted.advance(),
            };
            match record {
                Ok(Some(record)) => {
                    // A block has no time: it comes at once, before the packet that follows it.
                    if let Record::Packet(packet) = record {
                        self.late += u64::from(packet.time < head.time);
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

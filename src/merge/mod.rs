//! All inputs in one order: by time, at equal times by input, within an input as it stands there.
//!
//! What comes in is open captures; what goes out is one record after the other. Captures are in order but for a few packets,
//! if any: [`Order`] says what is done about these. This stage changes no record.

mod ahead;
mod duplicates;
mod sorted;
mod window;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

use crate::capture::{Capture, Described, Error, Progress, Record, Timestamp};

pub use ahead::{Ahead, Looked, Shared};
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
    inputs: Vec<Input>,
    described: Vec<Described>,
    progress: Vec<Progress>,
    /// The input whose record was handed out, until the next call.
    current: Option<usize>,
    /// The other inputs that have a record, by its time.
    others: BinaryHeap<Reverse<(Timestamp, usize)>>,
    is_started: bool,
    damage: Vec<Error>,
    late: u64,
}

/// The record that is next.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    /// Its input, from 0.
    pub input: usize,
    /// What it is.
    pub record: Record,
    /// The bytes of the packet, or the body of the block.
    pub bytes: &'a [u8],
    /// The options of the packet.
    pub options: &'a [u8],
    /// What each capture describes, of its own up to this record at least.
    pub captures: &'a [Described],
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

/// An input, at its next record.
struct Input {
    capture: Capture,
    ordered: Ordered,
    head: Head,
    /// The time of its last packet.
    time: Timestamp,
}

/// What puts the records of an input in order.
enum Ordered {
    AsRead,
    Window(Box<Window>),
    Sorted(Box<Sorted>),
}

/// What an input has next.
#[derive(Clone, Copy)]
enum Head {
    Nothing,
    /// The packet that its capture is at.
    Read,
    Other(Record),
}

impl Inputs {
    /// The captures in the order in which the user named them, and how to put each in order.
    ///
    /// Errors: a temporary file cannot be written.
    pub fn new(captures: Vec<Capture>, orders: &[Order]) -> io::Result<Inputs> {
        let inputs = captures.into_iter().zip(orders).map(|(mut capture, order)| {
            let ordered = match order {
                Order::AsRead => Ordered::AsRead,
                Order::Window => Ordered::Window(Box::default()),
                Order::Sorted => Ordered::Sorted(Box::new(Sorted::read(&mut capture)?)),
            };
            Ok(Input { capture, ordered, head: Head::Nothing, time: Timestamp(0) })
        });
        let inputs = inputs.collect::<io::Result<Vec<Input>>>()?;
        Ok(Inputs {
            described: inputs.iter().map(|input| input.capture.described().clone()).collect(),
            progress: inputs.iter().map(|input| input.capture.progress()).collect(),
            inputs,
            current: None,
            others: BinaryHeap::new(),
            is_started: false,
            damage: Vec::new(),
            late: 0,
        })
    }

    /// How many packets came behind one of their input with a later time.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// What each capture describes, up to its current record at least.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// How far each has been read.
    pub fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// Whether an input has no more records.
    pub fn is_at_end(&self, input: usize) -> bool {
        self.is_started && matches!(self.inputs[input].head, Head::Nothing)
    }

    /// What was wrong with the inputs; what stood before was delivered.
    pub fn into_damage(self) -> Vec<Error> {
        self.damage
    }

    /// The record that is next.
    #[inline(always)]
    pub fn advance(&mut self) -> Option<Next<'_>> {
        match self.current {
            Some(current) => self.turn(current),
            None => self.start(),
        }
        let input = self.current?;
        let Input { capture, ordered, head, .. } = &self.inputs[input];
        let record = match *head {
            Head::Read => Record::Packet(*capture.packet()),
            Head::Other(record) => record,
            Head::Nothing => return None,
        };
        let (bytes, options) = match ordered {
            Ordered::AsRead => (capture.bytes(), capture.options()),
            Ordered::Window(window) => (window.bytes(), window.options()),
            Ordered::Sorted(sorted) => (sorted.bytes(), sorted.options()),
        };
        Some(Next { input, record, bytes, options, captures: &self.described })
    }

    /// Reads the first record of each input.
    #[cold]
    fn start(&mut self) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        for input in 0..self.inputs.len() {
            if self.fill(input) {
                self.others.push(Reverse((self.inputs[input].time, input)));
            }
        }
        self.current = self.others.pop().map(|Reverse((_, input))| input);
    }

    /// Reads the next record of the input whose turn it was, and finds out whose it is now.
    #[inline(always)]
    fn turn(&mut self, current: usize) {
        let has_record = self.fill(current);
        let own = Reverse((self.inputs[current].time, current));
        let Some(mut first) = self.others.peek_mut() else {
            self.current = has_record.then_some(current);
            return;
        };
        if !has_record {
            self.current = Some(PeekMut::pop(first).0.1);
        } else if *first > own {
            self.current = Some(std::mem::replace(&mut *first, own).0.1);
        }
    }

    /// Whether the next call may have to wait for bytes that have not been written yet.
    pub fn may_block(&self) -> bool {
        self.inputs.iter().enumerate().any(|(number, Input { capture, ordered, .. })| {
            let is_due = self.current == Some(number) || !self.is_started;
            is_due && matches!(ordered, Ordered::Window(_)) && capture.may_block()
        })
    }

    /// Reads the next record of an input. False if there is none.
    #[inline]
    fn fill(&mut self, number: usize) -> bool {
        let Input { capture, ordered, head, time } = &mut self.inputs[number];
        let (record, is_as_read) = match ordered {
            Ordered::AsRead => (capture.advance(), true),
            Ordered::Window(window) => (window.advance(capture), false),
            Ordered::Sorted(sorted) => (sorted.advance(), false),
        };
        let described = &mut self.described[number];
        if capture.described().counts() != described.counts() {
            described.append(capture.described().beyond(described.counts()));
        }
        *head = match record {
            Ok(Some(Record::Packet(packet))) => {
                self.late += u64::from(packet.time < *time);
                *time = packet.time;
                if is_as_read { Head::Read } else { Head::Other(Record::Packet(packet)) }
            }
            // A block has no time: it comes at once, before the packet that follows it.
            Ok(Some(record @ Record::Block(_))) => Head::Other(record),
            Ok(None) => Head::Nothing,
            Err(error) => {
                self.damage.push(error);
                Head::Nothing
            }
        };
        !matches!(head, Head::Nothing)
    }
}

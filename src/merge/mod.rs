//! All inputs in one order: by time, at equal times by input, within an input as it stands there.
//!
//! What comes in is open captures; what goes out is which of them holds the next record. Captures are in
//! order but for a few packets, if any: [`Order`] says what is done about these. This stage changes no record.

mod ahead;
mod duplicates;
mod sorted;
mod window;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

use crate::capture::{Capture, Described, Error, LinkType, Progress, Record, Timestamp};
use crate::packet::{View, decode, decode_packet};

pub use duplicates::{Duplicates, Fingerprints};

use ahead::Ahead;
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
    described: Vec<Described>,
    progress: Vec<Progress>,
    ordered: Vec<Ordered>,
    heads: Vec<Head>,
    fingerprints: Option<Fingerprints>,
    /// The inputs that have a record, by its time; on top the one whose record was handed out, until the next call.
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
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
    AsRead(Box<Ahead>),
    Window(Box<Window>, Box<Capture>),
    Sorted(Box<Sorted>),
}

/// The next record of an input.
struct Head {
    record: Option<Record>,
    /// Its headers, if it is a packet that was not decoded ahead.
    view: View,
    /// The time of its last packet.
    time: Timestamp,
    /// Whether the record was handed out and the next one is due.
    used: bool,
}

impl Inputs {
    /// The captures in the order in which the user named them, and how to put each in order; if asked for, each
    /// packet has a fingerprint.
    ///
    /// Errors: a temporary file cannot be written.
    pub fn new(captures: Vec<Capture>, orders: &[Order], with_fingerprints: bool) -> io::Result<Inputs> {
        let fingerprints = with_fingerprints.then(Fingerprints::default);
        let head = |_: &Capture| Head { record: None, view: nothing(), time: Timestamp(0), used: true };
        let inputs = captures.len();
        let heads = captures.iter().map(head).collect();
        let progress = captures.iter().map(Capture::progress).collect();
        let mut described: Vec<Described> = captures.iter().map(|capture| capture.described().clone()).collect();
        let ordered = captures.into_iter().zip(orders).zip(&mut described).map(|((mut capture, order), described)| {
            Ok(match order {
                Order::AsRead => Ordered::AsRead(Box::new(Ahead::start(capture, inputs, fingerprints.clone()))),
                Order::Window => Ordered::Window(Box::default(), Box::new(capture)),
                Order::Sorted => {
                    let sorted = Sorted::read(&mut capture)?;
                    described.append(capture.described().beyond(described.counts()));
                    Ordered::Sorted(Box::new(sorted))
                }
            })
        });
        let ordered = ordered.collect::<io::Result<_>>()?;
        Ok(Inputs {
            described,
            progress,
            ordered,
            heads,
            fingerprints,
            due: BinaryHeap::new(),
            damage: Vec::new(),
            late: 0,
        })
    }

    /// The bytes of the record that an input handed out last.
    #[inline]
    pub fn bytes(&self, input: usize) -> &[u8] {
        match &self.ordered[input] {
            Ordered::AsRead(ahead) => ahead.bytes(),
            Ordered::Window(window, _) => window.bytes(),
            Ordered::Sorted(sorted) => sorted.bytes(),
        }
    }

    /// The options of the packet that an input handed out last.
    #[inline]
    pub fn options(&self, input: usize) -> &[u8] {
        match &self.ordered[input] {
            Ordered::AsRead(ahead) => ahead.options(),
            Ordered::Window(window, _) => window.options(),
            Ordered::Sorted(sorted) => sorted.options(),
        }
    }

    /// The headers of the packet that an input handed out last.
    #[inline]
    pub fn view(&self, input: usize) -> &View {
        match &self.ordered[input] {
            Ordered::AsRead(ahead) => ahead.view(),
            Ordered::Window(..) | Ordered::Sorted(_) => &self.heads[input].view,
        }
    }

    /// The fingerprint of the packet that an input handed out last.
    #[inline]
    pub fn fingerprint(&self, input: usize) -> u64 {
        match (&self.ordered[input], &self.fingerprints) {
            (Ordered::AsRead(ahead), _) => ahead.fingerprint(),
            (_, Some(fingerprints)) => fingerprints.of(&self.heads[input].view, self.bytes(input)),
            _ => 0,
        }
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
        let head = &self.heads[input];
        !head.used && head.record.is_none()
    }

    /// What was wrong with the inputs; what stood before was delivered.
    pub fn into_damage(self) -> Vec<Error> {
        self.damage
    }

    /// The input that is next and its record, whose bytes are [`Inputs::bytes`] until the next call.
    pub fn advance(&mut self) -> Option<(usize, Record)> {
        match self.due.peek() {
            Some(&Reverse((_, input))) if self.heads[input].used => {
                self.fill(input);
                let head = &self.heads[input];
                match self.due.peek_mut() {
                    Some(mut top) if head.record.is_some() => top.0.0 = head.time,
                    Some(top) => _ = PeekMut::pop(top),
                    None => {}
                }
            }
            // The first call: all are to be read.
            _ => {
                for input in (0..self.heads.len()).filter(|&input| self.heads[input].used).collect::<Vec<_>>() {
                    self.fill(input);
                    if self.heads[input].record.is_some() {
                        self.due.push(Reverse((self.heads[input].time, input)));
                    }
                }
            }
        }
        let &Reverse((_, input)) = self.due.peek()?;
        let head = &mut self.heads[input];
        head.used = true;
        head.record.take().map(|record| (input, record))
    }

    /// Whether the next call may have to wait for bytes that have not been written yet.
    pub fn may_block(&self) -> bool {
        self.ordered.iter().zip(&self.heads).any(|(ordered, head)| match ordered {
            Ordered::Window(_, capture) => head.used && capture.may_block(),
            Ordered::AsRead(_) | Ordered::Sorted(_) => false,
        })
    }

    /// Reads the next record of an input.
    fn fill(&mut self, input: usize) {
        let (head, described) = (&mut self.heads[input], &mut self.described[input]);
        head.used = false;
        let record = match &mut self.ordered[input] {
            Ordered::AsRead(ahead) => ahead.advance(described),
            Ordered::Window(window, capture) => {
                let record = window.advance(capture);
                described.append(capture.described().beyond(described.counts()));
                head.look(record, described, window.bytes())
            }
            Ordered::Sorted(sorted) => {
                let record = sorted.advance();
                head.look(record, described, sorted.bytes())
            }
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
            Ok(None) => {}
            Err(error) => self.damage.push(error),
        }
    }
}

/// The headers of no packet.
fn nothing() -> View {
    decode(LinkType::RAW, &[], 0)
}

impl Head {
    /// Decodes the headers of a packet.
    fn look(
        &mut self,
        record: Result<Option<Record>, Error>,
        described: &Described,
        bytes: &[u8],
    ) -> Result<Option<Record>, Error> {
        if let Ok(Some(Record::Packet(packet))) = &record {
            self.view = decode_packet(described, packet.interface, bytes, packet.original_len);
        }
        record
    }
}

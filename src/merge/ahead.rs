//! Inputs that are read in a thread of their own, where their packets are looked at as far as that depends on nothing else.
//!
//! What comes in is inputs; what goes out is batches of their records, in their order, each packet with its [`View`] and with
//! whether another input showed it. Memory: two batches more than [`WAITING`], of [`OCTETS`] octets, or of one record that is
//! larger, and [`RECORDS`] records; and the octets of those that somebody else still reads.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use super::{Duplicates, Inputs, Next};
use crate::capture::{Described, Error, LinkType, Progress, Record};
use crate::handover::{Taker, handover};
use crate::packet::{View, decode, decode_packet};

/// Octets of a batch.
const OCTETS: usize = 256 << 10;

/// Records of a batch.
const RECORDS: usize = 1024;

/// Batches that wait to be read.
const WAITING: usize = 2;

/// The records of all inputs, batch by batch.
pub struct Ahead {
    source: Source,
    batch: Batch,
    /// The place of the next record in the batch.
    next: usize,
    described: Vec<Described>,
    progress: Vec<Progress>,
}

/// The record that is next, and what was seen of it.
pub struct Looked<'a> {
    /// The record.
    pub next: Next<'a>,
    /// Its headers, if it is a packet.
    pub view: &'a View,
    /// Whether another input showed it already.
    pub is_copy: bool,
    /// Where its bytes are.
    pub shared: Shared<'a>,
}

/// Where the bytes of a record are: among octets that another thread may go on to read.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    /// The octets of a batch.
    pub octets: &'a Arc<Vec<u8>>,
    /// Where the record's begin.
    pub start: usize,
}

/// Where batches are filled.
enum Source {
    Thread { batches: Option<Taker<Batch>>, handle: Option<JoinHandle<()>> },
    Here(Box<Reader>),
}

/// Some records.
#[derive(Default)]
struct Batch {
    records: Vec<Held>,
    /// The options and bytes of all of them.
    octets: Arc<Vec<u8>>,
    /// What inputs describe up to the last of them, and did not before.
    described: Vec<(usize, Described)>,
    /// [`Inputs::late`] up to the last of them.
    late: u64,
    /// What was wrong with the inputs, if there are no more records behind these.
    end: Option<Vec<Error>>,
}

/// A record.
struct Held {
    input: u16,
    is_copy: bool,
    record: Record,
    /// Of a packet: its headers.
    view: View,
    options: Range<usize>,
    bytes: Range<usize>,
}

/// What fills batches.
struct Reader {
    inputs: Inputs,
    duplicates: Option<Duplicates>,
    /// Octets of batches that came back while they were still read.
    lent: Vec<Arc<Vec<u8>>>,
    /// Of each input: how many interfaces and sections were told.
    known: Vec<[usize; 2]>,
}

impl Ahead {
    /// Starts reading; `duplicates` knows which packets two inputs show, if that is asked for. `waits` if an input may pause:
    /// then records are read when they are due.
    pub fn start(inputs: Inputs, duplicates: Option<Duplicates>, waits: bool) -> Ahead {
        let (described, progress) = (inputs.described().to_vec(), inputs.progress().to_vec());
        let known = described.iter().map(Described::counts).collect();
        let reader = Box::new(Reader { inputs, duplicates, lent: Vec::new(), known });
        let source = if waits { Source::Here(reader) } else { Source::thread(reader) };
        Ahead { source, batch: Batch::default(), next: 0, described, progress }
    }

    /// The record that is next.
    #[inline]
    pub fn advance(&mut self) -> Option<Looked<'_>> {
        while self.next == self.batch.records.len() {
            if self.batch.end.is_some() {
                return None;
            }
            self.turn();
        }
        let held = &self.batch.records[self.next];
        self.next += 1;
        let octets = |range: &Range<usize>| self.batch.octets.get(range.clone()).unwrap_or_default();
        let input = usize::from(held.input);
        let (bytes, options) = (octets(&held.bytes), octets(&held.options));
        let next = Next { input, record: held.record, bytes, options, captures: &self.described };
        let shared = Shared { octets: &self.batch.octets, start: held.bytes.start };
        Some(Looked { next, view: &held.view, is_copy: held.is_copy, shared })
    }

    /// Takes the next batch.
    #[cold]
    fn turn(&mut self) {
        self.batch = self.source.next(std::mem::take(&mut self.batch));
        for (input, more) in self.batch.described.drain(..) {
            self.described[input].append(more);
        }
        self.next = 0;
    }

    /// How many packets came behind one of their input with a later time: among those handed out, and some behind them.
    pub fn late(&self) -> u64 {
        self.batch.late
    }

    /// How far each input has been read.
    pub fn progress(&self) -> &[Progress] {
        &self.progress
    }

    /// What was wrong with the inputs, once there are no more records.
    pub fn into_damage(mut self) -> Vec<Error> {
        self.batch.end.take().unwrap_or_default()
    }
}

impl Source {
    /// Fills batches in a thread, or where there can be none, here.
    fn thread(reader: Box<Reader>) -> Source {
        let (ready, batches) = handover(WAITING);
        let (give, take) = sync_channel::<Box<Reader>>(1);
        let handle = Builder::new().name("records".to_owned()).spawn(move || {
            let Ok(mut reader) = take.recv() else { return };
            loop {
                let batch = reader.fill(ready.next());
                let is_last = batch.end.is_some();
                // Where nobody takes them any more, nobody misses them.
                if !ready.give(batch) || is_last {
                    return;
                }
            }
        });
        match handle {
            Ok(handle) => match give.send(reader) {
                Ok(()) => Source::Thread { batches: Some(batches), handle: Some(handle) },
                Err(unsent) => Source::Here(unsent.0),
            },
            Err(_) => Source::Here(reader),
        }
    }

    /// The next batch, in exchange for one that was read.
    fn next(&mut self, used: Batch) -> Batch {
        match self {
            Source::Here(reader) => reader.fill(used),
            Source::Thread { batches, handle } => {
                let next = batches.as_ref().and_then(|batches| {
                    batches.give_back(used);
                    batches.take()
                });
                next.unwrap_or_else(|| {
                    // It said nothing of an end, so it failed.
                    if let Some(Err(panic)) = handle.take().map(JoinHandle::join) {
                        std::panic::resume_unwind(panic);
                    }
                    let lost = Error::Io { name: "captures".to_owned(), source: io::ErrorKind::BrokenPipe.into() };
                    Batch { end: Some(vec![lost]), ..Batch::default() }
                })
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Source::Thread { batches, handle } = self {
            // The thread ends at the next batch that nobody takes.
            drop(batches.take());
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl Reader {
    /// Fills a batch with records until there are enough.
    fn fill(&mut self, mut batch: Batch) -> Batch {
        let mut octets = self.room(std::mem::take(&mut batch.octets));
        let Reader { inputs, duplicates, known, .. } = self;
        batch.records.clear();
        batch.end = None;
        while octets.len() < OCTETS && batch.records.len() < RECORDS {
            let Some(Next { input, record, bytes, options, captures }) = inputs.advance() else {
                batch.end = Some(std::mem::take(&mut inputs.damage));
                break;
            };
            let view = match &record {
                Record::Packet(packet) => decode_packet(&captures[input], packet.interface, bytes, packet.original_len),
                Record::Block(_) => nothing(),
            };
            let is_copy = match (&record, duplicates.as_mut()) {
                (Record::Packet(packet), Some(duplicates)) => duplicates.is_duplicate(input, packet.time, &view, bytes),
                _ => false,
            };
            let start = octets.len();
            octets.extend_from_slice(options);
            let middle = octets.len();
            octets.extend_from_slice(bytes);
            let (options, bytes) = (start..middle, middle..octets.len());
            // There are no more inputs than a u16 can number.
            batch.records.push(Held { input: input as u16, is_copy, record, view, options, bytes });
        }
        batch.octets = Arc::new(octets);
        batch.late = inputs.late();
        for (input, (described, known)) in inputs.described().iter().zip(known).enumerate() {
            if described.counts() != *known {
                batch.described.push((input, described.beyond(*known)));
                *known = described.counts();
            }
        }
        batch
    }

    /// Room for octets: where others were that nobody reads any more, or new.
    fn room(&mut self, used: Arc<Vec<u8>>) -> Vec<u8> {
        self.lent.push(used);
        let free = self.lent.iter().position(|octets| Arc::strong_count(octets) == 1);
        let free = free.and_then(|free| Arc::into_inner(self.lent.swap_remove(free)));
        let usual = OCTETS + OCTETS / 4;
        match free {
            Some(mut octets) if (usual..=4 * OCTETS).contains(&octets.capacity()) => {
                octets.clear();
                octets
            }
            _ => Vec::with_capacity(usual),
        }
    }
}

/// The headers of no packet.
fn nothing() -> View {
    decode(LinkType::RAW, &[], 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::capture::Capture;
    use crate::merge::Order;

    /// The header of a pcap file, and packets of two octets.
    fn file(packets: u16) -> Vec<u8> {
        let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0".to_vec();
        for number in 0..packets {
            file.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0");
            file.extend_from_slice(&number.to_le_bytes());
        }
        file
    }

    fn ahead(reader: impl Read + Send + 'static, waits: bool) -> Ahead {
        let capture = Capture::from_reader("test".to_owned(), Box::new(reader)).expect("a capture");
        Ahead::start(Inputs::new(vec![capture], &[Order::AsRead]).expect("no temporary file"), None, waits)
    }

    #[test]
    fn every_record_in_a_thread_or_here() {
        for waits in [false, true] {
            let mut ahead = ahead(Cursor::new(file(5000)), waits);
            for number in 0..5000_u16 {
                let next = ahead.advance().expect("a record").next;
                assert!(matches!(next.record, Record::Packet(packet) if packet.number == u64::from(number) + 1));
                assert_eq!((next.bytes, next.options), (&number.to_le_bytes()[..], &[][..]));
            }
            assert!(ahead.advance().is_none());
            assert!(ahead.advance().is_none(), "it stays at its end");
            assert!(ahead.into_damage().is_empty());
        }
    }

    #[test]
    fn damage_comes_behind_what_was_read() {
        let cut = file(3);
        let mut ahead = ahead(Cursor::new(cut[..cut.len() - 1].to_vec()), false);
        assert!(ahead.advance().is_some() && ahead.advance().is_some() && ahead.advance().is_none());
        assert_eq!(ahead.into_damage().len(), 1);
    }

    #[test]
    #[should_panic(expected = "a reader that fails")]
    fn a_thread_that_fails_is_not_at_its_end() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a reader that fails")
            }
        }
        let mut ahead = ahead(Cursor::new(file(3)).chain(Fails), false);
        while ahead.advance().is_some() {}
    }
}

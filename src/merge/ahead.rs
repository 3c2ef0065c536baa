//! An input that is read in a thread of its own, and whose packets are decoded there.
//!
//! What comes in is a capture; what goes out is batches of its records, each packet with its [`View`]. Memory: two
//! batches more than [`WAITING`], of [`OCTETS`] octets, or of one record that is larger, and [`RECORDS`] records; of many inputs, batches are
//! smaller, and of very many there is one each, which is filled when it is due.

use std::io;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use super::{Fingerprints, nothing};
use crate::capture::{Capture, Described, Error, Record};
use crate::handover::{Taker, handover};
use crate::packet::{View, decode_packet};

/// Octets of a batch.
const OCTETS: usize = 256 << 10;

/// Records of a batch.
const RECORDS: usize = 1024;

/// Batches that wait to be read.
const WAITING: usize = 2;

/// Inputs that have batches of this size. Those of more are smaller: what is on its way should stay in the caches.
const INPUTS: usize = 2;

/// How many times smaller than usual a batch is at most.
const SMALLEST: usize = 4;

/// Inputs that have a thread each; of more, none has.
const THREADS: usize = 16;

/// The records of a capture, batch by batch.
pub(super) struct Ahead {
    source: Source,
    batch: Batch,
    /// The place of the next record in the batch.
    next: usize,
    /// What is to be seen where there is no record.
    nothing: View,
}

/// Where batches are filled.
enum Source {
    Thread(Thread),
    Here(Box<Reader>),
}

struct Thread {
    /// The capture's name, for messages.
    name: String,
    batches: Taker<Batch>,
    handle: Option<JoinHandle<()>>,
}

/// Some records of a capture.
#[derive(Default)]
struct Batch {
    records: Vec<Held>,
    /// The options and bytes of all of them.
    octets: Vec<u8>,
    /// What is described by the last of them, and was not before.
    described: Described,
    /// How the capture ended, if it did behind them.
    end: Option<Result<(), Error>>,
}

/// A record.
struct Held {
    record: Record,
    /// Of a packet: its headers, and its fingerprint, if it is asked for.
    view: View,
    fingerprint: u64,
    options: Range<usize>,
    bytes: Range<usize>,
}

/// What fills batches.
struct Reader {
    capture: Capture,
    fingerprints: Option<Fingerprints>,
    /// How many times smaller than usual batches are.
    share: usize,
    /// How many interfaces and sections were told.
    known: [usize; 2],
}

impl Ahead {
    /// Starts reading, one of so many inputs. What the capture already describes is known to the caller.
    pub fn start(capture: Capture, inputs: usize, fingerprints: Option<Fingerprints>) -> Ahead {
        let known = capture.described().counts();
        let share = (inputs / INPUTS).clamp(1, SMALLEST);
        let reader = Box::new(Reader { capture, fingerprints, share, known });
        let source = if inputs > THREADS { Source::Here(reader) } else { Source::thread(reader) };
        Ahead { source, batch: Batch::default(), next: 0, nothing: nothing() }
    }

    /// Moves to the next record; `None` is the end. `described` follows.
    ///
    /// Errors: as [`Capture::advance`].
    #[inline]
    pub fn advance(&mut self, described: &mut Described) -> Result<Option<Record>, Error> {
        self.next += 1;
        while self.next > self.batch.records.len() {
            match &mut self.batch.end {
                Some(end) => return std::mem::replace(end, Ok(())).map(|()| None),
                None => self.turn(described)?,
            }
        }
        Ok(Some(self.batch.records[self.next - 1].record))
    }

    /// Takes the next batch.
    #[cold]
    fn turn(&mut self, described: &mut Described) -> Result<(), Error> {
        self.batch = self.source.next(std::mem::take(&mut self.batch))?;
        described.append(std::mem::take(&mut self.batch.described));
        self.next = 1;
        Ok(())
    }

    /// The headers of the current record, if it is a packet.
    #[inline]
    pub fn view(&self) -> &View {
        self.current().map_or(&self.nothing, |held| &held.view)
    }

    /// The fingerprint of the current record.
    #[inline]
    pub fn fingerprint(&self) -> u64 {
        self.current().map_or(0, |held| held.fingerprint)
    }

    /// The bytes of the current record.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.current().and_then(|held| self.batch.octets.get(held.bytes.clone())).unwrap_or_default()
    }

    /// The options of the current record.
    #[inline]
    pub fn options(&self) -> &[u8] {
        self.current().and_then(|held| self.batch.octets.get(held.options.clone())).unwrap_or_default()
    }

    fn current(&self) -> Option<&Held> {
        self.batch.records.get(self.next.wrapping_sub(1))
    }
}

impl Source {
    /// Fills batches in a thread, or where there can be none, here.
    fn thread(reader: Box<Reader>) -> Source {
        let name = reader.capture.name().to_owned();
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
                Ok(()) => Source::Thread(Thread { name, batches, handle: Some(handle) }),
                Err(unsent) => Source::Here(unsent.0),
            },
            Err(_) => Source::Here(reader),
        }
    }

    /// The next batch, in exchange for one that was read.
    fn next(&mut self, used: Batch) -> Result<Batch, Error> {
        match self {
            Source::Here(reader) => Ok(reader.fill(used)),
            Source::Thread(thread) => {
                thread.batches.give_back(used);
                thread.batches.take().ok_or_else(|| {
                    // It said nothing of an end.
                    if let Some(Err(panic)) = thread.handle.take().map(JoinHandle::join) {
                        std::panic::resume_unwind(panic);
                    }
                    Error::Io { name: thread.name.clone(), source: io::ErrorKind::BrokenPipe.into() }
                })
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The thread ends at the next batch that nobody takes.
        (_, self.batches) = handover(0);
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

impl Reader {
    /// Fills a batch with records until there are enough.
    fn fill(&mut self, mut batch: Batch) -> Batch {
        let Reader { capture, fingerprints, share, known } = self;
        batch.records.clear();
        batch.octets.clear();
        batch.end = None;
        if batch.octets.capacity() > 4 * OCTETS {
            batch.octets = Vec::new();
        }
        while batch.octets.len() < OCTETS / *share && batch.records.len() < RECORDS / *share {
            let record = match capture.advance() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    batch.end = Some(Ok(()));
                    break;
                }
                Err(error) => {
                    batch.end = Some(Err(error));
                    break;
                }
            };
            let bytes = capture.bytes();
            let view = match record {
                Record::Packet(packet) => {
                    decode_packet(capture.described(), packet.interface, bytes, packet.original_len)
                }
                Record::Block(_) => nothing(),
            };
            let fingerprint = fingerprints.as_ref().map_or(0, |fingerprints| fingerprints.of(&view, bytes));
            let start = batch.octets.len();
            batch.octets.extend_from_slice(capture.options());
            let middle = batch.octets.len();
            batch.octets.extend_from_slice(bytes);
            let (options, bytes) = (start..middle, middle..batch.octets.len());
            batch.records.push(Held { record, view, fingerprint, options, bytes });
        }
        batch.described = capture.described().beyond(*known);
        *known = capture.described().counts();
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    /// The header of a pcap file, and packets of two octets.
    fn file(packets: u16) -> Vec<u8> {
        let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0".to_vec();
        for number in 0..packets {
            file.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0");
            file.extend_from_slice(&number.to_le_bytes());
        }
        file
    }

    fn ahead(reader: impl Read + Send + 'static, inputs: usize) -> Ahead {
        let capture = Capture::from_reader("test".to_owned(), Box::new(reader)).expect("a capture");
        Ahead::start(capture, inputs, None)
    }

    #[test]
    fn every_record_in_a_thread_or_here() {
        for inputs in [1, THREADS, THREADS + 1] {
            let mut ahead = ahead(Cursor::new(file(5000)), inputs);
            let mut described = Described::default();
            for number in 0..5000_u16 {
                let record = ahead.advance(&mut described).expect("nothing is wrong");
                assert!(matches!(record, Some(Record::Packet(packet)) if packet.number == u64::from(number) + 1));
                assert_eq!((ahead.bytes(), ahead.options()), (&number.to_le_bytes()[..], &[][..]));
            }
            assert!(matches!(ahead.advance(&mut described), Ok(None)));
            assert!(matches!(ahead.advance(&mut described), Ok(None)), "it stays at its end");
        }
    }

    #[test]
    fn damage_comes_behind_what_was_read() {
        let cut = file(3);
        let mut ahead = ahead(Cursor::new(cut[..cut.len() - 1].to_vec()), 1);
        let mut described = Described::default();
        for _ in 0..2 {
            assert!(matches!(ahead.advance(&mut described), Ok(Some(_))));
        }
        assert!(ahead.advance(&mut described).is_err());
        assert!(matches!(ahead.advance(&mut described), Ok(None)));
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
        let mut ahead = ahead(Cursor::new(file(3)).chain(Fails), 1);
        while let Ok(Some(_)) = ahead.advance(&mut Described::default()) {}
    }
}

//! An input that is read in a thread of its own, and whose packets are decoded there.
//!
//! What comes in is a capture; what goes out is batches of its records, each packet with its [`View`]. Memory: [`BATCHES`]
//! batches of [`OCTETS`] octets, or of one record that is larger, and [`RECORDS`] records; of many inputs, batches are smaller.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Fingerprints;
use crate::capture::{Capture, Described, Error, LinkType, Record};
use crate::packet::{View, decode};

/// Octets of a batch.
const OCTETS: usize = 256 << 10;

/// Records of a batch.
const RECORDS: usize = 1024;

/// Inputs that have batches of this size; of more, all batches together are as large as theirs. Caches are no larger.
const INPUTS: usize = 2;

/// How many times smaller than usual a batch is at most.
const SMALLEST: usize = 4;

/// Batches: one is read from, one written to, the others wait for it.
const BATCHES: usize = 4;

/// The records of a capture, batch by batch.
pub(super) struct Ahead {
    name: String,
    batches: Receiver<Batch>,
    used: SyncSender<Batch>,
    thread: Option<JoinHandle<()>>,
    batch: Batch,
    /// The place of the next record in the batch.
    next: usize,
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

impl Ahead {
    /// Starts reading, one of so many inputs. What the capture already describes is known to the caller. That there can be no thread is an error
    /// of the first record.
    pub fn start(mut capture: Capture, inputs: usize, fingerprints: Option<Fingerprints>) -> Ahead {
        let (ready, batches) = sync_channel(BATCHES - 2);
        let (used, unused) = sync_channel::<Batch>(BATCHES);
        let name = capture.name().to_owned();
        let share = (inputs / INPUTS).clamp(1, SMALLEST);
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            let mut known = [capture.described().interfaces.len(), capture.described().sections.len()];
            loop {
                let mut batch = unused.try_recv().unwrap_or_default();
                batch.fill(&mut capture, share, &mut known, fingerprints.as_ref());
                let is_last = batch.end.is_some();
                // Where nobody takes them any more, nobody misses them.
                if ready.send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        Ahead { name, batches, used, thread: thread.ok(), batch: Batch::default(), next: 0 }
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
        let Ok(next) = self.batches.recv() else {
            self.batch.end = Some(Ok(()));
            return Err(Error::Io { name: self.name.clone(), source: io::Error::other("the reader failed") });
        };
        let _ = self.used.try_send(std::mem::replace(&mut self.batch, next));
        described.interfaces.append(&mut self.batch.described.interfaces);
        described.sections.append(&mut self.batch.described.sections);
        self.next = 1;
        Ok(())
    }

    /// The headers of the current record, if it is a packet.
    #[inline]
    pub fn view(&self) -> Option<&View> {
        self.current().map(|held| &held.view)
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

impl Drop for Ahead {
    fn drop(&mut self) {
        // The thread ends at the next batch that nobody takes.
        (_, self.batches) = sync_channel(0);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Batch {
    /// Reads records until there are enough: this share of a whole batch. `known` counts the interfaces and sections that were told.
    fn fill(
        &mut self,
        capture: &mut Capture,
        share: usize,
        known: &mut [usize; 2],
        fingerprints: Option<&Fingerprints>,
    ) {
        self.records.clear();
        self.octets.clear();
        while self.octets.len() < OCTETS / share && self.records.len() < RECORDS / share {
            let record = match capture.advance() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.end = Some(Ok(()));
                    break;
                }
                Err(error) => {
                    self.end = Some(Err(error));
                    break;
                }
            };
            let bytes = capture.bytes();
            let view = match record {
                Record::Packet(packet) => {
                    let link_type = capture.described().interfaces[packet.interface as usize].link_type;
                    decode(link_type, bytes, packet.original_len as usize)
                }
                Record::Block(_) => decode(LinkType::RAW, &[], 0),
            };
            let fingerprint = fingerprints.map_or(0, |fingerprints| fingerprints.of(&view, bytes));
            let start = self.octets.len();
            self.octets.extend_from_slice(capture.options());
            let middle = self.octets.len();
            self.octets.extend_from_slice(bytes);
            let (options, bytes) = (start..middle, middle..self.octets.len());
            self.records.push(Held { record, view, fingerprint, options, bytes });
        }
        let Described { interfaces, sections } = capture.described();
        self.described.interfaces.extend_from_slice(&interfaces[known[0]..]);
        self.described.sections.extend_from_slice(&sections[known[1]..]);
        *known = [interfaces.len(), sections.len()];
    }
}

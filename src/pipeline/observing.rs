//! What inference needs of each segment, collected in a thread of its own: it depends on the segments alone, and nothing
//! depends on it before the end.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::capture::Timestamp;
use crate::tie::infer::{Half, Limits, Observer};

/// Octets of data that are handed over at once, and segments.
const OCTETS: usize = 128 << 10;
const SEGMENTS: usize = 2048;

/// Batches: one is filled, one taken in, the others wait.
const BATCHES: usize = 4;

/// An [`Observer`] at work.
pub(super) struct Observing {
    batch: Batch,
    full: Option<SyncSender<Batch>>,
    empty: Receiver<Batch>,
    thread: Option<JoinHandle<Observer>>,
}

/// Segments, one after the other.
#[derive(Default)]
struct Batch {
    segments: Vec<Segment>,
    /// What was captured of their data.
    data: Vec<u8>,
}

struct Segment {
    half: Half,
    time: Timestamp,
    seq: u32,
    flags: u8,
    /// Octets of data: captured, and sent.
    captured: u32,
    sent: u32,
}

impl Observing {
    /// Starts; nothing was collected yet. That there can be no thread is told at the end.
    pub fn start(limits: Limits) -> Observing {
        let (full, batches) = sync_channel::<Batch>(BATCHES - 2);
        let (give_back, empty) = sync_channel(BATCHES);
        let thread = std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
            let mut observer = Observer::new(limits);
            for mut batch in batches {
                batch.tell(&mut observer);
                // The other side may have ended.
                let _ = give_back.try_send(batch);
            }
            observer
        });
        Observing { batch: Batch::default(), full: Some(full), empty, thread: thread.ok() }
    }

    /// Takes in a segment. `data` is what was captured of its `sent` octets.
    #[inline]
    pub fn segment(&mut self, half: Half, time: Timestamp, seq: u32, flags: u8, data: &[u8], sent: u32) {
        self.batch.data.extend_from_slice(data);
        self.batch.segments.push(Segment { half, time, seq, flags, captured: data.len() as u32, sent });
        if self.batch.data.len() >= OCTETS || self.batch.segments.len() >= SEGMENTS {
            self.turn();
        }
    }

    #[cold]
    fn turn(&mut self) {
        let empty = self.empty.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, empty);
        // That nobody takes it any more is told at the end.
        let _ = self.full.as_ref().map(|full| full.send(batch));
    }

    /// There are no more segments.
    ///
    /// Errors: the thread failed, or never was.
    pub fn finish(mut self) -> io::Result<Observer> {
        self.turn();
        self.join().ok_or_else(|| io::Error::other("the observer failed"))
    }

    fn join(&mut self) -> Option<Observer> {
        self.full = None;
        self.thread.take()?.join().ok()
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

impl Batch {
    /// Tells all its segments, and is empty then.
    fn tell(&mut self, observer: &mut Observer) {
        let mut data = self.data.as_slice();
        for Segment { half, time, seq, flags, captured, sent } in self.segments.drain(..) {
            let (captured, behind) = data.split_at(captured as usize);
            data = behind;
            observer.segment(half, time, seq, flags, captured, sent);
        }
        self.data.clear();
    }
}

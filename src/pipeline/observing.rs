//! What inference needs of each segment, collected in a thread of its own: it depends on the segments alone, and nothing
//! depends on it before the end.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

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
    work: Work,
}

/// Where batches are taken in.
enum Work {
    Thread {
        full: SyncSender<Batch>,
        empty: Receiver<Batch>,
        handle: JoinHandle<Observer>,
    },
    /// Here, since there can be no thread.
    Here(Box<Observer>),
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
    /// Nothing collected yet.
    pub fn start(limits: Limits) -> Observing {
        let (full, batches) = sync_channel::<Batch>(BATCHES - 2);
        let (give_back, empty) = sync_channel(BATCHES);
        let handle = Builder::new().name("observer".to_owned()).spawn(move || {
            let mut observer = Observer::new(limits);
            for mut batch in batches {
                batch.tell(&mut observer);
                // The other side may have ended.
                let _ = give_back.try_send(batch);
            }
            observer
        });
        let work = match handle {
            Ok(handle) => Work::Thread { full, empty, handle },
            Err(_) => Work::Here(Box::new(Observer::new(limits))),
        };
        Observing { batch: Batch::default(), work }
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
        match &mut self.work {
            Work::Here(observer) => self.batch.tell(observer),
            Work::Thread { full, empty, .. } => {
                // Where nobody takes it any more, the thread failed: `finish` says so.
                let _ = full.send(std::mem::take(&mut self.batch));
                self.batch = empty.try_recv().unwrap_or_default();
            }
        }
    }

    /// There are no more segments.
    pub fn finish(mut self) -> Observer {
        self.turn();
        match self.work {
            Work::Here(observer) => *observer,
            Work::Thread { full, handle, .. } => {
                drop(full);
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
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

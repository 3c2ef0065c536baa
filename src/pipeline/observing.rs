//! What inference needs of each segment, collected in a thread of its own: it depends on the segments alone, and nothing
//! depends on it before the end.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::capture::Timestamp;
use crate::handover::{Giver, handover};
use crate::merge::Shared;
use crate::tie::infer::{self, Half, Limits, Observed, Observer};

/// Batches that wait to be taken in.
const WAITING: usize = 2;

/// An [`Observer`] at work.
pub(super) struct Observing {
    batch: Batch,
    work: Work,
}

/// Where batches are taken in.
enum Work {
    Thread {
        batches: Giver<Batch>,
        handle: JoinHandle<io::Result<Observed>>,
    },
    /// Here, since there can be no thread.
    Here(Box<Observer>),
}

/// Segments, one after the other, of one batch of records.
#[derive(Default)]
struct Batch {
    segments: Vec<Segment>,
    /// What the batch holds.
    octets: Arc<Vec<u8>>,
    /// Conversations that are forgotten behind them.
    forgotten: Vec<u32>,
    /// Whether there are no more segments.
    is_last: bool,
}

/// A TCP segment.
pub(super) struct Segment {
    pub half: Half,
    pub time: Timestamp,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// What was captured of its data, in its frame.
    pub data: Range<usize>,
    /// Octets of data that were sent.
    pub sent: u32,
}

impl Observing {
    /// Nothing collected yet.
    pub fn start(limits: Limits) -> Observing {
        let (give, batches) = handover::<Batch>(WAITING);
        let handle = Builder::new().name("observer".to_owned()).spawn(move || {
            let mut observer = Observer::new(limits);
            while let Some(mut batch) = batches.take() {
                batch.tell(&mut observer);
                if batch.is_last {
                    return observer.finish();
                }
                batches.give_back(batch);
            }
            // Nobody wants it any more: what is in memory is not put away.
            Err(io::ErrorKind::Interrupted.into())
        });
        let work = match handle {
            Ok(handle) => Work::Thread { batches: give, handle },
            Err(_) => Work::Here(Box::new(Observer::new(limits))),
        };
        Observing { batch: Batch::default(), work }
    }

    /// Takes in a segment.
    #[inline]
    pub fn segment(&mut self, segment: Segment, shared: Shared<'_>) {
        if !Arc::ptr_eq(&self.batch.octets, shared.octets) {
            self.turn();
            self.batch.octets = Arc::clone(shared.octets);
        }
        let data = shared.start + segment.data.start..shared.start + segment.data.end;
        self.batch.segments.push(Segment { data, ..segment });
    }

    /// Forgets a conversation. No more segments of it come.
    pub fn forget(&mut self, conversation: u32) {
        self.batch.forgotten.push(conversation);
    }

    #[cold]
    fn turn(&mut self) {
        match &mut self.work {
            Work::Here(observer) => self.batch.tell(observer),
            Work::Thread { batches, .. } => {
                // Where nobody takes it any more, the thread failed: `finish` says so.
                batches.give(std::mem::take(&mut self.batch));
                self.batch = batches.next();
            }
        }
    }

    /// There are no more segments.
    pub fn finish(mut self) -> Finishing {
        self.batch.is_last = true;
        self.turn();
        match self.work {
            Work::Here(observer) => Finishing::Here(observer),
            Work::Thread { batches, handle } => {
                drop(batches);
                Finishing::Thread(handle)
            }
        }
    }
}

/// An [`Observer`] that has all segments.
pub(super) enum Finishing {
    Thread(JoinHandle<io::Result<Observed>>),
    Here(Box<Observer>),
}

impl Finishing {
    /// What it collected; waits for it.
    ///
    /// Errors: the temporary file cannot be written or read.
    pub fn finish(self) -> io::Result<Observed> {
        match self {
            Finishing::Here(observer) => observer.finish(),
            Finishing::Thread(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        }
    }
}

impl Batch {
    /// Tells all its segments, and is empty then.
    fn tell(&mut self, observer: &mut Observer) {
        for Segment { half, time, seq, ack, flags, data, sent: data_len } in self.segments.drain(..) {
            let data = self.octets.get(data).unwrap_or_default();
            observer.segment(&infer::Segment { half, time, seq, ack, flags, data, data_len });
        }
        self.forgotten.drain(..).for_each(|conversation| observer.forget(conversation));
        // Whoever reads ahead may use them again.
        self.octets = Arc::default();
    }
}

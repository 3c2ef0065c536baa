//! What inference needs of each segment, collected in a thread of its own: it depends on the segments alone, and nothing
//! depends on it before the end.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::capture::Timestamp;
use crate::handover::{Giver, handover};
use crate::tie::infer::{Half, Limits, Observed, Observer};

/// Octets of data that are handed over at once, and segments.
const OCTETS: usize = 128 << 10;
const SEGMENTS: usize = 2048;

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

/// Segments, one after the other.
#[derive(Default)]
struct Batch {
    segments: Vec<Segment>,
    /// What was captured of their data.
    data: Vec<u8>,
    /// Conversations that are forgotten behind them.
    forgotten: Vec<u32>,
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
        let (give, batches) = handover::<Batch>(WAITING);
        let handle = Builder::new().name("observer".to_owned()).spawn(move || {
            let mut observer = Observer::new(limits);
            while let Some(mut batch) = batches.take() {
                batch.tell(&mut observer);
                batches.give_back(batch);
            }
            observer.finish()
        });
        let work = match handle {
            Ok(handle) => Work::Thread { batches: give, handle },
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
        let mut data = self.data.as_slice();
        for Segment { half, time, seq, flags, captured, sent } in self.segments.drain(..) {
            let (captured, behind) = data.split_at(captured as usize);
            data = behind;
            observer.segment(half, time, seq, flags, captured, sent);
        }
        self.data.clear();
        self.forgotten.drain(..).for_each(|conversation| observer.forget(conversation));
    }
}

//! A reader in a thread of its own: what a pipe delivers, or a decompressor makes, while we do something else.
//!
//! In comes any `Read`; out goes the same bytes, read ahead up to a limit. The limit is in octets, not in
//! chunks: a capture that is written packet by packet must not fill the queue with a hundred tiny chunks and
//! then make its writer wait. Ends when the reader ends or fails, when the [`Feed`] is dropped (a thread that
//! is blocked in a read of its own then stays there until that read returns), or when interrupted.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Octets of one chunk; also what is asked of the reader at once.
const CHUNK: usize = 256 << 10;
/// How long an interrupt may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// How to fill a chunk before it is passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Whatever one read returns: for sources that may pause.
    Prompt,
    /// Full chunks: for sources that never pause.
    Full,
}

/// The reading end of a thread that reads ahead.
pub(super) struct Feed {
    shared: Arc<Shared>,
    current: Chunk,
    consumed: usize,
    interrupted: Arc<AtomicBool>,
}

impl Feed {
    /// Starts a thread that opens and reads ahead at most about `limit` octets.
    pub(super) fn start(
        thread_name: String,
        limit: usize,
        delivery: Delivery,
        interrupted: Arc<AtomicBool>,
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
    ) -> io::Result<Feed> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), limit });
        let end = WritingEnd(Arc::clone(&shared));
        thread::Builder::new().name(thread_name).spawn(move || {
            let error = match open() {
                Ok(mut reader) => end.pump(&mut *reader, delivery).err(),
                Err(error) => Some(error),
            };
            end.finish(error);
        })?;
        Ok(Feed { shared, current: Chunk::default(), consumed: 0, interrupted })
    }

    /// For looking at it from where only its bytes are known.
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits for the next chunk; false is the end.
    fn next_chunk(&mut self) -> io::Result<bool> {
        let mut state = self.shared.lock();
        loop {
            // From here on nothing more is taken in; what has been is still worth having.
            state.abandoned |= self.interrupted.load(Ordering::Relaxed);
            if let Some(chunk) = state.ready.pop_front() {
                let used = std::mem::replace(&mut self.current, chunk);
                self.consumed = 0;
                // One spare chunk is enough to keep the thread from allocating in the steady state.
                if state.spare.is_none() && !used.data.is_empty() {
                    state.spare = Some(used);
                }
                self.shared.changed.notify_all();
                return Ok(true);
            }
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.finished || state.abandoned {
                return Ok(false);
            }
            state = self.shared.wait(state);
        }
    }
}

/// Tells whether a [`Feed`] has something to read.
pub(super) struct Watch(Arc<Shared>);

impl Watch {
    /// Whether nothing arrives within this time, not even the end.
    pub(super) fn is_silent(&self, time: Duration) -> bool {
        let silent = |state: &mut State| state.ahead == 0 && !state.finished && !state.abandoned;
        let state = self.0.lock();
        let waited = self.0.changed.wait_timeout_while(state, time, silent);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.consumed == self.current.len && !self.next_chunk()? {
            return Ok(0);
        }
        let ready = &self.current.data[self.consumed..self.current.len];
        let n = ready.len().min(buffer.len());
        buffer[..n].copy_from_slice(&ready[..n]);
        self.consumed += n;
        self.shared.lock().ahead -= n;
        self.shared.changed.notify_all();
        Ok(n)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.changed.notify_all();
    }
}

/// Octets `..len` of `data` are of interest.
#[derive(Default)]
struct Chunk {
    data: Vec<u8>,
    len: usize,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Chunk>,
    /// Octets that were read ahead and not consumed.
    ahead: usize,
    spare: Option<Chunk>,
    error: Option<io::Error>,
    finished: bool,
    abandoned: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

impl Shared {
    /// A poisoned queue is whole: no code that holds the lock leaves it half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct WritingEnd(Arc<Shared>);

impl WritingEnd {
    fn pump(&self, reader: &mut dyn Read, delivery: Delivery) -> io::Result<()> {
        let mut chunk = Chunk { data: vec![0; CHUNK], len: 0 };
        loop {
            // min(): a reader that claims more than it was given room for must not take us down.
            let result = reader.read(&mut chunk.data[chunk.len..]).map(|n| n.min(CHUNK - chunk.len));
            match &result {
                Ok(n) => chunk.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {}
            }
            let over = !matches!(result, Ok(1..));
            if over || chunk.len == CHUNK || delivery == Delivery::Prompt {
                match self.push(chunk) {
                    Some(next) => chunk = next,
                    None => return Ok(()),
                }
            }
            if over {
                return result.map(drop);
            }
        }
    }

    /// Passes a chunk on and returns an empty one; `None` if nobody reads any more.
    fn push(&self, mut chunk: Chunk) -> Option<Chunk> {
        let mut state = self.0.lock();
        while state.ahead >= self.0.limit && !state.abandoned {
            state = self.0.wait(state);
        }
        if state.abandoned {
            return None;
        }
        state.ahead += chunk.len;
        match state.ready.back_mut() {
            _ if chunk.len == 0 => return Some(chunk),
            Some(last) if last.data.len() - last.len >= chunk.len => {
                last.data[last.len..][..chunk.len].copy_from_slice(&chunk.data[..chunk.len]);
                last.len += chunk.len;
            }
            _ => {
                let next = state.spare.take();
                state.ready.push_back(chunk);
                chunk = next.unwrap_or_else(|| Chunk { data: vec![0; CHUNK], len: 0 });
            }
        }
        self.0.changed.notify_all();
        chunk.len = 0;
        Some(chunk)
    }

    fn finish(&self, error: Option<io::Error>) {
        let mut state = self.0.lock();
        if !state.finished {
            state.error = error;
            state.finished = true;
        }
        self.0.changed.notify_all();
    }
}

impl Drop for WritingEnd {
    /// A reader that panicked must not leave the other end waiting, nor look like a clean end.
    fn drop(&mut self) {
        self.finish(thread::panicking().then(|| io::Error::other("the reader gave up (a bug in a decompressor?)")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(limit: usize, delivery: Delivery, reader: impl Read + Send + 'static) -> Feed {
        Feed::start("test".into(), limit, delivery, Arc::default(), || Ok(Box::new(reader))).unwrap()
    }

    #[test]
    fn everything_arrives_in_order() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        for delivery in [Delivery::Prompt, Delivery::Full] {
            let mut out = Vec::new();
            feed(1 << 20, delivery, io::Cursor::new(bytes.clone())).read_to_end(&mut out).unwrap();
            assert!(out == bytes);
        }
    }

    #[test]
    fn what_came_before_an_error_arrives_first() {
        let failing = io::Cursor::new(b"abc").chain(Failing);
        let mut feed = feed(10, Delivery::Full, failing);
        let mut out = Vec::new();
        assert_eq!(feed.read_to_end(&mut out).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(out, b"abc");
        assert_eq!(feed.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_panic_is_an_error_not_a_hang() {
        let mut feed = Feed::start("test".into(), 1, Delivery::Full, Arc::default(), || panic!("on purpose")).unwrap();
        assert!(feed.read(&mut [0]).is_err());
    }

    #[test]
    fn an_interrupt_ends_a_silent_pipe() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let silent = || {
            thread::sleep(Duration::from_secs(5));
            Ok(Box::new(io::empty()) as Box<dyn Read + Send>)
        };
        let mut feed = Feed::start("test".into(), 1, Delivery::Prompt, Arc::clone(&interrupted), silent).unwrap();
        let before = std::time::Instant::now();
        interrupted.store(true, Ordering::Relaxed);
        assert_eq!(feed.read(&mut [0]).unwrap(), 0);
        assert!(before.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn tiny_reads_share_chunks() {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), limit: 4 << 20 });
        let end = WritingEnd(Arc::clone(&shared));
        let mut chunk = Chunk { data: vec![7; CHUNK], len: 100 };
        for _ in 0..1000 {
            chunk.len = 100;
            chunk = end.push(chunk).unwrap();
        }
        assert_eq!(shared.lock().ahead, 100_000);
        assert_eq!(shared.lock().ready.len(), 1);
    }

    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}

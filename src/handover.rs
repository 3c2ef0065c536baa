//! Buffers that one thread fills and another reads, in their order, and that come back to be filled again.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The end that fills buffers.
pub(crate) struct Giver<T> {
    full: SyncSender<T>,
    used: Receiver<T>,
}

/// The end that reads them.
pub(crate) struct Taker<T> {
    full: Receiver<T>,
    used: SyncSender<T>,
}

/// Both ends. At most so many full buffers wait; each end has one more in its hands.
pub(crate) fn handover<T>(waiting: usize) -> (Giver<T>, Taker<T>) {
    let (give, full) = sync_channel(waiting);
    let (give_back, used) = sync_channel(waiting + 2);
    (Giver { full: give, used }, Taker { full, used: give_back })
}

impl<T: Default> Giver<T> {
    /// A buffer to fill: one that came back, as it was left, or a new one.
    pub fn next(&self) -> T {
        self.used.try_recv().unwrap_or_default()
    }

    /// Hands over a full buffer, and waits while too many wait. False if nobody takes any more.
    pub fn give(&self, full: T) -> bool {
        self.full.send(full).is_ok()
    }
}

impl<T> Taker<T> {
    /// The next full buffer; waits for it. None if no more will come.
    pub fn take(&self) -> Option<T> {
        self.full.recv().ok()
    }

    /// A buffer that is not needed any more.
    pub fn give_back(&self, used: T) {
        // The other end may be gone; then it is not needed there either.
        let _ = self.used.try_send(used);
    }
}

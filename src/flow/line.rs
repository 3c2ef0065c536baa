//! Conversations in a line: those that are looked at again, the one that came first before the others.

use super::record::Record;
use super::table::Records;
use crate::capture::Timestamp;
use crate::chunks::Queued;

/// How many may stand in a line though they are gone, beside a quarter of those that belong there.
const GONE: usize = 1024;

/// A conversation in a line.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// When it came.
    pub since: Timestamp,
    pub id: u32,
    /// The low bits of its serial number: no line is that long.
    serial: u32,
}

impl Standing {
    /// Whether its conversation is still there.
    pub fn is_there(&self, records: &Records) -> bool {
        let serial = records[self.id].serial;
        serial != 0 && serial as u32 == self.serial
    }
}

/// How long a line with so many who belong there may be.
fn room(many: usize) -> usize {
    many + many / 4 + GONE
}

/// Conversations in the order in which they came.
///
/// Memory: at most a quarter more than belong there, or belonged there when it was last looked at who is gone, and a few.
#[derive(Default)]
pub(super) struct Line {
    standing: Queued<Standing, 1024>,
    /// At this length it is looked at who is gone; not before, so that the cost of looking stays constant on average.
    look: usize,
}

impl Line {
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Lets a conversation stand behind all others. Those that are none of `such` any more leave now and then; there are no
    /// more of them than `most`.
    pub fn push(&mut self, id: u32, since: Timestamp, records: &Records, most: usize, such: impl Fn(&Record) -> bool) {
        if self.standing.len() > self.look.max(room(most)) {
            self.standing.retain(|standing| standing.is_there(records) && such(&records[standing.id]));
            self.look = room(self.standing.len());
        }
        self.standing.push(Standing { since, id, serial: records[id].serial as u32 });
    }

    /// Takes out the one that stands longest.
    pub fn pop(&mut self) -> Option<Standing> {
        self.standing.pop()
    }

    /// Takes out the one that stands longest, if that is long enough.
    pub fn pop_after(&mut self, wait: u64, now: Timestamp) -> Option<Standing> {
        let first = self.standing.front()?;
        (first.since.0.saturating_add(wait) <= now.0).then(|| self.pop()).flatten()
    }
}

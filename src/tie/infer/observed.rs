//! What was collected, to be read leg by leg.

use std::io;

use super::conversation::Begin;
use super::moments::Course;
use super::places::{At, Places};
use super::segment::Half;
use super::shape::Shape;
use super::way::Way;
use crate::capture::Timestamp;
use crate::store::{self, Put, Store};

/// Everything that an [`Observer`](super::Observer) collected.
#[derive(Debug)]
pub struct Observed {
    pub(super) places: Places,
    pub(super) store: Store,
    pub(super) end: Timestamp,
}

impl Observed {
    /// Reads what was collected of two directions of a leg, which may be of one conversation.
    pub(super) fn read(&self, halves: [Half; 2], reader: &mut store::Reader, shape: &mut Shape) -> io::Result<()> {
        let [one, other] = halves;
        let Shape { up, down, .. } = shape;
        if one.conversation == other.conversation && one.from_first != other.from_first {
            let both = if one.from_first { [down, up] } else { [up, down] };
            let Some((mut put, began)) = self.find(one.conversation, reader)? else {
                both.into_iter().for_each(Way::clear);
                return Ok(());
            };
            both.into_iter().for_each(|way| way.restore(&mut put, began));
            return Ok(());
        }
        let by_server = self.read_half(one, reader, up)?;
        let by_client = self.read_half(other, reader, down)?;
        // Each end acknowledges in the conversation that has what it sent.
        for (way, acked) in [(up, by_client), (down, by_server)] {
            acked.into_iter().for_each(|acked| way.acknowledged(acked));
        }
        Ok(())
    }

    /// Reads one direction; returns what it acknowledges of the other one, which is not in the same conversation.
    fn read_half(&self, half: Half, reader: &mut store::Reader, way: &mut Way) -> io::Result<Option<u32>> {
        let Some((mut put, began)) = self.find(half.conversation, reader)? else {
            way.clear();
            return Ok(None);
        };
        way.restore(&mut put, began);
        if half.from_first {
            // It stands behind the other one.
            let acked = way.acked();
            way.restore(&mut put, began);
            return Ok(acked);
        }
        Ok(Course::restore(&mut put, began).0.acked())
    }

    /// The directions of a conversation as they were put away, and when it was; none if nothing is known of it.
    fn find<'a>(&'a self, conversation: u32, reader: &'a mut store::Reader) -> io::Result<Option<(Put<'a>, u64)>> {
        let At::Away(place) = self.places.get(conversation) else { return Ok(None) };
        let mut put = Put(reader.read(&self.store, place)?);
        let began = Begin::restore(&mut put).began;
        Ok(Some((put, began)))
    }

    /// Octets that were put away, one time or more.
    #[cfg(test)]
    pub(super) fn written(&self) -> u64 {
        self.store.written()
    }

    /// When the last segment was captured.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }
}

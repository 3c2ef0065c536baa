//! Connections whose ends another one took by a SYN, though they may go on: nat can give one port to two connections.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::key::Key;
use super::table::Records;

/// So many are remembered; full, they are all forgotten.
const MOST: usize = 4096;

/// Of each pair of ends, the connection that has them no longer.
#[derive(Default)]
pub(super) struct Superseded {
    /// Its slot and its serial number.
    by_ends: HashMap<Key, (u32, u64), RandomState>,
}

impl Superseded {
    /// Remembers a connection that has its ends no longer.
    pub fn note(&mut self, key: Key, id: u32, records: &Records) {
        if self.by_ends.len() >= MOST && !self.by_ends.contains_key(&key) {
            self.by_ends.clear();
        }
        self.by_ends.insert(key, (id, records[id].serial));
    }

    /// The connection that had these ends, if it is still there.
    pub fn find(&self, key: &Key, records: &Records) -> Option<u32> {
        let (id, serial) = *self.by_ends.get(key)?;
        (records[id].serial == serial).then_some(id)
    }
}

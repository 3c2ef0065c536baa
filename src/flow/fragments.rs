//! IP fragments: the later ones bear no ports, and belong where the first one does.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::nat::is_redirect_address;
use crate::packet::View;

/// How long the kernel waits for the rest of a datagram (`ipfrag_time`).
const TIMEOUT: u64 = 30_000_000_000;

/// Datagrams that are remembered at once.
const LIMIT: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

/// Whose fragments a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The first fragment has not shown yet.
    Unknown,
    /// It will not show any more, or is no leg's.
    Nobody,
    /// A conversation, told from a later one in its slot by the serial number.
    Conversation { id: u32, serial: u64 },
}

/// The fragmented datagrams to redirected addresses; everything else may be written as it is.
#[derive(Default)]
pub(super) struct Fragments {
    groups: HashMap<Key, u32, RandomState>,
    owners: VecDeque<(Key, Owner, Timestamp)>,
    /// The group at the front of `owners`.
    base: u32,
}

impl Fragments {
    /// The group of a later fragment, if it may belong to a redirected leg.
    pub fn later(&mut self, view: &View, now: Timestamp) -> Option<u32> {
        let ip = view.ip.as_ref()?;
        let fragment = ip.fragment.filter(|f| !f.first)?;
        let key = key(view, fragment.identification)?;
        if !is_redirect_address(ip.destination) {
            return None;
        }
        Some(self.group(key, now))
    }

    /// Tells the group of a first fragment whose it is.
    pub fn first(&mut self, view: &View, id: u32, serial: u64, now: Timestamp) {
        let Some(ip) = &view.ip else { return };
        let Some(fragment) = ip.fragment.filter(|f| f.first) else { return };
        if !is_redirect_address(ip.destination) {
            return;
        }
        if let Some(key) = key(view, fragment.identification) {
            let owner = Owner::Conversation { id, serial };
            let group = self.group(key, now);
            match self.conversation(group) {
                Owner::Unknown => self.set(group, owner),
                same if same == owner => {}
                // The identification is in use again: what came before stays as it is.
                _ => {
                    self.groups.remove(&key);
                    let group = self.group(key, now);
                    self.set(group, owner);
                }
            }
        }
    }

    /// How many groups are remembered.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    pub fn conversation(&self, group: u32) -> Owner {
        let place = group.wrapping_sub(self.base) as usize;
        self.owners.get(place).map_or(Owner::Nobody, |(_, owner, _)| *owner)
    }

    /// The first fragment is no longer waited for.
    pub fn abandon(&mut self, group: u32) {
        if self.conversation(group) == Owner::Unknown {
            self.set(group, Owner::Nobody);
        }
    }

    pub fn expire(&mut self, now: Timestamp) {
        while let Some((_, _, since)) = self.owners.front()
            && (since.0.saturating_add(TIMEOUT) <= now.0 || self.owners.len() > LIMIT)
        {
            if let Some((key, _, _)) = self.owners.pop_front() {
                if self.groups.get(&key) == Some(&self.base) {
                    self.groups.remove(&key);
                }
                self.base = self.base.wrapping_add(1);
            }
        }
    }

    pub fn finish(&mut self) {
        for (_, owner, _) in &mut self.owners {
            if *owner == Owner::Unknown {
                *owner = Owner::Nobody;
            }
        }
    }

    fn group(&mut self, key: Key, now: Timestamp) -> u32 {
        if let Some(&group) = self.groups.get(&key) {
            return group;
        }
        let group = self.base.wrapping_add(self.owners.len() as u32);
        self.owners.push_back((key, Owner::Unknown, now));
        self.groups.insert(key, group);
        group
    }

    fn set(&mut self, group: u32, owner: Owner) {
        let place = group.wrapping_sub(self.base) as usize;
        if let Some(entry) = self.owners.get_mut(place) {
            entry.1 = owner;
        }
    }
}

fn key(view: &View, identification: u32) -> Option<Key> {
    let ip = view.ip.as_ref()?;
    let (source, destination) = (ip.source, ip.destination);
    Some(Key { source, destination, protocol: ip.protocol, identification })
}

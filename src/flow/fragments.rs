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
    owners: VecDeque<Group>,
    /// The group at the front of `owners`.
    base: u32,
    /// How many at the front have had their time. They stay while fragments of theirs are yet to be written.
    late: usize,
}

struct Group {
    key: Key,
    owner: Owner,
    since: Timestamp,
    /// How many later fragments have been read and not yet written.
    in_flight: u32,
}

impl Fragments {
    /// The group of a later fragment, if it may belong to a redirected leg.
    pub fn later(&mut self, view: &View, now: Timestamp) -> Option<u32> {
        let ip = view.ip.as_ref()?;
        let fragment = ip.fragment.filter(|f| !f.is_first())?;
        let key = key(view, fragment.identification)?;
        if !is_redirect_address(ip.destination) {
            return None;
        }
        Some(self.group(key, now))
    }

    /// Tells the group of a first fragment whose it is.
    pub fn first(&mut self, view: &View, id: u32, serial: u64, now: Timestamp) {
        let Some(ip) = &view.ip else { return };
        let Some(fragment) = ip.fragment.filter(|f| f.is_first()) else { return };
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
        self.owners.get(place).map_or(Owner::Nobody, |group| group.owner)
    }

    /// The first fragment is no longer waited for.
    pub fn abandon(&mut self, group: u32) {
        if self.conversation(group) == Owner::Unknown {
            self.set(group, Owner::Nobody);
        }
    }

    /// A later fragment is to be written, or was.
    pub fn hold(&mut self, group: u32, more: bool) {
        let place = group.wrapping_sub(self.base) as usize;
        if let Some(group) = self.owners.get_mut(place) {
            group.in_flight = if more { group.in_flight + 1 } else { group.in_flight.saturating_sub(1) };
        }
    }

    /// Whether there are any.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub fn expire(&mut self, now: Timestamp) {
        while let Some(group) = self.owners.get_mut(self.late)
            && group.since.0.saturating_add(TIMEOUT) <= now.0
        {
            if group.owner == Owner::Unknown {
                group.owner = Owner::Nobody;
            }
            self.late += 1;
        }
        while let Some(group) = self.owners.front()
            && (self.late > 0 && group.in_flight == 0 || self.owners.len() > LIMIT)
        {
            if self.groups.get(&group.key) == Some(&self.base) {
                self.groups.remove(&group.key);
            }
            self.owners.pop_front();
            self.base = self.base.wrapping_add(1);
            self.late = self.late.saturating_sub(1);
        }
    }

    pub fn finish(&mut self) {
        for group in &mut self.owners {
            if group.owner == Owner::Unknown {
                group.owner = Owner::Nobody;
            }
        }
    }

    fn group(&mut self, key: Key, now: Timestamp) -> u32 {
        let is_late = |group: u32| (group.wrapping_sub(self.base) as usize) < self.late;
        if let Some(&group) = self.groups.get(&key).filter(|&&group| !is_late(group)) {
            return group;
        }
        let group = self.base.wrapping_add(self.owners.len() as u32);
        self.owners.push_back(Group { key, owner: Owner::Unknown, since: now, in_flight: 0 });
        self.groups.insert(key, group);
        group
    }

    fn set(&mut self, group: u32, owner: Owner) {
        let place = group.wrapping_sub(self.base) as usize;
        if let Some(group) = self.owners.get_mut(place) {
            group.owner = owner;
        }
    }
}

fn key(view: &View, identification: u32) -> Option<Key> {
    let ip = view.ip.as_ref()?;
    let (source, destination) = (ip.source, ip.destination);
    Some(Key { source, destination, protocol: ip.protocol, identification })
}

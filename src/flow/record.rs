//! Conversations as captured, by their addresses and ports: the table and its bounds.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::evidence::{Evidence, Reason};
use super::leg::Part;
use super::segment::{Content, Place, Segment, end_of, flags};
use crate::capture::Timestamp;
use crate::nat::Protocol;
use crate::packet::Origin;

/// Both ends of a conversation in a fixed order, so that both directions have one key.
///
/// Plain numbers, close together: it is hashed and compared for every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    low: u128,
    high: u128,
    ports: u32,
    tag: u8,
}

/// One end of a conversation: an index into [`Record::ends`] and [`Record::halves`].
pub(crate) type Side = usize;

/// The bit of [`Key::tag`] that tells IPv6 from IPv4.
const IPV6: u8 = 1;

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.tag & IPV6 == 0 {
            state.write_u64((self.low << 32 | self.high) as u64);
        } else {
            state.write_u128(self.low);
            state.write_u128(self.high);
        }
        state.write_u64(u64::from(self.ports) << 8 | u64::from(self.tag));
    }
}

impl Key {
    /// The key of a segment, and which end sent it.
    pub fn of(segment: &Segment) -> (Key, Side) {
        // A conversation on loopback is never one with the same addresses on the wire.
        let on_wire = segment.origin == Origin::Network;
        Key::new(segment.protocol, on_wire, segment.source, segment.destination)
    }

    /// The key of a conversation, and which end `source` is.
    pub fn new(protocol: Protocol, on_wire: bool, source: SocketAddr, destination: SocketAddr) -> (Key, Side) {
        let end = |a: SocketAddr| (bits(a.ip()), a.port());
        let tag =
            if source.is_ipv6() { IPV6 } else { 0 } | u8::from(protocol == Protocol::Udp) << 1 | u8::from(on_wire) << 2;
        let (source, destination) = (end(source), end(destination));
        let side = Side::from(source > destination);
        let (low, high) = if side == 0 { (source, destination) } else { (destination, source) };
        (Key { low: low.0, high: high.0, ports: u32::from(low.1) << 16 | u32::from(high.1), tag }, side)
    }
}

/// A [`Key`] in few octets: the addresses of IPv6 stand elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortKey {
    addresses: [u32; 2],
    ports: u32,
    tag: u8,
}

impl ShortKey {
    /// A key in few octets. Where the addresses are of IPv6, they are given to `store`, and what that returns is kept.
    pub fn new(key: Key, store: impl FnOnce([u128; 2]) -> u32) -> ShortKey {
        let Key { low, high, ports, tag } = key;
        let addresses = if tag & IPV6 == 0 { [low as u32, high as u32] } else { [store([low, high]), 0] };
        ShortKey { addresses, ports, tag }
    }

    /// The key; `stored` are the addresses that were given to the store.
    #[inline]
    pub fn key(self, stored: impl FnOnce(u32) -> [u128; 2]) -> Key {
        let ShortKey { addresses, ports, tag } = self;
        let [low, high] = if tag & IPV6 == 0 { addresses.map(u128::from) } else { stored(addresses[0]) };
        Key { low, high, ports, tag }
    }
}

/// An address as a number; the family is told apart by whoever keeps it.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// One direction of a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    pub packets: u64,
    /// Octets of data.
    pub bytes: u64,
    /// The sequence number that follows the last segment.
    pub next: u32,
    /// The last acknowledgment number, if any was sent.
    pub ack: Option<u32>,
    /// The initial sequence number, if the SYN was captured.
    pub isn: Option<u32>,
    /// TSval of the last segment.
    pub tsval: Option<u32>,
    /// Where the last segment stands.
    pub place: Place,
    /// When data was sent last.
    pub last_data: Timestamp,
    /// Whether a FIN, a RST was sent.
    pub fin: bool,
    pub rst: bool,
}

impl Half {
    /// Takes in one more segment.
    pub fn note(&mut self, segment: &Segment) {
        self.packets += 1;
        self.bytes += u64::from(segment.data_len);
        if segment.data_len > 0 {
            self.last_data = segment.time;
        }
        self.place = segment.place;
        if let Content::Tcp { seq, ack, flags: f, timestamps } = segment.content {
            self.next = end_of(seq, segment.data_len, f);
            if f & flags::ACK != 0 {
                self.ack = Some(ack);
            }
            if f & flags::SYN != 0 {
                self.isn = Some(seq);
            }
            self.fin |= f & flags::FIN != 0;
            self.rst |= f & flags::RST != 0;
            if let Some((tsval, _)) = timestamps {
                self.tsval = Some(tsval);
            }
        }
    }
}

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Stays as captured, and nothing is missing.
    Whole,
    /// To a listener of the proxy: the forward half of a leg, if it was redirected.
    Forward,
    /// On loopback, to what is no listener that is known for sure: whole, unless its answer comes from another address.
    Open,
    /// One direction on loopback: the reply half of a leg, unless its mirror image shows.
    Reply,
    /// A forward half whose reply half is known.
    Repaired { reply: u32, evidence: Evidence },
    /// A reply half whose forward half is known.
    Answering { forward: u32 },
    /// Stays as captured, though something is missing.
    Left(Reason),
}

/// A pairing that waits for a second candidate to show, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub partner: u32,
    pub evidence: Evidence,
    /// When it is taken.
    pub due: Timestamp,
}

/// A conversation as captured.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub key: Key,
    /// Tells this record from an earlier one in the same slot.
    pub serial: u64,
    pub protocol: Protocol,
    pub ends: [SocketAddr; 2],
    pub origin: Origin,
    pub halves: [Half; 2],
    pub state: State,
    /// The pairing that will be taken if no other fits.
    pub proposal: Option<Proposal>,
    /// Whether packets wait until the state is final.
    pub waits: bool,
    /// Whether more than one half fitted this one.
    pub contested: bool,
    /// The end that opened the conversation, as far as known.
    pub client: Option<Side>,
    /// Where it was captured first.
    pub first: Place,
    pub first_time: Timestamp,
    pub last_time: Timestamp,
    /// How many packets of it have been read and not yet written.
    pub in_flight: u32,
    /// Output frame number, `tcp.stream` or `udp.stream`, interface of the first packet written.
    pub written: Option<super::Written>,
    /// Whether the leg's comment was written.
    pub commented: bool,
    /// Whether the client sent something that was not answered yet.
    pub unanswered: bool,
    /// Whether it was opened while nobody asked the proxy for anything, though that would have been captured.
    pub unasked: bool,
}

impl Record {
    pub fn is_settled(&self) -> bool {
        !matches!(self.state, State::Forward | State::Open | State::Reply)
    }

    /// How it is known outside, with this end for the client.
    pub fn part(&self, client: Side) -> Part {
        Part { number: self.serial - 1, client_is_first: client == 0 }
    }

    /// Whether its answer is looked for: it is a forward half, or may turn out to be one.
    pub fn is_forward(&self) -> bool {
        matches!(self.state, State::Forward | State::Open)
    }

    /// Whether it is on the wire, and its answer may come from another address.
    pub fn is_open_on_wire(&self) -> bool {
        self.state == State::Open && self.origin == Origin::Network
    }

    /// Whether the client was answered, by what it acknowledges.
    pub fn is_answered(&self) -> bool {
        self.protocol == Protocol::Tcp && self.client.is_some_and(|client| self.halves[client].ack.is_some())
    }

    /// Whether the conversation can be forgotten before one that lives: it ended, or it never began.
    fn is_over(&self) -> bool {
        let [a, b] = &self.halves;
        if matches!(self.state, State::Repaired { .. } | State::Answering { .. }) {
            // One direction is all that there is here; the other has a record of its own.
            return a.rst || b.rst || a.fin || b.fin;
        }
        a.rst || b.rst || (a.fin && b.fin) || a.packets == 0 || b.packets == 0
    }
}

/// The conversations that are remembered.
pub(super) struct Table {
    pub records: Vec<Record>,
    /// The records by their keys, which stand in them: a table that is looked into for every packet should be small.
    index: HashTable<u32>,
    hasher: RandomState,
    free: Vec<u32>,
    serial: u64,
}

impl Table {
    pub fn new() -> Table {
        Table {
            records: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            free: Vec::new(),
            serial: 0,
        }
    }

    pub fn find(&self, key: &Key) -> Option<u32> {
        let is_it = |id: &u32| self.records[*id as usize].key == *key;
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }

    pub fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Starts a conversation; what had its key until now is no longer found by it.
    pub fn insert(&mut self, key: Key, segment: &Segment, side: Side, state: State) -> u32 {
        self.serial += 1;
        let ends = match side {
            0 => [segment.source, segment.destination],
            _ => [segment.destination, segment.source],
        };
        let record = Record {
            key,
            serial: self.serial,
            protocol: segment.protocol,
            ends,
            origin: segment.origin,
            halves: [Half::default(); 2],
            state,
            proposal: None,
            waits: false,
            contested: false,
            client: None,
            first: segment.place,
            first_time: segment.time,
            last_time: segment.time,
            in_flight: 0,
            written: None,
            commented: false,
            unanswered: false,
            unasked: false,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.records[id as usize] = record;
                id
            }
            None => {
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        let Table { records, index, hasher, .. } = self;
        let hash_of = |id: &u32| hasher.hash_one(records[*id as usize].key);
        let is_it = |known: &u32| records[*known as usize].key == key;
        match index.entry(hasher.hash_one(key), is_it, hash_of) {
            Entry::Occupied(mut known) => *known.get_mut() = id,
            Entry::Vacant(entry) => _ = entry.insert(id),
        }
        id
    }

    /// Makes room: chooses a quarter of the records, those that are over and longest silent first.
    ///
    /// Records with packets in flight stay, and so do those that `keep` names.
    pub fn oldest(&self, keep: impl Fn(&Record) -> bool) -> Vec<u32> {
        let mut candidates: Vec<(bool, Timestamp, u64, u32)> = self
            .remembered()
            .filter(|(_, r)| r.in_flight == 0 && !keep(r))
            .map(|(id, r)| (!r.is_over(), r.last_time, r.serial, id))
            .collect();
        let quota = (self.len() / 4).max(1).min(candidates.len());
        if quota < candidates.len() {
            candidates.select_nth_unstable(quota);
            candidates.truncate(quota);
        }
        candidates.sort_unstable_by_key(|&(_, _, serial, _)| serial);
        candidates.into_iter().map(|(_, _, _, id)| id).collect()
    }

    pub fn remove(&mut self, id: u32) {
        debug_assert_eq!(self.records[id as usize].in_flight, 0, "packets of it are yet to be written");
        let hash = self.hasher.hash_one(self.records[id as usize].key);
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
        // Serial numbers start at 1: who still knows it by its own finds nothing here.
        self.records[id as usize].serial = 0;
        self.free.push(id);
    }

    /// Every record that is remembered, oldest first.
    pub fn ids(&self) -> Vec<u32> {
        self.ids_of(usize::MAX, |_| true)
    }

    /// The oldest records that are such, at most so many, oldest first.
    pub fn ids_of(&self, most: usize, such: impl Fn(&Record) -> bool) -> Vec<u32> {
        let such = self.remembered().filter(|(_, record)| such(record));
        let mut ids: Vec<(u64, u32)> = such.map(|(id, record)| (record.serial, id)).collect();
        if most < ids.len() {
            ids.select_nth_unstable(most);
            ids.truncate(most);
        }
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Every record that is remembered: a free one has no serial number.
    fn remembered(&self) -> impl Iterator<Item = (u32, &Record)> {
        (0..).zip(&self.records).filter(|(_, record)| record.serial != 0)
    }
}

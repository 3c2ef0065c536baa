//! Conversations as captured, by their addresses and ports: the table and its bounds.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Index, IndexMut};

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

/// Bits of [`Key::tag`]: IPv6, not IPv4; UDP, not TCP; on the wire, not on loopback.
const IPV6: u8 = 1;
const UDP: u8 = 2;
const ON_WIRE: u8 = 4;

impl Hash for Key {
    #[inline]
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
        let tag = if source.is_ipv6() { IPV6 } else { 0 }
            | if protocol == Protocol::Udp { UDP } else { 0 }
            | if on_wire { ON_WIRE } else { 0 };
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
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    pub packets: u64,
    /// Octets of data.
    pub bytes: u64,
    /// When data was sent last.
    pub last_data: Timestamp,
    /// Where the last segment stands.
    frame: u64,
    input: u16,
    /// The sequence number that follows the last segment.
    pub next: u32,
    ack: u32,
    isn: u32,
    tsval: u32,
    has_ack: bool,
    has_isn: bool,
    has_tsval: bool,
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
        Place { input: self.input, frame: self.frame } = segment.place;
        if let Content::Tcp { seq, ack, flags: f, timestamps } = segment.content {
            self.next = end_of(seq, segment.data_len, f);
            if f & flags::ACK != 0 {
                (self.ack, self.has_ack) = (ack, true);
            }
            if f & flags::SYN != 0 {
                (self.isn, self.has_isn) = (seq, true);
            }
            self.fin |= f & flags::FIN != 0;
            self.rst |= f & flags::RST != 0;
            if let Some((tsval, _)) = timestamps {
                (self.tsval, self.has_tsval) = (tsval, true);
            }
        }
    }

    /// The last acknowledgment number, if any was sent.
    pub fn ack(&self) -> Option<u32> {
        self.has_ack.then_some(self.ack)
    }

    /// The initial sequence number, if the SYN was captured.
    pub fn isn(&self) -> Option<u32> {
        self.has_isn.then_some(self.isn)
    }

    /// Whether it ended, and the `other` one acknowledged that.
    pub fn has_ended(&self, other: &Half) -> bool {
        // RFC 9293, section 3.4: numbers are compared within half of their space.
        self.fin && other.ack().is_some_and(|ack| ack.wrapping_sub(self.next) as i32 >= 0)
    }

    /// TSval of the last segment.
    pub fn tsval(&self) -> Option<u32> {
        self.has_tsval.then_some(self.tsval)
    }

    /// Where the last segment stands.
    pub fn place(&self) -> Place {
        Place { input: self.input, frame: self.frame }
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
    /// A forward half whose reply half is known; [`Record::proof`] tells by what.
    Repaired { reply: u32 },
    /// A reply half whose forward half is known.
    Answering { forward: u32 },
    /// Stays as captured, though something is missing.
    Left(Reason),
}

/// What joins two halves, or will unless a second candidate shows.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub partner: u32,
    pub evidence: Evidence,
    /// When it is taken.
    pub due: Timestamp,
}

/// The addresses of both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    V4([u32; 2]),
    V6(Box<[u128; 2]>),
}

/// A conversation as captured.
///
/// What every packet needs fills the first line of the cache; a half takes another one.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Record {
    addresses: Addresses,
    ports: u32,
    tag: u8,
    pub origin: Origin,
    /// The end that opened the conversation, as far as known.
    client: Option<bool>,
    /// Whether packets wait until the state is final.
    pub waits: bool,
    /// Tells this record from an earlier one in the same slot.
    pub serial: u64,
    pub state: State,
    /// Of a half that is not settled: the pairing that will be taken if no other fits. Of a repaired one: its own.
    proof: Option<Box<Proof>>,
    pub last_time: Timestamp,
    /// How many packets of it have been read and not yet written.
    pub in_flight: u32,
    first_input: u16,
    /// Whether the client sent something that was not answered yet.
    pub unanswered: bool,
    marks: u8,
    pub halves: [Half; 2],
    first_frame: u64,
    pub first_time: Timestamp,
}

const _: () = assert!(size_of::<Record>() == 192, "three lines of the cache");

/// Bits of [`Record::marks`].
pub(super) mod marks {
    /// More than one half fitted this one.
    pub const CONTESTED: u8 = 1;
    /// The leg's comment was written.
    pub const COMMENTED: u8 = 2;
    /// It was opened while nobody asked the proxy for anything, though that would have been captured.
    pub const UNASKED: u8 = 4;
    /// It ended, or was never answered.
    pub const OVER: u8 = 8;
    /// One of its ends said that it ends.
    pub const CLOSING: u8 = 16;
    /// One reset it, or both said so and know it of each other.
    pub const ENDED: u8 = 32;
}

impl Record {
    fn new(key: Key, serial: u64, segment: &Segment, state: State) -> Record {
        let Key { low, high, ports, tag } = key;
        let addresses = match tag & IPV6 {
            0 => Addresses::V4([low as u32, high as u32]),
            _ => Addresses::V6(Box::new([low, high])),
        };
        Record {
            addresses,
            ports,
            tag,
            origin: segment.origin,
            serial,
            state,
            last_time: segment.time,
            first_input: segment.place.input,
            first_frame: segment.place.frame,
            first_time: segment.time,
            ..Record::free()
        }
    }

    /// No conversation's: it has no serial number.
    fn free() -> Record {
        Record {
            addresses: Addresses::V4([0; 2]),
            ports: 0,
            tag: 0,
            origin: Origin::Unknown,
            client: None,
            waits: false,
            serial: 0,
            state: State::Whole,
            proof: None,
            last_time: Timestamp(0),
            in_flight: 0,
            first_input: 0,
            unanswered: false,
            marks: 0,
            halves: [Half::default(), Half::default()],
            first_frame: 0,
            first_time: Timestamp(0),
        }
    }

    fn key(&self) -> Key {
        let [low, high] = match &self.addresses {
            Addresses::V4(addresses) => addresses.map(u128::from),
            Addresses::V6(addresses) => **addresses,
        };
        Key { low, high, ports: self.ports, tag: self.tag }
    }

    fn has_key(&self, key: &Key) -> bool {
        // The tag tells which addresses they are.
        let has_addresses = || match &self.addresses {
            Addresses::V4(addresses) => *addresses == [key.low as u32, key.high as u32],
            Addresses::V6(addresses) => **addresses == [key.low, key.high],
        };
        self.ports == key.ports && self.tag == key.tag && has_addresses()
    }

    pub fn protocol(&self) -> Protocol {
        if self.tag & UDP == 0 { Protocol::Tcp } else { Protocol::Udp }
    }

    /// Address and port of an end.
    pub fn end(&self, side: Side) -> SocketAddr {
        let address: IpAddr = match &self.addresses {
            Addresses::V4(addresses) => Ipv4Addr::from_bits(addresses[side]).into(),
            Addresses::V6(addresses) => Ipv6Addr::from_bits(addresses[side]).into(),
        };
        let port = if side == 0 { self.ports >> 16 } else { self.ports };
        SocketAddr::new(address, port as u16)
    }

    pub fn ends(&self) -> [SocketAddr; 2] {
        [self.end(0), self.end(1)]
    }

    /// The end that opened the conversation, as far as known.
    pub fn client(&self) -> Option<Side> {
        self.client.map(Side::from)
    }

    pub fn set_client(&mut self, client: Option<Side>) {
        self.client = client.map(|side| side == 1);
    }

    /// Where it was captured first.
    pub fn first(&self) -> Place {
        Place { input: self.first_input, frame: self.first_frame }
    }

    /// Whether it has one of the [`marks`].
    pub fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// Gives it one of the [`marks`]; whether it had that.
    pub fn mark(&mut self, mark: u8) -> bool {
        let had = self.is(mark);
        self.marks |= mark;
        had
    }

    /// The record of its other half, once it is known.
    pub fn other(&self) -> Option<u32> {
        match self.state {
            State::Repaired { reply } => Some(reply),
            State::Answering { forward } => Some(forward),
            _ => None,
        }
    }

    /// The pairing that will be taken if no other fits.
    pub fn proposal(&self) -> Option<&Proof> {
        self.proof.as_deref().filter(|_| !self.is_settled())
    }

    /// Sets or takes back the pairing that will be taken.
    pub fn propose(&mut self, proposal: Option<Proof>) {
        if !self.is_settled() {
            self.proof = proposal.map(Box::new);
        }
    }

    /// What proves the pairing of a repaired half.
    pub fn evidence(&self) -> Option<Evidence> {
        self.proof.as_ref().filter(|_| self.is_settled()).map(|proof| proof.evidence)
    }

    /// Gives it its final state. The pairing that was proposed is taken back; its partner, if there was one.
    pub fn settle(&mut self, state: State) -> Option<u32> {
        let proposal = self.proof.take().filter(|_| !self.is_settled());
        (self.state, self.waits) = (state, false);
        proposal.map(|proposal| proposal.partner)
    }

    /// Notes what proves the pairing of a half that is repaired now.
    pub fn prove(&mut self, partner: u32, evidence: Evidence) {
        self.proof = Some(Box::new(Proof { partner, evidence, due: Timestamp(0) }));
    }

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
        self.protocol() == Protocol::Tcp && self.client().is_some_and(|client| self.halves[client].ack().is_some())
    }

    /// Whether the conversation can be forgotten before one that lives: it ended, or it never began. Of a leg that was
    /// redirected, one direction is all that there is here; the other has a record of its own.
    fn is_over(&self) -> bool {
        self.is(marks::ENDED) || self.other().is_none() && self.halves.iter().any(|half| half.packets == 0)
    }
}

/// Records that lie together in memory. What grows does not move.
const TOGETHER: usize = 1024;

/// Records by their slots.
#[derive(Default)]
pub(super) struct Records {
    /// The last one is filled up with free records.
    chunks: Vec<Box<[Record; TOGETHER]>>,
    len: usize,
}

impl Index<u32> for Records {
    type Output = Record;

    #[inline]
    fn index(&self, id: u32) -> &Record {
        &self.chunks[id as usize / TOGETHER][id as usize % TOGETHER]
    }
}

impl IndexMut<u32> for Records {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut Record {
        &mut self.chunks[id as usize / TOGETHER][id as usize % TOGETHER]
    }
}

impl Records {
    pub fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, record: Record) -> u32 {
        let id = self.len as u32;
        if self.len == self.chunks.len() * TOGETHER {
            let chunk: Vec<Record> = (0..TOGETHER).map(|_| Record::free()).collect();
            // It has as many.
            self.chunks.extend(Box::try_from(chunk).ok());
        }
        self.len += 1;
        self[id] = record;
        id
    }
}

/// The conversations that are remembered.
pub(super) struct Table {
    pub records: Records,
    /// The records by their keys, which stand in them: a table that is looked into for every packet should be small.
    index: HashTable<u32>,
    hasher: RandomState,
    free: Vec<u32>,
    serial: u64,
    /// How many have the mark [`marks::OVER`].
    over: usize,
}

impl Table {
    pub fn new() -> Table {
        Table {
            records: Records::default(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            free: Vec::new(),
            serial: 0,
            over: 0,
        }
    }

    #[inline]
    pub fn find(&self, key: &Key) -> Option<u32> {
        let is_it = |id: &u32| self.records[*id].has_key(key);
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }

    pub fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// How many can be forgotten before those that live.
    pub fn over(&self) -> usize {
        self.over
    }

    /// Whether there are more conversations than this, or more that are over.
    pub fn is_more_than(&self, [all, over]: [usize; 2]) -> bool {
        self.len() > all || self.over > over
    }

    /// Counts a record among those that are over, or no longer.
    pub fn recount(&mut self, id: u32) {
        let record = &mut self.records[id];
        let (was, is) = (record.is(marks::OVER), record.is_settled() && record.is_over());
        if was != is {
            record.marks ^= marks::OVER;
            self.over = self.over + usize::from(is) - usize::from(was);
        }
    }

    /// Starts a conversation; what had its key until now is no longer found by it.
    pub fn insert(&mut self, key: Key, segment: &Segment, state: State) -> u32 {
        self.serial += 1;
        let record = Record::new(key, self.serial, segment, state);
        let id = match self.free.pop() {
            Some(id) => {
                self.records[id] = record;
                id
            }
            None => self.records.push(record),
        };
        let Table { records, index, hasher, .. } = self;
        let hash_of = |id: &u32| hasher.hash_one(records[*id].key());
        let is_it = |known: &u32| records[*known].has_key(&key);
        match index.entry(hasher.hash_one(key), is_it, hash_of) {
            Entry::Occupied(mut known) => *known.get_mut() = id,
            Entry::Vacant(entry) => _ = entry.insert(id),
        }
        id
    }

    /// Makes room: chooses a quarter of the records, those that are over and longest silent first; a quarter of those that
    /// are over, if `all` are not too many.
    ///
    /// Records with packets in flight stay, and so do those that are not settled.
    pub fn oldest(&self, all: bool) -> Vec<u32> {
        let mut candidates: Vec<(bool, Timestamp, u64, u32)> = self
            .remembered()
            .filter(|(_, r)| r.in_flight == 0 && r.is_settled() && (all || r.is(marks::OVER)))
            .map(|(id, r)| (!r.is(marks::OVER), r.last_time, r.serial, id))
            .collect();
        let of = if all { self.len() } else { self.over };
        let quota = (of / 4).max(1).min(candidates.len());
        if quota < candidates.len() {
            candidates.select_nth_unstable(quota);
            candidates.truncate(quota);
        }
        candidates.sort_unstable_by_key(|&(_, _, serial, _)| serial);
        candidates.into_iter().map(|(_, _, _, id)| id).collect()
    }

    pub fn remove(&mut self, id: u32) {
        debug_assert_eq!(self.records[id].in_flight, 0, "packets of it are yet to be written");
        let hash = self.hasher.hash_one(self.records[id].key());
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
        self.over -= usize::from(self.records[id].is(marks::OVER));
        // Serial numbers start at 1: who still knows it by its own finds nothing here.
        (self.records[id].serial, self.records[id].marks) = (0, 0);
        self.free.push(id);
    }

    /// Every record that is remembered, oldest first.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<(u64, u32)> = self.remembered().map(|(id, record)| (record.serial, id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Every record that is remembered: a free one has no serial number.
    fn remembered(&self) -> impl Iterator<Item = (u32, &Record)> {
        (0..).zip(self.records.chunks.iter().flat_map(|chunk| chunk.iter())).filter(|(_, record)| record.serial != 0)
    }
}

//! DNS over UDP: which query and which response are one exchange.
//!
//! UDP has no sequence numbers. A response repeats the ID and the question of its query, and goes to the port
//! that the query came from, unless conntrack gave the query another port. conntrack does so only where the
//! port was taken: that other conversation must be there as a witness.
//!
//! A client may send one query with one ID to several servers from one port, as musl does. conntrack leaves the port of
//! the first as it is and changes the others', and all responses go to that port: then nothing tells whose is whose.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;

use super::evidence::{Evidence, Reason};
use super::key::{Key, Side};
use super::record::State;
use super::segment::{Content, Segment};
use super::table::Records;
use super::{Flows, UDP_TIMEOUT};
use crate::capture::Timestamp;
use crate::chunks::Queued;

/// How long conntrack keeps a UDP mapping that was answered (`nf_conntrack_udp_timeout_stream`).
pub(super) const STREAM_TIMEOUT: u64 = 120_000_000_000;

/// How many queries are remembered at most.
const OPEN: usize = 65_536;

/// How many conversations are told apart that sent the same query. More are a crowd, which gets no response.
const SENDERS: usize = 32;

/// A hash of the question; the client and the ID, of IPv6 a hash of them.
type QueryKey = (u64, u64);

/// What a query and its response have in common.
#[derive(Clone, Copy)]
struct Message {
    client: IpAddr,
    id: u16,
    /// A hash of it.
    question: u64,
}

impl Message {
    fn of(segment: &Segment) -> Option<Message> {
        let Content::Dns { id, question, response } = segment.content else { return None };
        let client = if response { segment.destination } else { segment.source };
        Some(Message { client: client.ip(), id, question })
    }
}

/// A conversation that sent a query, and when it last did.
#[derive(Clone, Copy)]
struct Query {
    id: u32,
    /// The low bits of its serial number: no more than that come while a query is remembered.
    serial: u32,
    sent: Timestamp,
}

/// Those who sent the same query: nearly always one.
enum Senders {
    One(Query),
    Many(Box<Many>),
}

/// Several who did.
struct Many {
    queries: Vec<Query>,
    /// When one was turned away, because they were too many.
    crowded: Option<Timestamp>,
}

/// The queries of forward halves, settled or not, while conntrack keeps their mapping.
///
/// Memory: `order` has at most [`OPEN`] entries, and every query and crowd in `open` has one of them.
#[derive(Default)]
pub(super) struct Queries {
    open: HashMap<QueryKey, Senders, RandomState>,
    /// Hashes clients of IPv6.
    hasher: RandomState,
    order: Queued<(Timestamp, QueryKey), 1024>,
}

impl Queries {
    /// Those who sent the query of a response. Rules may have changed its source as well, to a loopback address: then
    /// there is no query of the response's own client.
    fn senders(&self, message: &Message) -> Option<&Senders> {
        let is_ipv4 = message.client.is_ipv4();
        let loopback = if is_ipv4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let of = |client| self.open.get(&self.key(&Message { client, ..*message }));
        of(message.client).or_else(|| of(loopback))
    }

    /// What a message is found by.
    fn key(&self, &Message { client, id, question }: &Message) -> QueryKey {
        let rest = match client {
            IpAddr::V4(client) => u64::from(client.to_bits()) << 16 | u64::from(id),
            IpAddr::V6(client) => self.hasher.hash_one((client, id)) | 1 << 63,
        };
        (question, rest)
    }

    /// Whether another conversation than `forward` waits for this response, which `forward` did not ask for.
    pub fn awaits(&self, response: &Segment, forward: u32, records: &Records) -> bool {
        let Some(senders) = Message::of(response).and_then(|message| self.senders(&message)) else { return false };
        let mut waits = false;
        for id in senders.live(response.time, records) {
            if id == forward {
                return false;
            }
            waits |= records[id].is_forward();
        }
        waits
    }

    /// How many queries are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    fn insert(&mut self, message: &Message, query: Query) {
        let key = self.key(message);
        while let Some(&(sent, old)) = self.order.front()
            && (sent.0.saturating_add(UDP_TIMEOUT) < query.sent.0 || self.order.len() >= OPEN)
        {
            self.order.pop();
            if let Entry::Occupied(mut senders) = self.open.entry(old)
                && !senders.get_mut().forget(sent)
            {
                senders.remove();
            }
        }
        self.order.push((query.sent, key));
        match self.open.entry(key) {
            Entry::Occupied(mut senders) => senders.get_mut().note(query),
            Entry::Vacant(entry) => _ = entry.insert(Senders::One(query)),
        }
    }

    /// The conversations that a response may answer; `None` if they are too many to tell.
    fn owners(&self, response: &Message, now: Timestamp, records: &Records) -> Option<Vec<u32>> {
        let Some(senders) = self.senders(response) else { return Some(Vec::new()) };
        if senders.crowded().is_some_and(|since| is_live(since, now)) {
            return None;
        }
        // The responses to one that is repaired come from the address that it was repaired with.
        let owns = |id: &u32| match records[*id].state {
            State::Forward | State::Open => true,
            State::Left(reason) => reason != Reason::Direct,
            _ => false,
        };
        Some(senders.live(now, records).filter(owns).collect())
    }
}

impl Senders {
    fn queries(&self) -> &[Query] {
        match self {
            Senders::One(query) => std::slice::from_ref(query),
            Senders::Many(many) => &many.queries,
        }
    }

    fn crowded(&self) -> Option<Timestamp> {
        match self {
            Senders::One(_) => None,
            Senders::Many(many) => many.crowded,
        }
    }

    /// Takes in one more query, or one that was sent again.
    fn note(&mut self, query: Query) {
        let queries = match self {
            Senders::One(known) => std::slice::from_mut(known),
            Senders::Many(many) => many.queries.as_mut_slice(),
        };
        if let Some(known) = queries.iter_mut().find(|known| known.id == query.id && known.serial == query.serial) {
            known.sent = known.sent.max(query.sent);
            return;
        }
        match self {
            Senders::One(known) => {
                *self = Senders::Many(Box::new(Many { queries: vec![*known, query], crowded: None }));
            }
            Senders::Many(many) if many.queries.len() >= SENDERS => many.crowded = many.crowded.max(Some(query.sent)),
            Senders::Many(many) => many.queries.push(query),
        }
    }

    /// Forgets what was sent at this time or before, and whether anything is left.
    fn forget(&mut self, sent: Timestamp) -> bool {
        match self {
            Senders::One(query) => query.sent > sent,
            Senders::Many(many) => {
                many.crowded = many.crowded.filter(|&since| since > sent);
                many.queries.retain(|query| query.sent > sent);
                many.crowded.is_some() || !many.queries.is_empty()
            }
        }
    }

    fn live(&self, now: Timestamp, records: &Records) -> impl Iterator<Item = u32> {
        let is_sender = move |q: &&Query| is_live(q.sent, now) && is_there(q, records);
        self.queries().iter().filter(is_sender).map(|q| q.id)
    }
}

/// Whether the conversation of a query is still there.
fn is_there(query: &Query, records: &Records) -> bool {
    let serial = records[query.id].serial;
    serial != 0 && serial as u32 == query.serial
}

fn is_live(sent: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(sent.0) <= UDP_TIMEOUT
}

impl Flows {
    pub(super) fn pair_dns(&mut self, id: u32, side: Side, segment: &Segment) {
        self.table.records.note(id, side, segment);
        if self.table.records[id].is_forward() {
            return self.note_query(id, segment);
        }
        let Some(message) = Message::of(segment) else { return };
        match self.queries.owners(&message, segment.time, &self.table.records).as_deref() {
            Some([]) => {}
            Some(&[forward]) => {
                if self.goes_to(segment, forward) {
                    let client = self.table.records[forward].client().unwrap_or_default();
                    let query = self.table.records.half(forward, client).place();
                    self.join(forward, id, Evidence::Dns { query, reply: segment.place });
                }
            }
            Some(many) => {
                self.contest(many);
                self.contest(&[id]);
            }
            None => self.contest(&[id]),
        }
    }

    /// Remembers who sent a query, if this is one of a forward half.
    pub(super) fn note_query(&mut self, id: u32, segment: &Segment) {
        let Content::Dns { response: false, .. } = segment.content else { return };
        let record = &self.table.records[id];
        let is_forward = record.is_forward() || matches!(record.state, State::Repaired { .. } | State::Left(_));
        if let Some(message) = Message::of(segment).filter(|_| is_forward) {
            self.queries.insert(&message, Query { id, serial: record.serial as u32, sent: segment.time });
        }
    }

    /// Whether a response goes to a forward half that is not settled: to its port, or to one that was taken when this
    /// half began.
    fn goes_to(&self, response: &Segment, forward: u32) -> bool {
        let record = &self.table.records[forward];
        let client = record.client().unwrap_or_default();
        let (source, listener) = (record.end(client), record.end(1 - client));
        if !record.is_forward() {
            return false;
        }
        if source.port() == response.destination.port() {
            return true;
        }
        let taken = Key::new(response.protocol, false, response.destination, listener).0;
        self.table.find(&taken).is_some_and(|witness| {
            let witness = &self.table.records[witness];
            let since_then = record.first_time.0.saturating_sub(witness.last_time.0);
            witness.first_time <= record.first_time && since_then < STREAM_TIMEOUT
        })
    }
}

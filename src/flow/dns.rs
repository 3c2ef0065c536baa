//! DNS over UDP: which query and which response are one exchange.
//!
//! UDP has no sequence numbers. A response repeats the ID and the question of its query, and goes to the port
//! that the query came from, unless conntrack gave the query another port. conntrack does so only where the
//! port was taken: that other conversation must be there as a witness.
//!
//! A client may send one query with one ID to several servers from one port, as musl does. conntrack leaves the port of
//! the first as it is and changes the others', and all responses go to that port: then nothing tells whose is whose.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;

use super::evidence::{Evidence, Reason};
use super::record::{Key, Records, Side, State};
use super::segment::{Content, Segment};
use super::{Flows, UDP_TIMEOUT};
use crate::capture::Timestamp;

/// How long conntrack keeps a UDP mapping that was answered (`nf_conntrack_udp_timeout_stream`).
pub(super) const STREAM_TIMEOUT: u64 = 120_000_000_000;

/// How many queries are remembered at most.
const OPEN: usize = 65_536;

/// How many conversations are told apart that sent the same query. More are a crowd, which gets no response.
const SENDERS: usize = 32;

type QueryKey = (IpAddr, u16, u64);

/// A conversation that sent a query, and when it last did.
#[derive(Clone, Copy)]
struct Query {
    id: u32,
    serial: u64,
    sent: Timestamp,
}

/// Those who sent the same query.
#[derive(Default)]
struct Senders {
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
    order: VecDeque<(Timestamp, QueryKey)>,
}

impl Queries {
    /// Those who sent the query of a response. Rules may have changed its source as well, to a loopback address: then
    /// there is no query of the response's own client.
    fn senders(&self, (client, id, question): QueryKey) -> Option<&Senders> {
        let loopback: IpAddr = if client.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        self.open.get(&(client, id, question)).or_else(|| self.open.get(&(loopback, id, question)))
    }

    /// Whether another conversation than `forward` waits for this response, which `forward` did not ask for.
    pub fn awaits(&self, response: &Segment, forward: u32, records: &Records) -> bool {
        let Some(senders) = query_key(response).and_then(|key| self.senders(key)) else { return false };
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

    fn insert(&mut self, key: QueryKey, query: Query) {
        while let Some(&(sent, old)) = self.order.front()
            && (sent.0.saturating_add(UDP_TIMEOUT) < query.sent.0 || self.order.len() >= OPEN)
        {
            self.order.pop_front();
            if let Some(senders) = self.open.get_mut(&old) {
                senders.queries.retain(|q| q.sent > sent);
                senders.crowded = senders.crowded.filter(|&since| since > sent);
                if senders.queries.is_empty() && senders.crowded.is_none() {
                    self.open.remove(&old);
                }
            }
        }
        self.order.push_back((query.sent, key));
        let Senders { queries, crowded } = self.open.entry(key).or_default();
        match queries.iter().position(|q| q.id == query.id && q.serial == query.serial) {
            Some(again) => queries[again].sent = queries[again].sent.max(query.sent),
            None if queries.len() >= SENDERS => *crowded = (*crowded).max(Some(query.sent)),
            None => queries.push(query),
        }
    }

    /// The conversations that a response with this key may answer; `None` if they are too many to tell.
    fn owners(&self, key: QueryKey, now: Timestamp, records: &Records) -> Option<Vec<u32>> {
        let Some(senders) = self.senders(key) else { return Some(Vec::new()) };
        if senders.crowded.is_some_and(|since| is_live(since, now)) {
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
    fn live(&self, now: Timestamp, records: &Records) -> impl Iterator<Item = u32> {
        let is_sender = move |q: &&Query| is_live(q.sent, now) && records[q.id].serial == q.serial;
        self.queries.iter().filter(is_sender).map(|q| q.id)
    }
}

fn is_live(sent: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(sent.0) <= UDP_TIMEOUT
}

/// What a message is found by: the client, the ID and the question.
fn query_key(message: &Segment) -> Option<QueryKey> {
    match message.content {
        Content::Dns { id, question, response: false } => Some((message.source.ip(), id, question)),
        Content::Dns { id, question, response: true } => Some((message.destination.ip(), id, question)),
        _ => None,
    }
}

impl Flows {
    pub(super) fn pair_dns(&mut self, id: u32, side: Side, segment: &Segment) {
        let record = &mut self.table.records[id];
        record.halves[side].note(segment);
        if record.is_forward() {
            return self.note_query(id, segment);
        }
        let Some(key) = query_key(segment) else { return };
        match self.queries.owners(key, segment.time, &self.table.records).as_deref() {
            Some([]) => {}
            Some(&[forward]) => {
                if self.goes_to(segment, forward) {
                    let query = &self.table.records[forward];
                    let query = query.halves[query.client().unwrap_or_default()].place();
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
        if let Some(key) = query_key(segment).filter(|_| is_forward) {
            self.queries.insert(key, Query { id, serial: record.serial, sent: segment.time });
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

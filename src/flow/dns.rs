//! DNS over UDP: which query and which response are one exchange.
//!
//! UDP has no sequence numbers. A response repeats the ID and the question of its query, and goes to the port
//! that the query came from, unless conntrack gave the query another port. conntrack does so only where the
//! port was taken: that other conversation must be there as a witness.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::evidence::Evidence;
use super::record::{Key, Record, Side, State};
use super::segment::{Content, Segment};
use super::{Flows, UDP_TIMEOUT};
use crate::capture::Timestamp;

/// How long a pairing by port waits for another response that fits as well, where more than one query is open.
const SETTLE: u64 = 1_000_000_000;

/// How many queries are remembered at most.
const OPEN: usize = 65_536;

type QueryKey = (IpAddr, u16, u64);

/// A query without a response, in a forward half that is not settled.
#[derive(Clone, Copy)]
struct Query {
    id: u32,
    serial: u64,
    sent: Timestamp,
}

/// The queries that wait for a response. A half that was settled meanwhile is told by its state.
#[derive(Default)]
pub(super) struct Queries {
    open: HashMap<QueryKey, Vec<Query>, RandomState>,
    order: VecDeque<(Timestamp, QueryKey)>,
}

impl Queries {
    /// Whether a query waits for this response.
    pub fn awaits(&self, response: &Segment, records: &[Record]) -> bool {
        query_key(response).is_some_and(|key| !self.candidates(key, response.time, records).is_empty())
    }

    fn insert(&mut self, key: QueryKey, query: Query) {
        while let Some(&(sent, old)) = self.order.front()
            && (sent.0.saturating_add(UDP_TIMEOUT) < query.sent.0 || self.order.len() >= OPEN)
        {
            self.order.pop_front();
            if let Some(queries) = self.open.get_mut(&old) {
                queries.retain(|q| q.sent > sent);
                if queries.is_empty() {
                    self.open.remove(&old);
                }
            }
        }
        self.order.push_back((query.sent, key));
        self.open.entry(key).or_default().push(query);
    }

    /// The forward halves with such a query that are still unsettled, each once.
    fn candidates(&self, key: QueryKey, now: Timestamp, records: &[Record]) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .open
            .get(&key)
            .into_iter()
            .flatten()
            .filter(|q| now.0.saturating_sub(q.sent.0) <= UDP_TIMEOUT)
            .filter(|q| {
                let record = &records[q.id as usize];
                record.serial == q.serial && record.state == State::Forward
            })
            .map(|q| q.id)
            .collect();
        ids.dedup();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
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
        let record = &mut self.table.records[id as usize];
        record.halves[side].note(segment);
        let (state, serial) = (record.state, record.serial);
        let Some(key) = query_key(segment) else { return };
        if state == State::Forward {
            self.queries.insert(key, Query { id, serial, sent: segment.time });
            return;
        }
        let candidates = self.queries.candidates(key, segment.time, &self.table.records);
        let client_port = segment.destination.port();
        let end = |id: u32, far: bool| {
            let record = &self.table.records[id as usize];
            let client = record.client.unwrap_or_default();
            record.ends[if far { 1 - client } else { client }]
        };
        let same_port: Vec<u32> =
            candidates.iter().copied().filter(|&id| end(id, false).port() == client_port).collect();
        let evidence = |forward: u32| {
            let record = &self.table.records[forward as usize];
            let query = record.halves[record.client.unwrap_or_default()].place;
            Evidence::Dns { query, reply: segment.place }
        };
        match (candidates.as_slice(), same_port.as_slice()) {
            ([], _) => {}
            ([_], &[forward]) => self.join(forward, id, evidence(forward)),
            (&[forward], []) => {
                let taken = Key::new(segment.protocol, false, segment.destination, end(forward, true)).0;
                if self.table.find(&taken).is_some() {
                    self.join(forward, id, evidence(forward));
                }
            }
            (_, &[forward]) => self.propose(forward, id, evidence(forward), segment.time, SETTLE),
            _ => {
                self.contest(&candidates);
                self.contest(&[id]);
            }
        }
    }
}

//! What is known of the calls that legs belong to: put together for each leg when streams have their numbers, and put away
//! with it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::legs::Legs;
use super::numbers::Numbers;
use crate::store::Reader;
use crate::tie::infer::Exchange;
use crate::tie::{self, Clients, Edge, Evidence, Logged, Member, Tied};

/// Exchanges that are kept of a leg, at most.
const EXCHANGES: usize = 1024;

/// Envoy's clock in the log.
const MILLISECOND: u64 = 1_000_000;

/// What was found of all calls.
#[derive(Default)]
pub(super) struct Calls {
    pub edges: Vec<Edge>,
    /// The clients of far legs.
    pub clients: HashMap<usize, Clients, RandomState>,
    /// Response flags of the requests of a leg.
    pub flags: HashMap<usize, BTreeSet<String>, RandomState>,
}

impl Calls {
    /// Notes at each leg what is known of its call. `streams` has the number of each conversation.
    pub fn tell(mut self, legs: &mut Legs, streams: &Numbers) -> io::Result<()> {
        let mut reader = Reader::default();
        let members = tie::group(&self.edges, legs.len());
        for (tie, number) in members.chunk_by(|a, b| a.first == b.first).zip(1..) {
            let of_legs = || tie.chunk_by(|a, b| a.leg == b.leg);
            let mut numbers = Vec::with_capacity(tie.len());
            for of_leg in of_legs() {
                let [_, reply] = legs.parts(of_leg[0].leg as usize, &mut reader)?;
                numbers.push(streams.get(reply.number));
            }
            let filter: Option<Arc<str>> = tie::filter(numbers.into_iter()).map(Arc::from);
            for of_leg in of_legs() {
                let leg = of_leg[0].leg;
                let mut tied = self.beside(leg as usize);
                tied.tie = Some((number, filter.clone()));
                of_leg.iter().for_each(|Member { edge, .. }| join(&mut tied, leg, &self.edges[*edge as usize]));
                legs.set_tied(leg as usize, &tied)?;
            }
        }
        // What is left is of legs that are tied to none.
        let others: BTreeSet<usize> = self.clients.keys().chain(self.flags.keys()).copied().collect();
        for leg in others {
            legs.set_tied(leg, &self.beside(leg))?;
        }
        Ok(())
    }

    /// Takes out what is known of a leg beside its edges.
    fn beside(&mut self, leg: usize) -> Tied {
        let clients = self.clients.remove(&leg).map(|known| known.addresses).unwrap_or_default();
        let flags = self.flags.remove(&leg).map(|flags| flags.into_iter().collect()).unwrap_or_default();
        Tied { clients, flags, ..Tied::default() }
    }
}

/// Notes what an edge says of one of its legs.
fn join(tied: &mut Tied, leg: u32, edge: &Edge) {
    tied.requests += edge.requests;
    let room = EXCHANGES.saturating_sub(tied.exchanged);
    tied.exchanged += room.min(edge.exchanged as usize);
    tied.exchanges.extend(edge.exchanges().iter().take(room).map(|exchange| {
        let span = if leg == edge.near { exchange.near } else { exchange.far };
        (span, logged(edge, exchange))
    }));
    tied.evidence = Evidence::weakest(tied.evidence.iter().chain([&edge.evidence])).cloned();
}

/// The id of a request by the log: of the one line whose time lies between both sides'.
fn logged(edge: &Edge, exchange: &Exchange) -> Option<String> {
    let (near, far) = (exchange.near, exchange.far);
    let fits = |logged: &&Logged| {
        let (start, end) = logged.times;
        start <= far.request.0.0.saturating_add(MILLISECOND)
            && end.saturating_add(MILLISECOND) >= far.response.1.0
            && start.saturating_add(MILLISECOND) >= near.request.0.0
            && end <= near.response.1.0.saturating_add(MILLISECOND)
    };
    let mut fitting = edge.logged().iter().filter(fits);
    let only = fitting.next().filter(|_| fitting.next().is_none());
    only.and_then(|logged| logged.id.clone())
}

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
use crate::tie::{self, Clients, Edge, Evidence, Logged, Tied};

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
        let ties = tie::group(&self.edges, legs.len());
        let mut filters: Vec<Option<Arc<str>>> = Vec::with_capacity(ties.len());
        let mut tie_of: HashMap<usize, usize, RandomState> = HashMap::default();
        for (place, tie) in ties.iter().enumerate() {
            let mut numbers = Vec::with_capacity(tie.legs.len());
            for &leg in &tie.legs {
                let [_, reply] = legs.parts(leg, &mut reader)?;
                numbers.push(streams.get(reply.number));
                tie_of.insert(leg, place);
            }
            filters.push(tie::filter(numbers.into_iter()).map(Arc::from));
        }
        let edges = self.edges.iter().zip(0_u32..);
        let mut of_legs: Vec<(usize, u32)> =
            edges.flat_map(|(edge, place)| [(edge.near, place), (edge.far, place)]).collect();
        of_legs.sort_unstable();
        let mut of_legs = of_legs.into_iter().peekable();
        for leg in 0..legs.len() {
            let mut tied = None;
            while let Some((_, edge)) = of_legs.next_if(|(other, _)| *other == leg) {
                join(tied.get_or_insert_default(), leg, &self.edges[edge as usize]);
            }
            if let Some(known) = self.clients.remove(&leg) {
                tied.get_or_insert_with(Tied::default).clients = known.addresses;
            }
            if let Some(flags) = self.flags.remove(&leg) {
                tied.get_or_insert_with(Tied::default).flags = flags.into_iter().collect();
            }
            if let Some(mut tied) = tied {
                tied.tie = tie_of.get(&leg).map(|&place| (ties[place].number, filters[place].clone()));
                legs.set_tied(leg, &tied)?;
            }
        }
        Ok(())
    }
}

/// Notes what an edge says of one of its legs.
fn join(tied: &mut Tied, leg: usize, edge: &Edge) {
    tied.requests += edge.requests;
    let room = EXCHANGES.saturating_sub(tied.exchanged);
    tied.exchanged += edge.exchanged.min(room);
    tied.exchanges.extend(edge.exchanges.iter().take(room).map(|exchange| {
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
        start <= far.request.0.0 + MILLISECOND
            && end + MILLISECOND >= far.response.1.0
            && start + MILLISECOND >= near.request.0.0
            && end <= near.response.1.0 + MILLISECOND
    };
    let mut fitting = edge.logged.iter().filter(fits);
    let only = fitting.next().filter(|_| fitting.next().is_none());
    only.and_then(|logged| logged.id.clone())
}

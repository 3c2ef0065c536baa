//! HTTP/1.1: the exchanges of a far leg, each within one of a near leg in time, and of a size that the proxy makes of it.
//!
//! A pooled far leg carries the exchanges of many near ones, so each is looked at on its own. A far leg is claimed for its
//! client when every one of its exchanges has one client address that it can be of, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use super::matching::{Far, Matching, OnPort};
use super::shelf::Shelf;
use super::sides::{Side, Sides};
use super::{Clients, Edge, Evidence, Exchange, Inferred, Stage};
use crate::capture::Timestamp;

/// Rounds of learning: what is learned tells more pairs apart, which tell more.
const ROUNDS: usize = 3;

/// Ties what is left of the far legs by their exchanges.
pub fn tie(
    stage: Stage,
    near: &Sides,
    far: &Sides,
    end: Timestamp,
    shelf: &mut Shelf<'_>,
    inferred: &mut Inferred,
) -> io::Result<()> {
    let port_of = |side: &Side| if stage == Stage::Inbound { side.port } else { 0 };
    let http2: BTreeSet<u16> = far.sides.iter().filter(|side| side.is_http2()).map(port_of).collect();
    let mut buckets: BTreeMap<u16, Legs> = BTreeMap::new();
    for (index, side) in far.sides.iter().enumerate().filter(|(_, side)| side.is_http()) {
        buckets.entry(port_of(side)).or_default().far.push(index);
    }
    for (index, side) in near.sides.iter().enumerate() {
        if let Some(legs) = buckets.get_mut(&port_of(side)) {
            legs.near.push(index);
        }
    }
    for (port, legs) in buckets {
        // A gateway chooses by the service, whatever its client speaks.
        let has_http2 = stage != Stage::Gateway && http2.contains(&port);
        let on_port = OnPort { near: &legs.near, far: &legs.far, has_http2 };
        Matching::new(stage, near, far, &on_port, end, shelf)?.tell(inferred);
    }
    Ok(())
}

/// The legs of one server port, as indices.
#[derive(Default)]
struct Legs {
    near: Vec<usize>,
    far: Vec<usize>,
}

impl Matching<'_> {
    /// Tells the clients of the far legs, and the ties.
    fn tell(mut self, inferred: &mut Inferred) {
        for _ in 0..ROUNDS {
            self.learn();
        }
        let mut unexplained = self.unexplained();
        unexplained.retain(|&leg| !self.has_http2 || !self.near_legs.sides[leg].is_http2());
        let unsure: Vec<u32> = unexplained.into_iter().map(|leg| self.add_unsure(leg)).collect();
        if !self.sweep(unsure) || self.is_incomplete() {
            self.unknown.extend(self.far.iter().map(|far| far.leg));
        }
        self.prefer_explained();
        self.prefer_ids();
        let needed = self.eliminate();
        let mut legs: Vec<(usize, Vec<&Far>)> = Vec::new();
        for far in &self.far {
            match legs.last_mut() {
                Some((leg, exchanges)) if *leg == far.leg => exchanges.push(far),
                _ => legs.push((far.leg, vec![far])),
            }
        }
        for (leg, exchanges) in legs {
            let id = self.far_legs.sides[leg].id;
            let is_unknown = self.unknown.contains(&leg);
            let clients: Option<BTreeSet<IpAddr>> =
                if is_unknown { None } else { exchanges.iter().map(|far| self.client(far, &needed)).collect() };
            let Some(clients) = clients else {
                inferred.tell(self.stage, id, || Clients::Unknown);
                continue;
            };
            inferred.ties.extend(self.ties(leg, &exchanges, inferred.has_exchanges));
            let clients: Vec<IpAddr> = clients.into_iter().collect();
            inferred.tell(self.stage, id, || match clients[..] {
                [client] => Clients::One(client),
                _ => Clients::Several(clients),
            });
        }
    }

    /// The client address of an exchange, if there is but one.
    fn client(&self, far: &Far, needed: &[u32]) -> Option<IpAddr> {
        // Of legs that may carry anything alone, nothing shows that it is theirs.
        let is_shown = far.candidates.iter().any(|&n| !self.near[n as usize].any_up);
        let is_contested =
            self.only_slot(far).is_some_and(|slot| needed[slot as usize] > 1 && !self.near[slot as usize].any_up);
        if far.is_crowded || is_contested || !is_shown {
            return None;
        }
        let of = |&n: &u32| self.near_legs.leg(self.near[n as usize].leg).client;
        let first = far.candidates.first().map(of)?;
        far.candidates.iter().all(|n| of(n) == first).then_some(first)
    }

    fn ties(&self, leg: usize, exchanges: &[&Far], has_exchanges: bool) -> Vec<Edge> {
        let mut ties: Vec<(usize, Edge)> = Vec::new();
        for far in exchanges {
            let near = self.only_slot(far).and(far.candidates.first()).map(|&n| &self.near[n as usize]);
            let Some(near) = near else { continue };
            if near.any_up {
                continue;
            }
            let at = ties.iter().position(|(leg, _)| *leg == near.leg).unwrap_or_else(|| {
                let tie =
                    Edge::inferred(self.near_legs.sides[near.leg].id, self.far_legs.sides[leg].id, Evidence::Exchanges);
                ties.push((near.leg, tie));
                ties.len() - 1
            });
            if let Some(exchange) = Exchange::of(&near.turn, &far.turn) {
                ties[at].1.add(exchange, has_exchanges);
            }
        }
        ties.into_iter().map(|(_, tie)| tie).collect()
    }
}

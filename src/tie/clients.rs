//! Legs from the proxy's own address get their client's, where it is proven that they have one.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::{Clients, Edge, Side};
use crate::capture::Timestamp;

/// The addresses that a leg gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The leg, as an index.
    pub leg: usize,
    /// The client's address, with the port that the proxy uses.
    pub client: SocketAddr,
    /// The pod's address, where the application listens on loopback.
    pub server: SocketAddr,
}

/// The ends of TCP conversations that are no legs to be tied: nobody else may get them.
///
/// Memory: a number for each, up to [`Others::MOST`]; past that, all ends may be taken.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Hashes of ends: up to `sorted` in order, each once; the others as they came.
    known: Vec<u64>,
    sorted: usize,
    hasher: RandomState,
    full: bool,
}

impl Others {
    /// Conversations that are remembered.
    const MOST: usize = 1 << 20;

    /// Hashes that are put in order at once, at least.
    const FEW: usize = 1 << 12;

    /// Takes in a conversation.
    pub fn add(&mut self, a: SocketAddr, b: SocketAddr) {
        if self.full {
            return;
        }
        self.known.push(self.hasher.hash_one(ends(a, b)));
        let most = (self.sorted + self.sorted / 4).max(Others::FEW);
        if self.known.len() > most {
            self.sort();
        }
    }

    /// There will be no more.
    pub fn sort(&mut self) {
        self.known.sort_unstable();
        self.known.dedup();
        self.sorted = self.known.len();
        if self.sorted > Others::MOST {
            *self = Others { full: true, ..Others::default() };
        }
    }

    /// Whether there may be such a conversation; those that were taken in are in order.
    fn may_hold(&self, ends: Ends) -> bool {
        self.full || self.known.binary_search(&self.hasher.hash_one(ends)).is_ok()
    }
}

/// Both ends of a conversation, in one order.
type Ends = (SocketAddr, SocketAddr);

fn ends(a: SocketAddr, b: SocketAddr) -> Ends {
    if a < b { (a, b) } else { (b, a) }
}

/// The legs between two ends.
#[derive(Default)]
struct Shared {
    /// How many, and how many of them whose first packet was not captured.
    legs: usize,
    unopened: usize,
    /// When the first one began, and whether it is one of these.
    first: Option<(Timestamp, bool)>,
}

impl Shared {
    fn add(&mut self, side: &Side) {
        self.legs += 1;
        self.unopened += usize::from(!side.opened);
        let this = (side.times.0, side.opened);
        self.first = Some(self.first.map_or(this, |first| first.min(this)));
    }

    /// Whether one of them may be another one's continuation: Wireshark sees one stream in both, which is not to be torn.
    fn may_go_on(&self) -> bool {
        let began_before = self.first.is_some_and(|(_, opened)| !opened);
        self.legs > 1 && self.unopened > usize::from(began_before)
    }
}

/// Which legs get other addresses. `is_proxy` says of an address that it is the proxy's own.
///
/// No two legs may share their ends then: Wireshark would put them into one stream. `others` are conversations that are
/// none of `sides`.
pub(crate) fn renames(
    sides: &[Side],
    edges: &[Edge],
    clients: &HashMap<usize, Clients, RandomState>,
    others: &Others,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Vec<Rename> {
    if clients.is_empty() {
        return Vec::new();
    }
    let mut taken: HashMap<Ends, Shared, RandomState> = HashMap::default();
    for side in sides.iter().filter(|side| side.is_tcp) {
        taken.entry(ends(side.client, side.server)).or_default().add(side);
    }
    let mut servers: HashMap<usize, Option<SocketAddr>, RandomState> = HashMap::default();
    for edge in edges {
        let server = sides[edge.near].server;
        servers.entry(edge.far).and_modify(|known| *known = known.filter(|k| *k == server)).or_insert(Some(server));
    }
    let mut legs: Vec<usize> = clients.keys().copied().collect();
    legs.sort_unstable();
    let mut renames: Vec<Rename> = Vec::new();
    // Where the same ends were used again, by the same client, they are so afterwards.
    let mut given: HashMap<Ends, Ends, RandomState> = HashMap::default();
    for leg in legs {
        let side = &sides[leg];
        let [address] = clients[&leg].addresses[..] else { continue };
        let may = clients[&leg].complete && side.is_to_application && is_proxy(side.client.ip());
        let may = may && !side.is_fragmented;
        if !may || address.is_ipv4() != side.client.is_ipv4() {
            continue;
        }
        let server = match side.server.ip().is_loopback() {
            false => Some(side.server),
            true => servers.get(&leg).copied().flatten(),
        };
        let Some(server) = server.filter(|server| server.is_ipv4() == side.client.is_ipv4()) else { continue };
        let client = SocketAddr::new(address, side.client.port());
        let (before, after) = (ends(side.client, side.server), ends(client, server));
        if others.may_hold(before) || taken.get(&before).is_some_and(Shared::may_go_on) {
            continue;
        }
        let is_free = !taken.contains_key(&after) && !others.may_hold(after);
        if given.get(&after).map_or(is_free, |was| *was == before) {
            given.insert(after, before);
            renames.push(Rename { leg, client, server });
        }
    }
    renames
}

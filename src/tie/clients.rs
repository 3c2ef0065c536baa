//! Legs from the proxy's own address get their client's, where it is proven that they have one.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::{Clients, Edge, Side};
use crate::capture::Timestamp;
use crate::store::{Place, Store};

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

/// Octets of hashes that are put away at once.
const BATCH: usize = 16 << 10;

/// The ends of TCP conversations that are no legs to be tied: nobody else may get them.
///
/// A number of 8 octets for each, most of them in a temporary file.
#[derive(Debug, Default)]
pub(crate) struct Others {
    hasher: RandomState,
    store: Store,
    batches: Vec<Place>,
    last: Vec<u8>,
}

impl Others {
    /// Takes in a conversation.
    pub fn add(&mut self, a: SocketAddr, b: SocketAddr) -> io::Result<()> {
        self.last.extend_from_slice(&self.hasher.hash_one(ends(a, b)).to_le_bytes());
        if self.last.len() >= BATCH {
            self.batches.push(self.store.push(&self.last)?);
            self.last.clear();
        }
        Ok(())
    }

    /// Those of some ends that such a conversation may have.
    fn among(&self, some: impl Iterator<Item = Ends>) -> io::Result<HashSet<Ends, RandomState>> {
        let wanted: HashMap<u64, Ends, RandomState> = some.map(|ends| (self.hasher.hash_one(ends), ends)).collect();
        let mut found = HashSet::default();
        let mut look = |batch: &[u8]| {
            let (hashes, _) = batch.as_chunks();
            found.extend(hashes.iter().filter_map(|hash| wanted.get(&u64::from_le_bytes(*hash))));
        };
        if !wanted.is_empty() {
            let mut batch = Vec::new();
            for place in &self.batches {
                self.store.read(*place, &mut batch)?;
                look(&batch);
            }
            look(&self.last);
        }
        Ok(found)
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

/// A leg that may get other addresses.
struct Wanted {
    leg: usize,
    client: SocketAddr,
    server: SocketAddr,
    /// Its ends as they are, and as they would be.
    before: Ends,
    after: Ends,
}

/// Which legs get other addresses: of so many, each told by `side`. `is_proxy` says of an address that it is the proxy's own.
///
/// No two legs may share their ends then: Wireshark would put them into one stream. `others` are conversations that are
/// none of these legs.
pub(crate) fn renames(
    legs: usize,
    mut side: impl FnMut(usize) -> io::Result<Side>,
    edges: &[Edge],
    clients: &HashMap<usize, Clients, RandomState>,
    others: &Others,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> io::Result<Vec<Rename>> {
    let mut servers: HashMap<usize, Option<SocketAddr>, RandomState> = HashMap::default();
    for edge in edges.iter().filter(|edge| clients.contains_key(&edge.far)) {
        let server = side(edge.near)?.server;
        servers.entry(edge.far).and_modify(|known| *known = known.filter(|k| *k == server)).or_insert(Some(server));
    }
    let mut known: Vec<usize> = clients.keys().copied().collect();
    known.sort_unstable();
    let mut wanted: Vec<Wanted> = Vec::new();
    for leg in known {
        let [address] = clients[&leg].addresses[..] else { continue };
        if !clients[&leg].complete {
            continue;
        }
        let side = side(leg)?;
        let may = side.is_to_application && is_proxy(side.client.ip()) && !side.is_fragmented;
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
        wanted.push(Wanted { leg, client, server, before, after });
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let both = || wanted.iter().flat_map(|wanted| [wanted.before, wanted.after]);
    let others = others.among(both())?;
    let mut taken: HashMap<Ends, Shared, RandomState> = both().map(|ends| (ends, Shared::default())).collect();
    for leg in 0..legs {
        let side = side(leg)?;
        if let Some(shared) = taken.get_mut(&ends(side.client, side.server)).filter(|_| side.is_tcp) {
            shared.add(&side);
        }
    }
    let mut renames: Vec<Rename> = Vec::new();
    // Where the same ends were used again, by the same client, they are so afterwards.
    let mut given: HashMap<Ends, Ends, RandomState> = HashMap::default();
    for Wanted { leg, client, server, before, after } in wanted {
        if others.contains(&before) || taken.get(&before).is_some_and(Shared::may_go_on) {
            continue;
        }
        let is_free = taken.get(&after).is_none_or(|shared| shared.legs == 0) && !others.contains(&after);
        if given.get(&after).map_or(is_free, |was| *was == before) {
            given.insert(after, before);
            renames.push(Rename { leg, client, server });
        }
    }
    Ok(renames)
}

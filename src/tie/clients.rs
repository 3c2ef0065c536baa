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
        let Between(hash) = self.between(a, b);
        self.last.extend_from_slice(&hash.to_le_bytes());
        if self.last.len() >= BATCH {
            self.batches.push(self.store.push(&self.last)?);
            self.last.clear();
        }
        Ok(())
    }

    /// What is between two ends, whichever is named first.
    fn between(&self, a: SocketAddr, b: SocketAddr) -> Between {
        Between(self.hasher.hash_one(if a < b { (a, b) } else { (b, a) }))
    }

    /// Those of some ends that such a conversation may have.
    fn among(&self, some: impl Iterator<Item = Between>) -> io::Result<HashSet<Between, RandomState>> {
        let wanted: HashSet<Between, RandomState> = some.collect();
        let mut found = HashSet::default();
        let mut look = |batch: &[u8]| {
            let (hashes, _) = batch.as_chunks();
            let all = hashes.iter().map(|hash| Between(u64::from_le_bytes(*hash)));
            found.extend(all.filter(|ends| wanted.contains(ends)));
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

/// A hash of both ends of a conversation, which nobody can foresee. Where two had the same by chance, fewer legs would get
/// other addresses, none wrong ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Between(u64);

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
    before: Between,
    after: Between,
}

/// Who talks over a leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// As in a [`Side`].
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub is_tcp: bool,
}

/// All legs, as far as anybody asks.
pub(crate) trait Known {
    /// How many there are.
    fn len(&self) -> usize;

    /// Who talks over one.
    fn ends(&mut self, leg: usize) -> io::Result<Ends>;

    /// The rest of it.
    fn side(&mut self, leg: usize) -> io::Result<Side>;
}

/// Which of all legs get other addresses. `is_proxy` says of an address that it is the proxy's own.
///
/// No two legs may share their ends then: Wireshark would put them into one stream. `others` are conversations that are
/// none of these legs.
pub(crate) fn renames(
    legs: &mut impl Known,
    edges: &[Edge],
    clients: &HashMap<usize, Clients, RandomState>,
    others: &Others,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> io::Result<Vec<Rename>> {
    let mut wanted = wanted(legs, edges, clients, others, is_proxy)?;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let both = || wanted.iter().flat_map(|wanted| [wanted.before, wanted.after]);
    let taken_by_others = others.among(both())?;
    let mut taken: HashMap<Between, Shared, RandomState> = both().map(|ends| (ends, Shared::default())).collect();
    for leg in 0..legs.len() {
        let Ends { client, server, is_tcp } = legs.ends(leg)?;
        if let Some(shared) = taken.get_mut(&others.between(client, server)).filter(|_| is_tcp) {
            shared.add(&legs.side(leg)?);
        }
    }
    // Where the same ends were used again, by the same client, they are so afterwards.
    let mut given: HashMap<Between, Between, RandomState> = HashMap::default();
    wanted.retain(|&Wanted { before, after, .. }| {
        if taken_by_others.contains(&before) || taken.get(&before).is_some_and(Shared::may_go_on) {
            return false;
        }
        let is_free = taken.get(&after).is_none_or(|shared| shared.legs == 0) && !taken_by_others.contains(&after);
        let can_be_given = given.get(&after).map_or(is_free, |was| *was == before);
        if can_be_given {
            given.insert(after, before);
        }
        can_be_given
    });
    Ok(wanted.into_iter().map(|Wanted { leg, client, server, .. }| Rename { leg, client, server }).collect())
}

/// Legs from the proxy whose one client is known, in their order.
fn wanted(
    legs: &mut impl Known,
    edges: &[Edge],
    clients: &HashMap<usize, Clients, RandomState>,
    others: &Others,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> io::Result<Vec<Wanted>> {
    let mut known: Vec<usize> = clients.keys().copied().collect();
    known.sort_unstable();
    let mut wanted = Vec::new();
    // Where the application listens on loopback: the server that all clients of a leg called.
    let mut called: HashMap<usize, Option<SocketAddr>, RandomState> = HashMap::default();
    for leg in known {
        let [address] = clients[&leg].addresses[..] else { continue };
        if !clients[&leg].complete || !is_proxy(legs.ends(leg)?.client.ip()) {
            continue;
        }
        let Side { client, server, is_to_application, is_fragmented, .. } = legs.side(leg)?;
        if !is_to_application || is_fragmented || address.is_ipv4() != client.is_ipv4() {
            continue;
        }
        if server.ip().is_loopback() {
            called.insert(leg, None);
        }
        let before = others.between(client, server);
        wanted.push(Wanted { leg, client: SocketAddr::new(address, client.port()), server, before, after: before });
    }
    if !called.is_empty() {
        let mut seen = HashSet::<usize, RandomState>::default();
        for edge in edges {
            let far = edge.far as usize;
            let Some(known) = called.get_mut(&far) else { continue };
            let server = legs.ends(edge.near as usize)?.server;
            *known = if seen.insert(far) { Some(server) } else { known.filter(|known| *known == server) };
        }
    }
    wanted.retain_mut(|wanted| {
        let server = called.get(&wanted.leg).copied().unwrap_or(Some(wanted.server));
        let server = server.filter(|server| server.is_ipv4() == wanted.client.is_ipv4());
        wanted.server = server.unwrap_or(wanted.server);
        wanted.after = others.between(wanted.client, wanted.server);
        server.is_some()
    });
    Ok(wanted)
}

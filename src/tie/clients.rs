//! Legs from the proxy's own address get their client's, where it is proven that they have one.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::{Clients, Edge, Side};

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

/// Which legs get other addresses. `is_proxy` says of an address that it is the proxy's own.
///
/// No two legs may share their ends then: Wireshark would put them into one stream.
pub(crate) fn renames(
    sides: &[Side],
    edges: &[Edge],
    clients: &HashMap<usize, Clients, RandomState>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Vec<Rename> {
    let ends = |a: SocketAddr, b: SocketAddr| if a < b { (a, b) } else { (b, a) };
    let mut taken: HashSet<(SocketAddr, SocketAddr), RandomState> =
        sides.iter().filter(|side| side.is_tcp).map(|side| ends(side.client, side.server)).collect();
    let mut servers: HashMap<usize, Option<SocketAddr>, RandomState> = HashMap::default();
    for edge in edges {
        let server = sides[edge.near].server;
        servers.entry(edge.far).and_modify(|known| *known = known.filter(|k| *k == server)).or_insert(Some(server));
    }
    let mut legs: Vec<usize> = clients.keys().copied().collect();
    legs.sort_unstable();
    let mut renames: Vec<Rename> = Vec::new();
    // Where the same ends were used again, by the same client, they are so afterwards.
    let mut given: HashMap<(SocketAddr, SocketAddr), (SocketAddr, SocketAddr), RandomState> = HashMap::default();
    for leg in legs {
        let side = &sides[leg];
        let [address] = clients[&leg].addresses[..] else { continue };
        let may = clients[&leg].complete && side.is_to_application && is_proxy(side.client.ip());
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
        if given.get(&after).is_some_and(|was| *was == before) || !taken.contains(&after) {
            taken.insert(after);
            given.insert(after, before);
            renames.push(Rename { leg, client, server });
        }
    }
    renames
}

//! Ties inferred from the captures alone: which leg on the near side of a proxy, towards the client, belongs to which on
//! the far side, towards the server.
//!
//! What comes in is every TCP segment of a first pass ([`Observer`]), then the legs that may be a near or a far side; what
//! goes out is the ties that are sure, and the clients of the far legs that are. A wrong tie is worse than none: where two
//! answers fit, or one that was not seen might, nothing is said. Nothing is decrypted, and names are not looked at.
//!
//! ```text
//! observer    segments -> streams    by conversation; what is silent goes to a temporary file
//! stream      segments -> octets     in order; then TLS records (records), points in time (units), a hash (content)
//! shape       streams  -> readings   how many octets a leg passed on, whichever of its records are payload
//! sides       streams  -> outlines   what says which legs have to be compared, and legs that are read again for that
//! candidates  fits     -> pairs      what is each other's only candidate
//! bytes       TCP: the same octets, on the far side never before the near
//! exchanges   HTTP/1.1: each exchange within one on the near side, of a size that the proxy makes of it
//! ```

mod bytes;
mod candidates;
mod content;
mod exchanges;
mod http;
mod learned;
mod matching;
mod narrowing;
mod observer;
mod records;
mod requests;
mod shape;
mod sides;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod turns;
mod units;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::thread::Builder;

use crate::capture::Timestamp;

pub use observer::{Half, Limits, Observed, Observer};

use sides::{Shelf, Side};
use turns::Turn;

/// Clocks and the order of capture may be off by this much: 30 µs, in nanoseconds.
const TOLERANCE: u64 = 30_000;

/// How many exchanges of a tie are told.
pub const EXCHANGES: usize = 1024;

/// Which way a connection goes through the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To the pod: both sides have the same server, or the far one's is on loopback.
    Inbound,
    /// From the pod: the near side's server is what the application asked for, the far side's where the proxy went.
    Outbound,
    /// Through a gateway: the near side's server is the far side's client.
    Gateway,
}

/// A leg that may be tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLeg {
    /// What the caller knows it by.
    pub id: u32,
    /// Where its octets from the client were captured.
    pub from_client: Half,
    /// Where its octets from the server were captured.
    pub from_server: Half,
    /// The end that opened it.
    pub client: IpAddr,
    /// The other end.
    pub server: IpAddr,
    /// Its port.
    pub port: u16,
}

/// What was inferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inferred {
    /// Whether the exchanges of ties are wanted.
    pub has_exchanges: bool,
    /// The ties.
    pub ties: Vec<Tie>,
    /// Far legs whose clients were looked for.
    pub clients: Vec<(u32, Clients)>,
}

/// Two legs that carry the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The leg towards the client.
    pub near: u32,
    /// The leg towards the server.
    pub far: u32,
    /// What shows it.
    pub evidence: Evidence,
    /// How many exchanges they carried, at most [`EXCHANGES`].
    pub exchanged: usize,
    /// These exchanges, if they are wanted.
    pub exchanges: Vec<Exchange>,
}

impl Tie {
    fn new(near: &TcpLeg, far: &TcpLeg, evidence: Evidence) -> Tie {
        Tie { near: near.id, far: far.id, evidence, exchanged: 0, exchanges: Vec::new() }
    }

    /// Adds an exchange, if there is room; `has_exchanges` if it is wanted itself.
    fn add(&mut self, exchange: Exchange, has_exchanges: bool) {
        if self.exchanged < EXCHANGES {
            self.exchanged += 1;
            self.exchanges.extend(Some(exchange).filter(|_| has_exchanges));
        }
    }
}

/// What shows that two legs belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// They passed on the same octets, in this order in time, and no other two did.
    Bytes,
    /// As [`Evidence::Bytes`], and all others belong to other legs.
    Elimination,
    /// Each exchange of the far leg fits into one of the near leg alone.
    Exchanges,
}

/// An exchange on both sides of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// On the near side.
    pub near: Span,
    /// On the far side.
    pub far: Span,
}

/// When the octets of an exchange were captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First and last octet of the request.
    pub request: (Timestamp, Timestamp),
    /// First and last octet of the response.
    pub response: (Timestamp, Timestamp),
}

impl Exchange {
    /// Of turns that were both answered.
    fn of(near: &Turn, far: &Turn) -> Option<Exchange> {
        let span = |turn: &Turn| Some(Span { request: turn.request, response: turn.response? });
        Some(Exchange { near: span(near)?, far: span(far)? })
    }
}

/// Who a far leg served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// One client.
    One(IpAddr),
    /// These clients, and no others.
    Several(Vec<IpAddr>),
    /// It can not be told.
    Unknown,
}

/// Ties the legs on both sides of proxies.
///
/// `near` and `far` are all that may be on that side, whether they can be tied or not: a leg that is left out may be the
/// true partner of one that then fits another. `has_exchanges` if those of ties are wanted. Of pods whose applications listen on loopback, one at a time.
///
/// Errors: what was observed cannot be read.
pub fn infer(
    observed: &Observed,
    stage: Stage,
    near: &[TcpLeg],
    far: &[TcpLeg],
    has_exchanges: bool,
) -> io::Result<Inferred> {
    let mut inferred = Inferred { has_exchanges, ..Inferred::default() };
    let (end, mut shelf) = (observed.end(), Shelf::new(observed));
    // One does not depend on the other; where there can be no thread, one comes after the other.
    let (near, far) = std::thread::scope(|scope| {
        let look = || Shelf::new(observed).sides(stage, false, far);
        let thread = Builder::new().spawn_scoped(scope, look);
        let near = shelf.sides(stage, true, near);
        let far = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => look(),
        };
        (near, far)
    });
    let (near, far) = (near?, far?);
    for tied in bytes::tie(stage, &near, &far, end, &mut shelf)? {
        let (near, far) = (near.sides[tied.near].leg, far.sides[tied.far].leg);
        let mut tie = Tie::new(near, far, tied.evidence);
        tie.exchanged = EXCHANGES.min(tied.exchanged as usize);
        if has_exchanges {
            tie.exchanges = bytes::exchanges(stage, &*shelf.shape(near)?, &*shelf.shape(far)?);
            tie.exchanges.truncate(EXCHANGES);
        }
        inferred.ties.push(tie);
        inferred.clients.push((far.id, Clients::One(near.client)));
    }
    let taken: HashSet<u32> = inferred.ties.iter().map(|tie| tie.far).collect();
    let rest: Vec<Side<'_>> = far.sides.into_iter().filter(|side| !taken.contains(&side.leg.id)).collect();
    let has_all: HashSet<u32> = inferred.ties.iter().map(|tie| tie.near).collect();
    let near = match stage {
        // Behind one gateway are services of all kinds: a leg whose octets all went to one of them has none for another.
        Stage::Gateway => near.sides.into_iter().filter(|side| !has_all.contains(&side.leg.id)).collect(),
        Stage::Inbound | Stage::Outbound => near.sides,
    };
    exchanges::tie(stage, &near, &rest, end, &mut shelf, &mut inferred)?;
    Ok(inferred)
}

/// Whether two legs may belong together by their addresses.
fn may_meet(stage: Stage, near: &TcpLeg, far: &TcpLeg) -> bool {
    match stage {
        Stage::Inbound if far.server.is_loopback() => near.port == far.port,
        Stage::Inbound => (near.server, near.port) == (far.server, far.port),
        // Both are the pod's own; one of another family is another address of it.
        Stage::Outbound => near.client == far.client || near.client.is_ipv4() != far.client.is_ipv4(),
        Stage::Gateway => near.server == far.client || near.server.is_ipv4() != far.client.is_ipv4(),
    }
}

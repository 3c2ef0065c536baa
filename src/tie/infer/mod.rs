//! Ties inferred from the captures alone: which leg on the near side of a proxy, towards the client, belongs to which on
//! the far side, towards the server.
//!
//! What comes in is every TCP segment of a first pass ([`Observer`]), then the legs that may be a near or a far side; what
//! goes out is the ties that are sure, and the clients of the far legs that are. A wrong tie is worse than none: where two
//! answers fit, or one that was not seen might, nothing is said. Nothing is decrypted, and names are not looked at.
//!
//! ```text
//! observer    segments -> streams    by conversation; what is silent goes to a temporary file, and on there in parts
//!                                    (conversation, places); in the end all of it can be read (observed)
//! stream      segments -> octets     in order; then TLS records (records), points in time (units), a hash (content)
//! way         octets   -> directions what was put away is read again, to be looked at
//! shape       ways     -> readings   how many octets a leg passed on, whichever of its records are payload
//! alone       a shape  -> bounds     when its other leg can have been opened, in what their octets may differ
//! shelf       places   -> shapes     reads legs, and keeps those that are compared with many others
//! sides       shapes   -> outlines   what says which legs have to be compared
//! buckets     outlines -> legs       those that passed on as much
//! candidates  fits     -> pairs      what is each other's only candidate
//! bytes       TCP: the same octets, on the far side never before the near
//! exchanges   HTTP/1.1: each exchange within one on the near side, of a size that the proxy makes of it
//! ```

mod alone;
mod buckets;
mod bytes;
mod candidates;
mod content;
mod conversation;
mod exchanges;
mod http;
mod learned;
mod matching;
mod moments;
mod narrowing;
mod observed;
mod observer;
mod places;
mod records;
mod requests;
mod segment;
mod shape;
mod shelf;
mod sides;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod turns;
mod units;
mod way;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::thread::Builder;

use foldhash::fast::RandomState;

use super::{Edge, Evidence};
use crate::capture::Timestamp;

pub use observed::Observed;
pub use observer::{Limits, Observer};
pub use segment::{Half, Segment};

use shelf::Shelf;
use sides::Sides;
use turns::Turn;

/// Clocks and the order of capture may be off by this much: 30 µs, in nanoseconds.
const TOLERANCE: u64 = 30_000;

/// How many exchanges of a tie are told.
pub const EXCHANGES: u32 = 1024;

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
    /// The ties: legs by their [`TcpLeg::id`].
    pub ties: Vec<Edge>,
    /// Far legs whose clients were looked for; not of those from the pod, whose client is the pod.
    pub clients: Vec<(u32, Clients)>,
}

impl Edge {
    /// Adds an exchange, if there is room; `has_exchanges` if it is wanted itself.
    fn add(&mut self, exchange: Exchange, has_exchanges: bool) {
        if self.exchanged < EXCHANGES {
            self.set_exchanged(self.exchanged + 1);
            if has_exchanges {
                self.details().exchanges.push(exchange);
            }
        }
    }

    /// Each exchange is a request; without one there is one that was not told apart.
    fn set_exchanged(&mut self, exchanged: u32) {
        self.exchanged = exchanged.min(EXCHANGES);
        self.requests = u64::from(self.exchanged.max(1));
    }

    /// An edge between legs over which no exchange went yet.
    fn inferred(near: u32, far: u32, evidence: Evidence) -> Edge {
        Edge { requests: 1, ..Edge::new(near, far, evidence) }
    }
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
/// true partner of one that then fits another. Each is asked for once. `has_exchanges` if those of ties are wanted. Of pods whose
/// applications listen on loopback, one at a time.
///
/// Errors: what was observed cannot be read, or a leg.
pub fn infer<L>(observed: &Observed, stage: Stage, near: L, far: L, has_exchanges: bool) -> io::Result<Inferred>
where
    L: ExactSizeIterator<Item = io::Result<TcpLeg>> + Clone + Send,
{
    let mut inferred = Inferred { has_exchanges, ..Inferred::default() };
    if near.len() == 0 && far.len() == 0 {
        return Ok(inferred);
    }
    let (end, mut shelf) = (observed.end(), Shelf::new(observed));
    // One does not depend on the other; where there can be no thread, one comes after the other.
    let (near, far) = std::thread::scope(|scope| {
        let look = |far| Sides::read(stage, false, far, &mut Shelf::new(observed));
        let legs = far.clone();
        let thread = Builder::new().spawn_scoped(scope, move || look(legs));
        let near = Sides::read(stage, true, near, &mut shelf);
        let far = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => look(far),
        };
        (near, far)
    });
    let (mut near, mut far) = (near?, far?);
    for tied in bytes::tie(stage, &near, &far, end, &mut shelf)? {
        let (near, far) = (near.leg(tied.near as usize), far.leg(tied.far as usize));
        let mut edge = Edge::inferred(near.id, far.id, tied.evidence());
        edge.set_exchanged(tied.exchanged);
        if has_exchanges {
            let [near, far] = shelf.pair(&near, &far)?;
            edge.details().exchanges = bytes::exchanges(stage, near, far);
            edge.details().exchanges.truncate(EXCHANGES as usize);
        }
        inferred.ties.push(edge);
        inferred.tell(stage, far.id, || Clients::One(near.client));
    }
    let taken: HashSet<u32, RandomState> = inferred.ties.iter().map(|tie| tie.far).collect();
    far.retain(|side| !taken.contains(&side.id));
    // Behind one gateway are services of all kinds: a leg whose octets all went to one of them has none for another.
    if stage == Stage::Gateway {
        let taken: HashSet<u32, RandomState> = inferred.ties.iter().map(|tie| tie.near).collect();
        near.retain(|side| !taken.contains(&side.id));
    }
    exchanges::tie(stage, &near, &far, end, &mut shelf, &mut inferred)?;
    Ok(inferred)
}

impl Inferred {
    /// Notes the clients of a far leg, unless they are known anyway.
    fn tell(&mut self, stage: Stage, far: u32, clients: impl FnOnce() -> Clients) {
        if stage != Stage::Outbound {
            self.clients.push((far, clients()));
        }
    }
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

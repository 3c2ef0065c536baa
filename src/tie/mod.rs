//! Legs tied through the proxy: which leg towards the client belongs to which towards the server, and whose the legs from
//! the proxy's own address are.
//!
//! What comes in is legs after the first pass over files, and what else is known: access logs, conntrack's listings; what
//! goes out is [`Edge`]s between legs, the ties that they make, and the clients that legs from the proxy's address have. An
//! edge is made where one answer stands out, and says on what; where two fit, there is none.
//!
//! ```text
//! infer    packets              -> edges       what carries the same octets, or exchanges that fit
//! logs     access log, conntrack  -> edges     both connections of each request, exactly
//! mappings conntrack            -> addresses   of legs of which one direction is missing
//! groups   edges                  -> ties      legs of one call, however many pods it crosses
//! clients  edges                  -> renames   legs from 127.0.0.6 that are one client's
//! ```

mod clients;
mod groups;
pub mod infer;
mod logs;
mod mappings;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::capture::Timestamp;

pub use clients::Rename;
pub use groups::filter;

pub(crate) use clients::{Ends, Known, Others, renames};
pub(crate) use groups::{Member, group};
pub(crate) use logs::{Logs, Said, read};
pub use mappings::Mapping;
pub(crate) use mappings::{Mappings, Wanted};

/// Two legs, one on either side of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The leg towards the client, as an index into the legs.
    pub near: u32,
    /// The leg towards the server.
    pub far: u32,
    /// How many exchanges were captured on both sides.
    pub exchanged: u32,
    /// What ties them.
    pub evidence: Evidence,
    /// Requests that went over both, as far as they were told apart.
    pub requests: u64,
    /// What few have.
    details: Option<Box<Details>>,
}

/// What is known of single requests of an [`Edge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    logged: Vec<Logged>,
    exchanges: Vec<infer::Exchange>,
}

impl Edge {
    /// An edge over which nothing went yet.
    fn new(near: u32, far: u32, evidence: Evidence) -> Edge {
        Edge { near, far, exchanged: 0, evidence, requests: 0, details: None }
    }

    /// What the log says of its requests, the first ones.
    pub fn logged(&self) -> &[Logged] {
        self.details.as_ref().map_or(&[], |details| &details.logged)
    }

    /// When its exchanges were, if anybody wants to know.
    pub fn exchanges(&self) -> &[infer::Exchange] {
        self.details.as_ref().map_or(&[], |details| &details.exchanges)
    }

    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Takes over which exchanges were captured on both sides.
    pub(crate) fn set_exchanges(&mut self, other: Edge) {
        self.exchanged = other.exchanged;
        if let Some(details) = other.details {
            self.details().exchanges = details.exchanges;
        }
    }
}

/// A request by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// From its start to its end, in nanoseconds since 1970, not closer than to a millisecond.
    pub times: (u64, u64),
    /// x-request-id.
    pub id: Option<String>,
}

/// What a tie rests on, strongest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// A line of the proxy's access log names both connections.
    AccessLog {
        /// The file as the user named it.
        file: Arc<str>,
        /// The line, from 1.
        line: u64,
    },
    /// Both carried the same octets, on the far side never before the near, and no other two legs did.
    Bytes,
    /// As [`Evidence::Bytes`], and all others that would fit belong to other legs.
    Elimination,
    /// Each exchange of the far leg fits into one of the near leg, in time and size, and into no other's.
    Exchanges,
}

impl Evidence {
    /// The name as the report writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Evidence::AccessLog { .. } => "access-log",
            Evidence::Bytes => "bytes",
            Evidence::Elimination => "elimination",
            Evidence::Exchanges => "exchanges",
        }
    }

    /// How sure it is, as the report writes it.
    pub fn grade(&self) -> &'static str {
        match self {
            Evidence::AccessLog { .. } => "exact",
            Evidence::Bytes | Evidence::Elimination | Evidence::Exchanges => "inferred",
        }
    }
}

/// What is known of the call that a leg belongs to.
#[derive(Clone, Debug, Default)]
pub struct Tied {
    /// The tie's number and the display filter of its legs.
    pub tie: Option<(u64, Option<Arc<str>>)>,
    /// What the leg's own edges rest on, the weakest of them.
    pub evidence: Option<Evidence>,
    /// Requests that went over it, as far as they were told apart.
    pub requests: u64,
    /// How many of its exchanges were captured on both sides, of the first ones.
    pub exchanged: usize,
    /// When its requests were, if anybody wants to know, and their x-request-id where a log tells it.
    pub exchanges: Vec<(infer::Span, Option<String>)>,
    /// Its clients, of a leg from the proxy to the application.
    pub clients: Vec<IpAddr>,
    /// The response flags that the log has of its requests.
    pub flags: Vec<String>,
}

/// The clients of a leg from the proxy to the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Their addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// Whether nobody else's requests can have gone over the leg.
    pub complete: bool,
}

impl Clients {
    /// Takes in what packets show: where a log may miss a request, they can show that none is missing, or that one is.
    pub(crate) fn confirm(&mut self, other: &Clients) {
        if other.complete {
            self.complete = self.addresses == other.addresses;
        }
    }
}

/// A leg, as far as ties depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// The end that opened it, with the address that it has after repair.
    pub client: SocketAddr,
    /// The same as it was captured: conntrack may have changed the port, and the proxy knows that one.
    pub seen_client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// When its first and its last packet were captured.
    pub times: (Timestamp, Timestamp),
    /// When its client sent data last.
    pub last_request: Timestamp,
    /// Whether it is TCP; nothing else is tied.
    pub is_tcp: bool,
    /// Whether its first packet was captured.
    pub opened: bool,
    /// Whether packets of it were captured in fragments, of which only the first has ports.
    pub is_fragmented: bool,
    /// Whether it may be the proxy's own to the application: captured on loopback, and not redirected.
    pub is_to_application: bool,
}

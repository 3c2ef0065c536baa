//! A leg as the report and the comments tell it: both halves together.

use std::net::{IpAddr, SocketAddr};

use super::evidence::{Evidence, Reason};
use super::half::Half;
use super::key::Part;
use super::record::{Record, State, marks};
use super::segment::Place;
use super::{Flows, Written};
use crate::capture::Timestamp;
use crate::nat::{Protocol, Role};
use crate::packet::Origin;

/// One TCP or UDP conversation on one side of the proxy.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The transport protocol.
    pub protocol: Protocol,
    /// What it carries.
    pub role: Role,
    /// The end that opened it, with the addresses it bears in the output.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Whether `client` is known to have opened it; else the ends are in no promised order.
    pub client_known: bool,
    /// Whether the client's address is one of the pod's own.
    pub client_is_local: bool,
    /// Whether the server's address is one of the pod's own.
    pub server_is_local: bool,
    /// Whether it was opened while nobody asked the proxy for anything, though that would have been captured.
    pub unasked: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// What the client sent.
    pub from_client: Direction,
    /// What the server sent.
    pub from_server: Direction,
    /// Where it was captured first.
    pub first: Place,
    /// When it was captured first.
    pub first_time: Timestamp,
    /// When it was captured last.
    pub last_time: Timestamp,
    /// When its client sent data last; 0 if it sent none.
    pub last_request: Timestamp,
    /// Where its first packet went.
    pub written: Option<Written>,
    /// The conversation as captured that the client's packets are in: of a repaired leg, its forward half.
    pub forward: Part,
    /// The conversation as captured that the server's packets are in.
    pub reply: Part,
}

/// One direction of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Packets captured.
    pub packets: u64,
    /// Octets of data.
    pub bytes: u64,
    /// Whether the SYN was captured.
    pub syn: bool,
    /// Whether a FIN was.
    pub fin: bool,
    /// Whether a RST was.
    pub rst: bool,
}

/// Whether a leg was repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was whole already.
    Whole,
    /// The forward half got its original addresses back.
    Repaired {
        /// Source of the forward half as captured.
        source: SocketAddr,
        /// Destination of the forward half as captured.
        destination: SocketAddr,
        /// What proves it.
        evidence: Evidence,
    },
    /// It stays as captured.
    Left(Reason),
}

impl Flows {
    /// The leg of a conversation; of a repaired one, that of its forward half.
    pub(super) fn leg(&self, id: u32) -> Leg {
        let record = &self.table.records[id];
        match record.state {
            State::Repaired { reply } => match self.table.records.evidence(id) {
                Some(evidence) => self.repaired(id, reply, evidence),
                None => self.as_captured(id, Outcome::Whole),
            },
            State::Left(reason) => self.as_captured(id, Outcome::Left(reason)),
            _ => self.as_captured(id, Outcome::Whole),
        }
    }

    /// Where the first packet of a conversation went.
    fn place_written(&self, id: u32) -> Option<Written> {
        let (serial, written) = *self.written.get(id as usize)?;
        (serial == self.table.records[id].serial).then_some(written)
    }

    fn repaired(&self, forward_id: u32, reply_id: u32, evidence: Evidence) -> Leg {
        let records = &self.table.records;
        let (forward, reply) = (&records[forward_id], &records[reply_id]);
        let (f, r) = (forward.client().unwrap_or_default(), reply.client().unwrap_or_default());
        let (source, destination) = (forward.end(f), forward.end(1 - f));
        // Without a listener, some rules changed the address, and not towards a proxy on loopback.
        let listener = match forward.origin {
            Origin::Network => self.model.port(forward.protocol(), destination.port()),
            _ => self.model.listener(forward.protocol(), destination),
        };
        let role = listener.map_or(Role::Local, |l| l.role);
        let earlier = if forward.first_time <= reply.first_time { forward } else { reply };
        Leg {
            protocol: forward.protocol(),
            role,
            client: reply.end(r),
            server: reply.end(1 - r),
            client_known: true,
            client_is_local: self.is_local(reply.end(r).ip()),
            server_is_local: self.is_local(reply.end(1 - r).ip()),
            unasked: false,
            outcome: Outcome::Repaired { source, destination, evidence },
            // Of either, the other direction is empty, or holds what was sent past the nat rules.
            from_client: records.half(forward_id, f).direction().and(records.half(reply_id, r).direction()),
            from_server: records.half(reply_id, 1 - r).direction().and(records.half(forward_id, 1 - f).direction()),
            first: earlier.first(),
            first_time: earlier.first_time,
            last_time: forward.last_time.max(reply.last_time),
            last_request: records.half(forward_id, f).last_data.max(records.half(reply_id, r).last_data),
            written: self.place_written(reply_id),
            forward: forward.part(f),
            reply: reply.part(r),
        }
    }

    fn as_captured(&self, id: u32, outcome: Outcome) -> Leg {
        let (record, halves) = (&self.table.records[id], self.table.records.halves(id));
        let ends = record.ends();
        // Where nothing tells who opened it, a server's port is the lower one.
        let guess = usize::from(ends[0].port() < ends[1].port());
        let by_gateway = || self.gateways.as_ref()?.caller(ends);
        let client = record.client().or_else(by_gateway).unwrap_or(guess);
        Leg {
            protocol: record.protocol(),
            role: self.role(record, client),
            client: ends[client],
            server: ends[1 - client],
            client_known: record.client().is_some(),
            client_is_local: self.is_local(ends[client].ip()),
            server_is_local: self.is_local(ends[1 - client].ip()),
            unasked: record.is(marks::UNASKED),
            outcome,
            from_client: halves[client].direction(),
            from_server: halves[1 - client].direction(),
            first: record.first(),
            first_time: record.first_time,
            last_time: record.last_time,
            last_request: halves[client].last_data,
            written: self.place_written(id),
            forward: record.part(client),
            reply: record.part(client),
        }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.pods.contains(&address)
    }

    fn role(&self, record: &Record, client: usize) -> Role {
        let (source, destination) = (record.end(client), record.end(1 - client));
        if let (Some(gateways), false) = (&self.gateways, record.origin == Origin::Loopback)
            && let Some(role) = gateways.role(source.ip(), destination.ip())
        {
            return role;
        }
        if record.origin != Origin::Network {
            let is_whole = record.state == State::Whole;
            let listener = self.model.listener(record.protocol(), destination);
            return match listener {
                Some(listener) if listener.sure || !is_whole => listener.role,
                _ if self.model.is_passthrough(source.ip()) => Role::InboundApp,
                _ if is_whole && self.is_borrowed(source.ip(), destination.ip()) => Role::InboundApp,
                _ => Role::Local,
            };
        }
        match (self.pods.contains(&source.ip()), self.pods.contains(&destination.ip())) {
            // Both ends are pods whose captures were given: the leg is seen from the one that opened it.
            (true, _) => Role::OutboundPeer,
            (false, true) => Role::InboundPeer,
            (false, false) => Role::Network,
        }
    }

    /// Whether a client on loopback bears the address of another host: the proxy took it from the client that it serves,
    /// through a transparent socket. The kernel itself would take the destination's.
    fn is_borrowed(&self, client: IpAddr, server: IpAddr) -> bool {
        !client.is_loopback() && !server.is_loopback() && client != server && !self.pods.contains(&client)
    }
}

impl Leg {
    /// Source and destination of what its client sent, as captured, where these are others now.
    pub fn captured(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.outcome {
            Outcome::Repaired { source, destination, .. } => Some((source, destination)),
            Outcome::Whole | Outcome::Left(_) => None,
        }
    }

    /// Whether its first packet was captured: then it is known who opened it, and when.
    pub fn opened(&self) -> bool {
        self.client_known && self.from_client.syn
    }
}

impl Direction {
    fn and(self, other: Direction) -> Direction {
        Direction {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            syn: self.syn || other.syn,
            fin: self.fin || other.fin,
            rst: self.rst || other.rst,
        }
    }
}

impl Half {
    fn direction(&self) -> Direction {
        let (packets, bytes) = (self.packets(), self.bytes);
        Direction { packets, bytes, syn: self.isn().is_some(), fin: self.fin(), rst: self.rst() }
    }
}

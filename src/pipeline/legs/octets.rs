//! How a leg, and what is known of its call, is put away: the octets of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Outline;
use crate::audit::{Agreement, Contradiction};
use crate::capture::Timestamp;
use crate::flow::{Direction, Evidence, Leg, Outcome, Part, Place, Reason};
use crate::nat::{Protocol, Role};
use crate::pipeline::kept::Kept;
use crate::store::{Put, put, put_from};
use crate::tie::infer::Span;
use crate::tie::{self, Tied};

/// Bits of the octet that a leg begins with.
mod bits {
    pub const UDP: u8 = 1;
    pub const CLIENT_KNOWN: u8 = 1 << 1;
    pub const CLIENT_IS_LOCAL: u8 = 1 << 2;
    pub const SERVER_IS_LOCAL: u8 = 1 << 3;
    pub const UNASKED: u8 = 1 << 4;
    /// The client of the forward half, of the reply half.
    pub const CLIENT_IS_FIRST: [u8; 2] = [1 << 5, 1 << 6];
    /// Client and server as captured follow.
    pub const CAPTURED: u8 = 1 << 7;
}

pub fn put_kept(Kept { leg, agreement, captured }: &Kept, to: &mut Vec<u8>) {
    let set = |is: bool, bit: u8| if is { bit } else { 0 };
    to.push(
        set(leg.protocol == Protocol::Udp, bits::UDP)
            | set(leg.client_known, bits::CLIENT_KNOWN)
            | set(leg.client_is_local, bits::CLIENT_IS_LOCAL)
            | set(leg.server_is_local, bits::SERVER_IS_LOCAL)
            | set(leg.unasked, bits::UNASKED)
            | set(leg.forward.client_is_first, bits::CLIENT_IS_FIRST[0])
            | set(leg.reply.client_is_first, bits::CLIENT_IS_FIRST[1])
            | set(captured.is_some(), bits::CAPTURED),
    );
    put(to, leg.forward.number);
    put_from(to, leg.forward.number, leg.reply.number);
    to.push(Role::ALL.iter().position(|role| *role == leg.role).unwrap_or_default() as u8);
    put_end(leg.client, to);
    put_end(leg.server, to);
    if let Some((client, server)) = captured {
        put_end(*client, to);
        put_end(*server, to);
    }
    put_outcome(&leg.outcome, to);
    for direction in [&leg.from_client, &leg.from_server] {
        let Direction { packets, bytes, syn, fin, rst } = *direction;
        to.push(u8::from(syn) | u8::from(fin) << 1 | u8::from(rst) << 2);
        put(to, packets);
        put(to, bytes);
    }
    put_place(leg.first, to);
    put(to, leg.first_time.0);
    put_from(to, leg.first_time.0, leg.last_time.0);
    put_from(to, leg.first_time.0, leg.last_request.0);
    put_agreement(agreement.as_ref(), to);
}

/// The octet that a leg begins with, and its parts.
pub fn take_parts(from: &mut Put<'_>) -> (u8, [Part; 2]) {
    let first = from.octet();
    let forward = from.take();
    let numbers = [forward, from.take_from(forward)];
    let part = |n: usize| Part { number: numbers[n], client_is_first: first & bits::CLIENT_IS_FIRST[n] != 0 };
    (first, [part(0), part(1)])
}

/// The octet that a leg begins with, and its outline.
pub fn take_outline(from: &mut Put<'_>) -> (u8, Outline) {
    let (first, parts) = take_parts(from);
    let is = |bit: u8| first & bit != 0;
    let role = Role::ALL.get(usize::from(from.octet())).copied().unwrap_or(Role::Network);
    let outline = Outline {
        protocol: if is(bits::UDP) { Protocol::Udp } else { Protocol::Tcp },
        role,
        client: take_end(from),
        server: take_end(from),
        client_is_local: is(bits::CLIENT_IS_LOCAL),
        server_is_local: is(bits::SERVER_IS_LOCAL),
        parts,
    };
    (first, outline)
}

pub fn take_kept(from: &mut Put<'_>) -> Kept {
    let (first, outline) = take_outline(from);
    let is = |bit: u8| first & bit != 0;
    let Outline { protocol, role, client, server, client_is_local, server_is_local, parts: [forward, reply] } = outline;
    let captured = is(bits::CAPTURED).then(|| (take_end(from), take_end(from)));
    let outcome = take_outcome(from);
    let mut direction = || {
        let is = from.octet();
        let (packets, bytes) = (from.take(), from.take());
        Direction { packets, bytes, syn: is & 1 != 0, fin: is & 2 != 0, rst: is & 4 != 0 }
    };
    let (from_client, from_server) = (direction(), direction());
    let (first, first_time) = (take_place(from), from.take());
    let (last_time, last_request) = (from.take_from(first_time), from.take_from(first_time));
    let leg = Leg {
        protocol,
        role,
        client,
        server,
        client_known: is(bits::CLIENT_KNOWN),
        client_is_local,
        server_is_local,
        unasked: is(bits::UNASKED),
        outcome,
        from_client,
        from_server,
        first,
        first_time: Timestamp(first_time),
        last_time: Timestamp(last_time),
        last_request: Timestamp(last_request),
        written: None,
        forward,
        reply,
    };
    Kept { leg, agreement: take_agreement(from), captured }
}

/// An address and a port. Scopes and flow labels are nowhere.
fn put_end(end: SocketAddr, to: &mut Vec<u8>) {
    match end.ip() {
        IpAddr::V4(address) => {
            to.push(4);
            to.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            to.push(6);
            to.extend_from_slice(&address.octets());
        }
    }
    to.extend_from_slice(&end.port().to_le_bytes());
}

fn take_end(from: &mut Put<'_>) -> SocketAddr {
    let address: IpAddr = match from.octet() {
        6 => Ipv6Addr::from(from.array()).into(),
        _ => Ipv4Addr::from(from.array()).into(),
    };
    SocketAddr::new(address, u16::from_le_bytes(from.array()))
}

fn put_place(place: Place, to: &mut Vec<u8>) {
    put(to, u64::from(place.input));
    put(to, place.frame);
}

fn take_place(from: &mut Put<'_>) -> Place {
    Place { input: from.take() as u16, frame: from.take() }
}

/// Why a leg was left, by the place here.
pub const REASONS: [Reason; 6] =
    [Reason::NoReply, Reason::OneDirection, Reason::Ambiguous, Reason::Direct, Reason::LookAhead, Reason::Evicted];

fn put_outcome(outcome: &Outcome, to: &mut Vec<u8>) {
    match *outcome {
        Outcome::Whole => to.push(0),
        Outcome::Left(reason) => {
            to.push(1);
            to.push(REASONS.iter().position(|known| *known == reason).unwrap_or_default() as u8);
        }
        Outcome::Repaired { source, destination, evidence } => {
            let kind = match evidence {
                Evidence::Handshake { refused, .. } => 2 + u8::from(refused),
                Evidence::Sequence { echo, .. } => 4 + u8::from(echo),
                Evidence::Dns { .. } => 6,
                Evidence::Conntrack { .. } => 7,
            };
            to.push(kind);
            put_end(source, to);
            put_end(destination, to);
            let (forward, reply) = evidence.places();
            put_place(forward, to);
            if let Evidence::Conntrack { listing, line, .. } = evidence {
                put(to, u64::from(listing));
                put(to, line);
            }
            if let Some(reply) = reply {
                put_place(reply, to);
            }
        }
    }
}

fn take_outcome(from: &mut Put<'_>) -> Outcome {
    match from.octet() {
        0 => Outcome::Whole,
        1 => Outcome::Left(REASONS.get(usize::from(from.octet())).copied().unwrap_or(Reason::Evicted)),
        kind => {
            let (source, destination) = (take_end(from), take_end(from));
            let first = take_place(from);
            let evidence = match kind {
                2 | 3 => Evidence::Handshake { syn: first, answer: take_place(from), refused: kind == 3 },
                4 | 5 => Evidence::Sequence { forward: first, reply: take_place(from), echo: kind == 5 },
                6 => Evidence::Dns { query: first, reply: take_place(from) },
                _ => Evidence::Conntrack { forward: first, listing: from.take() as u16, line: from.take() },
            };
            Outcome::Repaired { source, destination, evidence }
        }
    }
}

pub fn put_tied(Tied { tie, evidence, requests, exchanged, exchanges, clients, flags }: &Tied, to: &mut Vec<u8>) {
    match tie {
        None => put(to, 0),
        Some((number, None)) => put(to, number << 1 | 1),
        Some((number, Some(filter))) => {
            put(to, (number + 1) << 1);
            put_text(filter, to);
        }
    }
    match evidence {
        None => to.push(0),
        Some(tie::Evidence::Bytes) => to.push(1),
        Some(tie::Evidence::Elimination) => to.push(2),
        Some(tie::Evidence::Exchanges) => to.push(3),
        Some(tie::Evidence::AccessLog { file, line }) => {
            to.push(4);
            put_text(file, to);
            put(to, *line);
        }
    }
    put(to, *requests);
    put(to, *exchanged as u64);
    put(to, exchanges.len() as u64);
    for (Span { request, response }, id) in exchanges {
        put(to, request.0.0);
        [request.1, response.0, response.1].into_iter().for_each(|time| put_from(to, request.0.0, time.0));
        to.push(u8::from(id.is_some()));
        id.iter().for_each(|id| put_text(id, to));
    }
    put(to, clients.len() as u64);
    clients.iter().for_each(|client| put_end(SocketAddr::new(*client, 0), to));
    put(to, flags.len() as u64);
    flags.iter().for_each(|flag| put_text(flag, to));
}

pub fn take_tied(from: &mut Put<'_>) -> Tied {
    let tie = match from.take() {
        0 => None,
        number if number & 1 == 1 => Some((number >> 1, None)),
        number => Some(((number >> 1) - 1, Some(take_text(from).into()))),
    };
    let evidence = match from.octet() {
        0 => None,
        1 => Some(tie::Evidence::Bytes),
        2 => Some(tie::Evidence::Elimination),
        3 => Some(tie::Evidence::Exchanges),
        _ => Some(tie::Evidence::AccessLog { file: take_text(from).into(), line: from.take() }),
    };
    let (requests, exchanged, len) = (from.take(), from.take() as usize, from.take());
    let exchange = |_| {
        let first = from.take();
        let [asked, answered, last] = std::array::from_fn(|_| Timestamp(from.take_from(first)));
        let span = Span { request: (Timestamp(first), asked), response: (answered, last) };
        (span, (from.octet() == 1).then(|| take_text(from)))
    };
    let exchanges = (0..len).map(exchange).collect();
    let clients = (0..from.take()).map(|_| take_end(from).ip()).collect();
    let flags = (0..from.take()).map(|_| take_text(from)).collect();
    Tied { tie, evidence, requests, exchanged, exchanges, clients, flags }
}

fn put_text(text: &str, to: &mut Vec<u8>) {
    put(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

fn take_text(from: &mut Put<'_>) -> String {
    let len = from.take() as usize;
    String::from_utf8_lossy(from.octets(len)).into_owned()
}

fn put_agreement(agreement: Option<&Agreement>, to: &mut Vec<u8>) {
    to.push(match agreement {
        None => 0,
        Some(Agreement::Agrees) => 1,
        Some(Agreement::Undecided) => 2,
        Some(Agreement::Contradicts(_)) => 3,
        Some(Agreement::Bypasses(_)) => 4,
    });
    if let Some(Contradiction { packets, rules, is_certain }) = agreement.and_then(Agreement::contradiction) {
        to.push(u8::from(*is_certain));
        put_text(packets, to);
        put_text(rules, to);
    }
}

fn take_agreement(from: &mut Put<'_>) -> Option<Agreement> {
    let kind = from.octet();
    let mut contradiction = || {
        let is_certain = from.octet() != 0;
        Contradiction { packets: take_text(from), rules: take_text(from), is_certain }
    };
    match kind {
        0 => None,
        1 => Some(Agreement::Agrees),
        2 => Some(Agreement::Undecided),
        3 => Some(Agreement::Contradicts(contradiction())),
        _ => Some(Agreement::Bypasses(contradiction())),
    }
}

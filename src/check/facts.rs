//! A leg with what was collected of both its ends, and whose they are.

use std::net::SocketAddr;

use super::Subject;
use super::collect::{Collector, Conversation, End, Seen};
use crate::audit::Agreement;
use crate::capture::Timestamp;
use crate::flow::Leg;
use crate::nat::{Protocol, Role};
use crate::tie::Tied;

/// What is known of a leg beside its packets.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The leg, as it is in the repaired file.
    pub leg: &'a Leg,
    /// How it agrees with the rules that were given.
    pub agreement: Option<&'a Agreement>,
    /// The call that it belongs to.
    pub tied: &'a Tied,
    /// Its `tcp.stream` or `udp.stream`.
    pub stream: Option<u32>,
}

/// A leg and its packets.
pub struct Fact<'a> {
    /// The leg, as it is in the repaired file.
    pub leg: &'a Leg,
    pub(super) agreement: Option<&'a Agreement>,
    pub(super) tied: &'a Tied,
    stream: Option<u32>,
    /// What its client sent.
    pub(super) client: &'a End,
    /// What its server sent.
    pub(super) server: &'a End,
    /// The conversation that holds what its client sent.
    pub(super) forward: &'a Conversation,
}

impl<'a> Fact<'a> {
    /// Puts both halves of a leg together.
    pub fn new(known: Known<'a>, collector: &'a Collector) -> Fact<'a> {
        let Known { leg, agreement, tied, stream } = known;
        let forward = collector.conversation(leg.forward.number);
        let reply = collector.conversation(leg.reply.number);
        let client = forward.end(leg.forward.client_is_first);
        let server = reply.end(!leg.reply.client_is_first);
        Fact { leg, agreement, tied, stream, client, server, forward }
    }

    pub(super) fn subject(&self) -> Subject {
        let Leg { role, client, server, .. } = *self.leg;
        let tcp_stream = self.stream.filter(|_| self.is_tcp());
        Subject { role: role.name(), client: client.to_string(), server: server.to_string(), tcp_stream }
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.leg.protocol == Protocol::Tcp
    }

    /// Whether it stays inside the pod.
    pub(super) fn is_inside(&self) -> bool {
        !self.leg.role.is_on_wire()
    }

    /// Where its client's packets go to, as captured.
    pub(super) fn captured(&self) -> (SocketAddr, SocketAddr) {
        self.leg.captured().unwrap_or((self.leg.client, self.leg.server))
    }

    /// Its first packet.
    pub(super) fn first(&self) -> Option<Seen> {
        [self.client.first, self.server.first].into_iter().flatten().min()
    }

    /// Whose an end is.
    pub(super) fn whose(&self, is_client: bool) -> &'static str {
        match (self.leg.role, is_client) {
            (Role::OutboundApp | Role::Dns, true) | (Role::InboundApp, false) => "the application",
            (Role::OutboundPeer | Role::InboundApp, true)
            | (Role::OutboundApp | Role::InboundPeer | Role::Dns, false) => "the proxy",
            (Role::OutboundPeer, false) | (Role::InboundPeer, true) => "the peer",
            (Role::SelfCall, true) => "the proxy",
            (Role::SelfCall, false) => "the proxy's inbound side",
            (_, true) => "the client",
            (_, false) => "the server",
        }
    }

    /// Whether the client was answered by the server that it asked.
    pub(super) fn is_answered(&self) -> bool {
        self.server.syn_ack.is_some() || self.server.first_data.is_some()
    }

    /// Whether the server answered the client's SYN by a reset.
    pub(super) fn is_refused(&self) -> bool {
        self.server.refuses(self.client)
    }

    /// The first RST of the client. Not one for what another connection answered to its SYN: its own goes on.
    pub(super) fn client_reset(&self) -> Option<Seen> {
        let is_for_another = |reset: &Seen| {
            let was_met = self.forward.challenge.is_some_and(|challenge| challenge.seen < *reset);
            was_met && self.server.syn_ack.is_none_or(|answer| *reset < answer)
        };
        self.client.rst.filter(|reset| !is_for_another(reset))
    }

    /// What the proxy's access log says of its requests, if that is no success.
    pub(super) fn logged(&self) -> String {
        let flags: Vec<String> = self.tied.flags.iter().map(|flag| meaning(flag)).collect();
        if flags.is_empty() { String::new() } else { format!("; the access log says {}", flags.join(", ")) }
    }

    /// Whether both ends were captured, or the capture lacks one.
    pub(super) fn is_two_sided(&self) -> bool {
        self.client.packets > 0 && self.server.packets > 0
    }
}

/// How long it is from one packet to another time, in words.
pub(super) fn after(seen: Seen, until: Timestamp) -> String {
    span(until.0.saturating_sub(seen.time.0))
}

/// Nanoseconds in words.
pub(super) fn span(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000_000 => format!("{} µs", nanoseconds / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", nanoseconds / 1_000_000),
        _ => format!("{}.{} s", nanoseconds / 1_000_000_000, nanoseconds / 100_000_000 % 10),
    }
}

/// A number of things.
pub(super) fn count(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// What a response flag of Envoy means (Envoy's documentation of `%RESPONSE_FLAGS%`).
fn meaning(flag: &str) -> String {
    let words = match flag {
        "UF" => "the connection to the upstream failed",
        "UC" => "the upstream ended the connection",
        "DC" => "the client ended the connection",
        "UT" => "the upstream took too long",
        "UH" => "no healthy upstream",
        "UO" => "circuit breaker open",
        "UR" => "the upstream reset the stream",
        "LR" => "the proxy reset the stream",
        "URX" => "no more retries",
        "NR" => "no route",
        "NC" => "no such cluster",
        "DPE" => "the client broke the protocol",
        "UPE" => "the upstream broke the protocol",
        "SI" => "stream idle too long",
        "DT" => "duration exceeded",
        "UMSDR" => "the upstream ended its stream early",
        _ => return flag.to_owned(),
    };
    format!("{flag}, {words}")
}

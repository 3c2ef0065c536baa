//! What is known of the conversations of a recording: no times, no ephemeral ports.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::payload::Payload;

/// The conversations of a recording, in the order of their first packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// One entry each.
    pub conversations: Vec<Conversation>,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Conversations of one step overlap in time, one by one; those of an earlier step were over before.
    pub step: u32,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The role of its leg, as the report names it.
    pub role: String,
    /// Who opened it.
    pub client: IpAddr,
    /// Whom it was opened to.
    pub server: SocketAddr,
    /// How it began, of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// How it ended, of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// What the client sent.
    pub sent: Payload,
    /// What the server sent.
    pub received: Payload,
    /// Role and server of the legs that are one call with it, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tied: Vec<String>,
    /// Where it stands in the repaired capture; not noted.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// Where a conversation stands in a repaired capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `frame.number` of its first packet.
    pub frame: u64,
    /// `tcp.stream` or `udp.stream`.
    pub stream: Option<u32>,
}

/// How a connection began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handshake {
    /// SYN and SYN-ACK.
    Opened,
    /// SYN, and a RST for an answer.
    Refused,
    /// SYN, and no answer.
    Unanswered,
    /// No SYN: it began before the capture.
    Before,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// FIN of both.
    Closed,
    /// FIN of the client, and no more.
    ClientClosed,
    /// FIN of the server, and no more.
    ServerClosed,
    /// RST of the client, before it was closed.
    ClientReset,
    /// RST of the server, before it was closed.
    ServerReset,
    /// It did not.
    Open,
}

impl Handshake {
    /// In words.
    pub fn told(self) -> &'static str {
        match self {
            Handshake::Opened => "opened",
            Handshake::Refused => "refused",
            Handshake::Unanswered => "unanswered",
            Handshake::Before => "opened before the capture",
        }
    }
}

impl Ended {
    /// In words.
    pub fn told(self) -> &'static str {
        match self {
            Ended::Closed => "closed by both",
            Ended::ClientClosed => "closed by the client only",
            Ended::ServerClosed => "closed by the server only",
            Ended::ClientReset => "reset by the client",
            Ended::ServerReset => "reset by the server",
            Ended::Open => "still open",
        }
    }
}

impl Trace {
    /// Leaves header fields out.
    pub fn ignore(&mut self, is_ignored: &dyn Fn(&str) -> bool) {
        for conversation in &mut self.conversations {
            conversation.sent.ignore(is_ignored);
            conversation.received.ignore(is_ignored);
        }
    }
}

//! What one direction of a conversation carried, as it is compared and noted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest;

/// What one direction carried. What is not known (`None`) is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// `none`, `raw`, `http`, `http2`, `tls` or `dns`.
    pub kind: String,
    /// Octets: all of them of `raw`, those of the bodies of `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// A hash of all that counts and stands in no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What was said, one by one: the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// How many more there were; they are in the hash.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Whether a part of it was not captured: what is missing is not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A request, a response, a message of DNS, a hello of TLS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its first line.
    pub line: String,
    /// Names of header fields and hashes of their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Octets of its body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub octets: u64,
    /// A hash of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Values that can be shown; they are not noted, and not compared.
    #[serde(skip)]
    pub shown: BTreeMap<String, String>,
}

impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        let all = |m: &Message| (m.octets, m.hash.clone());
        self.line == other.line && self.headers == other.headers && all(self) == all(other)
    }
}

impl Eq for Message {}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Payload {
    /// Of this kind, and nothing else known of it.
    pub fn of_kind(kind: &str) -> Payload {
        Payload { kind: kind.to_owned(), ..Payload::default() }
    }

    /// Octets of which nothing more is known.
    pub fn raw(octets: &[u8]) -> Payload {
        let (len, hash) = (octets.len() as u64, digest::of(octets));
        Payload { octets: Some(len), hash: Some(hash), ..Payload::of_kind("raw") }
    }

    /// Leaves header fields out.
    pub fn ignore(&mut self, is_ignored: &dyn Fn(&str) -> bool) {
        for message in &mut self.messages {
            message.headers.retain(|name, _| !is_ignored(name));
        }
    }

    /// Octets of memory in use, roughly.
    pub fn memory(&self) -> usize {
        self.messages.iter().map(Message::memory).sum::<usize>() + 64
    }
}

impl Message {
    /// Octets of memory in use, roughly.
    pub fn memory(&self) -> usize {
        let of = |map: &BTreeMap<String, String>| map.iter().map(|(n, v)| n.len() + v.len() + 64).sum::<usize>();
        size_of::<Message>() + self.line.len() + of(&self.headers) + of(&self.shown) + 32
    }
}

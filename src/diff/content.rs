//! What one direction says, by what its first octets are: HTTP/1, TLS, DNS, or octets of which nothing more is known.
//!
//! What comes in is octets in order, or datagrams; what goes out is a [`Payload`].

use std::collections::VecDeque;

use super::digest::{self, Digest};
use super::http::{self, Asked, NotHttp};
use super::payload::{Message, Payload};
use super::read::Settings;
use super::{dns, tls};

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Messages of DNS that are listed one by one.
const LISTED: usize = 1000;

/// The port of DNS (RFC 1035, section 4.2).
pub(super) const DNS_PORT: u16 = 53;

/// What one direction said so far.
pub(super) struct Content {
    is_response: bool,
    state: State,
}

enum State {
    /// Too few octets to tell.
    Start(Vec<u8>),
    Raw(Digest, u64),
    Http(Box<http::Reader>),
    Http2,
    Tls(tls::Reader),
    Dns(Box<Dns>),
}

#[derive(Default)]
struct Dns {
    /// A message over TCP that is not whole yet, its length in front.
    partial: Vec<u8>,
    listed: Vec<Message>,
    listed_octets: usize,
    more: u64,
    /// The sum of the hashes of the others: two questions at once are answered in any order.
    rest: u64,
}

impl Content {
    /// Nothing yet of the client, or of the server (`is_response`).
    pub fn new(is_response: bool, is_dns: bool) -> Content {
        let state = if is_dns { State::Dns(Box::default()) } else { State::Start(Vec::new()) };
        Content { is_response, state }
    }

    /// Takes in the next octets of a TCP connection.
    pub fn octets(&mut self, data: &[u8], asked: &mut VecDeque<Asked>, settings: &Settings) {
        match &mut self.state {
            State::Start(head) => {
                head.extend_from_slice(data);
                let Some(state) = begin(head, self.is_response) else { return };
                let head = std::mem::take(head);
                self.state = state;
                self.octets(&head, asked, settings);
            }
            State::Raw(digest, octets) => {
                digest.update(data);
                *octets += data.len() as u64;
            }
            State::Http(reader) => {
                if let Err(NotHttp(head)) = reader.read(data, asked, settings) {
                    self.state = State::Raw(Digest::default(), 0);
                    self.octets(&head, asked, settings);
                }
            }
            State::Tls(reader) => reader.read(data),
            State::Dns(dns) => dns.octets(data, settings),
            State::Http2 => {}
        }
    }

    /// Takes in a datagram.
    pub fn datagram(&mut self, data: &[u8], settings: &Settings) {
        match &mut self.state {
            State::Dns(dns) => dns.message(data, settings),
            State::Raw(digest, octets) => {
                digest.field(data);
                *octets += data.len() as u64;
            }
            _ => {
                self.state = State::Raw(Digest::default(), 0);
                self.datagram(data, settings);
            }
        }
    }

    /// There is no more.
    pub fn finish(self) -> Payload {
        match self.state {
            State::Start(head) if head.is_empty() => Payload::of_kind("none"),
            State::Start(head) => {
                let mut digest = Digest::default();
                digest.update(&head);
                raw(digest, head.len() as u64)
            }
            State::Raw(digest, octets) => raw(digest, octets),
            State::Http(reader) => reader.finish(),
            State::Http2 => Payload::of_kind("http2"),
            State::Tls(reader) => reader.finish(),
            State::Dns(dns) => dns.finish(),
        }
    }

    /// Octets of memory in use, roughly.
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Start(head) => head.capacity(),
            State::Http(reader) => reader.memory(),
            State::Tls(reader) => reader.memory(),
            State::Dns(dns) => size_of::<Dns>() + dns.partial.capacity() + dns.listed_octets,
            State::Raw(..) | State::Http2 => 0,
        }
    }
}

fn raw(digest: Digest, octets: u64) -> Payload {
    Payload { octets: Some(octets), hash: Some(digest.hex()), ..Payload::of_kind("raw") }
}

/// What the first octets begin; `None` if that is still open.
fn begin(head: &[u8], is_response: bool) -> Option<State> {
    let starts = |pattern: &[u8]| head.starts_with(pattern);
    let may_start = |pattern: &[u8]| pattern.starts_with(head);
    if starts(PREFACE) || is_response && is_settings(head) {
        return Some(State::Http2);
    }
    if tls::is_tls(head) {
        return (head.len() >= 3).then(State::tls);
    }
    let is_http = match is_response {
        true => starts(b"HTTP/1."),
        // The reader finds out about the rest of the line.
        false => head.first().is_some_and(u8::is_ascii_uppercase) && !may_start(PREFACE),
    };
    if is_http {
        return Some(State::Http(Box::new(http::Reader::new(is_response))));
    }
    let is_open = match is_response {
        true => may_start(b"HTTP/1.") || head.len() < 9 && head[0] == 0,
        false => may_start(PREFACE),
    };
    (!is_open).then(|| State::Raw(Digest::default(), 0))
}

impl State {
    fn tls() -> State {
        State::Tls(tls::Reader::default())
    }
}

/// What a server of HTTP/2 sends first: a SETTINGS frame of stream 0 (RFC 9113, section 6.5).
fn is_settings(head: &[u8]) -> bool {
    matches!(head, [0, _, len, 4, 0, 0, 0, 0, 0, ..] if len % 6 == 0)
}

impl Dns {
    /// Messages over TCP have their length in front (RFC 1035, section 4.2.2).
    fn octets(&mut self, data: &[u8], settings: &Settings) {
        self.partial.extend_from_slice(data);
        let partial = std::mem::take(&mut self.partial);
        let mut rest = &partial[..];
        while let [a, b, behind @ ..] = rest {
            let Some((message, next)) = behind.split_at_checked(usize::from(u16::from_be_bytes([*a, *b]))) else {
                break;
            };
            self.message(message, settings);
            rest = next;
        }
        self.partial = rest.to_vec();
    }

    fn message(&mut self, data: &[u8], settings: &Settings) {
        let opaque = || Message {
            line: "(not DNS)".to_owned(),
            octets: data.len() as u64,
            hash: Some(digest::of(data)),
            ..Message::default()
        };
        let message = dns::read(data, settings).unwrap_or_else(opaque);
        if self.listed.len() < LISTED {
            self.listed_octets += message.memory();
            self.listed.push(message);
            return;
        }
        self.more += 1;
        let mut digest = Digest::default();
        digest.field(message.line.as_bytes());
        digest.field(message.hash.unwrap_or_default().as_bytes());
        self.rest = self.rest.wrapping_add(digest.number());
    }

    fn finish(mut self) -> Payload {
        if self.listed.is_empty() {
            return Payload::of_kind("none");
        }
        self.listed.sort_by(|a, b| (&a.line, &a.hash).cmp(&(&b.line, &b.hash)));
        let hash = (self.more > 0).then(|| digest::hex(self.rest));
        Payload { messages: self.listed, more: self.more, hash, ..Payload::of_kind("dns") }
    }
}

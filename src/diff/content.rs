//! What one direction says, by what its first octets are: HTTP/1, TLS, DNS, or octets of which nothing more is known.
//!
//! What comes in is octets in order, or datagrams; what goes out is a [`Payload`].

use std::collections::VecDeque;

use super::digest::{self, Digest};
use super::http::{self, Asked, NotHttp};
use super::payload::{Message, Payload};
use super::settings::Settings;
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
            State::Start(head) => Payload::raw(&head),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One direction, read in parts.
    fn read(is_response: bool, parts: &[&[u8]], asked: &[Asked]) -> Payload {
        let mut content = Content::new(is_response, false);
        let mut asked = asked.iter().copied().collect();
        parts.iter().for_each(|part| content.octets(part, &mut asked, &Settings::default()));
        content.finish()
    }

    fn lines(payload: &Payload) -> Vec<(&str, u64)> {
        payload.messages.iter().map(|message| (message.line.as_str(), message.octets)).collect()
    }

    #[test]
    fn what_it_is_is_told_by_its_first_octets() {
        for (is_response, octets, kind) in [
            (false, &b"GET / HTTP/1.1\r\n\r\n"[..], "http"),
            (true, b"HTTP/1.1 200 OK\r\n\r\n", "http"),
            (false, PREFACE, "http2"),
            (true, b"\0\0\x12\x04\0\0\0\0\0\0\x03", "http2"),
            (false, b"\x16\x03\x01\x02\x00\x01", "tls"),
            (false, b"PING\r\n", "raw"),
            (false, b"AUTH", "raw"),
            (false, b"*1\r\n$4\r\nPING\r\n", "raw"),
            (true, b"+PONG\r\n", "raw"),
            (true, b"H", "raw"),
            (false, b"", "none"),
        ] {
            assert_eq!(read(is_response, &[octets], &[]).kind, kind, "{}", octets.escape_ascii());
        }
    }

    #[test]
    fn bodies_end_where_they_end() {
        let responses = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
                          HTTP/1.1 204 No Content\r\n\r\n\
                          HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n\
                          HTTP/1.0 200 OK\r\n\r\nto the end";
        let asked = [Asked::Head, Asked::Other, Asked::Other, Asked::Other];
        let payload = read(true, &[responses], &asked);
        let expected =
            [("HTTP/1.1 100", 0), ("HTTP/1.1 200", 0), ("HTTP/1.1 204", 0), ("HTTP/1.1 200", 5), ("HTTP/1.0 200", 10)];
        assert_eq!(lines(&payload), expected);
        assert!(payload.messages[3].headers.contains_key("x-t"));
        // In other chunks, it is the same.
        let chunks = read(
            true,
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-T: 1\r\n\r\n"],
            &[],
        );
        assert_eq!(chunks.messages[0], payload.messages[3]);
    }

    #[test]
    fn another_protocol_after_an_upgrade() {
        let response = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\nHTTP/1.1 no more";
        let payload = read(true, &[response], &[Asked::Other]);
        assert_eq!(lines(&payload), [("HTTP/1.1 101", 0), ("(not HTTP)", 16)]);
        let masked = |mask: &[u8]| {
            let request = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
            read(false, &[request, b"\x81\x85", mask], &[])
        };
        assert_eq!(masked(b"0123abcde"), masked(b"4567fghij"), "what a client masks is random");
    }

    #[test]
    fn fields_that_differ_each_time_do_not_count() {
        let request = |volatile: &str, kept: &str| {
            read(false, &[format!("GET / HTTP/1.1\r\n{volatile}X-Kept: {kept}\r\n\r\n").as_bytes()], &[])
        };
        let one = request("DATE: now\r\nX-Request-Id: 1\r\ntraceparent: 00-1-1-01\r\n", "a");
        assert_eq!(one, request("X-Envoy-Upstream-Service-Time: 12\r\n", "a"));
        assert_ne!(one, request("", "b"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let request = b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\nX: shown\r\n\r\n";
        let payload = read(false, &[request], &[]);
        let shown = &payload.messages[0].shown;
        assert_eq!((shown["x"].as_str(), shown["authorization"].contains("secret")), ("shown", false));
        assert!(payload.messages[0].headers.contains_key("authorization"));
    }

    #[test]
    fn messages_past_the_list_are_hashed() {
        let many = |last: &str| {
            let request = "GET / HTTP/1.1\r\n\r\n".repeat(1005) + &format!("GET /{last} HTTP/1.1\r\n\r\n");
            read(false, &[request.as_bytes()], &[])
        };
        let one = many("a");
        assert_eq!((one.messages.len(), one.more), (1000, 6));
        assert_eq!(one, many("a"));
        assert_ne!(one, many("b"));
    }

    #[test]
    fn dns_over_tcp_has_lengths() {
        let mut content = Content::new(false, true);
        let query = b"\0\x11\x01\x02\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
        query.iter().for_each(|octet| content.octets(&[*octet], &mut VecDeque::new(), &Settings::default()));
        assert_eq!(lines(&content.finish()), [("query A ", 0)]);
    }

    /// Octets that come close to HTTP.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let token = prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "HEAD /x HTTP/1.0\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 204\r\n",
            "HTTP/1.1 101 S\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Upgrade: websocket\r\n",
            "\r\n",
            "\n",
            "3\r\nabc\r\n",
            "0\r\n",
            "ffffffffffffffff\r\n",
            "abc",
            "PRI * HTTP/2.0\r\n",
            "\x16\x03\x01",
            "\0",
        ]);
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat().into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn segmentation_does_not_count(
            is_response: bool,
            head in prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n"]),
            octets in octets(),
            cuts in prop::collection::vec(1..9_usize, 1..20),
        ) {
            let octets = [head.as_bytes(), &octets].concat();
            let mut parts = Vec::new();
            let mut rest = &octets[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, next) = rest.split_at((*cut).min(rest.len()));
                parts.push(part);
                rest = next;
            }
            let asked = [Asked::Other, Asked::Head, Asked::Connect];
            prop_assert_eq!(read(is_response, &parts, &asked), read(is_response, &[&octets], &asked));
        }
    }
}

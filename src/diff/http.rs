//! HTTP/1 (RFC 9112) in one direction: each message by its first line, its header fields and its body.
//!
//! What comes in is octets in order; what goes out is [`Message`]s. How a body was cut into chunks does not count, nor do
//! the fields in [`VOLATILE`]. Memory: one head of [`HEAD`] octets, and [`LISTED`] messages; the rest goes into a hash.

use std::collections::{BTreeMap, VecDeque};

use super::digest::{self, Digest};
use super::payload::{Message, Payload};
use super::settings::Settings;

/// Fields whose values are secrets: never shown.
const SECRET: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// Octets of a head.
const HEAD: usize = 64 << 10;

/// Header fields of a message.
const FIELDS: usize = 128;

/// Messages that are listed one by one.
const LISTED: usize = 1000;

/// Octets of a value that is shown.
const SHOWN: usize = 100;

/// Requests that wait for their responses.
const ASKED: usize = 4096;

/// What of a request decides where its response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Head,
    Connect,
    Other,
}

/// It never was HTTP/1; these octets came until that was clear.
pub(super) struct NotHttp(pub Vec<u8>);

/// Reads one direction.
pub(super) struct Reader {
    is_response: bool,
    state: State,
    /// The head, or the line, that is being read.
    head: Vec<u8>,
    message: Message,
    body: Digest,
    listed: Vec<Message>,
    listed_octets: usize,
    more: u64,
    rest: Digest,
    octets: u64,
    /// Whether the client's frames are masked with random numbers (RFC 6455, section 5.3).
    is_masked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
    /// Another protocol since an upgrade, or something that is no HTTP.
    Opaque,
}

impl Reader {
    pub fn new(is_response: bool) -> Reader {
        Reader {
            is_response,
            state: State::Head,
            head: Vec::new(),
            message: Message::default(),
            body: Digest::default(),
            listed: Vec::new(),
            listed_octets: 0,
            more: 0,
            rest: Digest::default(),
            octets: 0,
            is_masked: false,
        }
    }

    /// Takes in the next octets. `asked` are the requests without a response so far.
    pub fn read(&mut self, mut data: &[u8], asked: &mut VecDeque<Asked>, settings: &Settings) -> Result<(), NotHttp> {
        while !data.is_empty() {
            data = match self.state {
                State::Head => self.read_head(data, asked, settings)?,
                State::Body(left) => {
                    let rest = self.read_body(data, left);
                    let left = left - (data.len() - rest.len()) as u64;
                    self.state = State::Body(left);
                    if left == 0 {
                        self.end();
                    }
                    rest
                }
                State::Chunk(left) => {
                    let rest = self.read_body(data, left);
                    let left = left - (data.len() - rest.len()) as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    rest
                }
                State::UntilClose | State::Opaque => self.read_body(data, u64::MAX),
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    let (rest, line) = self.read_line(data);
                    if let Some(line) = line {
                        self.line(&line, settings);
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    /// There is no more.
    pub fn finish(mut self) -> Payload {
        match self.state {
            State::Head if self.head.is_empty() => {}
            State::Head if self.listed.is_empty() => return Payload::raw(&self.head),
            State::Head => {
                let head = std::mem::take(&mut self.head);
                self.turn_opaque();
                self.read_body(&head, u64::MAX);
                self.end();
            }
            _ => self.end(),
        }
        Payload {
            kind: "http".to_owned(),
            octets: Some(self.octets),
            hash: (self.more > 0).then(|| self.rest.hex()),
            messages: self.listed,
            more: self.more,
            incomplete: false,
        }
    }

    /// Octets of memory in use, roughly.
    pub fn memory(&self) -> usize {
        size_of::<Reader>() + self.head.capacity() + self.message.memory() + self.listed_octets
    }

    fn read_head<'a>(
        &mut self,
        mut data: &'a [u8],
        asked: &mut VecDeque<Asked>,
        settings: &Settings,
    ) -> Result<&'a [u8], NotHttp> {
        if self.head.is_empty() {
            // Empty lines before a message are skipped (RFC 9112, section 2.2).
            let start = data.iter().position(|octet| !b"\r\n".contains(octet)).unwrap_or(data.len());
            data = &data[start..];
        }
        let before = self.head.len();
        let room = HEAD - before;
        self.head.extend_from_slice(&data[..data.len().min(room)]);
        if before < HEAD && !self.may_be_head() {
            return self.no_head(&data[data.len().min(room)..]);
        }
        let Some(end) = head_end(&self.head, before) else {
            return if self.head.len() == HEAD { self.no_head(&data[room..]) } else { Ok(&[]) };
        };
        let head = std::mem::take(&mut self.head);
        let parsed = if self.is_response { response(&head[..end]) } else { request(&head[..end]) };
        let Some(parsed) = parsed else {
            self.head = head;
            return self.no_head(&data[data.len().min(room)..]);
        };
        self.begin(&parsed, asked, settings);
        Ok(&data[end - before..])
    }

    /// What was taken for a head is none: all of it is opaque, if anything was HTTP before.
    fn no_head<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], NotHttp> {
        let head = std::mem::take(&mut self.head);
        if self.listed.is_empty() {
            return Err(NotHttp([&head, rest].concat()));
        }
        self.turn_opaque();
        self.read_body(&head, u64::MAX);
        Ok(rest)
    }

    fn turn_opaque(&mut self) {
        self.state = State::Opaque;
        self.message = Message { line: "(not HTTP)".to_owned(), ..Message::default() };
    }

    /// Whether the first line, as far as it is there, can be HTTP's.
    fn may_be_head(&self) -> bool {
        let line = self.head.split(|&octet| octet == b'\n').next().unwrap_or_default();
        let is_whole = line.len() < self.head.len();
        if self.is_response {
            return line.starts_with(b"HTTP/1.") || !is_whole && b"HTTP/1.".starts_with(line);
        }
        let method = line.split(|&octet| octet == b' ').next().unwrap_or_default();
        let is_method = method.len() <= 32 && method.iter().all(|o| o.is_ascii_uppercase() || b"-_".contains(o));
        is_method
            && (!is_whole || line.trim_ascii_end().windows(8).next_back().is_some_and(|v| v.starts_with(b"HTTP/1.")))
    }

    fn begin(&mut self, head: &Head, asked: &mut VecDeque<Asked>, settings: &Settings) {
        self.message = Message { line: head.line.clone(), ..Message::default() };
        for (name, value) in &head.fields {
            self.field(name, value, settings);
        }
        self.body = Digest::default();
        let value = |wanted: &str| head.fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let is_chunked = value("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with("chunked"));
        let length = value("content-length").and_then(|value| value.trim().parse::<u64>().ok());
        let sized = match (is_chunked, length) {
            (true, _) => State::ChunkSize,
            (false, Some(length)) => State::Body(length),
            (false, None) if self.is_response => State::UntilClose,
            (false, None) => State::Body(0),
        };
        self.state = if self.is_response {
            let status = head.status;
            // 101 is the last answer to its request, the others of 1xx are not.
            let is_last = !(100..200).contains(&status) || status == 101;
            let request = if is_last { asked.pop_front() } else { None };
            match (request, status) {
                (_, 101) | (Some(Asked::Connect), 200..300) => State::Opaque,
                (Some(Asked::Head), _) | (_, 100..200 | 204 | 304) => State::Body(0),
                _ => sized,
            }
        } else {
            if asked.len() < ASKED {
                asked.push_back(match head.line.split(' ').next() {
                    Some("HEAD") => Asked::Head,
                    Some("CONNECT") => Asked::Connect,
                    _ => Asked::Other,
                });
            }
            self.is_masked = value("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
            sized
        };
        match self.state {
            State::Body(0) => self.end(),
            State::Opaque => {
                self.end();
                self.turn_opaque();
            }
            _ => {}
        }
    }

    fn field(&mut self, name: &str, value: &str, settings: &Settings) {
        if settings.is_ignored(name) {
            return;
        }
        let value = settings.addresses.old_text(value);
        let is_shown = value.len() <= SHOWN && !SECRET.contains(&name);
        let shown = if is_shown { value.as_ref() } else { "…" };
        let join = |map: &mut BTreeMap<String, String>, value: &str| match map.get_mut(name) {
            Some(before) => {
                before.push_str(", ");
                before.push_str(value);
            }
            None => {
                map.insert(name.to_owned(), value.to_owned());
            }
        };
        join(&mut self.message.shown, shown);
        join(&mut self.message.headers, &digest::of(value.as_bytes()));
    }

    /// Takes at most so many octets of the body; returns what is behind them.
    fn read_body<'a>(&mut self, data: &'a [u8], most: u64) -> &'a [u8] {
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(data.len());
        let (body, rest) = data.split_at(len);
        self.body.update(body);
        self.message.octets += len as u64;
        self.octets += len as u64;
        rest
    }

    /// Takes octets up to the end of a line; of a long one, its start is kept.
    fn read_line<'a>(&mut self, data: &'a [u8]) -> (&'a [u8], Option<Vec<u8>>) {
        let end = memchr::memchr(b'\n', data).map_or(data.len(), |end| end + 1);
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(&data[..end.min(room)]);
        let is_whole = data[..end].ends_with(b"\n");
        (&data[end..], is_whole.then(|| std::mem::take(&mut self.head)))
    }

    fn line(&mut self, line: &[u8], settings: &Settings) {
        let line = line.trim_ascii();
        match self.state {
            State::ChunkSize => {
                let digits = line.split(|&octet| octet == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
                self.state = match size {
                    Some(0) => State::Trailer,
                    Some(size) => State::Chunk(size),
                    None => {
                        self.end();
                        self.turn_opaque();
                        self.read_body(line, u64::MAX);
                        State::Opaque
                    }
                };
            }
            State::ChunkEnd => self.state = State::ChunkSize,
            _ if line.is_empty() => self.end(),
            _ if self.message.headers.len() < FIELDS => {
                let text = String::from_utf8_lossy(line);
                let (name, value) = text.split_once(':').unwrap_or((&text, ""));
                self.field(&name.trim().to_ascii_lowercase(), value.trim(), settings);
            }
            _ => {}
        }
    }

    /// The message is over.
    fn end(&mut self) {
        let mut message = std::mem::take(&mut self.message);
        let body = std::mem::take(&mut self.body);
        let is_random = self.state == State::Opaque && self.is_masked;
        if message.octets > 0 && !is_random {
            message.hash = Some(body.hex());
        }
        self.state = State::Head;
        if self.listed.len() < LISTED {
            self.listed_octets += message.memory();
            self.listed.push(message);
            return;
        }
        self.more += 1;
        self.rest.field(message.line.as_bytes());
        for (name, value) in &message.headers {
            self.rest.field(name.as_bytes());
            self.rest.field(value.as_bytes());
        }
        self.rest.field(message.hash.unwrap_or_default().as_bytes());
    }
}

/// A head, parsed: names in small letters.
struct Head {
    line: String,
    status: u16,
    fields: Vec<(String, String)>,
}

fn request(head: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok()?.is_complete().then_some(())?;
    let line = format!("{} {} HTTP/1.{}", request.method?, request.path?, request.version?);
    Some(Head { line, status: 0, fields: owned(request.headers) })
}

fn response(head: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).ok()?.is_complete().then_some(())?;
    // The reason may be any text, or none (RFC 9112, section 4).
    let line = format!("HTTP/1.{} {}", response.version?, response.code?);
    Some(Head { line, status: response.code?, fields: owned(response.headers) })
}

fn owned(fields: &[httparse::Header]) -> Vec<(String, String)> {
    let one = |field: &httparse::Header| {
        (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).trim().to_owned())
    };
    fields.iter().map(one).collect()
}

/// Where a head ends, behind its empty line; all before `known` was looked at, but for its last octets.
fn head_end(head: &[u8], known: usize) -> Option<usize> {
    let start = known.saturating_sub(3);
    memchr::memchr_iter(b'\n', &head[start..]).map(|place| start + place).find_map(|place| match &head[place + 1..] {
        [b'\n', ..] => Some(place + 2),
        [b'\r', b'\n', ..] => Some(place + 3),
        _ => None,
    })
}

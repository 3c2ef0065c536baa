//! Envoy's access logs: Istio's text format, its JSON encoding, and any other by its format string.
//!
//! What comes in is lines and a [`Format`]; what goes out is a [`Record`] for each line: when the request began, the
//! addresses of both its connections, its id and flags. A line that fits the format in two ways is not used: values
//! such as a user agent are the client's, and could be made to look like the rest of a line.
//!
//! ```text
//! format    format string   -> Pattern     literals, and what stands between them
//! operator  %NAME(…)%       -> field, shape
//! pattern   line            -> Spans       where each field stands
//! time      %START_TIME(…)% -> nanoseconds
//! json      line            -> values by the keys of the format
//! ```

mod format;
mod json;
mod operator;
mod pattern;
#[cfg(test)]
mod tests;
mod time;

use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};

use super::lines::{Lines, Step};
use super::unused::Unused;
use operator::Field;
use pattern::{Mismatch, Spans};

pub use format::Format;
pub use pattern::FormatError;

/// A request, or a connection of the TCP proxy, as far as it ties legs. Texts are borrowed, and as the proxy wrote them:
/// a header's value need not be UTF-8. What is absent from the line (`-`) or from the format is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The line, from 1.
    pub line: u64,
    /// When it began, in nanoseconds since 1970 UTC; none also where the format has no date or no time zone.
    pub start: Option<u64>,
    /// How exact `start` is, in nanoseconds: a million for Envoy's own format.
    pub start_resolution: u64,
    /// From its start to the last octet of the response, in nanoseconds; Envoy writes milliseconds.
    pub duration: Option<u64>,
    /// The proxy's end of the connection to the upstream.
    pub upstream_local: Option<SocketAddr>,
    /// The upstream's end.
    pub upstream_host: Option<SocketAddr>,
    /// The proxy's end of the client's connection: for a redirected one, its original destination.
    pub downstream_local: Option<SocketAddr>,
    /// The client's end, or what x-forwarded-for or PROXY protocol says of the client.
    pub downstream_remote: Option<SocketAddr>,
    /// The client's end, whatever headers say.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// The flags, with commas between.
    pub response_flags: Option<&'a [u8]>,
    /// x-request-id.
    pub request_id: Option<&'a [u8]>,
}

/// The records of an access log, one by one. Holds one line of at most 64 KiB, the values of a JSON line beside it, and
/// the first few bad lines.
#[derive(Debug)]
pub struct AccessLog<R> {
    lines: Lines<R>,
    format: Format,
    unused: Unused,
    /// The values of a JSON line, one after the other.
    values: Vec<u8>,
}

/// Where the values of a line stand.
enum Values {
    InLine(Spans),
    Decoded(Spans),
}

impl<R: BufRead> AccessLog<R> {
    /// Reads the records of a file with this name.
    pub fn new(file: &str, reader: R, format: Format) -> AccessLog<R> {
        AccessLog { lines: Lines::new(reader), format, unused: Unused::new(file), values: Vec::new() }
    }

    /// The next record; lines that are none are counted. After an error or the end, it is at its end for good.
    pub fn advance(&mut self) -> io::Result<Option<Record<'_>>> {
        let values = loop {
            let step = self.lines.advance()?;
            let line = without_pod(self.lines.bytes());
            let wrong = match step {
                Step::End => return Ok(None),
                Step::TooLong => "longer than 64 KiB",
                Step::Line if line.trim_ascii().is_empty() => continue,
                Step::Line => match self.format.read(line, &mut self.values) {
                    Ok(values) => break values,
                    Err(Mismatch::Other) => {
                        self.unused.other += 1;
                        continue;
                    }
                    Err(_) if is_other_log(line) => {
                        self.unused.other += 1;
                        continue;
                    }
                    Err(mismatch) => mismatch.what(),
                },
            };
            self.unused.bad(format_args!("line {}", self.lines.number()), wrong, self.lines.bytes());
        };
        let number = self.lines.number();
        Ok(Some(match values {
            Values::InLine(spans) => record(number, without_pod(self.lines.bytes()), &spans),
            Values::Decoded(spans) => record(number, &self.values, &spans),
        }))
    }

    /// What was not used so far.
    pub fn unused(&self) -> &Unused {
        &self.unused
    }
}

/// Without what `kubectl logs --prefix` puts before each line: `[pod/web-1/istio-proxy] `.
fn without_pod(line: &[u8]) -> &[u8] {
    let prefixed = line.starts_with(b"[pod/").then(|| line.windows(2).position(|pair| pair == b"] ")).flatten();
    line.get(prefixed.map_or(0, |at| at + 2)..).unwrap_or_default()
}

/// Whether a line belongs to the log of Envoy or of Istio's agent themselves, which share the container's output:
/// `[2026-11-25 10:29:43.105][12][info]…`, and with tabs between, `2026-11-25T10:29:43.105123Z info …`.
fn is_other_log(line: &[u8]) -> bool {
    let level = |word: &[u8]| {
        [&b"trace"[..], b"debug", b"info", b"warn", b"warning", b"error", b"critical", b"fatal"].contains(&word)
    };
    let mut brackets = line.split(|&octet| octet == b'[').skip(1).map(|part| part.trim_ascii_end());
    let of_envoy = brackets.next().is_some_and(|time| time.ends_with(b"]") && time.contains(&b' '))
        && brackets.next().is_some_and(|thread| thread.ends_with(b"]"))
        && brackets.next().and_then(|rest| rest.split(|&octet| octet == b']').next()).is_some_and(level);
    of_envoy || line.split(|&octet| octet == b'\t').nth(1).is_some_and(level)
}

/// What the values say.
fn record<'a>(line: u64, text: &'a [u8], spans: &Spans) -> Record<'a> {
    let field = |field| spans.of(field, text);
    let number = |of| std::str::from_utf8(field(of)?).ok()?.parse::<u64>().ok();
    let address = |whole, ip, port| socket_address(field(whole), field(ip), number(port));
    Record {
        line,
        start: spans.start.map(|start| start.nanoseconds),
        start_resolution: spans.start.map_or(0, |start| start.resolution),
        duration: number(Field::Duration).and_then(|duration| duration.checked_mul(1_000_000)),
        upstream_local: address(Field::UpstreamLocal, Field::UpstreamLocalIp, Field::UpstreamLocalPort),
        upstream_host: address(Field::UpstreamRemote, Field::UpstreamRemoteIp, Field::UpstreamRemotePort)
            .or_else(|| socket_address(field(Field::UpstreamHost), None, None)),
        downstream_local: address(Field::DownstreamLocal, Field::DownstreamLocalIp, Field::DownstreamLocalPort),
        downstream_remote: address(Field::DownstreamRemote, Field::DownstreamRemoteIp, Field::DownstreamRemotePort),
        downstream_direct_remote: address(Field::DirectRemote, Field::DirectRemoteIp, Field::DirectRemotePort),
        response_flags: field(Field::ResponseFlags),
        request_id: field(Field::RequestId),
    }
}

/// Addresses as Envoy writes them: `10.0.0.1:80`, `[::1]:80`; or in two fields. Others (a pipe, an internal listener) are
/// none.
fn socket_address(whole: Option<&[u8]>, ip: Option<&[u8]>, port: Option<u64>) -> Option<SocketAddr> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let unwrapped = |address: &str| address.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    match whole {
        Some(whole) => text(whole)?.parse().ok(),
        None => Some(SocketAddr::new(unwrapped(text(ip?)?)?, port?.try_into().ok()?)),
    }
}

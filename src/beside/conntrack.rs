//! conntrack's entries: `conntrack -L`, `conntrack -E`, `/proc/net/nf_conntrack`.
//!
//! What comes in is their lines, with whatever `-o` adds (extended, id, timestamp, ktimestamp); what goes out is an
//! [`Entry`] for each: the tuple as the connection's opener sent it, and the tuple that replies bear.
//!
//! ```text
//! [1795612040.906274]     [NEW] ipv4     2 tcp      6 120 SYN_SENT src=… dst=… sport=… dport=… [UNREPLIED] src=… …
//! tcp      6 431999 ESTABLISHED src=… dst=… sport=… dport=… packets=3 bytes=165 src=… … [ASSURED] mark=0 use=1
//! ```

use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::lines::{Lines, Step};
use super::unused::Unused;

/// A connection as conntrack lists it, as far as it is of use here: its mark, zone and counters are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line, from 1.
    pub line: u64,
    /// When the event was seen (`-E -o timestamp`), in nanoseconds since 1970 UTC; a listing has no times.
    pub time: Option<u64>,
    /// What an event says; a listing has none.
    pub event: Option<Event>,
    /// Whether it is a TCP connection that lives, neither opening nor closing.
    pub is_established: bool,
    /// The IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// As sent by the end that opened it, before any translation.
    pub original: Tuple,
    /// As replies bear it, before the translation is undone.
    pub reply: Tuple,
}

/// What became of a connection (`-E`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was opened.
    New,
    /// Its state or status changed.
    Update,
    /// conntrack forgot it.
    Destroy,
}

/// One direction: source and destination. Ports are 0 where the protocol has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The source.
    pub source: SocketAddr,
    /// The destination.
    pub destination: SocketAddr,
}

/// The entries of a file, one by one. Holds one line of at most 64 KiB, and the first few bad ones.
#[derive(Debug)]
pub struct Conntrack<R> {
    lines: Lines<R>,
    unused: Unused,
}

impl<R: BufRead> Conntrack<R> {
    /// Reads the entries of a file with this name.
    pub fn new(file: &str, reader: R) -> Conntrack<R> {
        Conntrack { lines: Lines::new(reader), unused: Unused::new(file) }
    }

    /// The next entry; lines that are none are counted. After an error or the end, it is at its end for good.
    pub fn advance(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let wrong = match self.lines.advance()? {
                Step::End => return Ok(None),
                Step::TooLong => "longer than 64 KiB",
                Step::Line if self.lines.bytes().trim_ascii().is_empty() => continue,
                // What conntrack says of itself: "conntrack v1.4.7 (conntrack-tools): 9 flow entries have been shown."
                Step::Line if self.lines.bytes().starts_with(b"conntrack v") => {
                    self.unused.other += 1;
                    continue;
                }
                Step::Line => match parse(self.lines.bytes(), self.lines.number()) {
                    Ok(entry) => return Ok(Some(entry)),
                    Err(what) => what,
                },
            };
            self.unused.bad(format_args!("line {}", self.lines.number()), wrong, self.lines.bytes());
        }
    }

    /// What was not used so far.
    pub fn unused(&self) -> &Unused {
        &self.unused
    }
}

/// What is known of one direction while its line is read.
#[derive(Clone, Copy, Default)]
struct Direction {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: u16,
    destination_port: u16,
}

impl Direction {
    fn tuple(&self) -> Option<Tuple> {
        let (source, destination) = (self.source?, self.destination?);
        (source.is_ipv4() == destination.is_ipv4()).then_some(Tuple {
            source: SocketAddr::new(source, self.source_port),
            destination: SocketAddr::new(destination, self.destination_port),
        })
    }
}

fn parse(line: &[u8], number: u64) -> Result<Entry, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let mut rest = line.trim();
    let (mut time, mut event) = (None, None);
    // In front: the time of the event, then what it is.
    while let Some((word, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        match word.trim() {
            "NEW" => event = Some(Event::New),
            "UPDATE" => event = Some(Event::Update),
            "DESTROY" => event = Some(Event::Destroy),
            stamp => time = Some(nanoseconds(stamp).ok_or("what stands in brackets is neither a time nor an event")?),
        }
        rest = after.trim_start();
    }
    let mut words = rest.split_ascii_whitespace();
    let mut next = || words.next().ok_or("cut short");
    let mut protocol_name = next()?;
    // The network protocol, as `-o extended` and /proc have it: ipv4 2, ipv6 10.
    if matches!(protocol_name, "ipv4" | "ipv6") {
        next()?;
        protocol_name = next()?;
    }
    if protocol_name.contains('=') {
        return Err("not an entry of conntrack -L or -E, nor of /proc/net/nf_conntrack");
    }
    let protocol = next()?.parse().map_err(|_| "not an entry of conntrack -L or -E, nor of /proc/net/nf_conntrack")?;

    let mut directions = [Direction::default(); 2];
    let mut at = 0;
    let (mut in_brackets, mut is_established) = (false, false);
    for word in words {
        if in_brackets || word.starts_with('[') {
            // Also times with spaces, as -o ktimestamp prints them in local time: [start=Wed Nov 25 13:07:38 2026].
            in_brackets = !word.ends_with(']');
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            // Before the addresses: the timeout, and TCP's state.
            match directions[0].source {
                None => {
                    is_established |= word == "ESTABLISHED";
                    continue;
                }
                Some(_) => return Err("a word between the addresses"),
            }
        };
        if key == "src" {
            // The second source is that of the replies.
            at = usize::from(directions[0].source.is_some());
            if directions[at].source.is_some() {
                return Err("more than two sources");
            }
        }
        let direction = &mut directions[at];
        match key {
            "src" => direction.source = Some(read(value)?),
            "dst" => direction.destination = Some(read(value)?),
            "sport" => direction.source_port = read(value)?,
            "dport" => direction.destination_port = read(value)?,
            _ => {}
        }
    }
    let [original, reply] = directions;
    let original = original.tuple().ok_or("the original direction has no pair of addresses")?;
    let reply = reply.tuple().ok_or("the reply direction has no pair of addresses")?;
    if original.source.is_ipv4() != reply.source.is_ipv4() {
        return Err("one direction is IPv4, the other IPv6");
    }
    Ok(Entry { line: number, time, event, is_established, protocol, original, reply })
}

fn read<T: FromStr>(value: &str) -> Result<T, &'static str> {
    value.parse().map_err(|_| "a value that is none")
}

/// Seconds with a fraction, as nanoseconds.
fn nanoseconds(stamp: &str) -> Option<u64> {
    let (seconds, fraction) = stamp.split_once('.').unwrap_or((stamp, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if !digits(fraction) || fraction.len() > 9 || !digits(seconds) {
        return None;
    }
    let scale = 10_u64.pow(9 - fraction.len() as u32);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::spoil::spoiled;
    use proptest::prelude::*;

    fn one(line: &str) -> Result<Entry, &'static str> {
        parse(line.as_bytes(), 1)
    }

    fn tuple(source: &str, destination: &str) -> Tuple {
        let parse = |text: &str| text.parse().expect("an address");
        Tuple { source: parse(source), destination: parse(destination) }
    }

    const REDIRECTED: &str = "src=10.1.0.5 dst=10.96.0.20 sport=45000 dport=6379 src=127.0.0.1 dst=10.1.0.5 sport=15001 \
        dport=25463 [ASSURED] mark=0 use=1";

    #[test]
    fn a_listing() {
        for front in ["", "ipv4     2 "] {
            let entry = one(&format!("{front}tcp      6 119 TIME_WAIT {REDIRECTED}")).expect("an entry");
            let (original, reply) =
                (tuple("10.1.0.5:45000", "10.96.0.20:6379"), tuple("127.0.0.1:15001", "10.1.0.5:25463"));
            let (time, event) = (None, None);
            assert_eq!(entry, Entry { line: 1, time, event, is_established: false, protocol: 6, original, reply });
        }
    }

    #[test]
    fn events_with_their_time() {
        let line = "[1795612040.906274]\t    [NEW] ipv4     2 udp      17 30 src=10.1.0.5 dst=10.96.0.53 sport=36594 dport=53 \
                    [UNREPLIED] src=127.0.0.1 dst=10.1.0.5 sport=15053 dport=36594 zone-reply=7 id=1313702402";
        let entry = one(line).expect("an entry");
        assert_eq!((entry.time, entry.protocol), (Some(1_795_612_040_906_274_000), 17));
        assert_eq!(entry.event, Some(Event::New));
        let line = "[DESTROY] tcp      6 115 TIME_WAIT src=10.1.0.5 dst=10.1.0.6 sport=1 dport=81 packets=5 bytes=269 \
                    src=10.1.0.6 dst=10.1.0.5 sport=82 dport=1 packets=3 bytes=164 [ASSURED] delta-time=4 \
                    [start=Wed Nov 25 13:07:20 2026] [stop=Wed Nov 25 13:07:24 2026] [USERSPACE] portid=2 progname=conntrack";
        let entry = one(line).expect("an entry");
        assert_eq!((entry.time, entry.reply), (None, tuple("10.1.0.6:82", "10.1.0.5:1")));
        assert_eq!(entry.event, Some(Event::Destroy));
    }

    #[test]
    fn the_kernel_s_own_listing() {
        let address = |last: char| format!("fd00:0021:0000:0000:0000:0000:0000:000{last}");
        let line = format!(
            "ipv6     10 tcp      6 431999 ESTABLISHED src={0} dst={1} sport=50546 dport=83 src={1} dst={0} sport=83 \
             dport=50546 [ASSURED] mark=1337 zone=0 delta-time=0 use=2",
            address('5'),
            address('6')
        );
        let entry = one(&line).expect("an entry");
        assert_eq!((entry.original, entry.is_established), (tuple("[fd00:21::5]:50546", "[fd00:21::6]:83"), true));
    }

    #[test]
    fn icmp_has_no_ports() {
        let line = "icmp     1 29 src=127.0.0.1 dst=127.0.0.2 type=8 code=0 id=1 src=127.0.0.2 dst=127.0.0.1 type=0 code=0 \
                    id=1 mark=0 use=1";
        assert_eq!(one(line).expect("an entry").original, tuple("127.0.0.1:0", "127.0.0.2:0"));
    }

    #[test]
    fn bad_lines_are_counted_and_the_rest_is_used() {
        let good = format!("tcp      6 119 TIME_WAIT {REDIRECTED}");
        let bad = [
            "hello".to_owned(),
            format!("tcp six 119 {REDIRECTED}"),
            good.replace("sport=45000", "sport=450000"),
            good.replace("src=127.0.0.1", "src=::1"),
            good[..60].to_owned(),
            format!("[yesterday] {good}"),
            format!("{good} src=1.2.3.4"),
            good.replace("src=10.1.0.5 dst=10.96.0.20", "src=fd00::1 dst=fd00::2"),
        ];
        let text = format!(
            "{good}\n{}\n\n{good}\nconntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.\n",
            bad.join("\n")
        );
        let mut entries = Conntrack::new("conntrack", text.as_bytes());
        let mut lines = Vec::new();
        while let Some(entry) = entries.advance().expect("memory does not fail") {
            lines.push(entry.line);
        }
        assert_eq!(lines, [1, 11]);
        assert_eq!((entries.unused().bad, entries.unused().other), (8, 1));
        assert_eq!(entries.unused().first[0].place, "line 2");
        assert_eq!(entries.advance().expect("for good"), None);
    }

    proptest! {
        #[test]
        fn spoiled_listings_are_read_as_far_as_they_go(
            text in spoiled(format!("[1.5] [NEW] ipv4 2 tcp 6 119 TIME_WAIT {REDIRECTED} id=7\ntcp      6 119 TIME_WAIT {REDIRECTED}\n"))
        ) {
            let mut entries = Conntrack::new("x", &text[..]);
            let mut count = 0;
            while entries.advance().expect("memory does not fail").is_some() {
                count += 1;
            }
            let lines = text.split(|&c| c == b'\n').count() as u64;
            prop_assert!(count + entries.unused().bad + entries.unused().other <= lines);
        }
    }
}

//! What conntrack tells: where a connection to the proxy was meant to go before it was redirected, so that a leg of which the
//! capture has one direction only can be repaired; and which client port the proxy, and so its log, knows by another number.
//!
//! A listing is of one moment, and ports are used again: an entry without times counts only where one connection of the
//! capture, and one entry, can be meant.

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use crate::beside::{Conntrack, Entry, Error, Event, Files, Unused, open};

/// How far conntrack's clock may be off from the capture's, in nanoseconds.
const SLACK: u64 = 5_000_000;

/// Connections that are remembered, at most.
const MAPPINGS: usize = 1 << 20;

/// What conntrack said of a redirected connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Source and destination as its client wrote them.
    pub meant: (SocketAddr, SocketAddr),
    /// When it was first and last heard of, if the listing has times.
    times: Option<(u64, u64)>,
    /// Whether conntrack forgot it: later events are of another connection.
    is_over: bool,
    /// Whether the listing has it as one that lives.
    is_established: bool,
    /// The listing, from 0, and the first line of it, from 1, that said so.
    pub line: (u16, u64),
}

/// A connection of the capture that a listing is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The IP protocol number.
    pub protocol: u8,
    /// Source and destination of its client's packets, as captured.
    pub ends: (SocketAddr, SocketAddr),
    /// When its first packet was captured.
    pub time: u64,
    /// Whether no other connection of the capture has these ends.
    pub is_only: bool,
    /// Whether the capture shows that it was opened and that its client closed it: after that no listing has it as one that
    /// lives, but another one with the same ends.
    pub came_and_went: bool,
}

/// Mappings by protocol number and by source and destination as redirected.
#[derive(Default)]
pub(crate) struct Mappings {
    known: HashMap<(u8, SocketAddr, SocketAddr), Vec<Mapping>, RandomState>,
    /// By what the proxy saw of a connection: what its client wrote, where conntrack changed its port.
    ports: HashMap<(SocketAddr, SocketAddr), Vec<SocketAddr>, RandomState>,
    count: usize,
}

/// Connections with the same ends that are told apart, at most: of more, nothing is said.
const CROWD: usize = 1024;

/// Clients that one end can stand for, at most.
const WRITTEN: usize = 16;

impl Mappings {
    /// Opens and reads all the listings that the user gave; what was not used of them.
    pub fn read(files: &Files) -> Result<(Mappings, Vec<Unused>), Error> {
        let mut mappings = Mappings::default();
        let mut unused = Vec::new();
        for (path, number) in files.conntrack.iter().zip(0..) {
            let (file, reader) = open(path)?;
            let mut listing = Conntrack::new(&file, reader);
            while let Some(entry) = listing.advance().map_err(|source| Error::Io { file: file.clone(), source })? {
                mappings.add(number, &entry);
            }
            unused.push(listing.unused().clone());
        }
        Ok((mappings, unused))
    }

    /// Whether nothing was redirected, as far as they tell.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The clients that wrote what the proxy saw with these ends, if they wrote another port.
    pub fn written(&self, seen: &(SocketAddr, SocketAddr)) -> &[SocketAddr] {
        self.ports.get(seen).map_or(&[], Vec::as_slice)
    }

    /// Takes in an entry of a listing, if it is of a connection that was redirected.
    pub fn add(&mut self, listing: u16, entry: &Entry) {
        let meant = (entry.original.source, entry.original.destination);
        let redirected = (entry.reply.destination, entry.reply.source);
        if self.count >= MAPPINGS {
            return;
        }
        if entry.protocol == 6 && meant.0.ip() == redirected.0.ip() && meant.0.port() != redirected.0.port() {
            self.count += 1;
            let written = self.ports.entry((redirected.0, meant.1)).or_default();
            if written.len() < WRITTEN && !written.contains(&meant.0) {
                written.push(meant.0);
            }
        }
        if meant.1 == redirected.1 {
            return;
        }
        let known = self.known.entry((entry.protocol, redirected.0, redirected.1)).or_default();
        if known.len() > CROWD {
            return;
        }
        // Later events of the same connection.
        let again = known.last_mut().filter(|last| {
            let is_it = last.meant == meant && last.times.is_some() == entry.time.is_some();
            is_it && !last.is_over && entry.event != Some(Event::New)
        });
        let is_over = entry.event == Some(Event::Destroy);
        match (again, entry.time) {
            (Some(last), time) => {
                last.is_over = is_over;
                last.is_established &= entry.is_established;
                last.times = last.times.zip(time).map(|((first, until), time)| (first.min(time), until.max(time)));
            }
            (None, time) => {
                self.count += 1;
                let (times, line) = (time.map(|time| (time, time)), (listing, entry.line));
                known.push(Mapping { meant, times, is_over, is_established: entry.is_established, line });
            }
        }
    }

    /// Where the packets of a connection were meant to go.
    pub fn find(&self, wanted: &Wanted) -> Option<Mapping> {
        let &Wanted { protocol, ends: (source, destination), time, is_only, came_and_went } = wanted;
        let known = self.known.get(&(protocol, source, destination)).filter(|known| known.len() <= CROWD)?;
        let mut fitting = known.iter().filter(|mapping| match mapping.times {
            Some((first, until)) => first <= time.saturating_add(SLACK) && time <= until.saturating_add(SLACK),
            None => is_only && !(came_and_went && mapping.is_established),
        });
        let first = fitting.next()?;
        // Several listings may say the same.
        fitting.all(|other| other.meant == first.meant).then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings_of(text: &str) -> Mappings {
        let mut listing = Conntrack::new("test", text.as_bytes());
        let mut mappings = Mappings::default();
        while let Some(entry) = listing.advance().expect("text can be read") {
            mappings.add(0, &entry);
        }
        mappings
    }

    fn find(mappings: &Mappings, seconds: f64, is_only: bool) -> Option<String> {
        find_one(mappings, seconds, is_only, false)
    }

    fn find_one(mappings: &Mappings, seconds: f64, is_only: bool, came_and_went: bool) -> Option<String> {
        let end = |text: &str| text.parse().expect("an address");
        let ends = (end("10.0.0.1:1000"), end("127.0.0.1:15001"));
        let time = (seconds * 1e9) as u64;
        let found = mappings.find(&Wanted { protocol: 6, ends, time, is_only, came_and_went })?;
        Some(format!("{} > {} line {}", found.meant.0, found.meant.1, found.line.1))
    }

    const LISTED: &str = "tcp 6 119 TIME_WAIT src=10.0.0.1 dst=10.96.0.20 sport=999 dport=6379 src=127.0.0.1 \
        dst=10.0.0.1 sport=15001 dport=1000 [ASSURED] mark=0 use=1\n";

    #[test]
    fn a_listing_without_times() {
        let one = mappings_of(LISTED);
        assert_eq!(find(&one, 1.0, true).as_deref(), Some("10.0.0.1:999 > 10.96.0.20:6379 line 1"));
        assert_eq!(find(&one, 1.0, false), None, "two connections of the capture");
        let two = mappings_of(&[LISTED, &LISTED.replace("dst=10.96.0.20", "dst=10.96.0.21")].concat());
        assert_eq!(find(&two, 1.0, true), None, "two entries");
        let same = mappings_of(&[LISTED, LISTED].concat());
        assert!(find(&same, 1.0, true).is_some(), "listed twice");
        let lives = mappings_of(&LISTED.replace("TIME_WAIT", "ESTABLISHED"));
        assert!(find(&lives, 1.0, true).is_some() && find_one(&one, 1.0, true, true).is_some());
        assert_eq!(find_one(&lives, 1.0, true, true), None, "another one with the same ends");
        let plain = "tcp 6 119 ESTABLISHED src=10.0.0.1 dst=127.0.0.1 sport=1000 dport=15001 src=127.0.0.1 dst=10.0.0.1 \
            sport=15001 dport=1000 [ASSURED] mark=0 use=1\n";
        assert_eq!(find(&mappings_of(plain), 1.0, true), None, "sent there directly");
    }

    #[test]
    fn events_have_times_and_ports_are_used_again() {
        let event = |time: &str, kind: &str, to: &str| {
            format!(
                "[{time}] [{kind}] tcp 6 120 src=10.0.0.1 dst={to} sport=1000 dport=80 src=127.0.0.1 dst=10.0.0.1 \
                 sport=15001 dport=1000\n"
            )
        };
        let text = [
            event("100.000000", "NEW", "10.96.0.10"),
            event("100.500000", "UPDATE", "10.96.0.10"),
            event("101.000000", "DESTROY", "10.96.0.10"),
            event("102.000000", "NEW", "10.96.0.20"),
            event("103.000000", "DESTROY", "10.96.0.20"),
        ];
        let mappings = mappings_of(&text.concat());
        let to = |seconds| find(&mappings, seconds, false);
        assert_eq!(to(100.001).as_deref(), Some("10.0.0.1:1000 > 10.96.0.10:80 line 1"));
        assert_eq!(to(102.0).as_deref(), Some("10.0.0.1:1000 > 10.96.0.20:80 line 4"));
        assert_eq!((to(99.0), to(101.5), to(104.0)), (None, None, None));
        // The events of the one in between are lost.
        let again = [
            &text[0],
            &text[2],
            &event("110.000000", "NEW", "10.96.0.10"),
            &event("111.000000", "DESTROY", "10.96.0.10"),
        ];
        let twice = mappings_of(&again.map(String::as_str).concat());
        assert_eq!(find(&twice, 105.0, true), None);
        assert_eq!(find(&twice, 110.5, true).as_deref(), Some("10.0.0.1:1000 > 10.96.0.10:80 line 3"));
    }
}

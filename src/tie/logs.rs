//! Ties by access logs: each line names both connections of a request, by their addresses and time.
//!
//! Ports are used again, so that the time has to fit as well. Where conntrack changed a client's port on its way to the
//! proxy, the log has the port that the proxy saw; conntrack's own listing tells which one the client's was.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Clients, Edge, Evidence, Logged, Mappings, Side};
use crate::beside::{AccessLog, Error, Files, Format, Record, Unused, open};

/// How far the proxy's clock and rounding may be off from the capture's, in nanoseconds.
const SLACK: u64 = 5_000_000;

/// Pairs of legs that are kept, at most.
const EDGES: usize = 1 << 20;

/// Legs with the same ends that are told apart by their times, at most: of more, nothing is said.
const CROWD: usize = 1024;

/// Requests whose times and ids are kept, at most.
const LOGGED: usize = 1 << 17;

/// Different response flags of a leg that are kept, at most.
const FLAGS: usize = 8;

type Ends = (SocketAddr, SocketAddr);

/// What access logs say of legs.
pub(crate) struct Logs<'a> {
    sides: &'a [Side],
    by_ends: HashMap<Ends, Vec<usize>, RandomState>,
    mappings: &'a Mappings,
    edges: HashMap<(usize, usize), Edge, RandomState>,
    clients: HashMap<usize, Served, RandomState>,
    flags: HashMap<usize, BTreeSet<String>, RandomState>,
    logged: usize,
    /// Lines that are of a leg.
    found: u64,
}

/// What access logs say, when all was read.
#[derive(Default)]
pub(crate) struct Said {
    /// Edges in the order of their legs.
    pub edges: Vec<Edge>,
    /// The clients of far legs.
    pub clients: HashMap<usize, Clients, RandomState>,
    /// Response flags of the requests of a leg.
    pub flags: HashMap<usize, BTreeSet<String>, RandomState>,
    /// Requests that went over a leg.
    pub found: u64,
}

/// The requests of a leg, by the log.
struct Served {
    addresses: BTreeSet<IpAddr>,
    /// When the first of them began, and the last one ended.
    start: u64,
    end: u64,
    /// Whether one had a client whose connection is not told.
    is_unknown: bool,
}

impl<'a> Logs<'a> {
    /// No line read yet.
    pub fn new(sides: &'a [Side], mappings: &'a Mappings) -> Logs<'a> {
        let mut by_ends: HashMap<Ends, Vec<usize>, RandomState> = HashMap::default();
        for (number, side) in sides.iter().enumerate().filter(|(_, side)| side.is_tcp) {
            by_ends.entry((side.client, side.server)).or_default().push(number);
            if side.seen_client != side.client {
                by_ends.entry((side.seen_client, side.server)).or_default().push(number);
            }
        }
        Logs {
            sides,
            by_ends,
            mappings,
            edges: HashMap::default(),
            clients: HashMap::default(),
            flags: HashMap::default(),
            logged: 0,
            found: 0,
        }
    }

    /// Reads an access log.
    pub fn access_log(&mut self, file: &str, reader: impl BufRead, format: Format) -> io::Result<Unused> {
        let mut log = AccessLog::new(file, reader, format);
        let file: Arc<str> = file.into();
        while let Some(record) = log.advance()? {
            self.record(&file, &record);
        }
        Ok(log.unused().clone())
    }

    fn record(&mut self, file: &Arc<str>, record: &Record<'_>) {
        let Some(start) = record.start else { return };
        let end = start.saturating_add(record.duration.unwrap_or_default()).saturating_add(record.start_resolution);
        let near_client = record.downstream_direct_remote.or(record.downstream_remote);
        let near = near_client.zip(record.downstream_local).and_then(|ends| self.find(ends, start, end, true));
        let far = record.upstream_local.zip(record.upstream_host);
        let far = far.and_then(|ends| self.find(ends, start, end, false));
        self.found += u64::from(near.is_some() || far.is_some());
        self.note_flags([near, far], record.response_flags.unwrap_or_default());
        let Some(far) = far else { return };
        let none = Served { addresses: BTreeSet::new(), start: u64::MAX, end: 0, is_unknown: false };
        let served = self.clients.entry(far).or_insert(none);
        (served.start, served.end) = (served.start.min(start), served.end.max(end));
        match near_client {
            Some(client) if client.port() != 0 => _ = served.addresses.insert(client.ip()),
            // Envoy gives what headers told it no port: whoever wrote the header can write any address.
            _ => served.is_unknown = true,
        }
        let Some(near) = near.filter(|near| *near != far) else { return };
        if self.edges.len() >= EDGES && !self.edges.contains_key(&(near, far)) {
            return;
        }
        let edge = self.edges.entry((near, far)).or_insert_with(|| {
            let evidence = Evidence::AccessLog { file: Arc::clone(file), line: record.line };
            // There are fewer legs than that.
            Edge::new(near as u32, far as u32, evidence)
        });
        edge.requests += 1;
        if self.logged < LOGGED {
            self.logged += 1;
            let id = record.request_id.map(|id| String::from_utf8_lossy(id).into_owned());
            edge.details().logged.push(Logged { times: (start, end), id });
        }
    }

    /// Keeps the flags of a request that was no success.
    fn note_flags(&mut self, legs: [Option<usize>; 2], flags: &[u8]) {
        let each = flags.split(|octet| *octet == b',').filter(|flag| !flag.is_empty());
        for flag in each.filter(|flag| flag.len() <= 16 && flag.iter().all(u8::is_ascii_alphanumeric)) {
            for leg in legs.into_iter().flatten() {
                let known = self.flags.entry(leg).or_default();
                if known.len() < FLAGS {
                    known.insert(String::from_utf8_lossy(flag).into_owned());
                }
            }
        }
    }

    /// The one leg between two ends at a time.
    fn find(&self, ends: Ends, start: u64, end: u64, is_near: bool) -> Option<usize> {
        let is_crowd = |key: &Ends| self.by_ends.get(key).is_some_and(|legs| legs.len() > CROWD);
        let written = if is_near { self.mappings.written(&ends) } else { &[] };
        let keys = std::iter::once(ends).chain(written.iter().map(|client| (*client, ends.1)));
        if keys.clone().any(|key| is_crowd(&key)) {
            return None;
        }
        let legs = || keys.clone().filter_map(|key| self.by_ends.get(&key)).flatten().copied();
        let only =
            |mut fitting: Box<dyn Iterator<Item = usize> + '_>| fitting.next().filter(|_| fitting.next().is_none());
        let times = |leg: &usize| self.sides[*leg].times;
        let meets =
            |leg: &usize| times(leg).0.0 <= end.saturating_add(SLACK) && times(leg).1.0.saturating_add(SLACK) >= start;
        // Of two that the request met, the one that was open for all of it.
        let spans =
            |leg: &usize| times(leg).0.0 <= start.saturating_add(SLACK) && times(leg).1.0.saturating_add(SLACK) >= end;
        only(Box::new(legs().filter(meets))).or_else(|| only(Box::new(legs().filter(meets).filter(spans))))
    }

    /// Everything that was read.
    pub fn finish(self) -> Said {
        let mut edges: Vec<Edge> = self.edges.into_values().collect();
        edges.sort_unstable_by_key(|edge| (edge.near, edge.far));
        let told = self.clients.into_iter().filter(|(_, served)| !served.addresses.is_empty());
        let clients = told.map(|(far, served)| {
            // A request that is not in the log, or not yet, is another client's, perhaps. The first one opens the leg.
            let side = &self.sides[far];
            let is_covered = side.times.0.0.saturating_add(SLACK) >= served.start
                && side.last_request.0 <= served.end.saturating_add(SLACK);
            let complete = is_covered && !served.is_unknown;
            (far, Clients { addresses: served.addresses.into_iter().collect(), complete })
        });
        Said { edges, clients: clients.collect(), flags: self.flags, found: self.found }
    }
}

/// Opens and reads the access logs that the user gave; what was not used of them.
pub(crate) fn read(logs: &mut Logs<'_>, files: &Files) -> Result<Vec<Unused>, Error> {
    let mut unused = Vec::new();
    for path in &files.access_logs {
        let (file, reader) = open(path)?;
        let format = match &files.format {
            Some(format) => Format::new(format),
            None => Format::istio(),
        };
        let format = format.map_err(|error| Error::Unusable { file: file.clone(), what: error.to_string() })?;
        unused.push(logs.access_log(&file, reader, format).map_err(|source| Error::Io { file, source })?);
    }
    Ok(unused)
}

//! What was found, for people and for programs: one row a leg, and a summary.
//!
//! What comes in is legs as they are retired; what goes out is a CSV or JSON file that appears whole or not at
//! all, and lines of text. docs/report.md has the columns; a test freezes them.

mod summary;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::audit::Agreement;
use crate::beside::{Loaded, Names};
use crate::capture::Timestamp;
use crate::flow::{Direction, Leg, Outcome};
use crate::output::NewFile;
use crate::ports;
use crate::tie::Tied;
use crate::tie::infer::Span;

pub use summary::{Summary, Untied};

/// A leg as the report writes it.
#[derive(Clone, Debug, Serialize)]
struct Row<L, X> {
    leg: u64,
    protocol: String,
    role: String,
    status: String,
    reason: Option<String>,
    evidence: Option<String>,
    evidence_forward: Option<String>,
    evidence_reply: Option<String>,
    client: String,
    server: String,
    captured_client: Option<String>,
    captured_server: Option<String>,
    tcp_stream: Option<u32>,
    udp_stream: Option<u32>,
    first_frame: Option<u64>,
    interface: Option<u32>,
    first_time: String,
    last_time: String,
    client_packets: u64,
    server_packets: u64,
    client_bytes: u64,
    server_bytes: u64,
    opened: String,
    closed: String,
    rules: Option<String>,
    rules_say: Option<String>,
    client_name: Option<String>,
    server_name: Option<String>,
    tie: Option<u64>,
    tie_filter: Option<String>,
    tie_evidence: Option<String>,
    tie_grade: Option<String>,
    requests: Option<u64>,
    real_client: L,
    exchanges: X,
    port_label: Option<String>,
}

/// A request on one side of the proxy.
#[derive(Clone, Debug, Serialize)]
struct ExchangeRow {
    request_id: Option<String>,
    first_time: String,
    request_end: String,
    response_start: String,
    last_time: String,
}

/// What is known of a leg when its row is written.
pub struct Told<'a> {
    /// The leg, as it is in the output.
    pub leg: &'a Leg,
    /// How it agrees with the rules that were given.
    pub agreement: Option<&'a Agreement>,
    /// Client and server as captured, where its client is why they are others now.
    pub captured: Option<(SocketAddr, SocketAddr)>,
    /// The call that it belongs to.
    pub tied: Option<&'a Tied>,
    /// The mesh, if it is known: what its ports are for.
    pub mesh: Option<&'static str>,
}

/// The fields of a [`Row`] in their order.
const COLUMNS: [&str; 36] = [
    "leg",
    "protocol",
    "role",
    "status",
    "reason",
    "evidence",
    "evidence_forward",
    "evidence_reply",
    "client",
    "server",
    "captured_client",
    "captured_server",
    "tcp_stream",
    "udp_stream",
    "first_frame",
    "interface",
    "first_time",
    "last_time",
    "client_packets",
    "server_packets",
    "client_bytes",
    "server_bytes",
    "opened",
    "closed",
    "rules",
    "rules_say",
    "client_name",
    "server_name",
    "tie",
    "tie_filter",
    "tie_evidence",
    "tie_grade",
    "requests",
    "real_client",
    "exchanges",
    "port_label",
];

impl<L, X> Row<L, X> {
    /// `list` puts several values into one field, as the format does it.
    fn new(
        number: u64,
        told: &Told<'_>,
        names: &Names,
        list: fn(Vec<String>) -> L,
        exchanges: fn(&Tied) -> X,
    ) -> Row<L, X>
    where
        X: Default,
    {
        let Told { leg, agreement, tied, .. } = *told;
        let place = |p: crate::flow::Place| format!("{}:{}", p.input + 1, p.frame);
        let (status, reason) = match leg.outcome {
            Outcome::Whole => ("whole", None),
            Outcome::Repaired { .. } => ("repaired", None),
            Outcome::Left(reason) => ("left", Some(reason.name().to_owned())),
        };
        let (captured, evidence) = match leg.outcome {
            Outcome::Repaired { source, destination, evidence } => (Some((source, destination)), Some(evidence)),
            _ => (told.captured, None),
        };
        let tie = tied.and_then(|tied| tied.tie.as_ref());
        let tie_evidence = tied.and_then(|tied| tied.evidence.as_ref());
        let clients = tied.map(|tied| tied.clients.as_slice()).unwrap_or_default();
        let stream = leg.written.and_then(|w| w.stream);
        let is_tcp = leg.protocol == crate::nat::Protocol::Tcp;
        Row {
            leg: number,
            protocol: leg.protocol.name().to_owned(),
            role: leg.role.name().to_owned(),
            status: status.to_owned(),
            reason,
            evidence: evidence.map(|e| e.name().to_owned()),
            evidence_forward: evidence.map(|e| place(e.places().0)),
            evidence_reply: evidence.and_then(|e| e.places().1).map(place),
            client: leg.client.to_string(),
            server: leg.server.to_string(),
            captured_client: captured.map(|(source, _)| source.to_string()),
            captured_server: captured.map(|(_, destination)| destination.to_string()),
            tcp_stream: stream.filter(|_| is_tcp),
            udp_stream: stream.filter(|_| !is_tcp),
            first_frame: leg.written.map(|w| w.frame),
            interface: leg.written.map(|w| w.interface),
            first_time: seconds(leg.first_time),
            last_time: seconds(leg.last_time),
            client_packets: leg.from_client.packets,
            server_packets: leg.from_server.packets,
            client_bytes: leg.from_client.bytes,
            server_bytes: leg.from_server.bytes,
            opened: opened(&leg.from_client, &leg.from_server).to_owned(),
            closed: closed(&leg.from_client, &leg.from_server).to_owned(),
            rules: agreement.map(|a| a.name().to_owned()),
            rules_say: agreement.and_then(Agreement::contradiction).map(|told| told.rules.clone()),
            client_name: name(names, leg.client.ip()),
            server_name: name(names, leg.server.ip()),
            tie: tie.map(|(number, _)| *number),
            tie_filter: tie.and_then(|(_, filter)| filter.as_deref().map(str::to_owned)),
            tie_evidence: tie_evidence.map(|e| e.name().to_owned()),
            tie_grade: tie_evidence.map(|e| e.grade().to_owned()),
            requests: tied.filter(|_| tie_evidence.is_some()).map(|tied| tied.requests),
            real_client: list(clients.iter().map(ToString::to_string).collect()),
            exchanges: tied.map(exchanges).unwrap_or_default(),
            port_label: port_label(told, captured.map(|(_, destination)| destination)),
        }
    }
}

/// What the called port is for, if it is one of a mesh: as captured, or as the client meant it. Ports of clients are by
/// chance; where it is not known who called, nothing is said.
fn port_label(told: &Told<'_>, captured: Option<SocketAddr>) -> Option<String> {
    let leg = told.leg;
    let called = captured.into_iter().chain([leg.server]).filter(|_| leg.client_known);
    called.map(|server| server.port()).find_map(|port| ports::label(told.mesh, leg.protocol, port))
}

/// A number that is not 0.
fn some(number: usize) -> Option<usize> {
    Some(number).filter(|number| *number > 0)
}

fn exchange_rows(tied: &Tied) -> Option<Vec<ExchangeRow>> {
    let row = |(span, id): &(Span, Option<String>)| ExchangeRow {
        request_id: id.clone(),
        first_time: seconds(span.request.0),
        request_end: seconds(span.request.1),
        response_start: seconds(span.response.0),
        last_time: seconds(span.response.1),
    };
    some(tied.exchanges.len()).map(|_| tied.exchanges.iter().map(row).collect())
}

/// The names of an address, with spaces between.
fn name(names: &Names, address: IpAddr) -> Option<String> {
    let names = names.of(address);
    (!names.is_empty()).then(|| names.join(" "))
}

/// Seconds since 1970 with nanoseconds, as tshark's `frame.time_epoch`.
fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.0 / 1_000_000_000, time.0 % 1_000_000_000)
}

/// Which parts of the TCP handshake were captured.
fn opened(client: &Direction, server: &Direction) -> &'static str {
    match (client.syn, server.syn) {
        (true, true) => "syn+syn-ack",
        (true, false) => "syn",
        (false, true) => "syn-ack",
        (false, false) => "",
    }
}

/// How a TCP leg ended, as far as it was captured.
fn closed(client: &Direction, server: &Direction) -> &'static str {
    match (client.rst || server.rst, client.fin, server.fin) {
        (true, _, _) => "rst",
        (_, true, true) => "fin+fin",
        (_, true, false) | (_, false, true) => "fin",
        _ => "",
    }
}

/// The format of a report.
enum Format {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Json { writer: BufWriter<File>, any: bool },
}

/// A report that is being written.
pub struct Report {
    format: Format,
    file: NewFile,
    legs: u64,
    beside: Arc<Loaded>,
}

impl Report {
    /// Starts a report; its format follows from the ending of the path, `.csv` or `.json`, in any case. The
    /// addresses have the names that lie beside the captures.
    ///
    /// Errors: the ending is another one, the path is a folder, a file cannot be written there.
    pub fn create(path: &Path, beside: Arc<Loaded>) -> io::Result<Report> {
        let file = NewFile::create(path, false)?;
        let mut writer = BufWriter::new(file.writer()?);
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let format = match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("csv") => {
                // By hand: csv's own header comes with the first row, and there may be none.
                let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(writer);
                writer.write_record(COLUMNS).map_err(io::Error::other)?;
                Format::Csv(Box::new(writer))
            }
            Some("json") => {
                writer.write_all(b"[")?;
                Format::Json { writer, any: false }
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "name it .csv or .json")),
        };
        Ok(Report { format, file, legs: 0, beside })
    }

    /// Whether it tells of each exchange of a leg.
    pub(crate) fn tells_exchanges(&self) -> bool {
        matches!(self.format, Format::Json { .. })
    }

    /// Writes the row of a leg.
    pub fn leg(&mut self, told: &Told<'_>) -> io::Result<()> {
        self.legs += 1;
        let names = &self.beside.names;
        match &mut self.format {
            Format::Csv(writer) => {
                let row = Row::new(self.legs, told, names, |list| list.join(" "), |tied| some(tied.exchanged));
                writer.serialize(row).map_err(io::Error::other)
            }
            Format::Json { writer, any } => {
                writer.write_all(if std::mem::replace(any, true) { b",\n " } else { b"\n " })?;
                let row =
                    Row::new(self.legs, told, names, |list| Some(list).filter(|list| !list.is_empty()), exchange_rows);
                serde_json::to_writer(writer, &row).map_err(io::Error::other)
            }
        }
    }

    /// Writes the last of it. What can still fail then is only [`Report::finish`].
    pub fn complete(&mut self) -> io::Result<()> {
        match &mut self.format {
            Format::Csv(writer) => writer.flush(),
            Format::Json { writer, .. } => {
                writer.write_all(b"\n]\n")?;
                writer.flush()
            }
        }
    }

    /// Puts the report, which has to be complete, in its place.
    pub fn finish(self) -> io::Result<()> {
        self.file.finish()
    }
}

//! The report, frozen: the columns and their order, the values for one of each kind of leg, CSV and JSON alike; and the
//! numbers that it promises, compared with those that tshark gives the output.

mod common;

use std::collections::HashMap;
use std::process::Command;

use common::leg::{START, together};
use common::{Job, Leg, Link, Shot, Udp, addr, icmp_error, require, shot};
use meshpcap::audit::{Agreement, Contradiction};
use meshpcap::flow::{Evidence, Place, Reason};
use meshpcap::nat::Role;
use meshpcap::tie;
use serde::Deserialize;
use snapbox::{assert_data_eq, str};

/// A row. A field more or less, or one of another type, is a change of the format: docs/report.md and its readers have
/// to follow.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
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
    real_client: Option<Values>,
    /// The exchanges themselves in JSON, how many they are in CSV.
    exchanges: Option<serde_json::Value>,
    port_label: Option<String>,
}

/// Several values in one field: a list in JSON, with blanks between in CSV.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Text(String),
}

impl PartialEq for Values {
    fn eq(&self, other: &Values) -> bool {
        let text = |values: &Values| match values {
            Values::List(list) => list.join(" "),
            Values::Text(text) => text.clone(),
        };
        text(self) == text(other)
    }
}

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

/// A DNS message with the question `a`.
fn dns(response: bool) -> Vec<u8> {
    [&[0, 7, if response { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\0\0\x01\0\x01"].concat()
}

/// eth0 and lo of a pod, with a leg of each kind.
fn pod() -> (Vec<Shot>, Vec<Shot>) {
    let peer = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(1_000).whole();
    let caller = Leg::direct("10.1.0.9:39844", "10.1.0.5:8080").after(2_000).whole();
    let other = Leg::direct("10.7.0.1:5000", "10.7.0.2:6000").after(3_000).whole();
    let eth0 = together(&[&peer, &caller, &other], Link::Eth);

    let app = "10.1.0.5:40000";
    let legs = [
        Leg::outbound(app, "10.96.0.10:80").whole(),
        Leg::outbound(app, "10.96.0.20:6379").port(25463).after(3_000).open().ask("GET x").reset(),
        Leg::outbound("10.1.0.5:40001", "10.96.0.10:80").after(4_000).open().begun_at(3).ask("x").answer("yes"),
        Leg::redirected("10.1.0.5:51992", "10.1.0.5:8080", 15006).after(5_000).whole(),
        Leg::direct("127.0.0.6:29894", "10.1.0.5:8080").after(6_000).whole(),
        Leg::direct("10.1.0.5:50000", "10.1.0.5:9090").after(7_000).whole(),
        Leg::direct("127.0.0.1:50001", "127.0.0.1:15001").after(8_000).whole(),
        Leg::outbound("10.1.0.5:40002", "10.96.0.30:80").after(9_000).syn(),
        Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").after(9_500).syn().refuse(),
    ];
    let mut lo = together(&legs.iter().collect::<Vec<_>>(), Link::Lo);
    let query = Udp::new(addr("10.1.0.5:40166"), addr("127.0.0.1:15053"), &dns(false)).ip();
    let answer = Udp::new(addr("10.96.0.53:53"), addr("10.1.0.5:40166"), &dns(true)).ip();
    lo.extend([shot(START + 9_700, Link::Lo.frame(&query)), shot(START + 9_800, Link::Lo.frame(&answer))]);
    lo.sort_by_key(|shot| shot.time);
    (eth0, lo)
}

/// Runs the same merge with a report in either format.
fn reports(eth0: &[Shot], lo: &[Shot]) -> (String, String, Vec<u8>) {
    let mut written = Vec::new();
    let mut output = Vec::new();
    for name in ["legs.csv", "legs.json"] {
        let mut job = Job::new().shots(Link::Eth, eth0).shots(Link::Lo, lo);
        let path = job.folder.path().join(name);
        job.merge.report = Some(path.clone());
        meshpcap::pipeline::merge(&job.merge, &std::sync::Arc::default(), &mut |_, _| ()).expect("the merge");
        written.push(std::fs::read_to_string(path).expect("the report"));
        output = std::fs::read(job.folder.path().join("out.pcapng")).expect("the output");
    }
    let json = written.pop().unwrap_or_default();
    (written.pop().unwrap_or_default(), json, output)
}

fn rows(csv: &str) -> Vec<Row> {
    let rows = csv::Reader::from_reader(csv.as_bytes()).into_deserialize();
    rows.map(|row| row.expect("a row")).collect()
}

#[test]
fn the_columns() {
    let (eth0, lo) = pod();
    let (csv, _, _) = reports(&eth0, &lo);
    assert_eq!(csv.lines().next().map(|line| line.split(',').collect::<Vec<_>>()), Some(COLUMNS.to_vec()));
    // Without a leg there is a header still.
    let (csv, json, _) = reports(&[], &[]);
    assert_eq!((csv.lines().count(), json.as_str()), (1, "[\n]\n"));
    assert_eq!(csv.trim_end().split(',').collect::<Vec<_>>(), COLUMNS);
}

#[test]
fn one_of_each() {
    let (eth0, lo) = pod();
    let (csv, json, _) = reports(&eth0, &lo);
    assert_data_eq!(
        csv.as_str(),
        str![[r#"
leg,protocol,role,status,reason,evidence,evidence_forward,evidence_reply,client,server,captured_client,captured_server,tcp_stream,udp_stream,first_frame,interface,first_time,last_time,client_packets,server_packets,client_bytes,server_bytes,opened,closed,rules,rules_say,client_name,server_name,tie,tie_filter,tie_evidence,tie_grade,requests,real_client,exchanges,port_label
1,tcp,outbound-app,repaired,,handshake,2:1,2:11,10.1.0.5:40000,10.96.0.10:80,10.1.0.5:40000,127.0.0.1:15001,0,,1,0,1700000000.000000000,1700000000.000090000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,15001 outbound: what the application opens
2,tcp,outbound-peer,whole,,,,,10.1.0.5:57168,10.1.0.6:8080,,,1,,2,1,1700000000.000001000,1700000000.000091000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,
3,tcp,inbound-peer,whole,,,,,10.1.0.9:39844,10.1.0.5:8080,,,2,,3,1,1700000000.000002000,1700000000.000092000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,
4,tcp,network,whole,,,,,10.7.0.1:5000,10.7.0.2:6000,,,3,,4,1,1700000000.000003000,1700000000.000093000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,
5,tcp,outbound-app,repaired,,handshake,2:2,2:12,10.1.0.5:40000,10.96.0.20:6379,10.1.0.5:25463,127.0.0.1:15001,4,,5,0,1700000000.000003000,1700000000.000053000,4,2,5,0,syn+syn-ack,rst,,,,,,,,,,,,15001 outbound: what the application opens
6,tcp,self-call,repaired,,handshake,2:3,2:13,10.1.0.5:51992,10.1.0.5:8080,10.1.0.5:51992,127.0.0.1:15006,5,,6,0,1700000000.000005000,1700000000.000095000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,15006 inbound: what comes to the application
7,tcp,inbound-app,whole,,,,,127.0.0.6:29894,10.1.0.5:8080,,,6,,7,0,1700000000.000006000,1700000000.000096000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,
8,tcp,local,whole,,,,,10.1.0.5:50000,10.1.0.5:9090,,,7,,8,0,1700000000.000007000,1700000000.000097000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,
9,tcp,outbound-app,left,direct,,,,127.0.0.1:50001,127.0.0.1:15001,,,8,,9,0,1700000000.000008000,1700000000.000098000,6,4,18,19,syn+syn-ack,fin+fin,,,,,,,,,,,,15001 outbound: what the application opens
10,tcp,outbound-app,left,no-reply,,,,10.1.0.5:40002,127.0.0.1:15001,,,9,,10,0,1700000000.000009000,1700000000.000009000,1,0,0,0,syn,,,,,,,,,,,,,15001 outbound: what the application opens
11,tcp,outbound-app,repaired,,handshake,2:8,2:17,[fd00:21::5]:40000,[fd00:96::10]:80,[fd00:21::5]:40000,[::1]:15001,10,,11,0,1700000000.000009500,1700000000.000019500,1,1,0,0,syn,rst,,,,,,,,,,,,15001 outbound: what the application opens
12,udp,dns,repaired,,dns,2:9,2:10,10.1.0.5:40166,10.96.0.53:53,10.1.0.5:40166,127.0.0.1:15053,,0,12,0,1700000000.000009700,1700000000.000009800,1,1,19,19,,,,,,,,,,,,,,"15053 DNS of the application, if it is captured"
13,tcp,outbound-app,repaired,,sequence,2:26,2:33,10.1.0.5:40001,10.96.0.10:80,10.1.0.5:40001,127.0.0.1:15001,11,,38,0,1700000000.000034000,1700000000.000064000,2,2,1,3,,,,,,,,,,,,,,15001 outbound: what the application opens

"#]]
    );
    let from_json: Vec<Row> = serde_json::from_str(&json).expect("rows as they are frozen");
    assert_eq!(from_json, rows(&csv), "both formats say the same");
    // In JSON every field is always there, in the same order.
    for line in json.lines().filter(|line| line.starts_with(" {")) {
        let mut rest = line;
        for column in COLUMNS {
            let at = rest.find(&format!("\"{column}\":")).unwrap_or_else(|| panic!("{column} in {line}"));
            rest = &rest[at + 1..];
        }
    }
}

#[test]
fn the_document_names_every_column_and_value() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.md")).expect("it");
    let rows: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows[..COLUMNS.len()], COLUMNS);

    let place = Place::default();
    let evidence = [
        Evidence::Handshake { syn: place, answer: place, refused: false },
        Evidence::Sequence { forward: place, reply: place, echo: false },
        Evidence::Sequence { forward: place, reply: place, echo: true },
        Evidence::Dns { query: place, reply: place },
        Evidence::Conntrack { forward: place, listing: 0, line: 1 },
    ];
    let reasons =
        [Reason::NoReply, Reason::OneDirection, Reason::Ambiguous, Reason::Direct, Reason::LookAhead, Reason::Evicted];
    let told = || Contradiction { packets: String::new(), rules: String::new(), is_certain: true };
    let agreements =
        [Agreement::Agrees, Agreement::Undecided, Agreement::Contradicts(told()), Agreement::Bypasses(told())];
    let values = Role::ALL.map(Role::name).into_iter().chain(evidence.iter().map(Evidence::name));
    let values = values.chain(agreements.iter().map(Agreement::name));
    let line = tie::Evidence::AccessLog { file: "".into(), line: 1 };
    let ties = [line, tie::Evidence::Bytes, tie::Evidence::Elimination, tie::Evidence::Exchanges];
    let values = values.chain(ties.iter().map(tie::Evidence::name));
    let values: Vec<&str> = values.chain(reasons.map(Reason::name)).collect();
    assert_eq!(rows[COLUMNS.len()..], values);
}

/// Legs of one pair of addresses one after the other, and ICMP errors that quote them or what is nowhere else.
fn reused() -> (Vec<Shot>, Vec<Shot>) {
    let (app, web) = ("10.1.0.5:40000", "10.96.0.10:80");
    let ms = 1_000_000;
    let lost = Leg::outbound("10.1.0.5:44444", "10.96.0.99:80").syn();
    let legs = [
        // Open before the capture began, then used again: after FIN, after RST, after nothing.
        Leg::outbound(app, web).open().begun_at(3).ask("x").answer("y").close(),
        Leg::outbound(app, web).numbers(700, 9_000).after(ms).whole(),
        Leg::outbound(app, web).numbers(70_000, 90_000).after(2 * ms).open().ask("x").reset(),
        Leg::outbound(app, web).numbers(7_000_000, 1).after(3 * ms).open().ask("x"),
        Leg::outbound(app, web).numbers(700_000_000, 2).after(4 * ms).whole(),
        Leg::outbound(app, "10.96.0.20:6379").port(25463).after(4 * ms + 500).whole(),
        Leg::outbound("10.1.0.5:40009", web).after(5 * ms).syn().refuse(),
        Leg::direct("10.1.0.5:50000", "10.1.0.5:9090").after(6 * ms).whole(),
        Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").after(7 * ms).whole(),
    ];
    let mut lo = together(&legs.iter().collect::<Vec<_>>(), Link::Lo);
    let mut error = |time, about: &[u8]| {
        let error = icmp_error(addr("127.0.0.1:0").ip(), addr("10.1.0.5:0").ip(), about);
        lo.push(shot(START + time, Link::Lo.frame(&error)));
    };
    let unseen = Udp::new(addr("10.1.0.5:3333"), addr("10.96.0.77:7777"), b"12345678").ip();
    error(500, &unseen);
    error(2 * ms + 500, &legs[2].packets[0].1);
    error(3 * ms + 900_000, &lost.packets[0].1);
    let query = |port| Udp::new(addr(&format!("10.1.0.5:{port}")), addr("127.0.0.1:15053"), &dns(false)).ip();
    let answer = |port| Udp::new(addr("10.96.0.53:53"), addr(&format!("10.1.0.5:{port}")), &dns(true)).ip();
    for (port, time) in [(3001, 600), (3002, 3 * ms), (3001, 5 * ms)] {
        lo.push(shot(START + time, Link::Lo.frame(&query(port))));
        lo.push(shot(START + time + 50, Link::Lo.frame(&answer(port))));
    }
    lo.sort_by_key(|shot| shot.time);
    (together(&[&Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(700).whole()], Link::Eth), lo)
}

#[test]
fn streams_frames_interfaces_and_times_as_tshark_has_them() {
    if !require("tshark", "streams_frames_interfaces_and_times_as_tshark_has_them") {
        return;
    }
    for (eth0, lo) in [pod(), reused()] {
        let (csv, _, output) = reports(&eth0, &lo);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("out.pcapng");
        std::fs::write(&path, output).expect("written");
        // What an ICMP error quotes has a stream of its own; only the outer header counts here.
        let fields =
            ["frame.number", "tcp.stream", "udp.stream", "frame.interface_id", "frame.time_epoch", "icmp.type"];
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&path).args(["-T", "fields", "-E", "occurrence=f"]);
        let run = tshark.args(fields.iter().flat_map(|field| ["-e", field])).output().expect("tshark runs");
        let text = String::from_utf8(run.stdout).expect("UTF-8");
        let frames: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(frames.len(), eth0.len() + lo.len());
        let mut packets: HashMap<(&str, &str), u64> = HashMap::new();
        for frame in frames.iter().filter(|frame| frame[5].is_empty()) {
            *packets.entry((frame[1], frame[2])).or_default() += 1;
        }

        let rows = rows(&csv);
        assert!(rows.len() > 10);
        for row in &rows {
            let first = &frames[row.first_frame.expect("it was written") as usize - 1];
            let number = |stream: Option<u32>| stream.map(|number| number.to_string()).unwrap_or_default();
            let (tcp, udp) = (number(row.tcp_stream), number(row.udp_stream));
            assert_eq!((first[1], first[2]), (tcp.as_str(), udp.as_str()), "{row:?}");
            assert_eq!(first[3], row.interface.expect("it was written").to_string(), "{row:?}");
            assert_eq!(first[4], row.first_time, "{row:?}");
            // The stream is the leg, all of it and nothing else.
            assert_eq!(packets[&(first[1], first[2])], row.client_packets + row.server_packets, "{row:?}");
        }
    }
}

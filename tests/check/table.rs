//! Every code by every capture: each fires on the capture that is there for it, and on no other.
//!
//! ```text
//! cargo test --test check table -- --nocapture        # prints the table
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use meshpcap::audit::Rules;
use meshpcap::capture::Source;
use meshpcap::check::{CODES, Severity, code};
use meshpcap::nat::{self, RulesFile};
use serde_json::Value;

use crate::common::Job;
use crate::job::check;

/// The capture of each code: a folder of testdata, which the rig recorded.
const RECORDED: [(&str, &str); 24] = [
    ("port-collision", "port-collision"),
    ("half-closed-connection", "forgotten"),
    ("unanswered-syn", "silent-peer"),
    ("connection-refused", "proxy-stopped"),
    ("invalid-packet-reset", "stray-packet"),
    ("reset-unanswered", "crash"),
    ("connection-reset", "reuse-after-reset"),
    ("no-response", "half-a-request"),
    ("one-direction", "one-direction"),
    ("packets-dropped", "overrun"),
    ("capture-gap", "short-packets"),
    ("snaplen", "snaplen96"),
    ("bypass", "bypass-user"),
    ("stale-rules", "stale-ports"),
    ("plaintext-out", "plaintext-service"),
    ("plaintext-passthrough", "four-destinations"),
    ("plaintext-refused", "strict-mtls"),
    ("plaintext-in", "ipv6-inbound"),
    ("loopback-retransmission", "lost-inside"),
    ("retransmission", "lost-outside"),
    ("zero-window", "slow-reader"),
    ("capture-port-reached", "capture-port"),
    ("admin-port-reached", "admin-port"),
    ("telemetry-port-reached", "telemetry-port"),
];

/// What comes with it: a connection that met an older one is reset before it succeeds.
const BESIDE: [(&str, &str); 1] = [("forgotten", "connection-reset")];

/// A capture: its name, what was found in it, and whether what was found is what is due.
struct Column {
    name: String,
    found: BTreeSet<&'static str>,
    due: BTreeSet<String>,
}

fn column(folder: &Path) -> Column {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let case: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).expect("a case")).expect("JSON");
    let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
    let path = |name: &Value| -> PathBuf { folder.join(name.as_str().expect("a name")) };
    let mut job = Job::new();
    job.merge.inputs.extend(list("inputs").iter().map(path).map(Source::Path));
    let mut due: BTreeSet<String> = ["codes", "alarms"].iter().flat_map(|key| list(key)).map(text).collect();
    for connection in list("expects") {
        due.insert(if connection["kind"] == "stale" { "stale-rules" } else { "bypass" }.to_owned());
        let files: Vec<RulesFile> =
            list("rules").iter().map(|file| RulesFile { family: None, path: path(file) }).collect();
        job.merge.rules = Rules::Read(nat::load(&files).expect("rules"));
    }
    let is_its_own = |(_, capture): &&(&str, &str)| *capture == name;
    due.extend(RECORDED.iter().filter(is_its_own).map(|(code, _)| (*code).to_owned()));
    due.extend(BESIDE.iter().filter(|(capture, _)| *capture == name).map(|(_, code)| (*code).to_owned()));
    Column { found: check(&job).iter().map(|finding| finding.code).collect(), name, due }
}

fn text(value: Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[test]
fn each_code_fires_on_its_capture_and_on_no_other() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let folders = std::fs::read_dir(testdata).expect("testdata").map(|entry| entry.expect("an entry").path());
    let all: BTreeMap<String, Column> = folders
        .filter(|path| path.is_dir())
        .map(|path| column(&path))
        .map(|column| (column.name.clone(), column))
        .collect();
    let own: BTreeMap<&str, String> = RECORDED.iter().map(|(code, name)| (*code, (*name).to_owned())).collect();
    let order: Vec<&Column> =
        CODES.iter().map(|code| &all[own.get(code.name).expect("every code has a capture")]).collect();
    println!("{}", table(&order, &all));

    let mut wrong = Vec::new();
    for column in all.values() {
        let is_own = own.values().any(|name| *name == column.name);
        // What is worth knowing only is in healthy captures as well, and no fault.
        let counts = |found: &&str| is_own || code(found).is_some_and(|code| code.severity > Severity::Note);
        let found: BTreeSet<String> =
            column.found.iter().copied().filter(|found| counts(found)).map(str::to_owned).collect();
        if found != column.due {
            wrong.push(format!("{}: {found:?}, due {:?}", column.name, column.due));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(all.len() > 40, "{}", all.len());
}

/// Codes by the captures that are there for them, numbered in the same order, and by all others together.
fn table(order: &[&Column], all: &BTreeMap<String, Column>) -> String {
    let others: Vec<&Column> = all.values().filter(|one| order.iter().all(|own| own.name != one.name)).collect();
    let numbers: String = (1..=order.len()).map(|number| format!(" {number} |")).collect();
    let mut out = format!("| code | its capture |{numbers} {} others |\n", others.len());
    let _ = writeln!(out, "|{}", "---|".repeat(order.len() + 3));
    for (row, code) in CODES.iter().enumerate() {
        let fires = |column: &Column| if column.found.contains(code.name) { "X" } else { "" };
        let cells: String = order.iter().map(|column| format!(" {} |", fires(column))).collect();
        let elsewhere: Vec<&str> =
            others.iter().filter(|one| one.found.contains(code.name)).map(|one| one.name.as_str()).collect();
        let name = format!("{} {} ({})", row + 1, code.name, code.severity);
        let _ = writeln!(out, "| {name} | {} |{cells} {} |", order[row].name, elsewhere.join(" "));
    }
    out
}

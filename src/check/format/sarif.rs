//! SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), as code scanning reads it.
//!
//! A capture has no lines, and code scanning wants one: the region is line 1, and the properties have frames and streams.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use serde_json::{Value, json};

use super::{About, Finding, place, what};
use crate::check::{CODES, Code, Subject};

pub(super) fn write(findings: &[Finding], about: About<'_>) -> String {
    let rules: Vec<Value> = CODES.iter().map(rule).collect();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, about)).collect();
    let artifacts: Vec<Value> = unique(about.inputs.iter().map(|input| uri(input)))
        .into_iter()
        .map(|uri| json!({ "location": { "uri": uri } }))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "meshpcap",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "artifacts": artifacts,
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

fn rule(code: &Code) -> Value {
    json!({
        "id": code.name,
        "shortDescription": { "text": code.title },
        "fullDescription": { "text": code.meaning },
        "help": { "text": format!("Detected: {}\n\nCauses: {}", code.detection, code.causes) },
        "helpUri": code.threads.first(),
        "defaultConfiguration": { "level": code.severity.name() },
    })
}

fn result(finding: &Finding, about: About<'_>) -> Value {
    let index = CODES.iter().position(|code| code.name == finding.code);
    // Another connection with the same addresses and ports is no other location.
    let leg = |leg: &Subject| format!("{} {} > {}", leg.role, leg.client, leg.server);
    let places = unique(finding.legs.iter().map(leg));
    let locations: Vec<Value> = about
        .inputs
        .iter()
        .enumerate()
        .take(1)
        .map(|(index, input)| {
            json!({
                "physicalLocation": {
                    "artifactLocation": { "uri": uri(input), "index": index },
                    "region": { "startLine": 1 },
                },
                "logicalLocations": places.iter().map(|place| json!({ "fullyQualifiedName": place })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity.name(),
        "kind": "fail",
        "message": { "text": format!("{}. At {}. To do: {}.", what(finding), place(finding), finding.todo) },
        "locations": locations,
        "partialFingerprints": { "meshpcap/v1": fingerprint(finding) },
        "properties": { "frames": finding.frames, "legs": finding.legs, "certain": finding.certain },
    })
}

/// Each once: sections 3.14.15 and 3.28.4 want it so.
fn unique(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut known: HashSet<String, RandomState> = HashSet::default();
    texts.filter(|text| known.insert(text.clone())).collect()
}

/// What is the same in another recording of the same thing.
fn fingerprint(finding: &Finding) -> String {
    let legs: Vec<String> = finding.legs.iter().map(|leg| format!("{} {}", leg.role, leg.server)).collect();
    format!("{}: {}", finding.code, legs.join(", "))
}

/// A path as a relative or absolute URI reference (RFC 3986): other characters than the unreserved ones and `/` are
/// written as octets.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    if path.starts_with('/') {
        out.push_str("file://");
    }
    for octet in path.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(octet)),
            octet => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}

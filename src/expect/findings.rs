//! Findings as they are expected: by what is the same in another recording of the same thing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::{Finding, Subject};
use crate::diff::Addresses;

/// A finding, by its code and the roles and servers of its legs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// Its code.
    pub code: String,
    /// Role and server of its legs, the one that it is about first; each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<String>,
    /// How often there is one like it.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_once(times: &usize) -> bool {
    *times == 1
}

/// Findings of one kind, of which there are more or fewer than expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Miscounted {
    /// Their code.
    pub code: String,
    /// Role and server of their legs.
    pub legs: Vec<String>,
    /// How many are expected.
    pub expected: usize,
    /// How many were found.
    pub found: usize,
    /// The first of them, as it was found.
    pub finding: Option<Finding>,
}

/// What is to be noted of findings, in the order of their codes; addresses are the old ones.
pub fn noted(findings: &[Finding], addresses: &Addresses) -> Vec<Noted> {
    let mut times: BTreeMap<Key, usize> = BTreeMap::new();
    for finding in findings {
        *times.entry(key(finding, addresses)).or_default() += 1;
    }
    times.into_iter().map(|((code, legs), times)| Noted { code, legs, times }).collect()
}

/// What tells findings apart: code; role and server of each leg.
type Key = (String, Vec<String>);

fn key(finding: &Finding, addresses: &Addresses) -> Key {
    let mut legs: Vec<String> = Vec::new();
    for Subject { role, server, .. } in &finding.legs {
        let leg = match server.parse() {
            Ok(end) => format!("{role} {}", addresses.old_end(end)),
            Err(_) => format!("{role} {server}"),
        };
        if !legs.contains(&leg) {
            legs.push(leg);
        }
    }
    (finding.code.to_owned(), legs)
}

/// What was found more or less often than expected, in the order of the codes.
pub fn miscounted(expected: &[Noted], findings: &[Finding], addresses: &Addresses) -> Vec<Miscounted> {
    let mut all: BTreeMap<Key, Miscounted> = BTreeMap::new();
    for noted in expected {
        counts(&mut all, (noted.code.clone(), noted.legs.clone())).expected += noted.times;
    }
    for finding in findings {
        let counts = counts(&mut all, key(finding, addresses));
        counts.found += 1;
        counts.finding.get_or_insert_with(|| finding.clone());
    }
    all.into_values().filter(|one| one.expected != one.found).collect()
}

fn counts(all: &mut BTreeMap<Key, Miscounted>, key: Key) -> &mut Miscounted {
    let (code, legs) = key.clone();
    all.entry(key).or_insert(Miscounted { code, legs, expected: 0, found: 0, finding: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    fn finding(code: &'static str, client: &str, servers: &[&str]) -> Finding {
        let leg = |server: &&str| Subject {
            role: "outbound-app",
            client: client.to_owned(),
            server: (*server).to_owned(),
            tcp_stream: Some(1),
        };
        let legs = servers.iter().map(leg).collect();
        let (what, todo) = (format!("of {client}"), String::new());
        Finding { code, severity: Severity::Note, certain: true, legs, frames: vec![7], what, todo }
    }

    #[test]
    fn ephemeral_ports_and_frames_do_not_count() {
        let old = [
            finding("snaplen", "", &[]),
            finding("bypass", "10.1.0.5:1", &["10.1.0.6:80", "10.1.0.6:80"]),
            finding("bypass", "10.1.0.5:2", &["10.1.0.6:80"]),
        ];
        let expected = noted(&old, &Addresses::default());
        let told: Vec<_> = expected.iter().map(|noted| (noted.code.as_str(), noted.legs.len(), noted.times)).collect();
        assert_eq!(told, [("bypass", 1, 2), ("snaplen", 0, 1)]);
        let new = [
            finding("bypass", "10.1.0.5:4", &["10.1.9.6:80"]),
            finding("bypass", "10.1.0.5:3", &["10.1.9.6:80"]),
            finding("snaplen", "", &[]),
        ];
        let addresses = Addresses::new(vec!["10.1.0.6=10.1.9.6".parse().expect("a pair")]).expect("addresses");
        assert_eq!(miscounted(&expected, &new, &addresses), []);
        let differ = miscounted(&expected, &new[1..], &addresses);
        assert_eq!((differ.len(), differ[0].expected, differ[0].found), (1, 2, 1));
        let differ = miscounted(&expected, &new, &Addresses::default());
        let counts: Vec<_> = differ.iter().map(|one| (one.legs[0].as_str(), one.expected, one.found)).collect();
        assert_eq!(counts, [("outbound-app 10.1.0.6:80", 2, 0), ("outbound-app 10.1.9.6:80", 0, 2)]);
    }
}

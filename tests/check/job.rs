//! Checks of captures in a folder of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshpcap::check::{Finding, Severity};
use meshpcap::pipeline;

use crate::common::leg::{START, together};
use crate::common::{Job, Leg, Link, Shot, Tcp, addr, shot};

pub const MS: u64 = 1_000_000;

/// What a check of these inputs finds.
pub fn check(job: &Job) -> Vec<Finding> {
    pipeline::check(&job.merge, &Arc::default(), &mut |_, _| ()).expect("the check succeeds").findings
}

/// What lo and eth0 of a pod show.
pub fn pod(lo: &[&Leg], wire: &[&Leg]) -> Job {
    let job = Job::new();
    let job = if lo.is_empty() { job } else { job.shots(Link::Lo, &together(lo, Link::Lo)) };
    if wire.is_empty() { job } else { job.shots(Link::Eth, &together(wire, Link::Eth)) }
}

/// The codes that were found, those of notes last.
pub fn codes(findings: &[Finding]) -> Vec<&'static str> {
    let all: BTreeSet<_> = findings.iter().map(|f| (std::cmp::Reverse(f.severity), f.code)).collect();
    all.into_iter().map(|(_, code)| code).collect()
}

/// Findings that are no notes.
pub fn alarms(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity > Severity::Note).collect()
}

/// The one finding with a code, where no other is as bad.
pub fn only<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    let of: Vec<&Finding> = findings.iter().filter(|finding| finding.code == code).collect();
    assert_eq!(of.len(), 1, "{code} once in {findings:#?}");
    let others: Vec<_> = alarms(findings).into_iter().filter(|finding| finding.code != code).collect();
    assert!(others.is_empty(), "{others:#?}");
    of[0]
}

/// A call through the proxy to the application, which shows that the pod is the one with this address.
pub fn inbound(pod: &str) -> Leg {
    Leg::direct("127.0.0.6:33333", &format!("{pod}:8080")).whole()
}

/// A packet of its own.
pub fn packet(after: u64, from: &str, to: &str, flags: &str, numbers: (u32, u32), data: &str) -> (u64, Vec<u8>) {
    let tcp = Tcp::new(addr(from), addr(to)).flags(flags).numbers(numbers.0, numbers.1).data(data.as_bytes());
    (START + after, tcp.ip())
}

/// Such packets on a link.
pub fn shots(link: Link, packets: &[(u64, Vec<u8>)]) -> Vec<Shot> {
    let mut shots: Vec<Shot> = packets.iter().map(|(time, datagram)| shot(*time, link.frame(datagram))).collect();
    shots.sort_by_key(|shot| shot.time);
    shots
}

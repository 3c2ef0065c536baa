//! `meshpcap diff` as a library: what makes two recordings differ, and what does not.

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod documents;
mod live;
mod properties;

use std::sync::Arc;

use common::{Job, Link, Shot};
use meshpcap::diff::{self, Diff, Limits, Settings, Trace};
use meshpcap::output::is_repaired;

/// The conversations of a capture on lo, merged and read again.
fn trace(shots: &[Shot]) -> Trace {
    trace_with(shots, &Settings::default())
}

fn trace_with(shots: &[Shot], settings: &Settings) -> Trace {
    read(Job::new().shots(Link::Lo, shots), settings)
}

fn read(job: Job, settings: &Settings) -> Trace {
    let outcome = job.run();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &outcome.bytes).expect("the repaired file");
    assert!(is_repaired(file.path()));
    let read = diff::read(file.path(), "test", settings, Limits::default(), &Arc::default()).expect("it can be read");
    assert!(read.damage.is_none());
    read.trace
}

/// The differences as a reviewer reads them, one line each.
fn told(old: &Trace, new: &Trace) -> Vec<String> {
    let diff = diff::compare(old, new);
    lines(&diff, old, new)
}

fn lines(diff: &Diff, old: &Trace, new: &Trace) -> Vec<String> {
    let text = diff::text(diff, old, new, ["OLD", "NEW"]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    lines
}

//! What differs from what is expected, for a reviewer and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::findings::Miscounted;
use super::{Held, Shown};
use crate::check::code;
use crate::check::format::frames;
use crate::diff::{self, Document, Trace};

/// What the sides are called.
const SIDES: [&str; 2] = ["expect.json", "the captures"];

/// Findings first, then conversations; nothing if all is as expected.
pub fn text(held: &Held, expected: &Trace, shown: &Shown) -> String {
    let mut out = String::new();
    for one in &held.findings {
        finding(&mut out, one);
    }
    out + &diff::text(&held.conversations, expected, &shown.trace, SIDES)
}

fn finding(out: &mut String, one: &Miscounted) {
    let Miscounted { code: name, legs, expected, found, finding } = one;
    let severity = code(name).map_or("finding", |code| code.severity.name());
    let sign = match (expected, found) {
        (0, _) => '+',
        (_, 0) => '-',
        _ => '~',
    };
    let legs = if legs.is_empty() { String::new() } else { format!(" {}", legs.join(", ")) };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{sign} {severity}[{name}]{legs}: {expected} in expect.json, {found} in the captures");
    if let Some(finding) = finding {
        let frames = frames(finding).map_or(String::new(), |frames| format!(" ({frames})"));
        let _ = writeln!(out, "    {}{frames}", finding.what);
    }
}

/// All of it, as docs/check.md has it. `folder` is that of the regression trace.
pub fn json(held: &Held, expected: &Trace, shown: &Shown, folder: &str) -> serde_json::Result<String> {
    let conversations = diff::document(&held.conversations, expected, &shown.trace);
    serde_json::to_string_pretty(&Whole { folder, same: held.is_empty(), findings: &held.findings, conversations })
}

#[derive(Serialize)]
struct Whole<'a> {
    folder: &'a str,
    same: bool,
    findings: &'a [Miscounted],
    conversations: Document<'a>,
}

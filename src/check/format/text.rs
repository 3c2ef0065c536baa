//! For people: what, where, and what to do.

use std::fmt::Write;

use super::{Finding, place, what};

pub(super) fn write(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let _ = writeln!(out, "{}[{}]: {}", finding.severity, finding.code, what(finding));
        let place = place(finding);
        if !place.is_empty() {
            let _ = writeln!(out, "  at: {place}");
        }
        let _ = writeln!(out, "  do: {}", finding.todo);
    }
    out
}

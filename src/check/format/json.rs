//! For programs: one object.

use serde::Serialize;

use super::{About, Finding};

#[derive(Serialize)]
struct Document<'a> {
    /// Changes if a field changes its meaning or goes away.
    version: u32,
    inputs: &'a [String],
    legs: u64,
    findings: &'a [Finding],
}

pub(super) fn write(findings: &[Finding], about: About<'_>) -> String {
    let document = Document { version: 1, inputs: about.inputs, legs: about.legs, findings };
    // Strings and numbers only: nothing of it can fail.
    let mut out = serde_json::to_string_pretty(&document).unwrap_or_default();
    out.push('\n');
    out
}

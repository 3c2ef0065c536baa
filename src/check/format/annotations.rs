//! Annotations of GitHub's workflows (GitHub Docs, "Workflow commands"): `::error file=…,title=…::message`.

use std::fmt::Write;

use super::{About, Finding, place, what};
use crate::check::Severity;

pub(super) fn write(findings: &[Finding], about: About<'_>) -> String {
    let mut out = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let file = about.inputs.first().map_or(String::new(), |input| format!("file={},", property(input)));
        let title = property(&format!("meshpcap: {}", finding.code));
        let message = data(&format!("{}\n{}\n{}", what(finding), place(finding), finding.todo));
        let _ = writeln!(out, "::{command} {file}title={title}::{message}");
    }
    out
}

/// A message: what would end the line is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property: what would end it as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(data("50% of a:b,c\r\nnext"), "50%25 of a:b,c%0D%0Anext");
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }
}

//! JUnit's XML, as Jenkins, GitLab and others read it: a test case for each code, failed if it has findings that are no
//! notes. Notes are the case's output.

use std::fmt::Write;

use super::{About, Finding, place, what};
use crate::check::{CODES, Severity};

pub(super) fn write(findings: &[Finding], about: About<'_>) -> String {
    let of = |name: &str| -> Vec<&Finding> { findings.iter().filter(|finding| finding.code == name).collect() };
    let fails = |finding: &&Finding| finding.severity > Severity::Note;
    let failed = CODES.iter().filter(|code| of(code.name).iter().any(fails)).count();
    let counts = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\"", CODES.len());
    let name = escape(&about.inputs.join(" "));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"meshpcap check\" {counts} time=\"0\">");
    let _ = writeln!(out, "  <testsuite name=\"{name}\" {counts} skipped=\"0\" time=\"0\">");
    for code in CODES {
        let found = of(code.name);
        let _ = write!(out, "    <testcase classname=\"meshpcap.check\" name=\"{}\" time=\"0\"", code.name);
        if found.is_empty() {
            out.push_str("/>\n");
            continue;
        }
        let told: Vec<String> = found.iter().map(|finding| told(finding)).collect();
        let told = escape(&told.join("\n"));
        match found.iter().find(|finding| fails(finding)) {
            Some(first) => {
                let _ = write!(
                    out,
                    ">\n      <failure message=\"{}\" type=\"{}\">{told}</failure>\n",
                    escape(&what(first)),
                    first.severity
                );
            }
            None => {
                let _ = write!(out, ">\n      <system-out>{told}</system-out>\n");
            }
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn told(finding: &Finding) -> String {
    format!("{}\n  at: {}\n  do: {}", what(finding), place(finding), finding.todo)
}

/// Text for content and attributes (XML 1.0, sections 2.2 and 2.4): what no XML may hold is replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

//! Findings written out: for people, for programs, for CI.

mod annotations;
mod json;
mod junit;
mod sarif;
mod text;

use super::Finding;

/// What findings are about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The captures, as they were named.
    pub inputs: &'a [String],
    /// TCP and UDP legs that were looked at.
    pub legs: u64,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; nothing if there is none.
    Text,
    /// One object.
    Json,
    /// JUnit's XML: a test case for each code.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
    /// Annotations of GitHub's workflows.
    Github,
}

/// Findings in a format, with the last newline if there is anything.
pub fn write(format: Format, findings: &[Finding], about: About<'_>) -> String {
    match format {
        Format::Text => text::write(findings),
        Format::Json => json::write(findings, about),
        Format::Junit => junit::write(findings, about),
        Format::Sarif => sarif::write(findings, about),
        Format::Github => annotations::write(findings, about),
    }
}

/// Where a finding is: its legs and frames, in words.
fn place(finding: &Finding) -> String {
    let leg = |subject: &super::Subject| {
        let stream = subject.tcp_stream.map_or(String::new(), |stream| format!(", tcp.stream {stream}"));
        format!("{} {} > {}{stream}", subject.role, subject.client, subject.server)
    };
    let mut words: Vec<String> = finding.legs.iter().take(3).map(leg).collect();
    match finding.legs.len() {
        0..=3 => {}
        all => words.push(format!("and {} more", all - 3)),
    }
    words.extend(frames(finding));
    words.join("; ")
}

/// The frames of a finding, in words.
pub fn frames(finding: &Finding) -> Option<String> {
    let frames: Vec<String> = finding.frames.iter().map(u64::to_string).collect();
    match frames.as_slice() {
        [] => None,
        [one] => Some(format!("frame {one}")),
        several => Some(format!("frames {}", several.join(", "))),
    }
}

/// What happened, as surely as it is known.
fn what(finding: &Finding) -> String {
    if finding.certain { finding.what.clone() } else { format!("{} (likely)", finding.what) }
}

//! `meshpcap explain`: what the rules do to a connection, rule by rule, for people and for programs.
//!
//! What comes in is a ruleset and probes; what goes out is text or JSON. Nothing is captured and nothing is sent.

mod json;
mod text;

use std::io::{self, BufRead, Write};

use crate::nat::{Host, Interface, Probe, RuleId, Ruleset, evaluate};

pub use json::Line;

/// The host of a probe: what the user says of its interfaces, else what the probe shows.
fn host(probe: &Probe, interfaces: &[Interface], loopback: &[std::net::IpAddr]) -> Host {
    if interfaces.is_empty() {
        let mut host = Host::of(probe);
        host.loopback.extend(loopback);
        return host;
    }
    Host { interfaces: interfaces.to_vec(), loopback: loopback.to_vec() }
}

/// What to explain, and how.
#[derive(Clone, Debug)]
pub struct Explain {
    /// The rules.
    pub rules: Ruleset,
    /// The interfaces of the host and their addresses, if the user gave any.
    pub interfaces: Vec<Interface>,
    /// Further addresses of lo.
    pub loopback: Vec<std::net::IpAddr>,
    /// Whether JSON is wanted.
    pub json: bool,
}

impl Explain {
    /// Explains one probe.
    pub fn one(&self, probe: &Probe, out: &mut dyn Write) -> io::Result<()> {
        let verdict = evaluate(&self.rules, &host(probe, &self.interfaces, &self.loopback), probe);
        if self.json {
            writeln!(out, "{}", json::verdict(&self.rules, probe, &verdict, false))
        } else {
            text::verdict(&self.rules, probe, &verdict, out)
        }
    }

    /// Explains probes that come as JSON lines; `common` has what the lines leave out.
    pub fn lines(&self, input: &mut dyn BufRead, common: &Probe, out: &mut dyn Write) -> io::Result<()> {
        for (number, line) in (1..).zip(input.lines()) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, format!("line {number}: {what}"));
            let parsed: Line = serde_json::from_str(&line).map_err(|e| wrong(e.to_string()))?;
            let probe = parsed.probe(common).map_err(wrong)?;
            let verdict = evaluate(&self.rules, &host(&probe, &self.interfaces, &self.loopback), &probe);
            writeln!(out, "{}", json::verdict(&self.rules, &probe, &verdict, true))?;
            out.flush()?;
        }
        Ok(())
    }
}

/// The text of the test in a rule's step.
fn test_text(rules: &Ruleset, id: RuleId, step: usize) -> Option<String> {
    rules.rule(id).steps.get(step).and_then(json::step_text)
}

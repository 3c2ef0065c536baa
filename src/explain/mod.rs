//! `meshpcap explain`: what the rules do to a connection, rule by rule, for people and for programs.
//!
//! What comes in is a ruleset and probes; what goes out is text or JSON. Nothing is captured and nothing is sent.

mod json;
mod text;

use std::io::{self, BufRead, Read, Write};

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

/// A longer line is no probe.
const LONGEST_LINE: u64 = 64 << 10;

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
        let host = host(probe, &self.interfaces, &self.loopback);
        let verdict = evaluate(&self.rules, &host, probe);
        if self.json {
            writeln!(out, "{}", json::verdict(&self.rules, probe, &verdict, false))
        } else {
            text::verdict(&self.rules, &host, self.interfaces.is_empty(), probe, &verdict, out)
        }
    }

    /// Explains probes that come as JSON lines; `common` has what the lines leave out. The first wrong line ends it, after
    /// the verdicts of those before.
    pub fn lines(&self, input: &mut dyn BufRead, common: &Probe, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, format!("line {number}: {what}"));
            line.clear();
            if (&mut *input).take(LONGEST_LINE + 1).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() as u64 > LONGEST_LINE {
                return Err(wrong(format!("it is longer than {LONGEST_LINE} octets")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let parsed: Line = serde_json::from_slice(&line).map_err(|e| wrong(in_line(&e)))?;
            let probe = parsed.probe(common).map_err(wrong)?;
            let verdict = evaluate(&self.rules, &host(&probe, &self.interfaces, &self.loopback), &probe);
            writeln!(out, "{}", json::verdict(&self.rules, &probe, &verdict, true))?;
            out.flush()?;
        }
        Ok(())
    }
}

/// What is wrong with a line of JSON, without the number of a line: it would count from 1 in each.
fn in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// The text of the test in a rule's step.
fn test_text(rules: &Ruleset, id: RuleId, step: usize) -> Option<String> {
    rules.rule(id).steps.get(step).and_then(json::step_text)
}

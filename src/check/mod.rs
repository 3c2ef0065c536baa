//! What is wrong in a capture, as far as it can be told from both sides of the proxy.
//!
//! What comes in is legs after the first pass over the captures, and what was collected of their packets meanwhile; what
//! goes out is [`Finding`]s, each with a code of [`CODES`]. A finding is made where the packets leave no other
//! explanation, or says that it is likely only. Nothing here reads packets, files or a clock.
//!
//! ```text
//! collect    segments            -> conversations  SYNs, resets, gaps, windows of each end, and where they stand
//! facts      legs, conversations -> facts          both halves of a leg together, and whose each end is
//! handshake, ended, recorded, rules, plaintext, slow, reached
//!            facts               -> findings       a family of codes each
//! codes      code                -> explanation    what it means, how it is detected, what causes it
//! format     findings            -> text, JSON, JUnit, SARIF, annotations
//! ```

mod codes;
mod collect;
mod ended;
mod facts;
pub mod format;
mod handshake;
mod plaintext;
mod reached;
mod recorded;
mod rules;
mod slow;

use std::collections::HashSet;

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::audit::Findings;

pub use codes::{CODES, Code, Severity, code};
pub use collect::{CONVERSATIONS, Collector, Seen, Segment, mark};
pub use facts::{Fact, Known};

/// Places that a finding names, at most.
const PLACES: usize = 8;

/// Something that is wrong, or worth knowing.
///
/// Two findings are the same thing in two recordings if [`Finding::code`] and the roles and servers of their legs are the
/// same: frames, streams, times and client ports differ from run to run, and texts repeat them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its code.
    pub code: &'static str,
    /// How bad it is: that of its code.
    pub severity: Severity,
    /// Whether the packets leave no other explanation.
    pub certain: bool,
    /// The legs that it is about, the one that it is about first.
    pub legs: Vec<Subject>,
    /// `frame.number` in the repaired file of the packets that show it.
    pub frames: Vec<u64>,
    /// What happened.
    pub what: String,
    /// What to do.
    pub todo: String,
}

/// A leg as a finding names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Its role.
    pub role: &'static str,
    /// The end that opened it, with the address that it has in the repaired file.
    pub client: String,
    /// The other end.
    pub server: String,
    /// `tcp.stream` in the repaired file; null past what is numbered.
    pub tcp_stream: Option<u32>,
}

/// A finding whose packets are known by when they were read.
#[derive(Clone, Debug)]
pub struct Draft {
    code: &'static str,
    certain: bool,
    /// As indexes into the facts.
    legs: Vec<usize>,
    /// The packets that show it.
    pub places: Vec<Seen>,
    what: String,
    todo: String,
}

impl Draft {
    fn new(code: &'static str, legs: &[usize], what: String, todo: impl Into<String>) -> Draft {
        Draft { code, certain: true, legs: legs.to_vec(), places: Vec::new(), what, todo: todo.into() }
    }

    /// The leg that it is about first.
    fn about(&self) -> Option<usize> {
        self.legs.first().copied()
    }

    fn at(mut self, places: impl IntoIterator<Item = Seen>) -> Draft {
        self.places.extend(places);
        self.places.sort_unstable();
        self.places.dedup();
        self.places.truncate(PLACES);
        self
    }

    fn likely(mut self, is_likely_only: bool) -> Draft {
        self.certain &= !is_likely_only;
        self
    }

    /// The finding, with the frames of its places; those that were not written have none.
    pub fn finish(self, facts: &[Fact<'_>], frame: impl Fn(Seen) -> Option<u64>) -> Finding {
        let severity = code(self.code).map_or(Severity::Error, |code| code.severity);
        let mut frames: Vec<u64> = self.places.iter().filter_map(|place| frame(*place)).collect();
        frames.sort_unstable();
        frames.dedup();
        let legs = self.legs.iter().filter_map(|leg| facts.get(*leg)).map(Fact::subject).collect();
        Finding { code: self.code, severity, certain: self.certain, legs, frames, what: self.what, todo: self.todo }
    }
}

/// Everything that is known when all packets were read.
pub struct Context<'a> {
    /// The legs.
    pub facts: &'a [Fact<'a>],
    /// What was collected beside them.
    pub collector: &'a Collector,
    /// What legs and rules say of each other.
    pub audit: Option<&'a Findings>,
    /// The captures by name, as their packets were numbered.
    pub inputs: &'a [String],
}

/// What is wrong, in the order in which it happened.
pub fn check(context: &Context<'_>) -> Vec<Draft> {
    let mut found = Vec::new();
    let families =
        [handshake::check, ended::check, recorded::check, rules::check, plaintext::check, slow::check, reached::check];
    for family in families {
        family(context, &mut found);
    }
    // Plaintext that is refused by a reset is told as such, and not as a reset besides.
    let refused: HashSet<Option<usize>, RandomState> =
        found.iter().filter(|draft| draft.code == "plaintext-refused").map(Draft::about).collect();
    found.retain(|draft| draft.code != "reset-unanswered" || !refused.contains(&draft.about()));
    found.sort_by_key(|draft| draft.places.first().copied());
    found
}

//! What is known of a rule while it is read.

use crate::nat::ruleset::{Action, Family, Step};

/// A rule before its target is known to be a chain.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) steps: Vec<Step>,
    /// The name after `-j` or `-g`, and whether it was `-g`.
    pub(super) target: Option<(String, bool)>,
    /// The options of the target, read as if it were iptables' own.
    pub(super) action: Option<Action>,
    /// What is not understood.
    pub(super) unknown: Vec<String>,
    /// The family that an address shows.
    pub(super) family: Option<Family>,
}

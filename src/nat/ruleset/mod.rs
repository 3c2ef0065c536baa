//! Tables, chains and rules as the kernel has them, whichever program printed them.

mod action;
mod hook;
mod test;

use std::fmt;

pub use action::{Action, Change, Register, Target};
pub use hook::{Base, Family, Hook, Kind, Policy};
pub(super) use test::bits;
pub use test::{Addresses, Match, States, Step, Test};

/// The rules of a pod.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The names of the files that were read.
    pub files: Vec<String>,
    /// The tables, in the order of the files.
    pub tables: Vec<Table>,
    /// What is not understood, or was guessed.
    pub notes: Vec<Note>,
}

/// A table: a name space of chains.
#[derive(Clone, Debug)]
pub struct Table {
    /// Whether it sees IPv4.
    pub v4: bool,
    /// Whether it sees IPv6.
    pub v6: bool,
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
}

impl Table {
    /// Whether the table sees packets of a family.
    pub fn sees(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its hook, unless other chains jump to it.
    pub base: Option<Base>,
    /// Its rules in their order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// Its text: the line of `iptables-save`, or the expressions of nft in nft's syntax.
    pub text: String,
    /// Tests and actions in their order. iptables has its one action at the end.
    pub steps: Vec<Step>,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as an index into [`Ruleset::files`].
    pub file: usize,
    /// The line, from 1; none for JSON, which has its rules in one line, and for what is said of the whole file.
    pub line: Option<u32>,
    /// nft's handle of the rule.
    pub handle: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.handle) {
            (Some(line), _) => write!(f, "line {line}"),
            (None, Some(handle)) => write!(f, "handle {handle}"),
            (None, None) => Ok(()),
        }
    }
}

/// Something worth knowing about a rules file that does not make it unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The rule, or the place in the file.
    pub place: Place,
    /// What is not understood, or was guessed.
    pub what: String,
}

/// A rule of a ruleset, as indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Into [`Ruleset::tables`].
    pub table: usize,
    /// Into [`Table::chains`].
    pub chain: usize,
    /// Into [`Chain::rules`].
    pub rule: usize,
}

impl Ruleset {
    /// The rule of an id that this ruleset gave out.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.chain(id.table, id.chain).rules[id.rule]
    }

    /// The chain of indices that this ruleset gave out.
    pub fn chain(&self, table: usize, chain: usize) -> &Chain {
        &self.tables[table].chains[chain]
    }

    /// `rules.txt line 12`, or with the handle for nft.
    pub fn whereabouts(&self, place: Place) -> String {
        match self.files.get(place.file) {
            Some(file) => format!("{file} {place}").trim_end().to_owned(),
            None => place.to_string(),
        }
    }

    /// Whether a test is about the source port, so that connections between the same addresses can differ.
    pub fn asks_source_port(&self) -> bool {
        let steps = self.tables.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules).flat_map(|r| &r.steps);
        let asks = |test: &Test| matches!(test, Test::SourcePort(_) | Test::EitherPort(_) | Test::Unknown(_));
        steps.into_iter().any(|step| matches!(step, Step::Match(m) if asks(&m.test)))
    }

    /// Whether any table is about an IP version; if none is, its rules were not given.
    pub fn sees(&self, family: Family) -> bool {
        self.tables.iter().any(|table| table.sees(family))
    }

    /// Adds the tables of another file.
    pub fn append(&mut self, other: Ruleset) {
        let shift = self.files.len();
        let moved = |place: Place| Place { file: place.file + shift, ..place };
        self.files.extend(other.files);
        self.notes.extend(other.notes.into_iter().map(|n| Note { place: moved(n.place), ..n }));
        self.tables.extend(other.tables.into_iter().map(|mut table| {
            for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
                rule.place = moved(rule.place);
            }
            table
        }));
    }
}

//! The summary on standard error.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::audit::Findings;
use crate::flow::{Leg, Outcome, Reason};
use crate::nat::Role;
use crate::output::Counts;

/// How many legs that were left as captured are named one by one.
const EXAMPLES: usize = 10;

/// What a run did, in a few lines.
#[derive(Debug, Default)]
pub struct Summary {
    /// Inputs read.
    pub inputs: usize,
    /// Packets read.
    pub read: u64,
    /// Packets that another input showed too, and that were written once.
    pub duplicates: u64,
    /// Connections on the wire that several inputs show, by the input whose packets were kept, from 0.
    pub copied: BTreeMap<u16, u64>,
    /// Connections that inputs show by clocks that differ, and those of them of which nothing shows when a proxy saw what.
    pub by_clocks: [u64; 2],
    /// Packets that came from a pipe too late for the order of time.
    pub late: u64,
    /// What was done to packets and blocks on their way out.
    pub counts: Counts,
    /// Requests of the access logs that went over a connection of the captures, if there are logs.
    pub logged: Option<u64>,
    /// Why no legs were tied that might have been.
    pub untied: Option<Untied>,
    /// What rules and legs say of each other.
    pub findings: Option<Findings>,
    /// The addresses of the gateway, as far as they are known; none if nobody said that there is one.
    pub gateway: Option<Vec<IpAddr>>,
    legs: BTreeMap<Role, [u64; 3]>,
    left: BTreeMap<Reason, (u64, Vec<String>)>,
}

/// Why no legs were tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untied {
    /// The files hold too many.
    TooMany,
    /// There is an access log or a list of conntrack, and the captures were read once.
    ReadOnce,
}

impl Summary {
    /// Nothing done yet with so many inputs.
    pub fn new(inputs: usize) -> Summary {
        Summary { inputs, ..Summary::default() }
    }

    /// Counts a leg.
    pub fn leg(&mut self, leg: &Leg) {
        let counts = self.legs.entry(leg.role).or_default();
        match leg.outcome {
            Outcome::Repaired { .. } => counts[0] += 1,
            Outcome::Whole => counts[1] += 1,
            Outcome::Left(reason) => {
                counts[2] += 1;
                let (count, examples) = self.left.entry(reason).or_default();
                *count += 1;
                if examples.len() < EXAMPLES {
                    examples.push(left(leg));
                }
            }
        }
    }
}

impl Summary {
    /// A leg that was counted as left is repaired after all; `before` is as it was.
    pub fn repaired(&mut self, before: &Leg) {
        let Outcome::Left(reason) = before.outcome else { return };
        let counts = self.legs.entry(before.role).or_default();
        (counts[0], counts[2]) = (counts[0] + 1, counts[2].saturating_sub(1));
        if let Some((count, examples)) = self.left.get_mut(&reason) {
            *count = count.saturating_sub(1);
            examples.retain(|example| *example != left(before));
            if *count == 0 {
                self.left.remove(&reason);
            }
        }
    }
}

/// A leg that was left as captured, as the summary names it.
fn left(leg: &Leg) -> String {
    format!("{} {} > {}", leg.protocol.name(), leg.client, leg.server)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64, word: &str| if n == 1 { format!("{n} {word}") } else { format!("{n} {word}s") };
        write!(
            f,
            "{} from {}, {} written",
            plural(self.read, "packet"),
            plural(self.inputs as u64, "input"),
            self.counts.packets
        )?;
        if self.duplicates > 0 {
            write!(f, ", {} dropped", plural(self.duplicates, "duplicate"))?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{} got their original addresses back, {} completed",
            plural(self.counts.translated, "packet"),
            plural(self.counts.completed, "checksum")
        )?;
        if !self.legs.is_empty() {
            writeln!(f, "{:<14} {:>9} {:>9} {:>9}", "legs", "repaired", "whole", "left")?;
        }
        for (role, [repaired, whole, left]) in &self.legs {
            writeln!(f, "{:<14} {repaired:>9} {whole:>9} {left:>9}  {}", role.name(), role.meaning())?;
        }
        match self.gateway.as_deref() {
            None => {}
            Some([]) => writeln!(f, "gateway: no connection shows which address is the gateway's: give it with --pod")?,
            Some(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                writeln!(f, "gateway: {}", addresses.join(", "))?;
            }
        }
        if let Some(findings) = &self.findings {
            write!(f, "{findings}")?;
        }
        for (reason, (count, examples)) in &self.left {
            writeln!(f, "left as captured, {}: {}", plural(*count, "leg"), reason.meaning())?;
            for example in examples {
                writeln!(f, "  {example}")?;
            }
            let more = *count - examples.len() as u64;
            if more > 0 {
                writeln!(f, "  and {more} more (--report lists them all)")?;
            }
        }
        if !self.copied.is_empty() {
            let all = plural(self.copied.values().sum(), "connection");
            let kept = self.copied.iter().map(|(input, count)| format!("{count} as input {} has them", input + 1));
            writeln!(f, "{all} captured by several inputs, kept: {}", kept.collect::<Vec<_>>().join(", "))?;
        }
        match self.logged {
            None => {}
            Some(0) => writeln!(
                f,
                "no request of the access logs went over a connection of the captures (another pod's, or of another time?)"
            )?,
            Some(logged) => {
                let requests = plural(logged, "request");
                writeln!(f, "{requests} of the access logs went over connections of the captures")?;
            }
        }
        let [all, doubted] = self.by_clocks;
        if all > 0 {
            writeln!(f, "{} captured by inputs whose clocks differ", plural(all, "connection"))?;
            if doubted > 0 {
                let they = plural(doubted, "connection");
                writeln!(
                    f,
                    "  of {they} it is not known whose clock is the proxy's: its legs were not tied by their packets"
                )?;
            }
        }
        match self.untied {
            None => {}
            Some(Untied::TooMany) => {
                writeln!(f, "no legs were tied: there are too many to remember (merge a part of the captures)")?;
            }
            Some(Untied::ReadOnce) => writeln!(
                f,
                "no legs were tied: access logs and conntrack's lists need captures that can be read twice (give files, \
                 without --lookahead)"
            )?,
        }
        if self.late > 0 {
            let packets = plural(self.late, "packet");
            writeln!(f, "{packets} came out of order, too late to be put in order: merge files instead of pipes")?;
        }
        if self.counts.not_ethernet > 0 {
            writeln!(f, "{} could not be written as Ethernet", plural(self.counts.not_ethernet, "packet"))?;
        }
        if self.counts.not_copied > 0 {
            let blocks = plural(self.counts.not_copied, "custom block");
            writeln!(f, "{blocks} left out: they are marked as not to be copied")?;
        }
        match self.counts.named {
            None => {}
            Some(0) => writeln!(f, "no address of the captures has a name in the files of --names")?,
            Some(1) => writeln!(f, "1 address got its names")?,
            Some(named) => writeln!(f, "{named} addresses got their names")?,
        }
        match self.counts.sessions {
            None => {}
            Some(0) => writeln!(f, "no TLS session that begins in the captures has secrets in the files of --keys")?,
            Some(sessions) => {
                let sessions = plural(sessions, "TLS session");
                writeln!(f, "warning: the output holds the secrets of {sessions}: who has the file can read them")?;
            }
        }
        Ok(())
    }
}

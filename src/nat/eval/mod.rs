//! From rules and a probe to a verdict.
//!
//! What comes in is a [`Ruleset`], a [`Host`] and a [`Probe`]; what goes out is a [`Verdict`]. Tests that the probe
//! does not decide split it into outcomes, each with its conditions. The number of outcomes, the rules looked at and
//! the depth of jumps are bounded ([`OUTCOMES`], [`RULES`], [`DEPTH`]): past a
//! bound an outcome is unknown or the verdict incomplete.

mod chains;
mod known;
mod replies;
mod test;
mod translate;
mod walk;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use known::Choices;
use walk::Walk;

use super::probe::{Host, Probe};
use super::ruleset::{Family, Hook, RuleId, Ruleset};

/// Outcomes of one verdict, at most.
const OUTCOMES: usize = 64;

/// Rules looked at for one outcome, at most.
const RULES: usize = 20_000;

/// Rules looked at for all outcomes, at most.
const ALL_RULES: usize = 200_000;

/// Chains that jump to each other, at most; nft allows 16 (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 32;

/// What the rules do to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What can happen: one outcome if the probe decides it, else several under conditions that exclude each other.
    pub outcomes: Vec<Outcome>,
    /// Whether there are more outcomes than were looked at.
    pub incomplete: bool,
}

/// What happens to a connection under conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What has to hold beside the probe.
    pub conditions: Vec<Condition>,
    /// Where the packet ends.
    pub fate: Fate,
    /// Why it is dropped, where neither a rule nor a policy says it.
    pub why: Option<String>,
    /// The rule that decided; none if none did and the policies let the packet pass.
    pub rule: Option<RuleId>,
    /// The source after all translations.
    pub source: SocketAddr,
    /// The last port that the source can have, if the kernel picks one.
    pub source_last: u16,
    /// The destination after all translations.
    pub destination: SocketAddr,
    /// The last port that the destination can have, if the kernel picks one.
    pub destination_last: u16,
    /// The zone of conntrack.
    pub zone: u16,
    /// Whether conntrack sees the connection.
    pub tracked: bool,
    /// The connection's mark in the end, if it is known.
    pub connection_mark: Option<u32>,
    /// What is taken for granted, since no rule says it: routing, listeners, what becomes of replies.
    pub assumes: Vec<String>,
    /// What the packet and its replies look like where tcpdump can stand.
    pub views: Vec<View>,
    /// The way through the rules.
    pub walk: Vec<Event>,
}

impl Outcome {
    /// Whether source or destination changed.
    pub fn is_translated(&self, probe: &Probe) -> bool {
        (self.source, self.destination) != (probe.source, probe.destination)
    }
}

/// Something that the probe does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about, in words: `uid 1337`.
    pub what: String,
    /// Whether it holds.
    pub holds: bool,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what.split_once(' ') {
            _ if self.holds => f.write_str(&self.what),
            Some((name @ ("uid" | "gid" | "mark"), value)) => write!(f, "{name} not {value}"),
            _ => write!(f, "not: {}", self.what),
        }
    }
}

/// Where a packet ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// At a socket of this host with the destination's address and port.
    Delivered,
    /// At a transparent socket of this host (TPROXY): its address, if one is given, and port.
    Proxied {
        /// The address that the socket is bound to; none: any.
        address: Option<IpAddr>,
        /// The port that the socket is bound to.
        port: u16,
    },
    /// It leaves by an interface.
    Sent {
        /// The interface.
        interface: String,
    },
    /// It is dropped.
    Dropped,
    /// It is dropped, and its sender is told.
    Rejected,
    /// Not known.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Fate {
    /// The name as JSON has it.
    pub fn name(&self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Proxied { .. } => "proxied",
            Fate::Sent { .. } => "sent",
            Fate::Dropped => "dropped",
            Fate::Rejected => "rejected",
            Fate::Unknown { .. } => "unknown",
        }
    }
}

/// A connection as tcpdump shows it on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The interface.
    pub interface: String,
    /// Source and destination of the packets.
    pub packets: (SocketAddr, SocketAddr),
    /// Source and destination of the replies; none if there are none, or nobody knows.
    pub replies: Option<(SocketAddr, SocketAddr)>,
}

/// A step on the way through the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A hook begins, with the interfaces that its rules see; the empty name is none.
    Hook(Hook, String, String),
    /// A base chain begins.
    Chain(usize, usize),
    /// A nat chain is not looked at, and why.
    Skipped(usize, usize, &'static str),
    /// A rule is looked at, in a chain that so many jumps led to.
    Rule(RuleId, usize, Seen),
    /// A base chain ends with its policy.
    Policy(usize, usize),
    /// An address was changed: source and destination as they are now.
    Translated(SocketAddr, SocketAddr),
    /// The packet has a route: the interface that it leaves by.
    Routed(String),
}

/// What was found in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All its tests hold, and it does what it does.
    Matched,
    /// The test of this step does not hold, since the packet has this.
    Failed(usize, String),
}

/// Says what the rules do to a connection, and why.
pub fn evaluate(rules: &Ruleset, host: &Host, probe: &Probe) -> Verdict {
    let mut choices = Choices::default();
    let mut outcomes = Vec::new();
    let mut incomplete = false;
    let mut looked_at = 0;
    let family = Family::of(probe.destination.ip());
    loop {
        let (mut outcome, rules_seen) = Walk::new(rules, host, probe, &mut choices).run();
        let has_replies = outcome.views.iter().any(|view| view.replies.is_some());
        if has_replies && replies::may_be_stopped(rules, probe, &outcome) {
            outcome.assumes.push(replies::ASSUMED.to_owned());
        }
        if let Some(interface) = replies::elsewhere(host, probe).filter(|_| has_replies) {
            outcome.assumes.push(format!("the replies leave by {interface}, where the packets came in"));
        }
        if !rules.sees(family) {
            outcome.assumes.push(format!("there are no {} rules: none were given", family.name()));
        }
        outcomes.push(outcome);
        looked_at += rules_seen;
        if !choices.advance() {
            break;
        }
        if outcomes.len() >= OUTCOMES || looked_at >= ALL_RULES {
            incomplete = true;
            break;
        }
    }
    while join(&mut outcomes) {}
    Verdict { outcomes, incomplete }
}

/// Joins two outcomes that differ in nothing but one condition and its opposite; false if there are none.
fn join(outcomes: &mut Vec<Outcome>) -> bool {
    for second in 1..outcomes.len() {
        for first in 0..second {
            let (a, b) = (&outcomes[first], &outcomes[second]);
            let results = |o: &Outcome| {
                let ends = (o.source, o.source_last, o.destination, o.destination_last);
                (o.fate.clone(), o.rule, ends, o.zone, o.tracked, o.connection_mark)
            };
            let missing = |a: &Outcome, b: &Outcome| {
                let mut only = a.conditions.iter().filter(|c| !b.conditions.contains(c));
                only.next().cloned().filter(|_| only.next().is_none())
            };
            if results(a) != results(b) {
                continue;
            }
            let (Some(one), Some(other)) = (missing(a, b), missing(b, a)) else { continue };
            if one.what == other.what && one.holds != other.holds {
                outcomes[first].conditions.retain(|condition| *condition != one);
                outcomes.remove(second);
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;

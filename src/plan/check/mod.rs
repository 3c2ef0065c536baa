//! What a filter would lose of the legs asked for.
//!
//! A filter is a function of one packet. So packets of every half are made, with all that the half leaves open (ports
//! of clients, addresses and ports of services) at several values, those that the filter itself names among them, and
//! tcpdump runs the filter over them: libpcap's own meaning of it, on Ethernet, as lo and eth0 have it. What is said to
//! be lost is lost, with an example. What is said to be kept was kept in every packet tried: a filter that asks for
//! more than ends, lengths, flags and fragments may lose others.

mod packets;
mod tcpdump;

use std::fmt;

pub use tcpdump::Error;

use packets::{Aspect, Sample};

use super::{Direction, Half, Plan, Side};

/// What a filter does to each half of the legs.
#[derive(Clone, Debug)]
pub struct Check {
    /// In the order of the plan.
    pub rows: Vec<Row>,
}

/// What a filter does to a half.
#[derive(Clone, Debug)]
pub struct Row {
    /// The interface.
    pub interface: String,
    /// The half.
    pub half: Half,
    /// How many packets were tried.
    pub tried: usize,
    /// What was found.
    pub found: Found,
}

/// What a filter does to the packets of a half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It keeps all that were tried.
    Kept,
    /// It keeps all that are usual, and loses others.
    Mostly {
        /// One that it loses.
        lost: String,
    },
    /// It loses some that are usual.
    Partly {
        /// One that it loses.
        lost: String,
        /// One that it keeps.
        kept: String,
    },
    /// It loses all that are usual.
    Lost {
        /// One of them.
        example: String,
    },
}

impl Check {
    /// Whether something is lost that is usual.
    pub fn loses(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.found, Found::Partly { .. } | Found::Lost { .. }))
    }
}

/// Runs a filter over packets of the plan's legs.
pub fn check(plan: &Plan, filter: &str) -> Result<Check, Error> {
    let named = tcpdump::constants(filter)?;
    let halves: Vec<&Half> = plan.captures.iter().flat_map(|capture| &capture.halves).collect();
    // The only port that a half goes to is a listener's of the proxy.
    let only = |half: &&Half| match half.destination.ports.ranges() {
        [(first, last)] if first == last && half.direction == Direction::Client => u16::try_from(*first).ok(),
        _ => None,
    };
    let listeners: Vec<u16> = halves.iter().filter(|half| half.side == Side::Lo).filter_map(only).collect();
    let mut samples: Vec<(usize, Sample)> = Vec::new();
    for (row, half) in halves.iter().enumerate() {
        samples.extend(packets::samples(half, &named, &listeners).into_iter().map(|s| (row, s)));
    }
    let kept = tcpdump::kept(filter, samples.iter().map(|(_, sample)| &sample.frame[..]))?;
    let interfaces = plan.captures.iter().flat_map(|capture| capture.halves.iter().map(|_| &capture.interface));
    let rows = halves.into_iter().zip(interfaces).enumerate().map(|(row, (half, interface))| {
        let of_half = || samples.iter().zip(&kept).filter(|((of, _), _)| *of == row).map(|((_, s), kept)| (s, *kept));
        let found = found(&of_half().collect::<Vec<_>>());
        Row { interface: interface.clone(), half: half.clone(), tried: of_half().count(), found }
    });
    Ok(Check { rows: rows.collect() })
}

fn found(samples: &[(&Sample, bool)]) -> Found {
    // Where ends alone decide, plain data says it best; else what is special about those that are lost.
    let first = |wanted: bool, usual: bool| {
        let mut fit = samples.iter().filter(|(s, kept)| *kept == wanted && (s.usual || !usual)).map(|(s, _)| s);
        let plain = fit.clone().find(|sample| sample.aspect == Aspect::Data);
        plain.or_else(|| fit.next()).map(ToString::to_string)
    };
    match (first(false, true), first(true, true), first(false, false)) {
        (Some(lost), Some(kept), _) => Found::Partly { lost, kept },
        (Some(example), None, _) => Found::Lost { example },
        (None, _, Some(lost)) => Found::Mostly { lost },
        (None, _, None) => Found::Kept,
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { interface, half, found, tried } in &self.rows {
            let half_name = match half.direction {
                Direction::Client => "forward",
                Direction::Server => "reply",
            };
            write!(f, "{:17} {interface:4} {} {half_name:7}  ", half.leg.name(), half.protocol.name())?;
            match found {
                Found::Kept => writeln!(f, "kept ({tried} tried)")?,
                Found::Mostly { lost } => writeln!(f, "kept, but in rare cases: not {lost}")?,
                Found::Partly { lost, kept } => writeln!(f, "PARTLY LOST: {lost}; kept: {kept}")?,
                Found::Lost { example } => writeln!(f, "LOST: {example}")?,
            }
        }
        Ok(())
    }
}

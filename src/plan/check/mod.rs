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
    /// It loses all.
    Lost {
        /// One of them.
        example: String,
    },
    /// It loses some.
    Partly {
        /// One that it loses.
        lost: String,
        /// One that it keeps.
        kept: String,
    },
}

impl Check {
    /// Whether something is lost.
    pub fn loses(&self) -> bool {
        self.rows.iter().any(|row| row.found != Found::Kept)
    }
}

/// Runs a filter over packets of the plan's legs.
pub fn check(plan: &Plan, filter: &str) -> Result<Check, Error> {
    let named = tcpdump::constants(filter)?;
    let halves: Vec<&Half> = plan.captures.iter().flat_map(|capture| &capture.halves).collect();
    let mut samples: Vec<(usize, Sample)> = Vec::new();
    for (row, half) in halves.iter().enumerate() {
        samples.extend(packets::samples(half, &named).into_iter().map(|s| (row, s)));
    }
    let kept = tcpdump::kept(filter, samples.iter().map(|(_, sample)| &sample.frame[..]))?;
    let rows = halves.into_iter().enumerate().map(|(row, half)| {
        let of_half = || samples.iter().zip(&kept).filter(|((of, _), _)| *of == row).map(|((_, s), kept)| (s, *kept));
        let found = found(&of_half().collect::<Vec<_>>());
        Row { half: half.clone(), tried: of_half().count(), found }
    });
    Ok(Check { rows: rows.collect() })
}

fn found(samples: &[(&Sample, bool)]) -> Found {
    let first = |wanted: bool| samples.iter().find(|(_, kept)| *kept == wanted).map(|(sample, _)| sample.to_string());
    match (first(false), first(true)) {
        (None, _) => Found::Kept,
        (Some(example), None) => Found::Lost { example },
        (Some(lost), Some(kept)) => {
            // Where ends alone decide, plain data says it best; else what is special about those that are lost.
            let plain = |wanted: bool| {
                samples.iter().find(|(s, kept)| *kept == wanted && s.aspect == Aspect::Data).map(|(s, _)| s.to_string())
            };
            Found::Partly { lost: plain(false).unwrap_or(lost), kept: plain(true).unwrap_or(kept) }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { half, found, tried } in &self.rows {
            let side = if half.side == Side::Lo { "lo" } else { "eth0" };
            let from = match half.direction {
                Direction::Client => "packets of the client",
                Direction::Server => "packets of the server",
            };
            let leg = half.leg.name();
            let protocol = half.protocol.name();
            write!(f, "{leg:18} {side:5} {protocol} {from}  ")?;
            match found {
                Found::Kept => writeln!(f, "kept, {tried} tried")?,
                Found::Lost { example } => writeln!(f, "LOST, all {tried} tried, such as {example}")?,
                Found::Partly { lost, kept } => writeln!(f, "PARTLY LOST, such as {lost}; kept: {kept}")?,
            }
        }
        Ok(())
    }
}

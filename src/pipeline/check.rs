//! The first pass alone: what is wrong in the captures, and in which frames of the repaired file that a merge would write.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use foldhash::fast::RandomState;

use super::first::{First, Found};
use super::kept::Kept;
use super::numbers::Numbers;
use super::surveyed::Packets;
use super::{Error, MEMORY, Merge, Opened, open, ties};
use crate::audit;
use crate::beside::Unused;
use crate::capture::{self, Source};
use crate::check::{self, Collector, Context, Fact, Finding, Known, Seen};
use crate::store::Reader;
use crate::tie::Tied;

/// Captures of one packet, and packets that look like it, that are remembered.
const ALIKE: usize = 64;

/// What came of a check.
#[derive(Debug)]
pub struct Checked {
    /// What was found, in the order in which it happened.
    pub findings: Vec<Finding>,
    /// Legs that were looked at.
    pub legs: u64,
    /// What was wrong with the inputs.
    pub damage: Vec<capture::Error>,
    /// What was not used of the files beside them.
    pub unused: Vec<Unused>,
    /// The captures, as they were named.
    pub inputs: Vec<String>,
    /// Whether there were more conversations than are looked at.
    pub is_incomplete: bool,
    /// Whether nothing was captured on lo, so that most of what can be wrong does not show.
    pub lacks_loopback: bool,
}

/// Looks for what is wrong in captures. Reads them once, and writes nothing: where the output goes, and what it looks like,
/// does not count.
pub fn check(
    merge: &Merge,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Checked, Error> {
    let Opened { numbers, captures, mut damage } = open(&merge.inputs, None, interrupted)?;
    let names: Vec<String> = numbers.iter().map(|&number| name(&merge.inputs[number])).collect();
    let first = First { merge, numbers: &numbers, memory: MEMORY, checks: true, unpacked: None, interrupted };
    let found = first.run(captures, progress)?.ok_or(Error::TooMuch)?;
    let Found { surveyed: mut found, damage: of_packets, .. } = *found;
    damage.extend(of_packets);
    let mut unused = ties::tie(&mut found, &merge.beside, merge.keep_proxy_address, false)?;
    unused.retain(|unused| unused.bad > 0);
    found.number().map_err(Error::Temporary)?;
    let collector = std::mem::take(&mut found.collector).unwrap_or_default();
    let mut packets = found.packets();
    let mut reader = Reader::default();
    let read = |number| {
        let tied = found.legs.tied(number, &mut reader)?.unwrap_or_default();
        Ok((found.legs.get(number, &mut reader)?, tied))
    };
    let legs: Vec<(Kept, Tied)> =
        (0..found.legs.len()).map(read).collect::<io::Result<_>>().map_err(Error::Temporary)?;
    let facts: Vec<Fact<'_>> = legs.iter().map(|(kept, tied)| fact(kept, tied, &found.streams, &collector)).collect();
    let audit = found.summary.findings.as_ref();
    let drafts = check::check(&Context { facts: &facts, collector: &collector, audit, inputs: &names });
    let legs = facts.len() as u64;
    let mut wanted: Vec<Seen> = drafts.iter().flat_map(|draft| &draft.places).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let frames = match wanted.is_empty() {
        true => HashMap::default(),
        false => frames(&mut packets, &wanted, found.summary.read).map_err(Error::Temporary)?,
    };
    let frame = |seen: Seen| frames.get(&seen.ordinal).copied();
    let findings = drafts.into_iter().map(|draft| draft.finish(&facts, frame)).collect();
    let lacks_loopback = audit.is_some_and(audit::Findings::lacks_loopback);
    Ok(Checked { lacks_loopback, findings, legs, damage, unused, inputs: names, is_incomplete: collector.is_full() })
}

fn fact<'a>(kept: &'a Kept, tied: &'a Tied, streams: &Numbers, collector: &'a Collector) -> Fact<'a> {
    let stream = streams.get(kept.leg.reply.number);
    Fact::new(Known { leg: &kept.leg, agreement: kept.agreement.as_ref(), tied, stream }, collector)
}

/// An input as the user named it.
fn name(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::Stdin => "-".to_owned(),
    }
}

/// The frames of packets in the repaired file, by when they were read. Of one that is not written, since another input's
/// capture of it is, that one's, the nearest.
fn frames(packets: &mut Packets, wanted: &[Seen], read: u64) -> io::Result<HashMap<u64, u64, RandomState>> {
    let mut frames = HashMap::default();
    let marks: HashSet<u32, RandomState> = wanted.iter().map(|seen| seen.mark).collect();
    let mut others: HashMap<(u32, u32), Vec<(u64, u64)>, RandomState> = HashMap::default();
    let mut missing = Vec::new();
    let mut next = wanted.iter().map(|seen| seen.ordinal).peekable();
    let mut written = 0;
    for ordinal in 0..read {
        let (is_written, of) = packets.advance()?;
        written += u64::from(is_written);
        if let (true, Some(of)) = (is_written, of.filter(|(_, mark)| marks.contains(mark))) {
            let alike = others.entry(of).or_default();
            if alike.len() < ALIKE {
                alike.push((ordinal, written));
            }
        }
        if next.next_if_eq(&ordinal).is_some() {
            match (is_written, of) {
                (true, _) => {
                    frames.insert(ordinal, written);
                }
                (false, Some(of)) => missing.push((ordinal, of)),
                (false, None) => {}
            }
        }
    }
    for (ordinal, of) in missing {
        let nearest = others.get(&of).and_then(|all| all.iter().min_by_key(|(other, _)| other.abs_diff(ordinal)));
        frames.extend(nearest.map(|(_, frame)| (ordinal, *frame)));
    }
    Ok(frames)
}

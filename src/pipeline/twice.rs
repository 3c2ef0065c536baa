//! Files are read twice: once to find out whose each packet is, once to write. A file that grows meanwhile is merged as far
//! as it went; one that changes otherwise is an error, since what was found is not of its packets any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::replay::Replay;
use super::survey::{Survey, Surveyed};
use super::{
    Done, Error, Merge, Opened, Watch, done, duplicates, failed, marker, names, of, open, orders, output, report, ties,
};
use crate::audit::Audit;
use crate::beside::Loaded;
use crate::capture::{self, Capture, Record};
use crate::check::Collector;
use crate::merge::{Duplicates, Fingerprints, Inputs, Order};
use crate::output::Frame;
use crate::report::Summary;

/// Interface Statistics Block (pcapng, section 4.6).
const INTERFACE_STATISTICS: u32 = 5;

/// Merges files: once to find out, once to write. `None` if there is more to remember in between than `memory` octets.
pub(super) fn twice(
    merge: &Merge,
    beside: &Arc<Loaded>,
    memory: usize,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Option<Done>, Error> {
    let opened = open(&merge.inputs, interrupted)?;
    // Where the output cannot be written, that is said before anything is read.
    let output = output(merge, beside, &opened, false)?;
    let report = report(merge, beside)?;
    let Opened { numbers, captures, mut damage } = opened;
    let failed = |what| failed(merge, what);
    let mut order = vec![Order::AsRead; numbers.len()];
    let survey_in = |captures, orders: &[Order], progress: &mut dyn FnMut(u64, Option<u64>)| {
        survey(merge, captures, &numbers, orders, memory, None, interrupted, progress)
    };
    let mut found = survey_in(captures, &order, progress)?;
    if let Found::Disorder = found {
        order = of(&orders(merge, interrupted)?, &numbers);
        found = survey_in(reopen(merge, &numbers, interrupted)?, &order, progress)?;
    }
    if let Found::Disorder = found {
        // Of packets that were not there yet when the order was looked at.
        order = vec![Order::Sorted; numbers.len()];
        found = survey_in(reopen(merge, &numbers, interrupted)?, &order, progress)?;
    }
    let Found::All(found) = found else { return Ok(None) };
    let First { mut surveyed, last, damage: found } = *found;
    damage.extend(found);
    let unused = ties::tie(&mut surveyed, &merge.beside, merge.keep_proxy_address)?;
    surveyed.number().map_err(Error::Temporary)?;
    let mut replay = Replay::new(surveyed, output, report);
    let mut captures = reopen(merge, &numbers, interrupted)?;
    // A file that grows is merged as far as it went.
    captures.iter_mut().zip(&last).for_each(|(capture, last)| capture.end_behind(*last));
    let mut inputs = Inputs::new(captures, &order, None).map_err(Error::Temporary)?;
    let mut read = vec![0; numbers.len()];
    let mut watch = Watch::new(2, 1, progress);
    while let Some((input, record)) = inputs.advance() {
        let (capture, bytes) = (&inputs.described()[input], inputs.bytes(input));
        match record {
            Record::Block(block) => {
                replay.block(capture, input as u16, &block, bytes).map_err(|source| failed(source.into()))?;
            }
            Record::Packet(packet) => {
                let frame = Frame::new(input as u16, &packet, bytes, inputs.options(input));
                let Some(entry) = replay.advance(&frame).map_err(failed)? else {
                    return Err(changed(merge, &numbers, &inputs, &last, &read, Some(input)));
                };
                read[input] = last[input].min(read[input].max(packet.number));
                if replay.is_written(entry, input as u16)
                    && let Some(&(mut view)) = inputs.view(input)
                {
                    replay.packet(capture, &frame, &mut view, entry).map_err(failed)?;
                }
            }
        }
        watch.turn(inputs.progress());
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    if !replay.is_at_end().map_err(failed)? {
        return Err(changed(merge, &numbers, &inputs, &last, &read, None));
    }
    let (summary, finished) = replay.finish(inputs.described()).map_err(failed)?;
    Ok(Some(Done { unused, ..done(summary, finished, damage, &numbers) }))
}

/// What the first pass over files found.
pub(super) struct First {
    pub surveyed: Surveyed,
    /// Of each capture: the number of its last packet.
    last: Vec<u64>,
    pub damage: Vec<capture::Error>,
}

/// How far a first pass came.
pub(super) enum Found {
    All(Box<First>),
    /// A file was to be read as it is, and turns out not to be in order.
    Disorder,
    /// There is too much to remember.
    TooMuch,
}

/// The first pass over files; over pipes as well, for a `collector`, since a check needs no second one.
#[expect(clippy::too_many_arguments, reason = "they are what a pass depends on")]
pub(super) fn survey(
    merge: &Merge,
    captures: Vec<Capture>,
    numbers: &[usize],
    orders: &[Order],
    memory: usize,
    collector: Option<Collector>,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Found, Error> {
    let names = names(merge, numbers);
    let mut last = vec![0; captures.len()];
    let live = captures.iter().any(Capture::is_stream);
    let mut duplicates = duplicates(merge, &captures);
    let fingerprints = duplicates.as_ref().map(|_| Fingerprints::default());
    let mut inputs = Inputs::new(captures, orders, fingerprints).map_err(Error::Temporary)?;
    let marker = marker(merge, numbers);
    let summary = Summary::new(merge.inputs.len());
    let audit = Audit::new(&merge.rules);
    let (keeps_all, passes) = (merge.report.is_some() || collector.is_some(), if collector.is_some() { 1 } else { 2 });
    let mut survey = Survey::new(marker, audit, names, keeps_all, duplicates.is_some(), summary, collector);
    let mut watch = Watch::new(passes, 0, progress);
    while let Some((input, record)) = inputs.advance() {
        let bytes = inputs.bytes(input);
        if let (Record::Block(block), Some(collector)) = (&record, &mut survey.collector)
            && let (INTERFACE_STATISTICS, Some(interface)) = (block.block_type, block.interface)
        {
            collector.statistics(input as u16, interface, bytes);
        }
        if let (Record::Packet(packet), Some(view)) = (record, inputs.view(input)) {
            let capture = &inputs.described()[input];
            survey.summary.read += 1;
            last[input] = packet.number.max(last[input]);
            let frame = Frame::new(input as u16, &packet, bytes, inputs.options(input));
            let twice = |d: &mut Duplicates| d.is_duplicate(input, packet.time, inputs.fingerprint(input));
            let noted = if duplicates.as_mut().is_some_and(twice) {
                survey.summary.duplicates += 1;
                survey.duplicate(capture, &frame, view)
            } else {
                survey.packet(capture, &frame, packet.number, view)
            };
            noted.map_err(Error::Temporary)?;
        }
        // What has a window cannot be opened again, though standard input may be a file.
        if inputs.late() > 0 && !orders.contains(&Order::Window) {
            return Ok(Found::Disorder);
        }
        if survey.summary.read.is_multiple_of(1024) && survey.memory() > memory {
            return Ok(Found::TooMuch);
        }
        watch.turn(inputs.progress());
    }
    if interrupted.load(Ordering::Relaxed) && !live {
        return Err(Error::Interrupted);
    }
    let surveyed = survey.finish().map_err(Error::Thread)?;
    Ok(Found::All(Box::new(First { surveyed, last, damage: inputs.into_damage() })))
}

/// Opens once more what was found to be captures.
pub(super) fn reopen(merge: &Merge, numbers: &[usize], interrupted: &Arc<AtomicBool>) -> Result<Vec<Capture>, Error> {
    let open = |&number: &usize| {
        let source = &merge.inputs[number];
        Capture::open(source, number, Arc::clone(interrupted)).map_err(|error| match error.is_damage() {
            _ if interrupted.load(Ordering::Relaxed) => Error::Interrupted,
            true => Error::Changed { name: source.name() },
            false => error.into(),
        })
    };
    numbers.iter().map(open).collect()
}

/// Which file changed between the passes: the one that ended too early, or else the one whose packet is another one.
fn changed(
    merge: &Merge,
    numbers: &[usize],
    inputs: &Inputs,
    last: &[u64],
    read: &[u64],
    other: Option<usize>,
) -> Error {
    let ended = (0..last.len()).find(|&input| inputs.is_at_end(input) && read[input] < last[input]);
    Error::Changed { name: merge.inputs[numbers[ended.or(other).unwrap_or_default()]].name() }
}

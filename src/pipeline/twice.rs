//! Files are read twice: once to find out whose each packet is, once to write. A file that grows meanwhile is merged as far
//! as it went; one that changes otherwise is an error, since what was found is not of its packets any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::first::{First, Found, reopen};
use super::replay::Replay;
use super::{Done, Error, Merge, Opened, Watch, done, failed, open, output, report, ties};
use crate::beside::Loaded;
use crate::capture::{Record, Unpacked};
use crate::merge::{Inputs, Next};
use crate::output::Frame;
use crate::packet::decode_packet;
use crate::report::Report;

/// Merges files: once to find out, once to write. `None` if there is more to remember in between than `memory` octets.
pub(super) fn twice(
    merge: &Merge,
    beside: &Arc<Loaded>,
    memory: usize,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Option<Done>, Error> {
    let unpacked = Unpacked::new(merge.output.folder(), merge.inputs.len());
    let opened = open(&merge.inputs, Some(&unpacked), interrupted)?;
    // Where the output cannot be written, that is said before anything is read.
    let output = output(merge, beside, &opened, false)?;
    let report = report(merge, beside)?;
    let Opened { numbers, captures, mut damage } = opened;
    let failed = |what| failed(merge, what);
    let first = First { merge, numbers: &numbers, memory, checks: false, unpacked: Some(&unpacked), interrupted };
    let Some(found) = first.run(captures, progress)? else { return Ok(None) };
    let Found { mut surveyed, order, last, damage: found } = *found;
    damage.extend(found);
    let keeps_exchanges = report.as_ref().is_some_and(Report::tells_exchanges);
    let unused = ties::tie(&mut surveyed, &merge.beside, merge.keep_proxy_address, keeps_exchanges)?;
    surveyed.number().map_err(Error::Temporary)?;
    let mut replay = Replay::new(surveyed, output, report);
    let mut captures = reopen(merge, &numbers, Some(&unpacked), interrupted)?;
    // A file that grows is merged as far as it went.
    captures.iter_mut().zip(&last).for_each(|(capture, last)| capture.end_behind(*last));
    let mut inputs = Inputs::new(captures, &order).map_err(Error::Temporary)?;
    let mut read = vec![0; numbers.len()];
    let mut watch = Watch::new(2, 1, progress);
    while let Some(Next { input, record, bytes, options, captures }) = inputs.advance() {
        let capture = &captures[input];
        match record {
            Record::Block(block) => {
                replay.block(capture, input as u16, &block, bytes).map_err(|source| failed(source.into()))?;
            }
            Record::Packet(packet) => {
                let frame = Frame::new(input as u16, &packet, bytes, options);
                let Some(entry) = replay.advance(&frame).map_err(failed)? else {
                    return Err(changed(merge, &numbers, &inputs, &last, &read, Some(input)));
                };
                read[input] = last[input].min(read[input].max(packet.number));
                if replay.is_written(entry, input as u16) {
                    let mut view = decode_packet(capture, packet.interface, bytes, packet.original_len);
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

//! The first pass: everything is read, as it is, and if it turns out not to be in order, anew in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::copies::Clocks;
use super::survey::{Several, Survey};
use super::surveyed::Surveyed;
use super::{Error, Merge, Watch, duplicates, marker, of, orders, start};
use crate::audit::Audit;
use crate::capture::block_type::INTERFACE_STATISTICS;
use crate::capture::{self, Capture, Record, Source, Unpacked};
use crate::check::Collector;
use crate::merge::{Ahead, Inputs, Looked, Next, Order};
use crate::output::Frame;
use crate::report::Summary;

/// What a first pass goes over, and why.
#[derive(Clone, Copy)]
pub(super) struct First<'a> {
    pub merge: &'a Merge,
    /// Which of the inputs each capture is.
    pub numbers: &'a [usize],
    /// Octets that may be remembered of conversations.
    pub memory: usize,
    /// Whether it is for a check, and there is no second pass.
    pub checks: bool,
    /// Where what is decompressed is kept.
    pub unpacked: Option<&'a Arc<Unpacked>>,
    pub interrupted: &'a Arc<AtomicBool>,
}

/// What it found.
pub(super) struct Found {
    pub surveyed: Surveyed,
    /// How each capture was put in order.
    pub order: Vec<Order>,
    /// Of each capture: the number of its last packet.
    pub last: Vec<u64>,
    pub damage: Vec<capture::Error>,
}

/// How far a pass came.
enum Passed {
    All(Box<Found>),
    /// A file was to be read as it is, and turns out not to be in order.
    Disorder,
    /// Inputs turn out to have clocks that differ.
    Clocks(Clocks),
    /// There is too much to remember.
    TooMuch,
}

impl First<'_> {
    /// Reads the captures. `None`: there is too much to remember.
    pub fn run(
        &self,
        mut captures: Vec<Capture>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Option<Box<Found>>, Error> {
        let First { merge, numbers, unpacked, interrupted, .. } = *self;
        let looked_at = || Ok::<_, Error>(of(&orders(merge, unpacked, interrupted)?, numbers));
        // What can be read again is read as it is, and put in order only if it turns out to need that.
        let can_start_anew = merge.inputs.iter().all(Source::is_file);
        let mut order = if can_start_anew { vec![Order::AsRead; numbers.len()] } else { looked_at()? };
        let mut is_looked_at = !can_start_anew;
        let mut clocks = Clocks::default();
        loop {
            match self.pass(captures, &order, &clocks, progress)? {
                Passed::All(found) => return Ok(Some(found)),
                Passed::TooMuch => return Ok(None),
                Passed::Clocks(found) => clocks = found,
                // Packets that were not there yet when the order was looked at.
                Passed::Disorder if is_looked_at => order.fill(Order::Sorted),
                Passed::Disorder => {
                    order = looked_at()?;
                    is_looked_at = true;
                }
            }
            captures = reopen(merge, numbers, unpacked, interrupted)?;
        }
    }

    fn pass(
        &self,
        captures: Vec<Capture>,
        orders: &[Order],
        clocks: &Clocks,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Passed, Error> {
        let First { merge, numbers, memory, checks, interrupted, .. } = *self;
        let mut last = vec![0; captures.len()];
        let live = captures.iter().any(Capture::is_stream);
        let duplicates = duplicates(merge, &captures);
        let several = match (captures.len(), &duplicates) {
            (..=1, _) => Several::None,
            (_, None) => Several::Each,
            (_, Some(_)) => Several::Once,
        };
        let inputs = Inputs::new(captures, orders).map_err(Error::Temporary)?;
        let mut ahead = Ahead::start(inputs, duplicates, live);
        let marker = marker(merge, numbers);
        let summary = Summary::new(merge.inputs.len());
        let audit = Audit::new(&merge.rules);
        let collector = checks.then(Collector::default);
        let (keeps_all, passes) = (merge.report.is_some() || checks, if checks { 1 } else { 2 });
        let restores = !merge.beside.conntrack.is_empty();
        let mut survey = Survey::new(marker, audit, keeps_all, several, restores, summary, collector);
        survey.clocks = clocks.clone();
        let mut watch = Watch::new(passes, 0, progress);
        while let Some(Looked { next, view, is_copy, shared }) = ahead.advance() {
            let Next { input, record, bytes, options, captures } = next;
            match record {
                Record::Block(block) => {
                    if let (INTERFACE_STATISTICS, Some(interface), Some(collector)) =
                        (block.block_type, block.interface, &mut survey.collector)
                    {
                        collector.statistics(input as u16, interface, bytes);
                    }
                }
                Record::Packet(packet) => {
                    survey.summary.read += 1;
                    last[input] = packet.number.max(last[input]);
                    let frame = Frame::new(input as u16, &packet, bytes, options);
                    let noted = if is_copy {
                        survey.summary.duplicates += 1;
                        survey.duplicate(&captures[input], &frame, view, shared)
                    } else {
                        survey.packet(&captures[input], &frame, packet.number, view, shared)
                    };
                    noted.map_err(Error::Temporary)?;
                }
            }
            // What has a window cannot be opened again, though standard input may be a file.
            if ahead.late() > 0 && !orders.contains(&Order::Window) {
                return Ok(Passed::Disorder);
            }
            if survey.summary.read.is_multiple_of(1024) && survey.memory() > memory {
                return Ok(Passed::TooMuch);
            }
            watch.turn(ahead.progress());
        }
        if interrupted.load(Ordering::Relaxed) && !live {
            return Err(Error::Interrupted);
        }
        let mut copied = survey.copied();
        if !copied.clocks.are_one() && clocks.are_one() {
            // Whose times count has to be known from the first packet on.
            if merge.inputs.iter().all(Source::is_file) {
                return Ok(Passed::Clocks(copied.clocks));
            }
            copied.clocks.doubt();
            survey.clocks = copied.clocks;
        }
        let surveyed = survey.finish(copied.kept).map_err(Error::Temporary)?;
        let found = Found { surveyed, order: orders.to_vec(), last, damage: ahead.into_damage() };
        Ok(Passed::All(Box::new(found)))
    }
}

/// Opens once more what was found to be captures.
pub(super) fn reopen(
    merge: &Merge,
    numbers: &[usize],
    unpacked: Option<&Arc<Unpacked>>,
    interrupted: &Arc<AtomicBool>,
) -> Result<Vec<Capture>, Error> {
    let open = |&number: &usize| {
        let source = &merge.inputs[number];
        let capture = start(source, number, unpacked, interrupted).and_then(Capture::from_input);
        capture.map_err(|error| match error.is_damage() {
            _ if interrupted.load(Ordering::Relaxed) => Error::Interrupted,
            true => Error::Changed { name: source.name() },
            false => error.into(),
        })
    };
    numbers.iter().map(open).collect()
}

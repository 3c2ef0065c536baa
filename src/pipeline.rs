//! The merge, from reading to writing: the stages in their order, and when a run has to start anew.

mod error;
mod hold;
mod marking;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;

use crate::audit::{Audit, Rules};
use crate::beside::{self, Files, Loaded, Unused};
use crate::capture::{self, Capture, Input, Record, Source};
use crate::flow::{Flows, Limits};
use crate::merge::{self, Duplicates, Inputs, Order};
use crate::output::{Destination, Frame, GivenName, Options, Output, Queue};
use crate::packet::decode;
use crate::report::{Report, Summary};

pub use error::Error;

use error::refuse;
use hold::{Failed, Hold};
use marking::Marker;

/// What to merge, and how.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The captures, in the order of their precedence at equal times.
    pub inputs: Vec<Source>,
    /// Where the repaired capture goes.
    pub output: Destination,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Names for interfaces.
    pub names: Vec<GivenName>,
    /// Whether frames are written as Ethernet where they can be.
    pub ethernet: bool,
    /// Whether a packet that two inputs show is written twice.
    pub keep_duplicates: bool,
    /// What is known of the pod's nat rules.
    pub rules: Rules,
    /// How far to look ahead; none: to the end for files, [`LookAhead::default`] if an input is a pipe.
    pub look_ahead: Option<LookAhead>,
    /// What lies beside the captures: names, secrets.
    pub beside: Files,
}

/// How long a packet waits for the proof that repairs its leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookAhead {
    /// In nanoseconds of capture time.
    pub time: u64,
    /// In octets that wait.
    pub bytes: u64,
}

impl Default for LookAhead {
    fn default() -> LookAhead {
        LookAhead { time: 2_000_000_000, bytes: 64 << 20 }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Done {
    /// What was done.
    pub summary: Summary,
    /// What was wrong with the inputs.
    pub damage: Vec<capture::Error>,
    /// Names that were given to interfaces which do not occur in their captures.
    pub unused_names: Vec<GivenName>,
    /// What was not used of the files beside them.
    pub unused: Vec<Unused>,
    /// How many link types the output has; tcpdump reads one.
    pub link_types: usize,
    /// Whether the user stopped the run; the output holds what a pipe had delivered until then.
    pub interrupted: bool,
}

/// Merges and repairs captures.
///
/// `progress` is called now and then with the octets read so far and their total, where that is known.
pub fn merge(
    merge: &Merge,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Done, Error> {
    refuse(merge)?;
    let mut loaded = beside::load(&merge.beside)?;
    let unused = std::mem::take(&mut loaded.unused);
    let done = in_order(merge, &Arc::new(loaded), interrupted, progress)?;
    Ok(Done { unused, ..done })
}

/// Merges with the inputs in the orders that they are found to need.
fn in_order(
    merge: &Merge,
    beside: &Arc<Loaded>,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Done, Error> {
    // A pipe that was read or written to cannot be taken back: then the order of files is looked at before.
    let may_retry = merge.output.is_file() && merge.inputs.iter().all(Source::is_file);
    if may_retry {
        let orders = vec![Order::AsRead; merge.inputs.len()];
        if let Some(done) = attempt(merge, beside, &orders, may_retry, interrupted, progress)? {
            return Ok(done);
        }
    }
    let orders = orders(merge, interrupted)?;
    attempt(merge, beside, &orders, false, interrupted, progress)?.ok_or(Error::Interrupted)
}

/// Merges with the inputs in these orders. With `in_order_only`, `None` if one turns out not to be in order.
fn attempt(
    merge: &Merge,
    beside: &Arc<Loaded>,
    orders: &[Order],
    in_order_only: bool,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Option<Done>, Error> {
    let opened = open(&merge.inputs, interrupted)?;
    let mut hold = start(merge, beside, &opened)?;
    let Opened { numbers, captures, mut damage } = opened;
    let live = captures.iter().any(Capture::is_stream);
    let orders: Vec<Order> = numbers.iter().map(|&number| orders[number]).collect();
    let mut duplicates = (captures.len() > 1 && !merge.keep_duplicates).then(Duplicates::default);
    let mut inputs = Inputs::new(captures, &orders).map_err(Error::Temporary)?;
    let failed = |what| match (what, &merge.report) {
        (Failed::Queue(source), _) => Error::Temporary(source),
        (Failed::Report(source), Some(report)) => Error::output(&Destination::Path(report.clone()), source),
        (Failed::Report(source), None) | (Failed::Output(source), _) => Error::output(&merge.output, source),
    };

    let mut turn = 0_u32;
    while let Some((input, record)) = inputs.advance() {
        if in_order_only && inputs.late() > 0 {
            return Ok(None);
        }
        let captures = inputs.captures();
        let bytes = inputs.bytes(input);
        match record {
            Record::Block(block) => hold.block(captures, input as u16, &block, bytes).map_err(failed)?,
            Record::Packet(packet) => {
                let link_type = captures[input].interfaces()[packet.interface as usize].link_type;
                let view = decode(link_type, bytes, packet.original_len as usize);
                let twice = |d: &mut Duplicates| d.is_duplicate(input, packet.time, &view, bytes);
                hold.summary.read += 1;
                if duplicates.as_mut().is_some_and(twice) {
                    hold.summary.duplicates += 1;
                } else {
                    let frame = Frame::new(input as u16, &packet, bytes, inputs.options(input));
                    hold.packet(captures, &frame, packet.number, view).map_err(failed)?;
                }
            }
        }
        if live && inputs.may_block() {
            hold.output.flush().map_err(|source| failed(source.into()))?;
        }
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(4096) {
            let captures = inputs.captures();
            let total = captures.iter().map(Capture::total_bytes).sum::<Option<u64>>();
            progress(captures.iter().map(Capture::read_bytes).sum(), total);
        }
    }

    let interrupted = interrupted.load(Ordering::Relaxed);
    if interrupted && !live {
        return Err(Error::Interrupted);
    }
    hold.summary.late = inputs.late();
    let (summary, finished) = hold.finish(inputs.captures()).map_err(failed)?;
    damage.extend(inputs.into_damage());
    let unused_names = finished.unused_names.into_iter().map(|name| GivenName { input: numbers[name.input], ..name });
    let link_types = finished.link_types.len();
    Ok(Some(Done {
        summary,
        damage,
        unused_names: unused_names.collect(),
        unused: Vec::new(),
        link_types,
        interrupted,
    }))
}

/// How each input is put in order: files by what they are found to need, pipes as far as they go.
fn orders(merge: &Merge, interrupted: &Arc<AtomicBool>) -> Result<Vec<Order>, Error> {
    let order = |(number, source): (usize, &Source)| {
        if !source.is_file() {
            return Order::Window;
        }
        // What is wrong with it is said when it is merged.
        match Capture::open(source, number, Arc::clone(interrupted)).map(merge::is_in_order) {
            Ok(false) => Order::Sorted,
            Ok(true) | Err(_) => Order::AsRead,
        }
    };
    let orders = merge.inputs.iter().enumerate().map(order).collect();
    if interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(orders) }
}

/// The inputs that are captures.
struct Opened {
    /// Which of the inputs each is.
    numbers: Vec<usize>,
    captures: Vec<Capture>,
    /// What was wrong with the others.
    damage: Vec<capture::Error>,
}

/// Opens every input. One that is empty is damage, not an obstacle; but there must be one that is a capture.
fn open(sources: &[Source], interrupted: &Arc<AtomicBool>) -> Result<Opened, Error> {
    // All are started before one is waited for: their writers may depend on each other.
    let start = |(number, source)| Input::start(source, number, Arc::clone(interrupted));
    let inputs = sources.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
    let mut opened = Opened { numbers: Vec::new(), captures: Vec::new(), damage: Vec::new() };
    for (number, input) in inputs.into_iter().enumerate() {
        match Capture::from_input(input) {
            Ok(capture) => {
                opened.numbers.push(number);
                opened.captures.push(capture);
            }
            Err(error) if error.is_damage() => opened.damage.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    match opened.damage.pop() {
        Some(_) if opened.captures.is_empty() && interrupted.load(Ordering::Relaxed) => Err(Error::Interrupted),
        Some(error) if opened.captures.is_empty() => Err(error.into()),
        last => {
            opened.damage.extend(last);
            Ok(opened)
        }
    }
}

/// Sets up what comes behind reading.
fn start(merge: &Merge, beside: &Arc<Loaded>, opened: &Opened) -> Result<Hold, Error> {
    let captures = &opened.captures;
    let live = captures.iter().any(Capture::is_stream);
    let renumbered = |name: &GivenName| {
        let input = opened.numbers.iter().position(|&number| number == name.input)?;
        Some(GivenName { input, ..name.clone() })
    };
    let names = merge.names.iter().filter_map(renumbered).collect();
    // There are no more inputs than a u16 can number.
    let numbers: Vec<u16> = opened.numbers.iter().map(|&number| number as u16).collect();
    let options = Options { names, ethernet: merge.ethernet, numbers: numbers.clone(), beside: Arc::clone(beside) };
    let report = merge.report.as_deref().map(|path| {
        Report::create(path, Arc::clone(beside))
            .map_err(|source| Error::output(&Destination::Path(path.to_owned()), source))
    });
    Ok(Hold {
        report: report.transpose()?,
        output: Output::create(&merge.output, options, captures).map_err(|e| Error::output(&merge.output, e))?,
        marker: Marker {
            flows: Flows::new(merge.rules.model(), Limits::default()),
            numbers,
            hasher: RandomState::default(),
        },
        audit: Audit::new(&merge.rules),
        queue: Queue::default(),
        summary: Summary::new(merge.inputs.len()),
        look_ahead: merge.look_ahead.or(live.then(LookAhead::default)),
    })
}

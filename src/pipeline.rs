//! The merge, from reading to writing: the stages in their order, and when a run has to start anew.

mod calls;
mod check;
mod copies;
mod counting;
mod error;
mod first;
mod hold;
mod kept;
mod legs;
mod marking;
mod numbers;
mod observing;
mod pages;
mod passages;
mod queue;
mod replay;
mod spools;
mod survey;
mod surveyed;
mod ties;
mod twice;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;

use crate::audit::{Audit, Rules};
use crate::beside::{self, Files, Loaded, Unused};
use crate::capture::{self, Capture, Input, LinkType, Progress, Record, Source, Unpacked};
use crate::flow::{Flows, Limits};
use crate::merge::{self, Duplicates, Inputs, Next, Order};
use crate::nat::Gateway;
use crate::output::{Destination, Finished, Frame, GivenName, Options, Output};
use crate::packet::decode_packet;
use crate::report::{Report, Summary, Untied};

pub use check::{Checked, check};
pub use error::Error;
pub(crate) use marking::Marker;

use error::refuse;
use hold::{Failed, Hold};
use queue::Queue;
use survey::MEMORY;
use twice::twice;

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
    /// The files that they were read from: they are not written to.
    pub rules_from: Vec<PathBuf>,
    /// The gateway whose legs are to be told from others.
    pub gateway: Option<Gateway>,
    /// Whether legs from the proxy's own address keep it.
    pub keep_proxy_address: bool,
    /// How far to look ahead; none: files are read twice, [`LookAhead::default`] if an input is a pipe.
    pub look_ahead: Option<LookAhead>,
    /// What lies beside the captures: names, secrets.
    pub beside: Files,
}

impl Merge {
    /// These captures, to this destination, and nothing else given.
    pub fn new(inputs: Vec<Source>, output: Destination) -> Merge {
        Merge {
            inputs,
            output,
            report: None,
            names: Vec::new(),
            ethernet: false,
            keep_duplicates: false,
            rules: Rules::Unknown,
            rules_from: Vec::new(),
            gateway: None,
            keep_proxy_address: false,
            look_ahead: None,
            beside: Files::default(),
        }
    }
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
    /// The link types of the output; tcpdump reads one.
    pub link_types: Vec<LinkType>,
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
    let loaded = Arc::new(loaded);
    // What can be read again need not wait for anything.
    let again = merge.inputs.iter().all(Source::is_file) && merge.look_ahead.is_none();
    let done = if again { twice(merge, &loaded, MEMORY, interrupted, progress)? } else { None };
    let done = match done {
        Some(done) => done,
        None => once(merge, &loaded, again, interrupted, progress)?,
    };
    Ok(Done { unused: [unused, done.unused].concat().into_iter().filter(|unused| unused.bad > 0).collect(), ..done })
}

/// Merges what can be read only once, or is not to wait, or has too much for two passes (`again`): packets leave as soon as
/// it is known how.
fn once(
    merge: &Merge,
    beside: &Arc<Loaded>,
    again: bool,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Done, Error> {
    let orders = orders(merge, None, interrupted)?;
    let opened = open(&merge.inputs, None, interrupted)?;
    let live = opened.captures.iter().any(Capture::is_stream);
    let mut hold = Hold {
        report: report(merge, beside)?,
        output: output(merge, beside, &opened, merge.report.is_some())?,
        marker: marker(merge, &opened.numbers),
        audit: Audit::new(&merge.rules),
        queue: Queue::default(),
        summary: Summary::new(merge.inputs.len()),
        look_ahead: merge.look_ahead.or(live.then(LookAhead::default)),
    };
    let Opened { numbers, captures, mut damage } = opened;
    let mut duplicates = duplicates(merge, &captures);
    let mut inputs = Inputs::new(captures, &of(&orders, &numbers)).map_err(Error::Temporary)?;
    let failed = |what| failed(merge, what);
    let mut watch = Watch::new(1, 0, progress);
    while let Some(Next { input, record, bytes, options, captures }) = inputs.advance() {
        match record {
            Record::Block(block) => hold.block(captures, input as u16, &block, bytes).map_err(failed)?,
            Record::Packet(packet) => {
                let view = decode_packet(&captures[input], packet.interface, bytes, packet.original_len);
                let twice = |d: &mut Duplicates| d.is_duplicate(input, packet.time, &view, bytes);
                hold.summary.read += 1;
                if duplicates.as_mut().is_some_and(twice) {
                    hold.summary.duplicates += 1;
                } else {
                    let frame = Frame::new(input as u16, &packet, bytes, options);
                    hold.packet(captures, &frame, packet.number, view).map_err(failed)?;
                }
            }
        }
        if live && inputs.may_block() {
            hold.output.flush().map_err(|source| failed(source.into()))?;
        }
        watch.turn(inputs.progress());
    }
    let interrupted = interrupted.load(Ordering::Relaxed);
    if interrupted && !live {
        return Err(Error::Interrupted);
    }
    let logs = !merge.beside.access_logs.is_empty() || !merge.beside.conntrack.is_empty();
    hold.summary.untied = if again { Some(Untied::TooMany) } else { logs.then_some(Untied::ReadOnce) };
    hold.summary.late = inputs.late();
    let (summary, finished) = hold.finish(inputs.described()).map_err(failed)?;
    damage.extend(inputs.into_damage());
    Ok(Done { interrupted, ..done(summary, finished, damage, &numbers) })
}

/// Tells now and then how far reading has come.
struct Watch<'a> {
    passes: u64,
    pass: u64,
    turns: u32,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
}

impl<'a> Watch<'a> {
    /// Of so many passes over the inputs, this one, from 0.
    fn new(passes: u64, pass: u64, progress: &'a mut dyn FnMut(u64, Option<u64>)) -> Watch<'a> {
        Watch { passes, pass, turns: 0, progress }
    }

    /// One more record was read.
    fn turn(&mut self, inputs: &[Progress]) {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(4096) {
            let total = inputs.iter().map(|input| input.total).sum::<Option<u64>>();
            let read: u64 = inputs.iter().map(Progress::read).sum();
            // Of a file that is read twice, half of what is read is half of it.
            let all = read + self.pass * total.unwrap_or_default();
            (self.progress)(if total.is_some() { all / self.passes } else { read }, total);
        }
    }
}

fn done(summary: Summary, finished: Finished, damage: Vec<capture::Error>, numbers: &[usize]) -> Done {
    let unused_names = finished.unused_names.into_iter().map(|name| GivenName { input: numbers[name.input], ..name });
    Done {
        summary,
        damage,
        unused_names: unused_names.collect(),
        unused: Vec::new(),
        link_types: finished.link_types,
        interrupted: false,
    }
}

fn failed(merge: &Merge, what: Failed) -> Error {
    match (what, &merge.report) {
        (Failed::Queue(source), _) => Error::Temporary(source),
        (Failed::Report(source), Some(report)) => Error::output(&Destination::Path(report.clone()), source),
        (Failed::Report(source), None) | (Failed::Output(source), _) => Error::output(&merge.output, source),
    }
}

/// How each input is put in order: files by what they are found to need, pipes as far as they go.
fn orders(merge: &Merge, unpacked: Option<&Arc<Unpacked>>, interrupted: &Arc<AtomicBool>) -> Result<Vec<Order>, Error> {
    let order = |(number, source): (usize, &Source)| {
        if !source.is_file() {
            return Order::Window;
        }
        // What is wrong with it is said when it is merged.
        let capture = start(source, number, unpacked, interrupted).and_then(Capture::from_input);
        match capture.map(merge::is_in_order) {
            Ok(false) => Order::Sorted,
            Ok(true) | Err(_) => Order::AsRead,
        }
    };
    let orders = merge.inputs.iter().enumerate().map(order).collect();
    if interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(orders) }
}

/// Those of the inputs that are captures.
fn of(orders: &[Order], numbers: &[usize]) -> Vec<Order> {
    numbers.iter().map(|&number| orders[number]).collect()
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
fn open(sources: &[Source], unpacked: Option<&Arc<Unpacked>>, interrupted: &Arc<AtomicBool>) -> Result<Opened, Error> {
    // All are started before one is waited for: their writers may depend on each other.
    let start = |(number, source)| start(source, number, unpacked, interrupted);
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

/// Starts an input; what is decompressed of it is kept, or was.
fn start(
    source: &Source,
    number: usize,
    unpacked: Option<&Arc<Unpacked>>,
    interrupted: &Arc<AtomicBool>,
) -> Result<Input, capture::Error> {
    let input = Input::start(source, number, Arc::clone(interrupted))?;
    Ok(unpacked.into_iter().fold(input, Input::keeping))
}

/// The names that the user gave, by the captures that there are.
fn names(merge: &Merge, numbers: &[usize]) -> Vec<GivenName> {
    let renumbered = |name: &GivenName| {
        let input = numbers.iter().position(|&number| number == name.input)?;
        Some(GivenName { input, ..name.clone() })
    };
    merge.names.iter().filter_map(renumbered).collect()
}

/// There are no more inputs than a u16 can number.
fn short(numbers: &[usize]) -> Vec<u16> {
    numbers.iter().map(|&number| number as u16).collect()
}

fn marker(merge: &Merge, numbers: &[usize]) -> Marker {
    let flows = Flows::new(merge.rules.model(), Limits::default());
    let flows = match &merge.gateway {
        Some(gateway) => flows.with_gateway(gateway.clone()),
        None => flows,
    };
    Marker { flows, numbers: short(numbers), names: names(merge, numbers), hasher: RandomState::default() }
}

fn duplicates(merge: &Merge, captures: &[Capture]) -> Option<Duplicates> {
    (captures.len() > 1 && !merge.keep_duplicates).then(Duplicates::default)
}

fn output(merge: &Merge, beside: &Arc<Loaded>, opened: &Opened, numbered: bool) -> Result<Output, Error> {
    let options = Options {
        names: names(merge, &opened.numbers),
        ethernet: merge.ethernet,
        numbered,
        numbers: short(&opened.numbers),
        beside: Arc::clone(beside),
    };
    Output::create(&merge.output, options, opened.captures.iter().map(Capture::described))
        .map_err(|e| Error::output(&merge.output, e))
}

fn report(merge: &Merge, beside: &Arc<Loaded>) -> Result<Option<Report>, Error> {
    let create = |path: &PathBuf| {
        Report::create(path, Arc::clone(beside))
            .map_err(|source| Error::output(&Destination::Path(path.clone()), source))
    };
    merge.report.as_ref().map(create).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored capture, merged into a folder.
    fn stored(folder: &std::path::Path, look_ahead: Option<LookAhead>) -> Merge {
        let basic = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/basic");
        let inputs = ["eth0.pcap", "lo.pcap"].map(|name| Source::Path(basic.join(name))).to_vec();
        let output = Destination::Path(folder.join("out.pcapng"));
        Merge { report: Some(folder.join("legs.csv")), look_ahead, ..Merge::new(inputs, output) }
    }

    #[test]
    fn with_too_much_to_remember_files_are_merged_in_one_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = stored(folder.path(), None);
        let loaded = Arc::new(beside::load(&job.beside).expect("nothing"));
        // A survey looks at its memory each 1024 packets; the inputs of this one are named again and again.
        let many =
            Merge { inputs: (0..10).flat_map(|_| job.inputs.clone()).collect(), keep_duplicates: true, ..job.clone() };
        let twice = |memory| twice(&many, &loaded, memory, &Arc::default(), &mut |_, _| ()).expect("it can be merged");
        assert!(twice(0).is_none() && twice(MEMORY).is_some());
        let done = once(&job, &loaded, true, &Arc::default(), &mut |_, _| ()).expect("it can be merged");
        assert!(done.summary.to_string().contains("no legs were tied"), "{}", done.summary);
        let written =
            || ["out.pcapng", "legs.csv"].map(|name| std::fs::read(folder.path().join(name)).expect("it is there"));
        let in_one = written();
        let look_ahead = Some(LookAhead { time: u64::MAX, bytes: u64::MAX });
        merge(&stored(folder.path(), look_ahead), &Arc::default(), &mut |_, _| ()).expect("it can be merged");
        assert_eq!(written(), in_one);
    }
}

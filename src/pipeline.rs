//! The merge, from reading to writing: the stages in their order, no logic of its own.

mod hold;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;

use crate::capture::{self, Capture, Record, Source};
use crate::flow::{Flows, Limits};
use crate::merge::{Duplicates, Inputs};
use crate::nat::Model;
use crate::output::{Destination, GivenName, Options, Output, Queue};
use crate::packet::decode;
use crate::report::{Report, Summary};

use hold::Hold;

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
    /// How far to look ahead; none: to the end for files, [`LookAhead::default`] if an input is a pipe.
    pub look_ahead: Option<LookAhead>,
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

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input cannot be read at all.
    #[error(transparent)]
    Input(#[from] capture::Error),
    /// The output cannot be written.
    #[error("{name}: cannot be written: {source}")]
    Output {
        /// The output as the user named it.
        name: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The output is one of the inputs.
    #[error("{}: is both input and output; name another file for the output", .0.display())]
    SameFile(PathBuf),
    /// The user stopped the run.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

/// What came of a run.
#[derive(Debug)]
pub struct Done {
    /// What was done.
    pub summary: Summary,
    /// What was wrong with the inputs.
    pub damage: Vec<capture::Error>,
    /// How many link types the output has; tcpdump reads one.
    pub link_types: usize,
}

/// Merges and repairs captures.
///
/// `progress` is called now and then with the octets read so far and their total, where that is known.
pub fn merge(
    merge: &Merge,
    interrupted: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Done, Error> {
    refuse_same_file(merge)?;
    let (captures, mut damage) = open(&merge.inputs, interrupted)?;
    let live = captures.iter().any(Capture::is_stream);
    let mut hold = start(merge, &captures)?;
    let mut duplicates = (captures.len() > 1 && !merge.keep_duplicates).then(Duplicates::default);
    let mut inputs = Inputs::new(captures);
    let output_failed = |source| Error::output(&merge.output, source);

    let mut turn = 0_u32;
    while let Some((input, record)) = inputs.next() {
        let captures = inputs.captures();
        let capture = &captures[input];
        match record {
            Record::Block(block) => hold.block(captures, input as u16, &block).map_err(output_failed)?,
            Record::Packet(packet) => {
                let link_type = capture.interfaces()[packet.interface as usize].link_type;
                let view = decode(link_type, capture.bytes(), packet.original_len as usize);
                let twice = |d: &mut Duplicates| d.is_duplicate(input, packet.time, &view, capture.bytes());
                hold.summary.read += 1;
                if duplicates.as_mut().is_some_and(twice) {
                    hold.summary.duplicates += 1;
                } else {
                    hold.packet(captures, input as u16, &packet, view).map_err(output_failed)?;
                }
            }
        }
        if live && inputs.may_block() {
            hold.output.flush().map_err(output_failed)?;
        }
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(4096) {
            let captures = inputs.captures();
            let total = captures.iter().map(Capture::total_bytes).sum::<Option<u64>>();
            progress(captures.iter().map(Capture::read_bytes).sum(), total);
        }
    }

    if interrupted.load(Ordering::Relaxed) && !live {
        return Err(Error::Interrupted);
    }
    let (summary, link_types) = hold.finish(inputs.captures()).map_err(output_failed)?;
    damage.extend(inputs.into_damage());
    Ok(Done { summary, damage, link_types: link_types.len() })
}

/// Opens every input. One that is empty is damage, not an obstacle; but there must be one that is a capture.
fn open(sources: &[Source], interrupted: &Arc<AtomicBool>) -> Result<(Vec<Capture>, Vec<capture::Error>), Error> {
    let mut captures = Vec::new();
    let mut damage = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        match Capture::open(source, number, Arc::clone(interrupted)) {
            Ok(capture) => captures.push(capture),
            Err(error) if error.is_damage() => damage.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    match damage.pop() {
        Some(error) if captures.is_empty() => Err(error.into()),
        last => {
            damage.extend(last);
            Ok((captures, damage))
        }
    }
}

/// Sets up what comes behind reading.
fn start(merge: &Merge, captures: &[Capture]) -> Result<Hold, Error> {
    let live = captures.iter().any(Capture::is_stream);
    let options = Options { names: merge.names.clone(), ethernet: merge.ethernet };
    let report = merge
        .report
        .as_deref()
        .map(|path| Report::create(path).map_err(|source| Error::output(&Destination::Path(path.to_owned()), source)));
    Ok(Hold {
        report: report.transpose()?,
        output: Output::create(&merge.output, options, captures).map_err(|e| Error::output(&merge.output, e))?,
        flows: Flows::new(Model::istio(), Limits::default()),
        queue: Queue::default(),
        summary: Summary::new(merge.inputs.len()),
        look_ahead: merge.look_ahead.or(live.then(LookAhead::default)),
        hasher: RandomState::default(),
    })
}

/// An input is never overwritten.
fn refuse_same_file(merge: &Merge) -> Result<(), Error> {
    let outputs = [
        match &merge.output {
            Destination::Path(path) => Some(path.as_path()),
            Destination::Stdout => None,
        },
        merge.report.as_deref(),
    ];
    for output in outputs.into_iter().flatten() {
        for input in &merge.inputs {
            if let Source::Path(input) = input
                && is_same_file(output, input)
            {
                return Err(Error::SameFile(output.to_owned()));
            }
        }
    }
    if let [Some(output), Some(report)] = outputs
        && (output == report || is_same_file(output, report))
    {
        return Err(Error::SameFile(output.to_owned()));
    }
    Ok(())
}

/// Whether two paths lead to one file, by whatever name.
fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| (m.dev(), m.ino()));
    identity(a).is_some_and(|a| identity(b) == Some(a))
}

impl Error {
    fn output(destination: &Destination, source: std::io::Error) -> Error {
        let name = match destination {
            Destination::Stdout => "standard output".to_owned(),
            Destination::Path(path) => path.display().to_string(),
        };
        Error::Output { name, source }
    }
}

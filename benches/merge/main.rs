//! What a merge costs, beside what others cost, on generated captures of the real shape.
//!
//! ```text
//! cargo bench --bench merge -- --table [--scale 0.1] [--row NAME]...
//! cargo bench --bench merge -- [--shape bulk|small|mixed|...] [--size MB] [--rounds N]
//! ```
//!
//! Each round runs every program once, one after the other, to a fresh output, so that what else the machine does
//! meets all of them; only ratios within a run mean something. A program that is not installed is named, and the exit
//! status is 1 then. Without cargo's `--bench` (`cargo test --benches`) it only sees to it that everything runs.

mod compare;
mod flood;
mod line;
mod programs;
mod rows;
mod table;
#[path = "../traffic/mod.rs"]
mod traffic;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use traffic::{Generated, Shape, Traffic};

/// Time and memory of a merge, beside cat, mergecap and tcprewrite.
#[derive(Debug, Parser)]
struct Arguments {
    /// Measure everything that there is a goal for, and print it as a table
    #[arg(long)]
    table: bool,
    /// Of the table: how large captures and their connections are; the goals are those of 1
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Of the table: only these rows
    #[arg(long = "row", value_enum)]
    rows: Vec<rows::Row>,
    /// What the captures look like
    #[arg(long, value_enum, default_value = "all")]
    shape: Wanted,
    /// Size of each pair of captures in MB (10^6 octets)
    #[arg(long, default_value_t = 600)]
    size: u64,
    /// How often each program runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections of the application [default: 4000 in bulk, else 40000]
    #[arg(long)]
    connections: Option<u32>,
    /// Connections that are open at one time
    #[arg(long, default_value_t = 500)]
    live: usize,
    /// Seed of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The meshpcap to measure
    #[arg(long, value_name = "BINARY", default_value = env!("CARGO_BIN_EXE_meshpcap"), hide_default_value = true)]
    meshpcap: PathBuf,
    /// A second meshpcap, to compare with
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Only cat and meshpcap
    #[arg(long)]
    quick: bool,
    /// Where the captures and outputs go; they are removed at the end
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Generate the captures into FOLDER, keep them, and measure nothing
    #[arg(long)]
    generate: bool,
    /// Decompress a file to standard output, as a peer that uses zlib-rs
    #[arg(long, hide = true, value_name = "FILE")]
    inflate: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Large responses
    Bulk,
    /// Small messages
    Small,
    /// An ordinary service
    Mixed,
    /// Ordinary, with lo captured by `port 15001`: packets wait to the end
    Forward,
    /// Ordinary, each packet earlier than the one before it
    Backwards,
    /// Frames of 100 octets
    Hundred,
    /// Segments of 64 KiB, every checksum partial
    Segments,
    /// Bulk and small
    All,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    // Programs run in the folder of their captures.
    arguments.meshpcap = fs::canonicalize(&arguments.meshpcap).unwrap_or(arguments.meshpcap);
    arguments.against = arguments.against.map(|binary| fs::canonicalize(&binary).unwrap_or(binary));
    match run(arguments) {
        Ok(missing) if missing.is_empty() => ExitCode::SUCCESS,
        Ok(missing) => {
            eprintln!("merge: not measured, since it is not installed: {}", missing.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("merge: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Names what could not be measured.
fn run(mut arguments: Arguments) -> io::Result<Vec<String>> {
    if let Some(path) = &arguments.inflate {
        let mut inflated = flate2::read::MultiGzDecoder::new(File::open(path)?);
        return io::copy(&mut inflated, &mut io::stdout()).map(|_| Vec::new());
    }
    if !arguments.bench {
        (arguments.size, arguments.rounds, arguments.connections, arguments.scale) = (1, 1, Some(10), 0.001);
        arguments.quick = true;
        table::table(&arguments)?;
    }
    if arguments.table {
        return table::table(&arguments);
    }
    let of = |shape| Traffic { shape, ..Traffic::default() };
    let wanted = match arguments.shape {
        Wanted::Bulk => vec![of(Shape::Bulk)],
        Wanted::Small => vec![of(Shape::Small)],
        Wanted::Mixed => vec![of(Shape::Mixed)],
        Wanted::Forward => vec![Traffic { only_forward: true, ..of(Shape::Mixed) }],
        Wanted::Backwards => vec![Traffic { backwards: true, ..of(Shape::Mixed) }],
        Wanted::Hundred => vec![of(Shape::Hundred)],
        Wanted::Segments => vec![of(Shape::Segments)],
        Wanted::All => vec![of(Shape::Bulk), of(Shape::Small)],
    };
    let compared = wanted.into_iter().map(|traffic| compare::compare(&arguments, traffic));
    Ok(compared.collect::<io::Result<Vec<_>>>()?.concat())
}

/// Generates captures, and waits until they are on the disk: writing them back would disturb what is measured.
fn generate(traffic: Traffic, folder: &Path) -> io::Result<Generated> {
    let generated = traffic.write(folder)?;
    generated.paths.iter().try_for_each(|path| File::open(path)?.sync_all())?;
    Ok(generated)
}

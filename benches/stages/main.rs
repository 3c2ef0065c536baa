//! What each stage costs, in instructions a packet, beside its budget; over budget is a failure.
//!
//! ```text
//! cargo bench --bench stages [-- --stage NAME]... [--packets N]
//! ```
//!
//! The bench runs itself under callgrind, over N packets of generated captures and over twice as many; the difference is
//! what a packet costs. It is the same on any machine with the same compiler, but for a percent or so that hashing and
//! threads vary by.

mod budget;
mod count;
mod packets;
#[path = "../traffic/mod.rs"]
#[allow(dead_code, reason = "the other benchmark uses more of it")]
mod traffic;
mod work;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use budget::{Stage, TOLERANCE};
use count::instructions;
use traffic::{Generated, Shape, Traffic};

/// Instructions a packet, stage by stage.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these stages
    #[arg(long = "stage", value_enum)]
    stages: Vec<Stage>,
    /// Packets, about; each stage is run with these and with twice as many
    #[arg(long, default_value_t = 30_000)]
    packets: u64,
    /// How often; the spread of the results is shown
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Seed of the generator
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run one stage over the captures in a folder, as callgrind does
    #[arg(long, hide = true, value_name = "FOLDER")]
    inside: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if !arguments.bench {
        arguments.packets = 1_000;
    }
    let done = match &arguments.inside {
        Some(folder) => arguments.stages.iter().try_for_each(|&stage| work::run(stage, folder)).map(|()| true),
        None => measure(&arguments),
    };
    match done {
        // `cargo test --benches`: it is enough that everything runs.
        Ok(_) if !arguments.bench => ExitCode::SUCCESS,
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stages: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the stages and prints them; whether all are within their budgets.
fn measure(arguments: &Arguments) -> io::Result<bool> {
    let folder = tempfile::Builder::new().prefix("meshpcap-stages-").tempdir()?;
    let generate = |name: &str, shape, packets: u64| -> io::Result<(PathBuf, Generated)> {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        // As in the captures of the other benchmark: 60 packets of a connection.
        let (bytes, connections) = (packets * 380, packets as u32 / 60);
        let traffic = Traffic { seed: arguments.seed, bytes, connections, live: 100, shape, ..Traffic::default() };
        let generated = traffic.write(&folder)?;
        Ok((folder, generated))
    };
    let pair = |name: &str, shape| -> io::Result<_> {
        let once = generate(&format!("{name}-1"), shape, arguments.packets)?;
        Ok([once, generate(&format!("{name}-2"), shape, arguments.packets * 2)?])
    };
    let (mixed, small) = (pair("mixed", Shape::Mixed)?, pair("small", Shape::Small)?);
    println!("| stage | instructions a packet | spread | budget | within |\n|---|---|---|---|---|");
    let mut all_within = true;
    let all = Stage::value_variants();
    for &stage in if arguments.stages.is_empty() { all } else { &arguments.stages } {
        let captures = if stage == Stage::MergeSmall { &small } else { &mixed };
        let rounds = (0..arguments.rounds.max(1)).map(|_| difference(stage, captures));
        let mut found = rounds.collect::<io::Result<Vec<u64>>>()?;
        found.sort_unstable();
        let (middle, spread) = (found[found.len() / 2], found[found.len() - 1] - found[0]);
        let within = middle * 100 <= stage.budget() * (100 + TOLERANCE);
        all_within &= within;
        let name = stage.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        let budget = stage.budget();
        println!("| {name} | {middle} | {spread} | {budget} | {} |", if within { "yes" } else { "**no**" });
    }
    Ok(all_within)
}

/// Instructions of each packet that the second captures have more than the first.
fn difference(stage: Stage, [once, twice]: &[(PathBuf, Generated); 2]) -> io::Result<u64> {
    let more = of(stage, &twice.0)?.saturating_sub(of(stage, &once.0)?);
    Ok(more / (twice.1.packets - once.1.packets))
}

fn of(stage: Stage, folder: &Path) -> io::Result<u64> {
    if let Stage::Merge | Stage::MergeSmall = stage {
        let [eth0, lo, out] = ["eth0.pcap", "lo.pcap", "out"].map(|name| folder.join(name));
        let words = ["merge", "--quiet"].map(OsStr::new);
        let arguments = [words[0], words[1], eth0.as_ref(), lo.as_ref(), OsStr::new("-o"), out.as_ref()];
        return instructions(Path::new(env!("CARGO_BIN_EXE_meshpcap")), &arguments, false);
    }
    let own = std::env::current_exe()?;
    let name = stage.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
    let arguments = ["--stage", &name, "--inside"].map(OsStr::new);
    instructions(&own, &[arguments[0], arguments[1], arguments[2], folder.as_ref()], true)
}

//! The rows of the table: what is generated, what runs, and the goal.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::compare::{cat, peers};
use crate::flood::same_but_for_flood;
use crate::line::Line;
use crate::programs::{Measured, Program, measure as run};
use crate::traffic::{Generated, Shape, Traffic};
use crate::{Arguments, generate};

/// What there are goals for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Time beside cat, mergecap and tcprewrite
    Copy,
    /// Frames of 100 octets
    Hundred,
    /// Partial checksums, segments of 64 KiB
    Partial,
    /// Memory, 500 connections at once
    Memory,
    /// Memory, 100,000 connections at once
    Crowd,
    /// A SYN flood
    Flood,
    /// Ten times the packets, ten times the connections
    Growth,
    /// A pipe instead of a file
    Pipe,
    /// Compressed files
    Gzip,
    /// Eight inputs instead of two
    Inputs,
    /// A capture of a few packets
    Start,
}

pub fn measure(row: Row, arguments: &Arguments) -> io::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("meshpcap-table-").tempdir_in(&arguments.folder)?;
    let bench = Bench { arguments, folder };
    match row {
        Row::Copy => bench.copy(),
        Row::Hundred => bench.hundred(),
        Row::Partial => bench.partial(),
        Row::Memory => bench.memory(),
        Row::Crowd => bench.crowd(),
        Row::Flood => bench.flood(),
        Row::Growth => bench.growth(),
        Row::Pipe => bench.pipe(),
        Row::Gzip => bench.gzip(),
        Row::Inputs => bench.inputs(),
        Row::Start => bench.start(),
    }
}

const FILES: &str = "eth0.pcap lo.pcap -o out";
const MEGABYTE: u64 = 1_000_000;

/// A folder of captures, and how they are measured.
struct Bench<'a> {
    arguments: &'a Arguments,
    folder: TempDir,
}

impl Bench<'_> {
    fn traffic(&self, megabytes: u64, connections: u32, live: usize) -> Traffic {
        let scaled = |count: f64| (count * self.arguments.scale).max(1.0);
        let bytes = scaled((megabytes * MEGABYTE) as f64) as u64;
        let connections = scaled(f64::from(connections)) as u32;
        Traffic { seed: self.arguments.seed, bytes, connections, live, ..Traffic::default() }
    }

    /// What most goals are about: 900 MB, 2.4 million packets.
    fn usual(&self) -> Traffic {
        self.traffic(825, 40_000, 500)
    }

    fn generate(&self, traffic: Traffic) -> io::Result<Generated> {
        generate(traffic, self.folder.path())
    }

    /// In a folder of its own.
    fn generate_in(&self, name: &str, traffic: Traffic) -> io::Result<Generated> {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder)?;
        generate(traffic, &folder)
    }

    fn merge(&self, name: &str, arguments: &str) -> Program {
        Program::merge(name, &self.arguments.meshpcap, arguments)
    }

    fn run<const N: usize>(&self, programs: [Program; N]) -> io::Result<[Measured; N]> {
        let measured = run(self.folder.path(), &programs, self.arguments.rounds)?;
        measured.try_into().map_err(|_| io::Error::other("a program was not measured"))
    }

    fn copy(&self) -> io::Result<Vec<Line>> {
        let made = self.generate(self.usual())?;
        let work = format!("{}, {} connections, 500 at once", told(&made), self.usual().connections);
        let [mergecap, tcprewrite] = peers();
        // cat lets the kernel copy (copy_file_range); dd reads and writes, as who looks at the octets has to.
        let dd = Program::new("dd", &["dd"], "{ dd bs=256K if=eth0.pcap && dd bs=256K if=lo.pcap; } > out");
        let [cat, dd, merge, mergecap, tcprewrite] =
            self.run([cat(), dd, self.merge("meshpcap", FILES), mergecap, tcprewrite])?;
        let faster = |name: &str, goal: f64, peer: &Measured| {
            Line::ratio(name, &format!("at least {goal}x faster"), peer, &merge, |ratio| ratio >= goal)
        };
        Ok(vec![
            Line::ratio(&work, "at most 1.0x `cat`", &merge, &cat, |ratio| ratio <= 1.0),
            Line::ratio("the same", "floor: at most 1.3x `cat`", &merge, &cat, |ratio| ratio <= 1.3),
            Line::ratio("the same, beside `dd bs=256K`: read and write", "", &merge, &dd, |_| true).without_goal(),
            faster("the same, mergecap", 5.0, &mergecap),
            faster("the same, mergecap + tcprewrite --fixcsum", 10.0, &tcprewrite),
        ])
    }

    fn hundred(&self) -> io::Result<Vec<Line>> {
        let made = self.generate(Traffic { shape: Shape::Hundred, ..self.traffic(1_111, 40_000, 500) })?;
        let [cat, merge] = self.run([cat(), self.merge("meshpcap", FILES)])?;
        let speed = made.packets as f64 / 1e6 / merge.median();
        let work = format!("packets of 100 octets: {}", told(&made));
        let goal = "at least 8 M packets/s, or at most 1.5x `cat`";
        let line = Line::ratio(&work, goal, &merge, &cat, |ratio| ratio <= 1.5 || speed >= 8.0);
        Ok(vec![Line { measured: format!("{speed:.2} M packets/s, {}", line.measured), ..line }])
    }

    fn partial(&self) -> io::Result<Vec<Line>> {
        let made = self.generate(Traffic { shape: Shape::Segments, ..self.traffic(900, 400, 100) })?;
        let [cat, merge] = self.run([cat(), self.merge("meshpcap", FILES)])?;
        let work = format!("partial checksums, segments of 64 KiB: {}", told(&made));
        Ok(vec![Line::ratio(&work, "at most 1.5x `cat`", &merge, &cat, |ratio| ratio <= 1.5)])
    }

    fn memory(&self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (megabytes, connections) in [(90, 4_000), (900, 40_000)] {
            let made = self.generate(self.traffic(megabytes, connections, 500))?;
            let [merge] = self.run([self.merge("meshpcap", FILES)])?;
            lines.push(Line::peak(format!("peak memory, 500 connections at once, {}", told(&made)), &merge, 32));
        }
        Ok(lines)
    }

    fn crowd(&self) -> io::Result<Vec<Line>> {
        let traffic = self.traffic(300, 100_000, 0);
        let made = self.generate(Traffic { live: traffic.connections as usize, ..traffic })?;
        let [merge] = self.run([self.merge("meshpcap", FILES)])?;
        let work = format!("peak memory, {} connections at once, {}", traffic.connections, told(&made));
        Ok(vec![Line::peak(work, &merge, 128)])
    }

    fn flood(&self) -> io::Result<Vec<Line>> {
        let real = self.traffic(100, 2_000, 20);
        let merge = self.merge("meshpcap", FILES);
        self.generate(real)?;
        merge.run(self.folder.path())?;
        let quiet = self.folder.path().join("quiet");
        fs::rename(self.folder.path().join("out"), &quiet)?;
        let made = self.generate(Traffic { flood: (1e7 * self.arguments.scale) as u64, ..real })?;
        let work = format!("SYN flood, {}, of them {} real connections", told(&made), real.connections);
        // The output is compared: it has to stay, so this is not a matter of rounds.
        let (time, peak) = merge.run(self.folder.path())?;
        let measured = Measured { name: String::new(), times: vec![time], peak, missing: None };
        let same = same_but_for_flood(&quiet, &self.folder.path().join("out"));
        let (told, is_same) = match same {
            Ok(packets) => (format!("all {packets} packets of them"), true),
            Err(error) => (error.to_string(), false),
        };
        Ok(vec![
            Line::peak(work, &measured, 128),
            Line::new("the same, legs of real connections", "as without the flood", told, is_same),
        ])
    }

    fn growth(&self) -> io::Result<Vec<Line>> {
        self.generate_in("base", self.traffic(90, 4_000, 500))?;
        self.generate_in("packets", self.traffic(900, 4_000, 500))?;
        self.generate_in("connections", self.traffic(900, 40_000, 500))?;
        let merge = |name: &str| self.merge(name, &format!("{name}/eth0.pcap {name}/lo.pcap -o out"));
        let [base, packets, connections] = self.run([merge("base"), merge("packets"), merge("connections")])?;
        let line = |work, grown| Line::ratio(work, "at most 10.5x the time", grown, &base, |ratio| ratio <= 10.5);
        Ok(vec![
            line("ten times the packets, as many connections", &packets),
            line("ten times the connections, with their packets", &connections),
        ])
    }

    fn pipe(&self) -> io::Result<Vec<Line>> {
        self.generate(self.usual())?;
        let binary = self.arguments.meshpcap.display();
        let pipe = format!("cat lo.pcap | '{binary}' merge --quiet eth0.pcap - -o - > out");
        let [files, pipe] = self.run([self.merge("with files", FILES), Program::new("pipe", &[], &pipe)])?;
        let work = r"`cat lo.pcap \| meshpcap merge eth0.pcap - -o -`";
        Ok(vec![Line::ratio(work, "at most 1.3x the same with files", &pipe, &files, |ratio| ratio <= 1.3)])
    }

    fn gzip(&self) -> io::Result<Vec<Line>> {
        let made = self.generate(self.traffic(450, 20_000, 500))?;
        let packed: u64 = made.paths.iter().map(|path| compress(path)).sum::<io::Result<u64>>()?;
        let both = |command: &str| {
            format!("{command} eth0.pcap.gz > out & {command} lo.pcap.gz > merged; status=$?; wait $! && exit $status")
        };
        let inflate = format!("'{}' --inflate", std::env::current_exe()?.display());
        let [zlib, gzip, merge] = self.run([
            Program::new("zlib-rs", &[], &both(&inflate)),
            Program::new("gzip -dc", &["gzip"], &both("gzip -dc")),
            self.merge("meshpcap", "eth0.pcap.gz lo.pcap.gz -o out"),
        ])?;
        let work = format!("gzip input, {} MB of {}", packed / MEGABYTE, told(&made));
        Ok(vec![
            Line::ratio(&work, "at most 1.1x zlib-rs, both in parallel", &merge, &zlib, |ratio| ratio <= 1.1),
            Line::ratio("the same", "at most 1.1x `gzip -dc`, both in parallel", &merge, &gzip, |ratio| ratio <= 1.1),
        ])
    }

    fn inputs(&self) -> io::Result<Vec<Line>> {
        let two = self.generate(self.usual())?;
        let eight = self.generate(Traffic { pairs: 4, ..self.usual() })?;
        let names = |made: &Generated| {
            let names = made.paths.iter().filter_map(|path| path.file_name()?.to_str());
            names.collect::<Vec<_>>().join(" ")
        };
        let of = |name, made: &Generated| self.merge(name, &format!("{} -o out", names(made)));
        let [of_two, of_eight] = self.run([of("2 inputs", &two), of("8 inputs", &eight)])?;
        let bytes = two.bytes as f64 / eight.bytes as f64;
        let ratio = of_eight.ratio(&of_two).unwrap_or(f64::NAN) * bytes;
        let (two, eight) = (of_two.median(), of_eight.median());
        let measured = format!("{ratio:.2}x: {eight:.3} s, 2 inputs {two:.3} s");
        Ok(vec![Line::new("8 inputs", "no slower per octet than 2", measured, ratio <= 1.0)])
    }

    fn start(&self) -> io::Result<Vec<Line>> {
        let made = self.generate(Traffic { bytes: 1, connections: 1, ..self.usual() })?;
        let merges: Vec<Program> = (0..20).map(|_| self.merge("meshpcap", FILES)).collect();
        let times = run(self.folder.path(), &merges, self.arguments.rounds)?.into_iter().flat_map(|it| it.times);
        let all = Measured { name: String::new(), times: times.collect(), peak: 0, missing: None };
        let milliseconds = all.median() * 1e3;
        let work = format!("start-up, a capture of {} packets", made.packets);
        Ok(vec![Line::new(work, "under 10 ms", format!("{milliseconds:.1} ms"), milliseconds < 10.0)])
    }
}

/// Size and packets, as the table tells them.
fn told(made: &Generated) -> String {
    format!("{} MB, {:.2} M packets", made.bytes / MEGABYTE, made.packets as f64 / 1e6)
}

/// Compresses a file, which makes way for it; the octets that are left.
fn compress(path: &Path) -> io::Result<u64> {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(File::create(&packed)?, Compression::new(6));
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)?;
    Ok(fs::metadata(packed)?.len())
}

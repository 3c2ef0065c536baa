//! What a merge costs, beside what others cost, on generated captures of the real shape.
//!
//! ```text
//! cargo bench --bench merge -- [--shape bulk|small|mixed|forward|all] [--size MB] [--rounds N]
//! ```
//!
//! Each round runs every program once, one after the other, to a fresh output, so that what else the machine does
//! meets all of them; only ratios within a run mean something. Memory is looked at in a run of its own. A program
//! that is not installed is named, not skipped silently. Without cargo's `--bench` (`cargo test --benches`) it only
//! sees to it that everything runs.

#[path = "traffic/mod.rs"]
mod traffic;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use traffic::{Generated, Shape, Traffic};

/// Time and memory of a merge, beside cat, mergecap and tcprewrite.
#[derive(Debug, Parser)]
struct Arguments {
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
    /// Bulk and small
    All,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if !arguments.bench {
        (arguments.size, arguments.rounds, arguments.connections) = (1, 1, Some(10));
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("merge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let wanted = match arguments.shape {
        Wanted::All => vec![Wanted::Bulk, Wanted::Small],
        one => vec![one],
    };
    for wanted in wanted {
        let folder = tempfile::Builder::new().prefix("meshpcap-bench-").tempdir_in(&arguments.folder)?;
        let pair = Pair::generate(folder.path(), arguments, wanted)?;
        if arguments.generate {
            println!("{}", folder.keep().display());
            continue;
        }
        measure(&pair, arguments)?;
    }
    Ok(())
}

/// A pair of captures in a folder of their own.
struct Pair {
    folder: PathBuf,
    generated: Generated,
}

impl Pair {
    fn generate(folder: &Path, arguments: &Arguments, wanted: Wanted) -> io::Result<Pair> {
        let shape = match wanted {
            Wanted::Bulk => Shape::Bulk,
            Wanted::Small => Shape::Small,
            _ => Shape::Mixed,
        };
        let Arguments { seed, size, live, .. } = *arguments;
        let connections = arguments.connections.unwrap_or(if shape == Shape::Bulk { 4_000 } else { 40_000 });
        let only_forward = wanted == Wanted::Forward;
        let traffic = Traffic { seed, bytes: size * 1_000_000, connections, live, shape, only_forward };
        let generated = traffic.write(&folder.join("eth0.pcap"), &folder.join("lo.pcap"))?;
        let Generated { packets, bytes } = generated;
        println!(
            "{wanted:?}: {} MB, {packets} packets of {} octets on average, {connections} connections, {live} at once",
            bytes / 1_000_000,
            bytes / packets.max(1),
        );
        Ok(Pair { folder: folder.to_owned(), generated })
    }
}

/// A program that is measured: a shell script, with `eth0.pcap` and `lo.pcap` in its folder, that writes `out`.
struct Program {
    name: &'static str,
    /// What has to be installed.
    needs: &'static [&'static str],
    script: String,
}

fn programs(arguments: &Arguments) -> Vec<Program> {
    let merge = |binary: &Path| format!("exec '{}' merge --quiet eth0.pcap lo.pcap -o out", binary.display());
    let check = |binary: &Path| format!("exec '{}' check --fail-on never eth0.pcap lo.pcap", binary.display());
    let own = Path::new(env!("CARGO_BIN_EXE_meshpcap"));
    let mut programs = vec![
        Program { name: "cat", needs: &["cat"], script: "exec cat eth0.pcap lo.pcap > out".to_owned() },
        Program { name: "meshpcap", needs: &[], script: merge(own) },
        // The rules are looked at once for each connection.
        Program { name: "  with rules", needs: &[], script: merge(own) + " --mesh istio" },
        Program { name: "  check", needs: &[], script: check(own) },
    ];
    if let Some(binary) = &arguments.against {
        programs.push(Program { name: "against", needs: &[], script: merge(binary) });
    }
    if !arguments.quick {
        let script = "exec mergecap -w out eth0.pcap lo.pcap".to_owned();
        programs.push(Program { name: "mergecap", needs: &["mergecap"], script });
        let script =
            "mergecap -F pcap -w merged eth0.pcap lo.pcap && exec tcprewrite --fixcsum -i merged -o out".to_owned();
        programs.push(Program { name: "+ tcprewrite", needs: &["mergecap", "tcprewrite"], script });
    }
    programs
}

fn measure(pair: &Pair, arguments: &Arguments) -> io::Result<()> {
    let mut measured: Vec<(Program, Vec<Duration>)> = Vec::new();
    for program in programs(arguments) {
        match program.needs.iter().find(|name| !is_installed(name)) {
            Some(missing) => println!("  {}: not measured, {missing} is not installed", program.name),
            None => measured.push((program, Vec::new())),
        }
    }
    for _ in 0..arguments.rounds {
        for (program, times) in &mut measured {
            times.push(program.run(&pair.folder, None)?);
        }
    }
    println!(
        "  {:14} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}",
        "", "min s", "med s", "MB/s", "x cat", "x merge", "RSS MiB"
    );
    let of = |name: &str| measured.iter().find(|(p, _)| p.name == name).map(|(_, times)| times.as_slice());
    let (cat, mergecap) = (of("cat").map(<[_]>::to_vec), of("mergecap").map(<[_]>::to_vec));
    for (program, times) in &measured {
        let mut peak = 0;
        program.run(&pair.folder, Some(&mut peak))?;
        let mut sorted = times.clone();
        sorted.sort_unstable();
        let median = sorted[sorted.len() / 2].as_secs_f64();
        println!(
            "  {:14} {:7.3} {median:7.3} {:7.0} {:>9} {:>9} {:9.1}",
            program.name,
            sorted[0].as_secs_f64(),
            pair.generated.bytes as f64 / 1e6 / median,
            ratio(times, cat.as_deref()),
            ratio(times, mergecap.as_deref()),
            peak as f64 / 1024.0,
        );
    }
    if let (Some(check), Some(merge)) = (of("  check"), of("meshpcap")) {
        println!("  check takes {} times as long as merge", ratio(check, Some(merge)));
    }
    Ok(())
}

/// The median of the ratios within each round.
fn ratio(times: &[Duration], base: Option<&[Duration]>) -> String {
    let Some(base) = base else { return "-".to_owned() };
    let mut ratios: Vec<f64> = times.iter().zip(base).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    format!("{:.2}", ratios[ratios.len() / 2])
}

fn is_installed(name: &str) -> bool {
    let command = format!("command -v {name}");
    Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Program {
    /// Runs it to a fresh output, which is removed. With `peak`, looks at its memory meanwhile, in KiB.
    fn run(&self, folder: &Path, peak: Option<&mut u64>) -> io::Result<Duration> {
        let mut command = Command::new("sh");
        command.args(["-c", &self.script]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn()?;
        if let Some(peak) = peak {
            // The kernel keeps the peak: only what it grows by in the last moment is missed.
            let status = format!("/proc/{}/status", child.id());
            while child.try_wait()?.is_none() {
                *peak = high_water(&status).unwrap_or_default().max(*peak);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let status = child.wait()?;
        let time = start.elapsed();
        for name in ["out", "merged"] {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if status.success() { Ok(time) } else { Err(io::Error::other(format!("{} failed: {status}", self.name))) }
    }
}

/// The peak of a process' resident memory in KiB; none when it has ended, or where there is no `/proc`.
fn high_water(status: &str) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

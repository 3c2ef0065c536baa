//! Programs that are run side by side: time and peak memory of each.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// What the scripts write to; each run finds none of them.
const OUTPUTS: [&str; 3] = ["out", "merged", "legs.json"];

/// A program that is measured: a shell script that writes `out` in the folder of its captures.
pub struct Program {
    pub name: String,
    /// What has to be installed.
    pub needs: &'static [&'static str],
    pub script: String,
}

/// What was measured of a program.
pub struct Measured {
    pub name: String,
    /// One for each round.
    pub times: Vec<Duration>,
    /// Peak of the resident memory, in KiB: the highest of all rounds. No less than this process' own, which the kernel
    /// counts until the program takes its place.
    pub peak: u64,
    /// What is not installed; then there is nothing else.
    pub missing: Option<&'static str>,
}

impl Program {
    pub fn new(name: &str, needs: &'static [&'static str], script: &str) -> Program {
        Program { name: name.to_owned(), needs, script: script.to_owned() }
    }

    /// meshpcap's merge, with these arguments.
    pub fn merge(name: &str, binary: &Path, arguments: &str) -> Program {
        Program::new(name, &[], &format!("exec '{}' merge --quiet {arguments}", binary.display()))
    }

    /// Time and peak memory of a run to a fresh output, which stays until the next one.
    pub fn run(&self, folder: &Path) -> io::Result<(Duration, u64)> {
        clear(folder)?;
        let mut command = Command::new("sh");
        command.args(["-c", &self.script]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let used = command.spawn()?.wait4()?;
        let time = start.elapsed();
        match used.status.success() {
            true => Ok((time, used.rusage.maxrss / 1_024)),
            false => Err(io::Error::other(format!("{} failed: {}", self.name, used.status))),
        }
    }
}

/// Removes what was written.
fn clear(folder: &Path) -> io::Result<()> {
    for name in OUTPUTS {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Runs each once a round, one after the other, so that what else the machine does meets all of them.
pub fn measure(folder: &Path, programs: &[Program], rounds: usize) -> io::Result<Vec<Measured>> {
    let missing = |program: &Program| program.needs.iter().copied().find(|name| !is_installed(name));
    let start = |p: &Program| Measured { name: p.name.clone(), times: Vec::new(), peak: 0, missing: missing(p) };
    let mut measured: Vec<Measured> = programs.iter().map(start).collect();
    for _ in 0..rounds {
        for (program, measured) in programs.iter().zip(&mut measured).filter(|(_, it)| it.missing.is_none()) {
            let (time, peak) = program.run(folder)?;
            measured.times.push(time);
            measured.peak = measured.peak.max(peak);
        }
    }
    clear(folder)?;
    Ok(measured)
}

fn is_installed(name: &str) -> bool {
    let command = format!("command -v {name}");
    Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Measured {
    /// In seconds.
    pub fn median(&self) -> f64 {
        median(self.times.iter().map(Duration::as_secs_f64).collect())
    }

    /// How many times as long as another it took: the median of the ratios within each round. None if one is missing.
    pub fn ratio(&self, base: &Measured) -> Option<f64> {
        let ratios: Vec<f64> =
            self.times.iter().zip(&base.times).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

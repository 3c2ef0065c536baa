//! Instructions, counted by callgrind: the same however fast or busy the machine is.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs what is counted; callgrind knows it by its name.
#[inline(never)]
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    // Not the last call: it has to come back here.
    std::hint::black_box(work())
}

/// The instructions that a program takes, in all of its threads; `only_counted`: those inside of [`counted`].
///
/// Errors: valgrind is not installed, or the program failed.
pub fn instructions(program: &Path, arguments: &[&OsStr], only_counted: bool) -> io::Result<u64> {
    let file = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", file.path().display()));
    if only_counted {
        command.args(["--collect-atstart=no", "--toggle-collect=*::counted*"]);
    }
    let output = command.arg(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("valgrind: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("valgrind {}: {}\n{said}", program.display(), output.status)));
    }
    let counted = fs::read_to_string(file.path())?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.filter(|total| *total > 0).ok_or_else(|| io::Error::other("callgrind counted nothing"))
}

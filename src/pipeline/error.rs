//! Why a run writes nothing, in one line each: what cannot be written and what to do; and what is refused at the start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Merge;
use crate::beside;
use crate::capture::{self, Source};
use crate::output::{Destination, is_other_capture, is_same_file};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input cannot be read at all.
    #[error(transparent)]
    Input(#[from] capture::Error),
    /// A file beside the captures cannot be used.
    #[error(transparent)]
    Beside(#[from] beside::Error),
    /// The output cannot be written.
    #[error("{name}: cannot be written: {source}{}", Hint(.source))]
    Output {
        /// The output as the user named it.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no room for what waits, or to put an input in order.
    #[error("temporary file: cannot be written: {0} (set TMPDIR to a folder with room)")]
    Temporary(io::Error),
    /// The output, or the report, is one of the inputs, or a file beside them.
    #[error("{}: is both input and {role}; name another file for the {role}", .path.display())]
    SameFile {
        /// As the user named it.
        path: PathBuf,
        /// What is to be written there: "output" or "report".
        role: &'static str,
    },
    /// A capture is where the output is to be: an input's name was perhaps taken for the output's.
    #[error(
        "{}: is a capture that meshpcap did not write, and would be lost; name another file for the output, or remove it",
        .0.display()
    )]
    OtherCapture(PathBuf),
    /// The output is named as if it were compressed.
    #[error(
        "{}: the output is not compressed; name it .pcapng, or pipe it into the compressor with -o -",
        .0.display()
    )]
    Compressed(PathBuf),
    /// The output is the report.
    #[error("{}: is both output and report; name another file for the report", .0.display())]
    SameOutputs(PathBuf),
    /// The second time, a file did not hold what it held the first time.
    #[error("{name}: changed while it was merged; merge a copy of it, or end first what writes to it")]
    Changed {
        /// The input as the user named it.
        name: String,
    },
    /// There are too many connections for a check.
    #[error("too many connections to check at once: check captures of a shorter time")]
    TooMuch,
    /// The user stopped the run.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl Error {
    pub(super) fn output(destination: &Destination, source: io::Error) -> Error {
        let name = match destination {
            Destination::Stdout => "standard output".to_owned(),
            Destination::Path(path) => path.display().to_string(),
        };
        Error::Output { name, source }
    }
}

/// What to do about an error of the operating system, where there is something to say.
struct Hint<'a>(&'a io::Error);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind() {
            io::ErrorKind::NotFound => " (is the path right? its folder has to be there: mkdir -p)",
            io::ErrorKind::NotADirectory => " (is the path right? a part of it is a file, not a folder)",
            io::ErrorKind::IsADirectory => " (name a file in it)",
            io::ErrorKind::PermissionDenied => " (name a file in a folder that you may write to, or run with sudo)",
            io::ErrorKind::ReadOnlyFilesystem => " (name a file in a folder that can be written to)",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (make room, or name a file elsewhere)",
            _ => "",
        })
    }
}

/// Refuses to overwrite a capture, to write output and report into one file, and to name the output what it is not.
pub(super) fn refuse(merge: &Merge) -> Result<(), Error> {
    let output = match &merge.output {
        Destination::Path(path) => Some(path.as_path()),
        Destination::Stdout => None,
    };
    let report = merge.report.as_deref();
    for (path, role) in [(output, "output"), (report, "report")] {
        let Some(path) = path else { continue };
        let is_it = |input: &Source| matches!(input, Source::Path(input) if is_same_file(path, input));
        let mut beside = merge.beside.paths().chain(&merge.rules_from);
        if merge.inputs.iter().any(is_it) || beside.any(|beside| is_same_file(path, beside)) {
            return Err(Error::SameFile { path: path.to_owned(), role });
        }
    }
    let Some(output) = output else { return Ok(()) };
    if report.is_some_and(|report| is_same_file(output, report)) {
        return Err(Error::SameOutputs(output.to_owned()));
    }
    if output.extension().is_some_and(|ending| ["gz", "zst", "lz4"].iter().any(|e| ending.eq_ignore_ascii_case(e))) {
        return Err(Error::Compressed(output.to_owned()));
    }
    if is_other_capture(output) {
        return Err(Error::OtherCapture(output.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_it() {
        let told = |kind: io::ErrorKind| {
            Error::output(&Destination::Path("out.pcapng".into()), io::Error::new(kind, "no")).to_string()
        };
        assert_eq!(
            told(io::ErrorKind::PermissionDenied),
            "out.pcapng: cannot be written: no (name a file in a folder that you may write to, or run with sudo)"
        );
        assert_eq!(
            told(io::ErrorKind::NotADirectory),
            "out.pcapng: cannot be written: no (is the path right? a part of it is a file, not a folder)"
        );
        assert_eq!(told(io::ErrorKind::Other), "out.pcapng: cannot be written: no");
    }
}

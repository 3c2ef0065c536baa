//! The subcommands: each takes what was typed and returns the exit status.

pub mod check;
pub mod diff;
mod expect;
pub mod explain;
mod found;
mod given;
pub mod manual;
pub mod merge;
pub mod plan;
pub mod ports;
mod recording;
pub mod typed;

use std::io::Write;
use std::process::ExitCode;

use meshpcap::audit::LACKS_LOOPBACK;
use meshpcap::check::CONVERSATIONS;
use meshpcap::pipeline::{self, Checked};

/// The output is there, but something was wrong with an input.
const DAMAGED: u8 = 1;
/// Nothing was written.
const FAILED: u8 = 2;
/// 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Why there is no answer.
enum Failure {
    Told(String),
    Interrupted,
}

impl From<String> for Failure {
    fn from(told: String) -> Failure {
        Failure::Told(told)
    }
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Failure {
        match error {
            pipeline::Error::Interrupted => Failure::Interrupted,
            error => Failure::Told(error.to_string()),
        }
    }
}

/// The exit status of what may have failed.
fn status(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(Failure::Told(message)) => fail(&message),
        Err(Failure::Interrupted) => {
            complain("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

fn fail(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(FAILED)
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "meshpcap: {message}");
}

/// Says so if not all was captured, or not all conversations could be looked at.
fn complain_of_limits(checked: &Checked) {
    if checked.lacks_loopback {
        complain(LACKS_LOOPBACK);
    }
    if checked.is_incomplete {
        complain(&format!("only the first {CONVERSATIONS} conversations were looked at closely"));
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    printed(std::io::stdout().write_all(bytes))
}

/// The status after printing. That a reader has seen enough is no failure.
fn printed(result: std::io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(&format!("standard output: cannot be written: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

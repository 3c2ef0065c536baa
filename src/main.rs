//! The `meshpcap` command.

mod commands;

use std::process::ExitCode;

use meshpcap::cli::Command;

fn main() -> ExitCode {
    match commands::typed::parse().command {
        Command::Merge(args) => commands::merge::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Diff(args) => commands::diff::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Ports(args) => commands::ports::run(&args),
        Command::Completions { shell } => commands::manual::completions(shell),
        Command::Man(args) => commands::manual::manual(&args),
    }
}

//! What the user typed. Doc comments are the help; parsing validates and does nothing else.

mod captures;
mod check;
mod diff;
mod explain;
mod gateway;
mod merge;
mod plan;
mod port;
mod ports;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};

use crate::nat::PRESETS;

pub use captures::{CaptureArgs, NameArg};
pub use check::{CheckArgs, FailOnArg, FormatArg};
pub use diff::{DiffArgs, SameArgs};
pub use explain::{AddressArg, ExplainArgs};
pub use gateway::GatewayArgs;
pub use merge::{LinkTypeArg, LookAheadArg, MergeArgs};
pub use plan::{PlanArgs, ViaArg};
pub use port::PortsArg;
pub use ports::PortsArgs;

/// Give every leg of a sidecar capture its original addresses back
///
/// In a pod with a sidecar proxy (Istio's Envoy), iptables redirects connections. On lo, tcpdump shows the
/// packets of the application after that (to 127.0.0.1:15001) and the replies before (from the service's own
/// address), so Wireshark sees two half conversations and Follow TCP Stream fails. `meshpcap merge` takes the
/// captures of eth0 and lo, finds out from the packets themselves which halves belong together, and writes one
/// pcapng file in which every connection follows whole.
#[derive(Debug, Parser)]
#[command(name = "meshpcap", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[allow(missing_docs, reason = "the help of a subcommand is what stands with its arguments")]
#[derive(Debug, Subcommand)]
pub enum Command {
    Merge(MergeArgs),
    Check(CheckArgs),
    Diff(DiffArgs),
    Explain(ExplainArgs),
    Plan(Box<PlanArgs>),
    Ports(PortsArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them into a folder
    #[command(after_long_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

/// The meshes whose default rules are known.
fn mesh() -> PossibleValuesParser {
    PossibleValuesParser::new(PRESETS.iter().map(|preset| PossibleValue::new(preset.name).help(preset.about)))
}

/// `meshpcap man` as typed.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The subcommand whose page is wanted [default: that of meshpcap itself]
    #[arg(conflicts_with = "output_dir", value_parser = PossibleValuesParser::new(SUBCOMMANDS))]
    pub subcommand: Option<String>,

    /// Write all pages into this folder, which is made if it is not there: meshpcap.1, meshpcap-merge.1 ...
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

/// Those that have a manual page.
const SUBCOMMANDS: [&str; 8] = ["merge", "check", "diff", "explain", "plan", "ports", "completions", "man"];

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  bash, which needs the package bash-completion:
      meshpcap completions bash \\
        > ~/.local/share/bash-completion/completions/meshpcap
  zsh, into a folder that stands in $fpath before compinit runs:
      meshpcap completions zsh > ~/.zfunc/_meshpcap
  fish:
      meshpcap completions fish > ~/.config/fish/completions/meshpcap.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  Read the page of a subcommand:
      meshpcap man merge | man -l -
  Install all pages, so that `man meshpcap-merge` finds them:
      meshpcap man --output-dir ~/.local/share/man/man1";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_a_manual_page() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(|subcommand| subcommand.get_name()).collect();
        assert_eq!(names, SUBCOMMANDS);
    }

    /// clap breaks a line where it is full, and what is copied from there is another command.
    #[test]
    fn commands_in_the_help_fit_into_a_terminal() {
        let command = Cli::command();
        let texts = command.get_subcommands().filter_map(|subcommand| subcommand.get_after_long_help());
        let texts: Vec<String> = texts.map(ToString::to_string).collect();
        assert_eq!(texts.len(), SUBCOMMANDS.len());
        for line in texts.iter().flat_map(|text| text.lines()) {
            let limit = if line.starts_with("      ") { 80 } else { 100 };
            assert!(line.chars().count() <= limit, "{line}");
        }
    }
}

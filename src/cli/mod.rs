//! What the user typed. Doc comments are the help; parsing validates and does nothing else.

mod explain;
mod merge;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, Subcommand};

use crate::nat::PRESETS;

pub use explain::{AddressArg, ExplainArgs};
pub use merge::{LinkTypeArg, LookAheadArg, MergeArgs, NameArg};

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
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Merge captures of one pod into one pcapng file and repair its redirected legs
    Merge(MergeArgs),
    /// Say what netfilter rules do to a connection, rule by rule
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// The meshes whose default rules are known.
fn mesh() -> PossibleValuesParser {
    PossibleValuesParser::new(PRESETS.iter().map(|preset| PossibleValue::new(preset.name).help(preset.about)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

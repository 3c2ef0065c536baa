//! From the arguments to what was typed; who is used to other tools for captures is told how it is done here.

use clap::Parser;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use meshpcap::cli::Cli;

/// What was typed. Ends the program if that makes no sense, or asks for help.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        if let Some(tip) = tip(&error) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    })
}

/// What to say besides the error; none: what clap says itself.
fn tip(error: &Error) -> Option<&'static str> {
    let named = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.as_str()],
        Some(ContextValue::Strings(many)) => many.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    match error.kind() {
        // mergecap and editcap have no subcommands.
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            Some("to repair captures: meshpcap merge eth0.pcap lo.pcap -o fixed.pcapng")
        }
        ErrorKind::UnknownArgument => match named(ContextKind::InvalidArg)[..] {
            // As tcpdump and tshark take it.
            ["-r"] => Some("captures need no option: meshpcap merge eth0.pcap lo.pcap -o fixed.pcapng"),
            ["-w"] => Some("to repair captures: meshpcap merge eth0.pcap lo.pcap -o fixed.pcapng"),
            _ => None,
        },
        ErrorKind::MissingRequiredArgument if named(ContextKind::InvalidArg).contains(&"<CAPTURE>...") => {
            Some("`-` reads a capture from standard input")
        }
        _ => None,
    }
}

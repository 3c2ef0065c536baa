//! `meshpcap diff` as typed.

use std::path::PathBuf;

use clap::Args;

use crate::diff::Same;

/// Say what changed between two recordings of one scenario
///
/// Compares conversations, not packets: which there are and in which order, their roles and ties, how they began, what was
/// said each way, how they ended. Times, ephemeral ports, sequence numbers, segmentation and retransmissions do not
/// count; nor do header fields of HTTP that differ each time, such as date and x-request-id.
///
/// OLD and NEW are each a file that `meshpcap merge` wrote, a capture, or a folder (or an archive of one) with captures
/// and what lies beside them, as merge takes it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, override_usage = USAGE)]
pub struct DiffArgs {
    /// The old recording, then the new one; with --to, all captures of the old one
    #[arg(value_name = "RECORDING", required = true)]
    pub recordings: Vec<PathBuf>,

    /// The captures of the new recording, where a recording is several captures
    #[arg(long, value_name = "NEW", num_args = 1..)]
    pub to: Vec<PathBuf>,

    /// What does not count.
    #[command(flatten)]
    pub same: SameArgs,

    /// Print JSON, as docs/diff.md describes it
    #[arg(long)]
    pub json: bool,
}

/// What does not count where recordings are compared, as typed.
#[derive(Debug, Args)]
pub struct SameArgs {
    /// An address, or a network, that is another one in NEW: `10.1.0.5=10.1.0.9`, `10.1.0.0/24=10.2.0.0/24`
    ///
    /// Counts in header fields of HTTP and in DNS as well. Repeat it for several; the first one that fits counts.
    #[arg(long, value_name = "OLD=NEW")]
    pub map: Vec<Same>,

    /// A header field of HTTP that does not count, beside those that never do
    #[arg(long = "ignore-header", value_name = "NAME", value_parser = header)]
    pub ignored_headers: Vec<String>,
}

impl SameArgs {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty() && self.ignored_headers.is_empty()
    }
}

const USAGE: &str = "meshpcap diff [OPTIONS] <OLD> <NEW>
       meshpcap diff [OPTIONS] <OLD>... --to <NEW>...";

const EXAMPLES: &str = "\
Examples:
  What did the new release change?
      meshpcap merge before/ -o before.pcapng
      meshpcap diff before.pcapng after/ --map 10.244.1.7=10.244.1.9
  Recordings of several captures each:
      meshpcap diff old-eth0.pcap old-lo.pcap --to new-eth0.pcap new-lo.pcap

Exit status:
  0    the recordings are the same
  1    they differ
  2    a wrong argument, a capture that cannot be read
  130  interrupted

docs/diff.md: what counts and what does not, the JSON.
meshpcap check --bless and --expect: note what captures show, and hold later ones against it.";

/// The name of a header field, in small letters (RFC 9110, section 5.1).
fn header(typed: &str) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match !typed.is_empty() && typed.chars().all(is_token) {
        true => Ok(typed.to_ascii_lowercase()),
        false => Err(format!("`{typed}` is no name of a header field")),
    }
}

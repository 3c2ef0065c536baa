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
    #[arg(value_name = "RECORDING", required_unless_present_any = ["expect", "bless"])]
    pub recordings: Vec<PathBuf>,

    /// The captures of the new recording, where a recording is several captures
    #[arg(long, value_name = "NEW", num_args = 1.., conflicts_with_all = ["expect", "bless"])]
    pub to: Vec<PathBuf>,

    /// Hold the captures in a folder against the expect.json beside them
    ///
    /// Such a folder is a regression trace; several can be given.
    #[arg(long, value_name = "FOLDER", num_args = 1.., conflicts_with_all = ["recordings", "bless"])]
    pub expect: Vec<PathBuf>,

    /// Write what the captures in a folder show into its expect.json
    ///
    /// A file that says the same stays as it is. What changed in it is printed.
    #[arg(long, value_name = "FOLDER", num_args = 1.., conflicts_with = "recordings")]
    pub bless: Vec<PathBuf>,

    /// An address, or a network, that is another one in NEW: `10.1.0.5=10.1.0.9`, `10.1.0.0/24=10.2.0.0/24`
    ///
    /// Counts in header fields of HTTP and in DNS as well. Repeat it for several; the first one that fits counts.
    #[arg(long, value_name = "OLD=NEW")]
    pub map: Vec<Same>,

    /// A header field of HTTP that does not count, beside those that never do
    #[arg(long = "ignore-header", value_name = "NAME", value_parser = header)]
    pub ignored_headers: Vec<String>,

    /// Print JSON, as docs/diff.md describes it
    #[arg(long, conflicts_with = "bless")]
    pub json: bool,
}

const USAGE: &str = "meshpcap diff [OPTIONS] <OLD> <NEW>
       meshpcap diff [OPTIONS] <OLD>... --to <NEW>...
       meshpcap diff [OPTIONS] --expect <FOLDER>...
       meshpcap diff [OPTIONS] --bless <FOLDER>...";

const EXAMPLES: &str = "\
Examples:
  What did the new release change?
      meshpcap merge before/ -o before.pcapng
      meshpcap diff before.pcapng after/ --map 10.244.1.7=10.244.1.9
  Recordings of several captures each:
      meshpcap diff old-eth0.pcap old-lo.pcap --to new-eth0.pcap new-lo.pcap
  Note what a recording shows, and hold later runs against it:
      meshpcap diff --bless traces/checkout
      meshpcap diff --expect traces/*/

Exit status:
  0    the recordings are the same, or expect.json is written
  1    they differ
  2    a wrong argument, a capture or an expectation that cannot be read
  130  interrupted

docs/diff.md: what counts and what does not, the JSON. docs/ci.md: in pipelines.";

/// The name of a header field, in small letters (RFC 9110, section 5.1).
fn header(typed: &str) -> Result<String, String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match !typed.is_empty() && typed.chars().all(is_token) {
        true => Ok(typed.to_ascii_lowercase()),
        false => Err(format!("`{typed}` is no name of a header field")),
    }
}

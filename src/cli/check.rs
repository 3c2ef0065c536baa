//! `meshpcap check` as typed.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum};

use super::{CaptureArgs, SameArgs};
use crate::check::{CODES, Severity, format};

/// Say what is wrong in captures of a pod, and what to do about it
///
/// Takes what `meshpcap merge` takes, reads it once and writes no file. Each finding has a code, the legs that it is about
/// with their `tcp.stream`, and frames: those of the file that merge writes of the same captures. Prints nothing if nothing
/// was found.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CheckArgs {
    /// What is read, and what is known of it.
    #[command(flatten)]
    pub captures: CaptureArgs,

    /// Write the findings so
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = FormatArg::Text)]
    pub format: FormatArg,

    /// Look for these codes only, with commas between
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = codes())]
    pub select: Vec<String>,

    /// Do not look for these codes
    #[arg(long, hide_possible_values = true, value_name = "CODE", value_delimiter = ',', value_parser = codes())]
    pub ignore: Vec<String>,

    /// Exit with 1 if there is a finding at least as bad
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOnArg::Error)]
    pub fail_on: FailOnArg,

    /// Hold each CAPTURE, which has to be a folder, against the expect.json in it
    ///
    /// A folder with captures, what lies beside them, and an expect.json is a regression trace. Findings count by their code
    /// and the roles and servers of their legs, conversations as in `meshpcap diff`. Exits with 1 if anything differs, and
    /// prints what; as JSON with `--format json`.
    #[arg(long, conflicts_with_all = ["bless", "fail_on"])]
    pub expect: bool,

    /// Write what the captures in each folder show into its expect.json
    ///
    /// A file that says the same stays as it is. What changed in it is printed.
    #[arg(long, conflicts_with_all = ["format", "fail_on"])]
    pub bless: bool,

    /// What does not count for `--expect` and `--bless`.
    #[command(flatten)]
    pub same: SameArgs,

    /// Say what a code means, how it is detected, and what causes it
    #[arg(long, hide_possible_values = true, value_name = "CODE", value_parser = codes(), exclusive = true)]
    pub explain: Option<String>,
}

fn codes() -> PossibleValuesParser {
    PossibleValuesParser::new(CODES.iter().map(|code| PossibleValue::new(code.name).help(code.title)))
}

impl CheckArgs {
    /// Whether findings of a code are wanted.
    pub fn wants(&self, code: &str) -> bool {
        (self.select.is_empty() || self.select.iter().any(|one| one == code))
            && !self.ignore.iter().any(|one| one == code)
    }
}

/// A format of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For people; nothing if nothing was found
    Text,
    /// One object with all findings
    Json,
    /// JUnit's XML, a test case for each code
    Junit,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations in GitHub Actions
    Github,
}

impl From<FormatArg> for format::Format {
    fn from(typed: FormatArg) -> format::Format {
        match typed {
            FormatArg::Text => format::Format::Text,
            FormatArg::Json => format::Format::Json,
            FormatArg::Junit => format::Format::Junit,
            FormatArg::Sarif => format::Format::Sarif,
            FormatArg::Github => format::Format::Github,
        }
    }
}

/// How bad a finding has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOnArg {
    /// Connections fail, or go where they must not
    Error,
    /// Something is wrong, or the capture does not show enough
    Warning,
    /// Anything
    Note,
    /// No finding does
    Never,
}

impl FailOnArg {
    /// Whether a finding is as bad.
    pub fn is_met(self, severity: Severity) -> bool {
        match self {
            FailOnArg::Error => severity >= Severity::Error,
            FailOnArg::Warning => severity >= Severity::Warning,
            FailOnArg::Note => true,
            FailOnArg::Never => false,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  What is wrong in the captures of a pod:
      meshpcap check eth0.pcap lo.pcap --rules rules.txt
  In CI, with everything that a script of `meshpcap plan` left:
      meshpcap check capture/ --format junit --fail-on warning > check.xml
  Note what captures of an incident show, and hold later versions and recordings against it:
      meshpcap check --bless traces/checkout
      meshpcap check --expect traces/*/
  What a code means:
      meshpcap check --explain port-collision

Exit status:
  0    no finding is as bad as --fail-on says; all is as --expect expects; expect.json is written
  1    some are; something is not
  2    it could not be checked: a wrong argument, an input that is missing, damaged or no capture
  130  interrupted";

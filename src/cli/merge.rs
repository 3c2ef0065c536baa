//! `meshpcap merge` as typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::CaptureArgs;
use crate::pipeline::LookAhead;

/// Merge captures of one pod into one pcapng file and repair its redirected legs
///
/// Packets come out in the order of time, each with its own bytes, except that packets that were redirected to the
/// proxy (to 127.0.0.1:15001, say) get back the addresses that the application gave them, where the capture proves
/// these: by the TCP handshake, by sequence numbers where the capture began later, by ID and
/// question for DNS. What is not proven stays as it was captured, and the summary says why. Partial checksums
/// (checksum offload) are completed.
///
/// A comment on the first packet of each leg that was repaired or tied tells the addresses as captured and the evidence: find
/// them with the display filter `frame.comment`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct MergeArgs {
    /// Write the repaired capture here; `-` writes to standard output
    ///
    /// A file appears when it is complete, and replaces one of the same name; but not a capture that meshpcap did not
    /// write.
    // mergecap and editcap have it as -w.
    #[arg(short, long, short_alias = 'w', value_name = "FILE")]
    pub output: PathBuf,

    /// Write one row for each leg to this file, as CSV or JSON by its ending
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// What is read, and what is known of it.
    #[command(flatten)]
    pub captures: CaptureArgs,

    /// Let packets wait at most so long for the proof that repairs them
    ///
    /// A time of the capture (`500ms`, `2s`), an amount of waiting bytes (`16MiB`), or both with a comma.
    /// Default: `2s,64MiB` if an input is a pipe; to the end of the capture if all are files.
    #[arg(long, value_name = "TIME,SIZE")]
    pub lookahead: Option<LookAheadArg>,

    /// Write all packets with this link type
    ///
    /// tcpdump reads only files in which all interfaces have one link type.
    #[arg(long, value_name = "TYPE")]
    pub linktype: Option<LinkTypeArg>,

    /// Write the names that this file gives to addresses
    ///
    /// A hosts file, or what `kubectl get pods,services -A -o json` prints. Only addresses that occur in the
    /// captures are written; the report has their names, too. Repeat it for several files.
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// Write the TLS secrets of the captured sessions from this key log
    ///
    /// As Envoy's `key_log` or SSLKEYLOGFILE name it: Wireshark then shows what the sessions carry. Who gets the
    /// output can read it as well: it is written for its owner alone (mode 600). Only sessions that begin in the captures are written. Repeat it for several
    /// files.
    #[arg(long, value_name = "FILE")]
    pub keys: Vec<PathBuf>,

    /// Print no summary, only what is wrong
    #[arg(short, long)]
    pub quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  Repair the two captures of a pod:
      meshpcap merge eth0.pcap lo.pcap -o fixed.pcapng
  One `tcpdump -i any` capture is enough:
      meshpcap merge any.pcap -o fixed.pcapng --report legs.csv
  What the script of `meshpcap plan` leaves:
      meshpcap merge meshpcap-20260101-120000-77/ -o fixed.pcapng
  The capture of a gateway:
      meshpcap merge eth0.pcap -o fixed.pcapng --gateway \\
        --cluster-cidr 192.168.0.0/16 --service-cidr 10.96.0.0/12
  Look while it is captured:
      kubectl exec POD -c istio-proxy -- tcpdump -i any -U -w - |
        meshpcap merge - -o - | wireshark -k -i -

Exit status:
  0    the output is written, every input was read to its end
  1    the output is written, but an input was cut short or damaged: what could be read is there
  2    nothing was written: a wrong argument, an input that is missing or no capture, a full disk
  130  interrupted; from files nothing was written, from a pipe what came until then";

/// A link type that all packets can be written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkTypeArg {
    /// Ethernet.
    Ethernet,
}

/// A look-ahead as typed: a time, a size, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookAheadArg(pub LookAhead);

impl FromStr for LookAheadArg {
    type Err = String;

    fn from_str(typed: &str) -> Result<LookAheadArg, String> {
        let unlimited = LookAhead { time: u64::MAX, bytes: u64::MAX };
        let mut look_ahead = unlimited;
        for part in typed.split(',') {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, unit) = part.split_at(digits);
            let number: u64 =
                number.parse().map_err(|_| format!("`{part}` is not a number with a unit, such as 2s or 64MiB"))?;
            let (target, scale) = match unit {
                "ns" => (&mut look_ahead.time, 1),
                "us" => (&mut look_ahead.time, 1_000),
                "ms" => (&mut look_ahead.time, 1_000_000),
                "s" => (&mut look_ahead.time, 1_000_000_000),
                "m" | "min" => (&mut look_ahead.time, 60_000_000_000),
                "B" => (&mut look_ahead.bytes, 1),
                "KiB" | "K" => (&mut look_ahead.bytes, 1 << 10),
                "MiB" | "M" => (&mut look_ahead.bytes, 1 << 20),
                "GiB" | "G" => (&mut look_ahead.bytes, 1 << 30),
                _ => return Err(format!("`{part}`: give a unit: ns, us, ms, s, min; B, KiB, MiB, GiB")),
            };
            if *target != u64::MAX {
                return Err(format!("`{part}`: give one time and one size at most"));
            }
            *target = number.saturating_mul(scale);
        }
        Ok(LookAheadArg(look_ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ahead_takes_time_and_size() {
        let parse = |typed: &str| typed.parse::<LookAheadArg>().map(|l| (l.0.time, l.0.bytes));
        assert_eq!(parse("2s"), Ok((2_000_000_000, u64::MAX)));
        assert_eq!(parse("64MiB"), Ok((u64::MAX, 64 << 20)));
        assert_eq!(parse("500ms,1KiB"), Ok((500_000_000, 1024)));
        assert!(parse("2").is_err() && parse("s").is_err() && parse("").is_err() && parse("2 s").is_err());
        assert!(parse("2s,3s").is_err() && parse("1KiB,2s,1MiB").is_err());
    }
}

//! What the user typed. Doc comments are the help; parsing validates and does nothing else.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::nat::{Interface, PRESETS, Probe, RulesFile};
use crate::pipeline::LookAhead;

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

/// Merge captures of one pod into one pcapng file and repair its redirected legs
///
/// Packets come out in the order of time, each with its own bytes, except that packets to a port of the proxy
/// (15001, 15006, 15053 on 127.0.0.1 or ::1) get back the addresses that the application gave them, where the
/// capture proves these: by the TCP handshake, by sequence numbers where the capture began later, by ID and
/// question for DNS. What is not proven stays as it was captured, and the summary says why. Partial checksums
/// (checksum offload) are completed.
///
/// A comment on the first packet of each repaired leg tells the addresses as captured and the evidence: find
/// them with the display filter `frame.comment`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct MergeArgs {
    /// Captures: pcap or pcapng, plain or compressed with gzip, zstd or lz4; `-` reads standard input
    #[arg(value_name = "CAPTURE", required = true)]
    pub inputs: Vec<PathBuf>,

    /// Write the repaired capture here; `-` writes to standard output
    ///
    /// A file appears when it is complete, and replaces one of the same name.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Write one row for each leg to this file, as CSV or JSON by its ending
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Let packets wait at most so long for the proof that repairs them
    ///
    /// A time of the capture (`500ms`, `2s`), an amount of waiting bytes (`16MiB`), or both with a comma.
    /// Default: `2s,64MiB` if an input is a pipe; to the end of the capture if all are files.
    #[arg(long, value_name = "TIME,SIZE")]
    pub lookahead: Option<LookAheadArg>,

    /// Keep both where two inputs show one packet
    ///
    /// By default a packet that is equal from the IP header on to one that another input shows within a
    /// millisecond is written once.
    #[arg(long)]
    pub keep_duplicates: bool,

    /// Write all packets with this link type
    ///
    /// tcpdump reads only files in which all interfaces have one link type.
    #[arg(long, value_name = "TYPE")]
    pub linktype: Option<LinkTypeArg>,

    /// Name an interface: `2=lo` for the second capture, `1:3=eth0` for interface 3 in the first
    ///
    /// Interface 3 is the one with index 3 in a capture of `-i any`, the fourth one in a pcapng file. `lo` is
    /// taken for loopback; any other name for a network where the link layer does not tell. Default: the name
    /// in the file, else what the packets show.
    #[arg(long = "interface", value_name = "CAPTURE[:INTERFACE]=NAME")]
    pub interfaces: Vec<NameArg>,

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
  Look while it is captured:
      kubectl exec POD -c istio-proxy -- tcpdump -i any -U -w - | meshpcap merge - -o - | wireshark -k -i -

Exit status:
  0    the output is written, every input was read to its end
  1    the output is written, but an input was cut short or damaged: what could be read is there
  2    nothing was written: a wrong argument, an input that is missing or no capture, a full disk
  130  interrupted; from files nothing was written, from a pipe what came until then";

/// Say what netfilter rules do to a connection, rule by rule
///
/// Tells where the first packet of a connection ends, which rule decided that, what each rule on the way found, and
/// what tcpdump shows of it on each interface, replies included. What the rules ask for and the probe does not say
/// (uid, gid, mark) splits the answer into one for each case.
#[derive(Debug, Args)]
#[command(after_long_help = EXPLAIN_EXAMPLES)]
pub struct ExplainArgs {
    /// Read these rules: the output of iptables-save, ip6tables-save, iptables -S, or nft -j list ruleset
    ///
    /// Give it once for each file. iptables-save does not print the IP version in a table; put `ip:` or `ip6:` before
    /// the path if the file shows it nowhere. `-` reads standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "mesh", conflicts_with = "mesh")]
    pub rules: Vec<RulesFile>,

    /// Take the rules that a mesh installs by default
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PRESETS.iter().map(|p| PossibleValue::new(p.name).help(p.about))))]
    pub mesh: Option<String>,

    /// The first packet of the connection, such as 'tcp 10.244.1.7:40000 -> 10.96.0.10:80'
    #[arg(value_name = "PROBE", required_unless_present = "probes")]
    pub probe: Option<Probe>,

    /// Explain many probes: one JSON object in a line, and so the verdicts; `-` reads standard input
    ///
    /// Fields: probe, and if known uid, gid, mark, in, out, socket.
    #[arg(long, value_name = "FILE", conflicts_with = "probe")]
    pub probes: Option<PathBuf>,

    /// The user whose socket sends it
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,

    /// The group whose socket sends it
    #[arg(long, value_name = "GID")]
    pub gid: Option<u32>,

    /// The packet's mark, decimal or 0x...
    #[arg(long, value_name = "MARK", value_parser = number)]
    pub mark: Option<u32>,

    /// The interface that it comes in by; without, a socket of the pod sends it
    #[arg(long = "in", value_name = "INTERFACE")]
    pub input: Option<String>,

    /// The interface that it leaves by [default: lo to an address of the pod, else the first other one]
    #[arg(long = "out", value_name = "INTERFACE")]
    pub output: Option<String>,

    /// An address of the pod: `eth0=10.244.1.7`; the first one of an interface is its primary one
    ///
    /// Default: the probe's source on eth0, or its destination if it comes in.
    #[arg(long = "address", value_name = "INTERFACE=ADDRESS")]
    pub addresses: Vec<AddressArg>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  Is this connection of the application redirected?
      kubectl exec POD -c istio-proxy -- iptables-save > rules.txt
      meshpcap explain --rules rules.txt --uid 1000 --gid 1000 'tcp 10.244.1.7:40000 -> 10.96.0.10:80'
  And one that comes in?
      meshpcap explain --rules rules.txt --in eth0 'tcp 10.244.2.9:40000 -> 10.244.1.7:8080'

Exit status:
  0    the answer is printed
  2    a wrong argument, or rules that cannot be read";

/// A number, decimal or hexadecimal.
fn number(typed: &str) -> Result<u32, String> {
    let parsed = match typed.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => typed.parse(),
    };
    parsed.map_err(|_| format!("`{typed}` is no number"))
}

/// An address of an interface as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressArg {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

impl FromStr for AddressArg {
    type Err = String;

    fn from_str(typed: &str) -> Result<AddressArg, String> {
        let wrong = || format!("`{typed}` is not of the form eth0=10.244.1.7");
        let (interface, address) = typed.split_once('=').filter(|(i, _)| !i.is_empty()).ok_or_else(wrong)?;
        Ok(AddressArg { interface: interface.to_owned(), address: address.parse().map_err(|_| wrong())? })
    }
}

impl ExplainArgs {
    /// The interfaces other than lo, and the addresses of lo.
    pub fn host(&self) -> (Vec<Interface>, Vec<IpAddr>) {
        let mut interfaces: Vec<Interface> = Vec::new();
        let mut loopback = Vec::new();
        for AddressArg { interface, address } in &self.addresses {
            if interface == "lo" {
                loopback.push(*address);
                continue;
            }
            match interfaces.iter_mut().find(|i| i.name == *interface) {
                Some(found) => found.addresses.push(*address),
                None => interfaces.push(Interface { name: interface.clone(), addresses: vec![*address] }),
            }
        }
        (interfaces, loopback)
    }
}

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
            *target = number.saturating_mul(scale);
        }
        Ok(LookAheadArg(look_ahead))
    }
}

/// An interface name as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameArg {
    /// The capture, from 1.
    pub capture: usize,
    /// The interface in it.
    pub interface: Option<u32>,
    /// The name.
    pub name: String,
}

impl FromStr for NameArg {
    type Err = String;

    fn from_str(typed: &str) -> Result<NameArg, String> {
        let wrong = || format!("`{typed}` is not of the form 2=lo or 1:3=eth0");
        let (place, name) = typed.split_once('=').ok_or_else(wrong)?;
        let (capture, interface) = match place.split_once(':') {
            Some((capture, interface)) => (capture, Some(interface.parse().map_err(|_| wrong())?)),
            None => (place, None),
        };
        let capture: usize = capture.parse().map_err(|_| wrong())?;
        if capture == 0 || name.is_empty() {
            return Err(wrong());
        }
        Ok(NameArg { capture, interface, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn look_ahead_takes_time_and_size() {
        let parse = |typed: &str| typed.parse::<LookAheadArg>().map(|l| (l.0.time, l.0.bytes));
        assert_eq!(parse("2s"), Ok((2_000_000_000, u64::MAX)));
        assert_eq!(parse("64MiB"), Ok((u64::MAX, 64 << 20)));
        assert_eq!(parse("500ms,1KiB"), Ok((500_000_000, 1024)));
        assert!(parse("2").is_err() && parse("s").is_err() && parse("").is_err() && parse("2 s").is_err());
    }

    #[test]
    fn interface_names() {
        let parse = |typed: &str| typed.parse::<NameArg>().map(|n| (n.capture, n.interface, n.name));
        assert_eq!(parse("2=lo"), Ok((2, None, "lo".to_owned())));
        assert_eq!(parse("1:3=eth0"), Ok((1, Some(3), "eth0".to_owned())));
        assert!(parse("lo").is_err() && parse("0=lo").is_err() && parse("1=").is_err() && parse("a=b").is_err());
    }
}

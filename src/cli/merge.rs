//! `meshpcap merge` as typed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::gateway::GatewayArgs;
use super::mesh;
use super::plan::PortsArg;
use crate::beside::Format;
use crate::nat::RulesFile;
use crate::pipeline::LookAhead;

/// Merge captures of one pod into one pcapng file and repair its redirected legs
///
/// Packets come out in the order of time, each with its own bytes, except that packets that were redirected to the
/// proxy (to 127.0.0.1:15001, say) get back the addresses that the application gave them, where the capture proves
/// these: by the TCP handshake, by sequence numbers where the capture began later, by ID and
/// question for DNS. What is not proven stays as it was captured, and the summary says why. Partial checksums
/// (checksum offload) are completed.
///
/// A comment on the first packet of each repaired leg tells the addresses as captured and the evidence: find
/// them with the display filter `frame.comment`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct MergeArgs {
    /// Captures: pcap or pcapng, plain or compressed with gzip, zstd or lz4; `-` reads standard input
    ///
    /// A folder, or a tar archive of one, stands for the captures in it and for what lies beside them: rules, access logs,
    /// lists of conntrack, names and keys, each unless its option is given.
    #[arg(value_name = "CAPTURE", required = true)]
    pub inputs: Vec<PathBuf>,

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

    /// Hold the packets against the pod's own rules: iptables-save, ip6tables-save, iptables -S, nft -j list ruleset
    ///
    /// Give it once for each file. They tell which ports are the proxy's and what legs to them are; where they and the
    /// packets contradict each other, the summary says so, with both sides. Packets that prove a redirection are
    /// repaired whatever the rules say.
    #[arg(long, value_name = "FILE", conflicts_with = "mesh")]
    pub rules: Vec<RulesFile>,

    /// Hold the packets against the rules that a mesh installs by default
    ///
    /// Without --rules and --mesh, the mesh whose rules explain the packets is found and named.
    #[arg(long, value_name = "NAME", value_parser = mesh())]
    pub mesh: Option<String>,

    /// The gateway, if it is one.
    #[command(flatten)]
    pub gateway: GatewayArgs,

    /// The gateway's addresses, IPv4 and IPv6
    ///
    /// Default: the one that all connections on the wire have in common; else those that exchange anything with an address
    /// outside. Give it where captures of other pods are merged as well.
    #[arg(long = "pod", value_name = "ADDRESS", value_delimiter = ',', requires = "gateway")]
    pub pods: Vec<IpAddr>,

    /// The gateway's ports that clients call: `8080,9000-9010`
    ///
    /// Tells who called where the beginning of a connection was not captured.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', requires = "gateway")]
    pub ports: Vec<PortsArg>,

    /// Tie the legs of each request by an access log of the proxy
    ///
    /// Istio's text or JSON, or Envoy's in a format given with --access-log-format. Each line names both connections of
    /// a request: legs get a common tie, and legs from 127.0.0.6 the address of their client, where all requests in
    /// the log were the same client's. Repeat it for several files or pods. Needs captures in files: they are read
    /// twice.
    #[arg(long = "access-log", value_name = "FILE")]
    pub access_logs: Vec<PathBuf>,

    /// How the lines of the access logs are written: Envoy's format string, or a JSON format
    #[arg(long, value_name = "FORMAT", value_parser = access_log_format, requires = "access_logs")]
    pub access_log_format: Option<String>,

    /// What conntrack lists: of `conntrack -L` or `conntrack -E -o timestamp`
    ///
    /// Tells which client port the proxy, and so its access log, knows by another number.
    #[arg(long, value_name = "FILE")]
    pub conntrack: Vec<PathBuf>,

    /// Leave legs from the proxy's own address (127.0.0.6) as they are, also where their client is known
    #[arg(long)]
    pub keep_proxy_address: bool,

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

    /// Write the names that this file gives to addresses
    ///
    /// A hosts file, or what `kubectl get pods,services -A -o json` prints. Only addresses that occur in the
    /// captures are written; the report has their names, too. Repeat it for several files.
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// Write the TLS secrets of the captured sessions from this key log
    ///
    /// As Envoy's `key_log` or SSLKEYLOGFILE name it: Wireshark then shows what the sessions carry. Who gets the
    /// output can read it as well. Only sessions that begin in the captures are written. Repeat it for several
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

/// Checks a format of access logs.
fn access_log_format(typed: &str) -> Result<String, String> {
    Format::new(typed).map(|_| typed.to_owned()).map_err(|error| error.to_string())
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
            if *target != u64::MAX {
                return Err(format!("`{part}`: give one time and one size at most"));
            }
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

impl fmt::Display for NameArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.capture)?;
        self.interface.map_or(Ok(()), |interface| write!(f, ":{interface}"))?;
        write!(f, "={}", self.name)
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

    #[test]
    fn interface_names() {
        let parse = |typed: &str| typed.parse::<NameArg>().map(|n| (n.capture, n.interface, n.name));
        assert_eq!(parse("2=lo"), Ok((2, None, "lo".to_owned())));
        assert_eq!(parse("1:3=eth0"), Ok((1, Some(3), "eth0".to_owned())));
        assert!(parse("lo").is_err() && parse("0=lo").is_err() && parse("1=").is_err() && parse("a=b").is_err());
    }
}

//! The captures that `meshpcap merge` and `meshpcap check` take, and what is said of them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{GatewayArgs, PortsArg, mesh};
use crate::beside::Format;
use crate::nat::RulesFile;

/// Captures of one pod or several, and what is known of them, as typed.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Captures: pcap or pcapng, plain or compressed with gzip, zstd or lz4; `-` reads standard input
    ///
    /// A folder, or a tar archive of one, stands for the captures in it and for what lies beside them: rules, access logs,
    /// lists of conntrack, names and keys, each unless its option is given. In place of one capture, `-` can be the file
    /// of one such option. What `meshpcap merge` wrote is left out of a folder.
    #[arg(value_name = "CAPTURE", required = true)]
    pub inputs: Vec<PathBuf>,

    /// Hold the packets against the pod's own rules: iptables-save, ip6tables-save, iptables -S, nft -j list ruleset
    ///
    /// Give it once for each file. They tell which ports are the proxy's and what legs to them are; where they and the
    /// packets contradict each other, that is told, with both sides. A redirection that packets prove is one, whatever
    /// the rules say.
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
    /// the log were the same client's. Repeat it for several files or pods. merge needs captures in files for it, which
    /// it reads twice.
    #[arg(long = "access-log", value_name = "FILE")]
    pub access_logs: Vec<PathBuf>,

    /// How the lines of the access logs are written: Envoy's format string, or a JSON format
    #[arg(long, value_name = "FORMAT", value_parser = access_log_format, requires = "access_logs")]
    pub access_log_format: Option<String>,

    /// What conntrack lists: of `conntrack -L` or `conntrack -E -o timestamp`
    ///
    /// Tells which client port the proxy, and so its access log, knows by another number, and where a leg was meant to
    /// go of which only one direction was captured.
    #[arg(long, value_name = "FILE")]
    pub conntrack: Vec<PathBuf>,

    /// Leave legs from the proxy's own address (127.0.0.6) as they are, also where their client is known
    #[arg(long)]
    pub keep_proxy_address: bool,

    /// Keep both where two inputs show one packet
    ///
    /// By default a packet that is equal from the IP header on to one that another input shows within a
    /// millisecond counts once.
    #[arg(long)]
    pub keep_duplicates: bool,

    /// Name an interface: `2=lo` for the second capture, `1:3=eth0` for interface 3 in the first
    ///
    /// Interface 3 is the one with index 3 in a capture of `-i any`, the fourth one in a pcapng file. `lo` is
    /// taken for loopback; any other name for a network where the link layer does not tell. Default: the name
    /// in the file, else what the packets show.
    #[arg(long = "interface", value_name = "CAPTURE[:INTERFACE]=NAME")]
    pub interfaces: Vec<NameArg>,
}

/// Checks a format of access logs.
fn access_log_format(typed: &str) -> Result<String, String> {
    Format::new(typed).map(|_| typed.to_owned()).map_err(|error| error.to_string())
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
    fn interface_names() {
        let parse = |typed: &str| typed.parse::<NameArg>().map(|n| (n.capture, n.interface, n.name));
        assert_eq!(parse("2=lo"), Ok((2, None, "lo".to_owned())));
        assert_eq!(parse("1:3=eth0"), Ok((1, Some(3), "eth0".to_owned())));
        assert!(parse("lo").is_err() && parse("0=lo").is_err() && parse("1=").is_err() && parse("a=b").is_err());
    }
}

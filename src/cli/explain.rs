//! `meshpcap explain` as typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::mesh;
use crate::nat::{Interface, Probe, RulesFile};

/// Say what netfilter rules do to a connection, rule by rule
///
/// Tells where the first packet of a connection ends, which rule decided that, what each rule on the way found, and
/// what tcpdump shows of it on each interface, replies included. What the rules ask for and the probe does not say
/// (uid, gid, mark) splits the answer into one for each case. Nothing is captured, and nothing is sent.
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
    #[arg(long, value_name = "NAME", value_parser = mesh())]
    pub mesh: Option<String>,

    /// The first packet of the connection, such as 'tcp 10.244.1.7:40000 -> 10.96.0.10:80'
    #[arg(value_name = "PROBE", required_unless_present = "probes")]
    pub probe: Option<Probe>,

    /// Explain many probes: one JSON object in a line, and so the verdicts; `-` reads standard input
    ///
    /// Fields: probe, and if known uid, gid, mark, in, out, socket. The answers are those of --json without the way
    /// through the rules.
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
    #[arg(long = "in", value_name = "INTERFACE", value_parser = incoming, conflicts_with_all = ["uid", "gid", "output"])]
    pub input: Option<String>,

    /// The interface that it leaves by [default: lo to an address of the pod, else the first other one]
    #[arg(long = "out", value_name = "INTERFACE")]
    pub output: Option<String>,

    /// An address of the pod: `eth0=10.244.1.7`; the first one of an interface is its primary one
    ///
    /// Default: eth0 with the probe's source, or with its destination if it comes in or is sent from an address of lo.
    #[arg(long = "address", value_name = "INTERFACE=ADDRESS")]
    pub addresses: Vec<AddressArg>,

    /// Print JSON, as docs/explain.md describes it
    #[arg(long)]
    pub json: bool,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  Is this connection of the application redirected?
      kubectl exec POD -c istio-proxy -- iptables-save > rules.txt
      meshpcap explain --rules rules.txt --uid 1000 --gid 1000 \\
        'tcp 10.244.1.7:40000 -> 10.96.0.10:80'
  And one that comes in?
      meshpcap explain --rules rules.txt --in eth0 \\
        'tcp 10.244.2.9:40000 -> 10.244.1.7:8080'

Exit status:
  0    the answer is printed
  2    a wrong argument, a wrong line of --probes, or rules that cannot be read

docs/explain.md: examples with their output, each field of the JSON, and what is assumed.";

/// An interface that packets come in by from outside.
fn incoming(typed: &str) -> Result<String, String> {
    match typed {
        "lo" => Err("what comes in by lo was sent by the pod: leave --in out".to_owned()),
        "" => Err("there is no name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

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

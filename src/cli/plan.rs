//! `meshpcap plan` as typed.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::{GatewayArgs, PortsArg};
use crate::nat::RulesFile;
use crate::plan::{Leg, PodName, Settings, Via};

/// Say what to capture, and how, so that every leg can be repaired
///
/// Prints the tcpdump commands for the legs wanted, with filters that keep both directions of each, and what else to
/// save before the pod is gone. The filters follow the pod's nat rules: give them with --rules, or name the mesh.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct PlanArgs {
    /// The pod's addresses, IPv4 and IPv6
    ///
    /// As `kubectl get pod POD -o jsonpath='{.status.podIPs[*].ip}'` prints them, with a comma between them.
    #[arg(long = "pod", value_name = "ADDRESS", value_delimiter = ',', required_unless_present = "gateway")]
    pub pods: Vec<IpAddr>,

    /// The application's ports; of a gateway, those that clients call: `8080,9000-9010`
    ///
    /// Without them, some legs cannot be told from others, and more is kept.
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    pub ports: Vec<PortsArg>,

    /// The legs wanted [default: all]
    #[arg(long = "leg", value_name = "LEG", value_delimiter = ',', value_parser = legs())]
    pub legs: Vec<String>,

    /// Read the pod's rules: the output of iptables-save, ip6tables-save, iptables -S, or nft -j list ruleset
    ///
    /// Give it once for each file; `ip:` or `ip6:` before the path tells the IP version.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mesh", "gateway"])]
    pub rules: Vec<RulesFile>,

    /// Take the rules that a mesh installs by default [default: istio-dns]
    #[arg(long, value_name = "NAME", value_parser = super::mesh(), conflicts_with = "gateway")]
    pub mesh: Option<String>,

    /// The ports that the pod opens connections from, as in net.ipv4.ip_local_port_range: `32768-60999`
    ///
    /// Tells outbound-peer from inbound-peer where the application's ports are not all known.
    #[arg(long, value_name = "FIRST-LAST", conflicts_with = "gateway")]
    pub local_ports: Option<PortsArg>,

    /// The gateway, if it is one.
    #[command(flatten)]
    pub gateway: GatewayArgs,

    /// How to get into the pod: nsenter=PID, exec=NAMESPACE/POD[/CONTAINER], debug=NAMESPACE/POD[/CONTAINER]
    ///
    /// nsenter runs the tools of the node, as root there, with the id of any process of the pod. exec needs the tools
    /// and the right to capture in the container. debug adds an ephemeral container that has both; CONTAINER is the
    /// proxy's, istio-proxy if none is named. Default: the commands are run in the pod.
    #[arg(long, value_name = "HOW")]
    pub via: Option<ViaArg>,

    /// The image of the ephemeral container: with tcpdump, iptables, conntrack, iproute2, tar
    #[arg(long, value_name = "IMAGE", default_value = "nicolaka/netshoot")]
    pub image: String,

    /// The interface that leads to the network
    #[arg(long, value_name = "NAME", default_value = "eth0", value_parser = interface)]
    pub interface: String,

    /// How long to capture, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub duration: u32,

    /// The kernel's buffer for each interface, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(64..=2_097_151))]
    pub buffer: u32,

    /// Keep so many octets of a packet; 0: all
    #[arg(long, value_name = "OCTETS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=262_144))]
    pub snaplen: u32,

    /// Files of each interface's capture; the oldest is written over
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub files: u32,

    /// Size of each file, in millions of octets
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub file_size: u32,

    /// Write everything to this folder [default: a new one here]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<String>,

    /// The proxy's access log, as a path in its container [default with kubectl: what it prints]
    #[arg(long, value_name = "PATH")]
    pub access_log: Option<String>,

    /// The proxy's key log, as a path in its container
    #[arg(long, value_name = "PATH")]
    pub keys: Option<String>,

    /// Print a script for sh that does it all, and stops by itself
    #[arg(long, conflicts_with = "check")]
    pub script: bool,

    /// Say what a filter of yours would lose of these legs; needs tcpdump
    #[arg(long, value_name = "FILTER")]
    pub check: Option<String>,

    /// Print JSON
    #[arg(long, conflicts_with_all = ["script", "check"])]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  What to run for a pod whose application listens on 8080:
      meshpcap plan --pod 10.244.1.7 --port 8080
  Only what the application sends and gets, with the pod's own rules:
      meshpcap plan --pod 10.244.1.7 --port 8080 --rules rules.txt \\
        --leg outbound-app,inbound-app
  A script for the pod's node, and what comes of it:
      meshpcap plan --pod 10.244.1.7 --via nsenter=12345 --script > capture.sh
      sh capture.sh
      meshpcap merge meshpcap-20260101-120000-77/ -o fixed.pcapng
  Does this filter do?
      meshpcap plan --pod 10.244.1.7 --port 8080 --check 'port 15001'
  An ingress gateway:
      meshpcap plan --gateway --cluster-cidr 192.168.0.0/16 \\
        --service-cidr 10.96.0.0/12

Exit status:
  0    printed; with --check: the filter loses nothing
  1    with --check: the filter loses something
  2    a wrong argument, rules that cannot be read, no tcpdump for --check, a filter that it refuses";

fn legs() -> PossibleValuesParser {
    let all = Leg::SIDECAR.into_iter().chain(Leg::GATEWAY);
    PossibleValuesParser::new(all.map(|leg| PossibleValue::new(leg.name()).help(leg.meaning())))
}

/// A name that the kernel takes for an interface, and that is no option.
fn interface(typed: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match !typed.is_empty() && typed.len() < 16 && typed.chars().all(good) && !typed.starts_with(['-', '.']) {
        true if typed == "any" || typed == "lo" => {
            Err("lo is captured beside it; name the one to the network".to_owned())
        }
        true => Ok(typed.to_owned()),
        false => Err("this is no name of an interface".to_owned()),
    }
}

/// How to get into the pod, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViaArg {
    /// By a process.
    Nsenter(u32),
    /// By a container.
    Exec(PodName),
    /// By an ephemeral container.
    Debug(PodName),
}

impl FromStr for ViaArg {
    type Err = String;

    fn from_str(typed: &str) -> Result<ViaArg, String> {
        let wrong = || {
            format!(
                "`{typed}` is not of the form nsenter=PID, exec=NAMESPACE/POD[/CONTAINER] or \
                 debug=NAMESPACE/POD[/CONTAINER], with names as Kubernetes has them: small letters, digits, - and ."
            )
        };
        match typed.split_once('=').ok_or_else(wrong)? {
            ("nsenter", pid) => pid.parse().ok().filter(|pid| *pid > 0).map(ViaArg::Nsenter).ok_or_else(wrong),
            ("exec", pod) => pod_name(pod).map(ViaArg::Exec).ok_or_else(wrong),
            ("debug", pod) => pod_name(pod).map(ViaArg::Debug).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

fn pod_name(typed: &str) -> Option<PodName> {
    let names: Vec<&str> = typed.split('/').collect();
    // RFC 1123 labels, which is what Kubernetes allows.
    let good = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && !name.starts_with('-')
    };
    let [namespace, pod, container] = match names[..] {
        [namespace, pod] => [namespace, pod, "istio-proxy"],
        [namespace, pod, container] => [namespace, pod, container],
        _ => return None,
    };
    [namespace, pod, container].iter().all(good).then(|| PodName {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
    })
}

impl PlanArgs {
    /// How to capture.
    pub fn settings(&self) -> Settings {
        Settings {
            via: self.via.clone().map(|via| match via {
                ViaArg::Nsenter(pid) => Via::Nsenter(pid),
                ViaArg::Exec(pod) => Via::Exec(pod),
                ViaArg::Debug(pod) => Via::Debug(pod, self.image.clone()),
            }),
            interface: self.interface.clone(),
            duration: self.duration,
            buffer: self.buffer,
            snaplen: self.snaplen,
            files: self.files,
            file_size: self.file_size,
            folder: self.folder.clone(),
            access_log: self.access_log.clone(),
            keys: self.keys.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_into_a_pod() {
        let pod = |namespace: &str, pod: &str, container: &str| PodName {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        assert_eq!("nsenter=12".parse(), Ok(ViaArg::Nsenter(12)));
        assert_eq!("exec=a/b-1".parse(), Ok(ViaArg::Exec(pod("a", "b-1", "istio-proxy"))));
        assert_eq!("debug=a/b/c".parse(), Ok(ViaArg::Debug(pod("a", "b", "c"))));
        for wrong in
            ["", "nsenter", "nsenter=0", "nsenter=x", "exec=a", "exec=a/b/c/d", "exec=a/$(b)", "debug=a/-b", "ssh=a/b"]
        {
            assert!(wrong.parse::<ViaArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn interfaces() {
        assert!(interface("net1").is_ok());
        for wrong in ["", "lo", "any", "-w", "a b", "eth0;", "averylonginterface", ".."] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }
}

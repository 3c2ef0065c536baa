//! What to run before there is anything to repair: tcpdump's filters and commands for the legs asked for.
//!
//! What comes in is what is known of a pod or a gateway ([`Target`]) and the legs; what goes out is a [`Plan`], as text
//! to read, as a shell script, as JSON; or, for a filter that somebody has, what it would lose. Nothing is captured
//! here. Filters are never tighter than what is known: they keep every packet of the legs asked for, and what they
//! cannot tell apart from these is named in the notes.
//!
//! ```text
//! leg       the legs' names
//! pod       addresses, rules             -> what the rules redirect, exclude, look like
//! sidecar   pod, legs                    -> halves   one direction of a leg on an interface
//! gateway   networks, legs               -> halves
//! half      halves                       -> expr     which ends its packets have
//! expr      the syntax of pcap-filter(7)
//! text      plan                         -> what to run, to read
//! script    plan                         -> what to run, for sh
//! check     filter, halves               -> what it keeps and loses, by tcpdump itself
//! ```

pub mod check;
mod expr;
mod gateway;
mod half;
mod leg;
mod pod;
mod script;
mod sidecar;
mod text;

use std::net::IpAddr;

use expr::{End, Expr};

pub use half::{Direction, Ends, Half, Side};
pub use leg::Leg;
pub use pod::Pod;
pub use script::script;
pub use text::{json, text};

use crate::nat::{Cidr, Gateway, Protocol};

/// What is to be captured.
#[derive(Clone, Debug)]
pub enum Target {
    /// A pod with a sidecar.
    Sidecar(Pod),
    /// A gateway.
    Gateway(Gateway),
}

impl Target {
    /// The legs that it has.
    pub fn legs(&self) -> &'static [Leg] {
        match self {
            Target::Sidecar(_) => &Leg::SIDECAR,
            Target::Gateway(_) => &Leg::GATEWAY,
        }
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Target::Sidecar(pod) => &pod.addresses,
            Target::Gateway(gateway) => &gateway.addresses,
        }
    }
}

/// How the commands get into the pod's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// On the node, by the id of a process of the pod.
    Nsenter(u32),
    /// In a container of the pod that has the tools.
    Exec(PodName),
    /// In an ephemeral container that brings the tools, from an image.
    Debug(PodName, String),
}

/// A pod as kubectl names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The container of the proxy.
    pub container: String,
}

/// How to capture.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to get there; none: the commands are run there.
    pub via: Option<Via>,
    /// The name of the interface that leads to the network.
    pub interface: String,
    /// How long, in seconds.
    pub duration: u32,
    /// The kernel's buffer for each interface, in KiB.
    pub buffer: u32,
    /// Octets of a packet that are kept; 0: all.
    pub snaplen: u32,
    /// Files in which each interface's capture rotates.
    pub files: u32,
    /// The size of each, in millions of octets.
    pub file_size: u32,
    /// The folder that all is written to; none: a new one.
    pub folder: Option<String>,
    /// The access log of the proxy, as a path in its container.
    pub access_log: Option<String>,
    /// The key log of the proxy, as a path in its container.
    pub keys: Option<String>,
}

/// What to capture.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The legs asked for that there are.
    pub legs: Vec<Leg>,
    /// What to capture on each interface; one without any leg is not there.
    pub captures: Vec<Capture>,
    /// What is worth knowing about the filters.
    pub notes: Vec<String>,
    /// Options of `meshpcap merge` for what is captured, each with a blank before it.
    pub merge_options: String,
    /// How.
    pub settings: Settings,
}

/// What to capture on an interface.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Which.
    pub side: Side,
    /// Its name.
    pub interface: String,
    /// The halves that it has to keep.
    pub halves: Vec<Half>,
    /// The filter that keeps them.
    pub filter: String,
}

/// Plans the capture of legs; without any, of all that the target has.
pub fn plan(target: &Target, legs: &[Leg], settings: Settings) -> Plan {
    let mut notes = Vec::new();
    let asked = if legs.is_empty() { target.legs() } else { legs };
    let halves = match target {
        Target::Sidecar(pod) => {
            let has_dns = pod.has(crate::nat::Role::Dns);
            let of_all = |leg: &&Leg| !legs.is_empty() || **leg != Leg::Dns || has_dns;
            let asked: Vec<Leg> = asked.iter().filter(of_all).copied().collect();
            sidecar::halves(pod, &settings.interface, &asked, &mut notes)
        }
        Target::Gateway(gateway) => {
            notes.extend(gateway.inside.iter().filter_map(Cidr::note));
            gateway::halves(gateway, asked, &mut notes)
        }
    };
    let mut present: Vec<Leg> = halves.iter().map(|half| half.leg).collect();
    present.sort_unstable();
    present.dedup();
    let sides = [(Side::Lo, "lo"), (Side::Wire, settings.interface.as_str())];
    let captures = sides.into_iter().filter_map(|(side, interface)| {
        let halves: Vec<Half> = halves.iter().filter(|half| half.side == side).cloned().collect();
        let filter = filter(&halves, target.addresses());
        (!halves.is_empty()).then(|| Capture { side, interface: interface.to_owned(), halves, filter })
    });
    let merge_options = match target {
        Target::Sidecar(_) => String::new(),
        Target::Gateway(gateway) => gateway::merge_options(gateway),
    };
    Plan { legs: present, captures: captures.collect(), notes, merge_options, settings }
}

/// The filter for these halves, and for what belongs to them without bearing their ports: later fragments of datagrams,
/// and ICMP errors.
fn filter(halves: &[Half], addresses: &[IpAddr]) -> String {
    let mut parts = vec![half::filter(halves)];
    let udp = halves.iter().any(|half| half.protocol == Protocol::Udp);
    let lo = halves.iter().all(|half| half.side == Side::Lo);
    for v4 in [true, false] {
        let own: Vec<&IpAddr> = addresses.iter().filter(|address| address.is_ipv4() == v4).collect();
        if own.is_empty() && !addresses.is_empty() {
            continue;
        }
        let ends = |address: &&IpAddr| [End::Source, End::Destination].map(|end| Expr::host(end, **address));
        let hosts = match own.is_empty() {
            true => Expr::All(Vec::new()),
            false => Expr::Any(own.iter().flat_map(ends).collect()),
        };
        if udp {
            // RFC 791: the offset; RFC 8200, section 4.5: the fragment header is 44, the next one UDP.
            let fragment = if v4 { ["udp", "ip[6:2] & 0x1fff != 0"] } else { ["ip6[6] = 44", "ip6[40] = 17"] };
            // On lo, 127.0.0.1 may ask the proxy's DNS, too; nothing else is fragmented there.
            let hosts = if lo { Expr::All(Vec::new()) } else { hosts.clone() };
            parts.push(Expr::All(fragment.map(Expr::is).into_iter().chain([hosts]).collect()));
        }
        // RFC 792: unreachable, time exceeded, parameter problem; RFC 4443, section 2.1: errors are below 128.
        let error = if v4 {
            let kinds = ["icmp[icmptype] = 3", "icmp[icmptype] = 11", "icmp[icmptype] = 12"];
            [Expr::is("icmp"), Expr::Any(kinds.map(Expr::is).into())]
        } else {
            [Expr::is("icmp6"), Expr::is("ip6[40] < 128")]
        };
        parts.push(Expr::All(error.into_iter().chain([hosts]).collect()));
    }
    Expr::Any(parts).to_string()
}

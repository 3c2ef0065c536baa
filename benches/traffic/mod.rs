//! Generated captures of a sidecar pod, in the shape of real ones; the same for the same seed.
//!
//! Each connection of the application has two legs: plaintext between application and proxy on lo, mTLS between
//! proxy and peer on eth0. Outbound legs on lo are redirected to 127.0.0.1:15001, inbound ones come from
//! 127.0.0.6. lo carries segments of up to 64 KiB, eth0 such of an MSS; half of the peers are on the same node, so
//! that checksums are partial there as they are on lo. Connections run side by side and their packets mix, ports
//! are used again, some source ports are changed by conntrack, some names are looked up before.

mod capture;
mod connection;
mod flood;
mod frame;
mod pod;
mod ports;
mod random;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use capture::Captures;
use pod::Pod;

const POD: Ipv4Addr = Ipv4Addr::new(172, 21, 206, 227);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 53);
const PASSTHROUGH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const OUTBOUND: End = (Ipv4Addr::LOCALHOST, 15001);
const DNS: End = (Ipv4Addr::LOCALHOST, 15053);
/// Where the application listens.
const APPLICATION: u16 = 8080;
/// When the captures begin, in microseconds.
const BEGIN: u64 = 1_700_000_000_000_000;

/// An address and a port.
type End = (Ipv4Addr, u16);

/// What the connections carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Downloads: responses of up to 250 kB.
    Bulk,
    /// Chat: messages of a few octets, each acknowledged.
    Small,
    /// Requests and responses of an ordinary service.
    Mixed,
    /// Messages whose frames have 100 octets, on both interfaces.
    Hundred,
    /// Segments of 64 KiB on both interfaces, every checksum partial.
    Segments,
}

/// Captures to be generated.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// The same seed makes the same captures.
    pub seed: u64,
    /// Octets of all captures together, about, without the flood.
    pub bytes: u64,
    /// Connections of the application.
    pub connections: u32,
    /// Connections that are open at one time.
    pub live: usize,
    /// What they carry.
    pub shape: Shape,
    /// Whether lo was captured with the filter `port 15001`, which loses every reply.
    pub only_forward: bool,
    /// Files that each interface's packets are spread over, a connection's in one.
    pub pairs: usize,
    /// SYNs of a flood among the connections.
    pub flood: u64,
    /// Whether every packet is earlier than the one before it.
    pub backwards: bool,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            seed: 1,
            bytes: 1_000_000,
            connections: 10,
            live: 500,
            shape: Shape::Mixed,
            only_forward: false,
            pairs: 1,
            flood: 0,
            backwards: false,
        }
    }
}

/// What was generated.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Packets in all captures.
    pub packets: u64,
    /// Octets of all captures.
    pub bytes: u64,
    /// The captures: eth0's, lo's.
    pub paths: Vec<PathBuf>,
}

impl Traffic {
    /// Writes the captures into a folder, as tcpdump writes them: `eth0.pcap` and `lo.pcap`, or pairs with numbers.
    pub fn write(self, folder: &Path) -> io::Result<Generated> {
        Pod::new(self, Captures::create(folder, &self)?).run()
    }
}

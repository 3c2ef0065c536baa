//! Generated captures of a sidecar pod, in the shape of real ones; the same for the same seed.
//!
//! Each connection of the application has two legs: plaintext between application and proxy on lo, mTLS between
//! proxy and peer on eth0. Outbound legs on lo are redirected to 127.0.0.1:15001, inbound ones come from
//! 127.0.0.6. lo carries segments of up to 64 KiB, eth0 such of an MSS; half of the peers are on the same node, so
//! that checksums are partial there as they are on lo. Connections run side by side and their packets mix, ports
//! are used again, some source ports are changed by conntrack, some names are looked up before.

mod frame;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use frame::{Content, Frames, flags};

const POD: Ipv4Addr = Ipv4Addr::new(172, 21, 206, 227);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 53);
const PASSTHROUGH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const OUTBOUND: End = (Ipv4Addr::LOCALHOST, 15001);
const DNS: End = (Ipv4Addr::LOCALHOST, 15053);
/// Where the application listens.
const APPLICATION: u16 = 8080;
/// The ports that clients use.
const PORTS: std::ops::Range<u16> = 16_384..61_000;
/// Most data of a segment on lo: an IPv4 datagram without its headers.
const LO_SEGMENT: u32 = 65_483;
/// Most data of a segment on eth0: an MTU of 1500 without headers and timestamps.
const ETH0_SEGMENT: u32 = 1_448;
/// What a TLS 1.3 record adds to its plaintext.
const TLS_RECORD: u32 = 22;
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
}

/// A pair of captures to be generated.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// The same seed makes the same captures.
    pub seed: u64,
    /// Octets of both captures together, about.
    pub bytes: u64,
    /// Connections of the application.
    pub connections: u32,
    /// Connections that are open at one time.
    pub live: usize,
    /// What they carry.
    pub shape: Shape,
    /// Whether lo was captured with the filter `port 15001`, which loses every reply.
    pub only_forward: bool,
}

/// What was generated.
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    /// Packets in both captures.
    pub packets: u64,
    /// Octets of both captures.
    pub bytes: u64,
}

impl Traffic {
    /// Writes the captures, as tcpdump writes them.
    pub fn write(self, eth0: &Path, lo: &Path) -> io::Result<Generated> {
        let mut pod = Pod::new(self, Capture::create(eth0)?, Capture::create(lo)?);
        while pod.step()? {}
        Ok(Generated { packets: pod.eth0.packets + pod.lo.packets, bytes: pod.eth0.finish()? + pod.lo.finish()? })
    }
}

/// A pcap file that is being written.
struct Capture {
    file: BufWriter<File>,
    packets: u64,
    bytes: u64,
}

impl Capture {
    fn create(path: &Path) -> io::Result<Capture> {
        let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
        // Microseconds, version 2.4, tcpdump's snaplen, Ethernet.
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
        file.write_all(&header.map(u32::to_le_bytes).concat())?;
        Ok(Capture { file, packets: 0, bytes: 24 })
    }

    fn packet(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u32;
        let mut record = [0; 16];
        record[0..4].copy_from_slice(&((time / 1_000_000) as u32).to_le_bytes());
        record[4..8].copy_from_slice(&((time % 1_000_000) as u32).to_le_bytes());
        record[8..12].copy_from_slice(&length.to_le_bytes());
        record[12..16].copy_from_slice(&length.to_le_bytes());
        self.file.write_all(&record)?;
        self.file.write_all(frame)?;
        self.packets += 1;
        self.bytes += 16 + u64::from(length);
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.bytes)
    }
}

/// The pod while it runs.
struct Pod {
    traffic: Traffic,
    eth0: Capture,
    lo: Capture,
    random: Random,
    frames: Frames,
    /// In microseconds.
    now: u64,
    open: Vec<Connection>,
    opened: u32,
    /// By port of [`POD`]: whether a connection uses it.
    used: Vec<bool>,
    next_port: u16,
    last_freed: Option<u16>,
}

/// A connection of the application, with both of its legs.
struct Connection {
    inbound: bool,
    lo: Leg,
    eth0: Leg,
    to_send: VecDeque<Segment>,
    /// Octets that it will still cause.
    left: i64,
    closing: bool,
}

/// A leg as it is captured.
struct Leg {
    /// Source and destination of what the client sends, and of what the server sends.
    ends: [(End, End); 2],
    /// The next sequence number of client and server.
    seq: [u32; 2],
    /// The last timestamp of client and server.
    timestamp: [u32; 2],
    partial_checksums: bool,
}

/// A segment that is going to be sent.
#[derive(Clone, Copy)]
struct Segment {
    on_lo: bool,
    from_server: bool,
    flags: u8,
    len: u32,
}

impl Pod {
    fn new(traffic: Traffic, eth0: Capture, lo: Capture) -> Pod {
        let mut random = Random(traffic.seed);
        let frames = Frames::new(|| random.next());
        let used = vec![false; 1 << 16];
        let (open, next_port) = (Vec::new(), PORTS.start);
        Pod { traffic, eth0, lo, random, frames, now: BEGIN, open, opened: 0, used, next_port, last_freed: None }
    }

    /// Lets one of the connections send a few packets; false if all are over.
    fn step(&mut self) -> io::Result<bool> {
        while self.open.len() < self.traffic.live && self.opened < self.traffic.connections {
            self.connect()?;
        }
        if self.open.is_empty() {
            return Ok(false);
        }
        let place = self.random.below(self.open.len() as u32) as usize;
        for _ in 0..1 + self.random.below(4) {
            match self.open[place].to_send.pop_front() {
                Some(segment) => self.send(place, segment)?,
                None if self.open[place].closing => {
                    let Connection { lo, eth0, .. } = self.open.swap_remove(place);
                    let port = lo.ends[1].1.1;
                    for port in [port, lo.ends[0].0.1, eth0.ends[0].0.1] {
                        self.used[usize::from(port)] = false;
                    }
                    self.last_freed = Some(port);
                    break;
                }
                None if self.open[place].left <= 0 => self.open[place].close(),
                None => self.exchange(place),
            }
        }
        Ok(true)
    }

    fn connect(&mut self) -> io::Result<()> {
        self.opened += 1;
        // Connections are the same however much they carry.
        let mut random = Random(self.traffic.seed ^ u64::from(self.opened) << 32);
        let inbound = random.one_in(3);
        if !inbound && random.one_in(2) {
            self.look_up()?;
        }
        let [_, a, b, c, ..] = random.next().to_le_bytes();
        // Few peers on the same node, as many on others.
        let peer = Ipv4Addr::new(172, 21, 206 + (a & 1), 2 + b % 40);
        let service = (Ipv4Addr::new(10, 96, 1, c % 100), 80);
        let (port, wire_port) = (self.port(), self.port());
        let (lo, eth0) = if inbound {
            (leg((PASSTHROUGH, port), (POD, APPLICATION)), leg((peer, wire_port), (POD, APPLICATION)))
        } else {
            let mut lo = leg((POD, port), service);
            // conntrack changes the source port where the application uses one for two destinations.
            let changed = if random.one_in(64) { self.port() } else { port };
            lo.ends[0] = ((POD, changed), OUTBOUND);
            (lo, leg((POD, wire_port), (peer, APPLICATION)))
        };
        let mean = self.traffic.bytes / u64::from(self.traffic.connections.max(1));
        let left = mean as i64 / 4 + random.below((mean * 3 / 2).clamp(1, u64::from(u32::MAX)) as u32) as i64;
        let mut connection = Connection { inbound, lo, eth0, to_send: VecDeque::new(), left, closing: false };
        connection.lo.partial_checksums = true;
        connection.eth0.partial_checksums = a & 1 == 0;
        for leg in [&mut connection.lo, &mut connection.eth0] {
            leg.seq = [random.next() as u32, random.next() as u32];
        }
        for on_lo in connection.order() {
            for (from_server, flags) in [(false, flags::SYN), (true, flags::SYN | flags::ACK), (false, flags::ACK)] {
                connection.to_send.push_back(Segment { on_lo, from_server, flags, len: 0 });
            }
        }
        self.open.push(connection);
        Ok(())
    }

    /// A name is looked up: by the application on lo, by the proxy on eth0.
    fn look_up(&mut self) -> io::Result<()> {
        let id = self.random.next() as u16;
        let (port, wire_port) = (self.free_port(), self.free_port());
        let client = (POD, port);
        self.udp(true, client, DNS, Content::Query { id })?;
        let upstream = (RESOLVER, 53);
        self.udp(false, (POD, wire_port), upstream, Content::Query { id: !id })?;
        self.udp(false, upstream, (POD, wire_port), Content::Answer { id: !id })?;
        self.udp(true, upstream, client, Content::Answer { id })
    }

    fn udp(&mut self, on_lo: bool, source: End, destination: End, content: Content) -> io::Result<()> {
        self.now += 10 + u64::from(self.random.below(40));
        let frame = self.frames.udp(on_lo, source, destination, content);
        let lost = on_lo && self.traffic.only_forward;
        match on_lo {
            _ if lost => Ok(()),
            true => self.lo.packet(self.now, frame),
            false => self.eth0.packet(self.now, frame),
        }
    }

    /// A request and its response, through the proxy.
    fn exchange(&mut self, place: usize) {
        let (request, response) = match self.traffic.shape {
            Shape::Bulk => (200 + self.random.below(4_000), 16_000 + self.random.below(234_000)),
            Shape::Small => (20 + self.random.below(180), 20 + self.random.below(220)),
            Shape::Mixed => (150 + self.random.below(900), 200 + self.random.below(4_000)),
        };
        let connection = &mut self.open[place];
        let response = response.min(connection.left as u32 / 2 + 1);
        let order = connection.order();
        for on_lo in order {
            connection.message(on_lo, false, request);
        }
        for on_lo in order.into_iter().rev() {
            connection.message(on_lo, true, response);
        }
    }

    fn send(&mut self, place: usize, segment: Segment) -> io::Result<()> {
        self.now += 1 + u64::from(self.random.below(8));
        let Segment { on_lo, from_server, flags, len } = segment;
        let connection = &mut self.open[place];
        let leg = if on_lo { &mut connection.lo } else { &mut connection.eth0 };
        let (mine, other) = (usize::from(from_server), usize::from(!from_server));
        leg.timestamp[mine] = (self.now / 1_000) as u32;
        let tcp = frame::Tcp {
            seq: leg.seq[mine],
            ack: if flags & flags::ACK == 0 { 0 } else { leg.seq[other] },
            flags,
            timestamps: [leg.timestamp[mine], leg.timestamp[other]],
            len,
        };
        let control = u32::from(flags & (flags::SYN | flags::FIN) != 0);
        leg.seq[mine] = leg.seq[mine].wrapping_add(len + control);
        let (source, destination) = leg.ends[mine];
        if on_lo && self.traffic.only_forward && source.1 != OUTBOUND.1 && destination.1 != OUTBOUND.1 {
            connection.left -= i64::from(66 + 16 + len);
            return Ok(());
        }
        let frame = self.frames.tcp(on_lo, source, destination, tcp, leg.partial_checksums);
        connection.left -= 16 + frame.len() as i64;
        let capture = if on_lo { &mut self.lo } else { &mut self.eth0 };
        capture.packet(self.now, frame)
    }

    /// A port for a connection that is being opened: now and then the one that was freed last.
    fn port(&mut self) -> u16 {
        let again = self.random.one_in(8).then_some(self.last_freed).flatten();
        let port = match again.filter(|&port| !self.used[usize::from(port)]) {
            Some(port) => port,
            None => self.free_port(),
        };
        self.used[usize::from(port)] = true;
        port
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
            if !self.used[usize::from(port)] {
                return port;
            }
        }
    }
}

impl Connection {
    /// The leg that a request takes first, and the other one: whether it is that on lo.
    fn order(&self) -> [bool; 2] {
        [!self.inbound, self.inbound]
    }

    /// Data in segments, each second one acknowledged at least.
    fn message(&mut self, on_lo: bool, from_server: bool, len: u32) {
        let (most, mut left) = if on_lo { (LO_SEGMENT, len) } else { (ETH0_SEGMENT, len + TLS_RECORD) };
        let mut unacknowledged = 0;
        while left > 0 {
            let len = left.min(most);
            left -= len;
            unacknowledged += 1;
            self.to_send.push_back(Segment { on_lo, from_server, flags: flags::PSH | flags::ACK, len });
            if unacknowledged == 2 || left == 0 {
                unacknowledged = 0;
                self.to_send.push_back(Segment { on_lo, from_server: !from_server, flags: flags::ACK, len: 0 });
            }
        }
    }

    fn close(&mut self) {
        self.closing = true;
        for on_lo in self.order() {
            let fin = flags::FIN | flags::ACK;
            for (from_server, flags) in [(false, fin), (true, fin), (false, flags::ACK)] {
                self.to_send.push_back(Segment { on_lo, from_server, flags, len: 0 });
            }
        }
    }
}

/// A leg that nobody translates.
fn leg(client: End, server: End) -> Leg {
    let ends = [(client, server), (server, client)];
    Leg { ends, seq: [0; 2], timestamp: [0; 2], partial_checksums: false }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    fn one_in(&mut self, limit: u32) -> bool {
        self.below(limit) == 0
    }
}

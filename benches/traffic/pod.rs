//! The pod while it runs.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;

use super::capture::Captures;
use super::connection::{Connection, Leg, Segment};
use super::flood::Flood;
use super::frame::{Content, Frames, Tcp, flags};
use super::ports::Ports;
use super::random::Random;
use super::{APPLICATION, BEGIN, DNS, End, Generated, OUTBOUND, PASSTHROUGH, POD, RESOLVER, Shape, Traffic};

/// So many connections at once take more ports than one address has, unless every second one is inbound.
const CROWD: usize = 50_000;

pub(super) struct Pod {
    traffic: Traffic,
    captures: Captures,
    random: Random,
    frames: Frames,
    flood: Flood,
    /// In microseconds.
    now: u64,
    open: Vec<Connection>,
    opened: u32,
    /// What the application connects from, and the proxy's address, the proxy on the wire, and those who call the pod.
    application: Ports,
    passthrough: Ports,
    proxy: Ports,
    callers: Ports,
}

impl Pod {
    pub fn new(traffic: Traffic, captures: Captures) -> Pod {
        let mut random = Random(traffic.seed);
        Pod {
            captures,
            frames: Frames::new(&mut random),
            flood: Flood::new(&traffic),
            random,
            traffic,
            now: BEGIN,
            open: Vec::new(),
            opened: 0,
            application: Ports::new(),
            passthrough: Ports::new(),
            proxy: Ports::new(),
            callers: Ports::new(),
        }
    }

    /// Until all connections are over.
    pub fn run(mut self) -> io::Result<Generated> {
        while self.step()? {
            self.flood.step(&mut self.captures, self.now)?;
        }
        self.flood.finish(&mut self.captures, self.now)?;
        self.captures.finish()
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
                    let Connection { lo, eth0, inbound, .. } = self.open.swap_remove(place);
                    let (near, far) = match inbound {
                        true => (&mut self.passthrough, &mut self.callers),
                        false => (&mut self.application, &mut self.proxy),
                    };
                    near.release(lo.ends[0].0.1);
                    near.release(lo.ends[1].1.1);
                    far.release(eth0.ends[0].0.1);
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
        let traffic = self.traffic;
        // Connections are the same however much they carry.
        let mut random = Random(traffic.seed ^ u64::from(self.opened) << 32);
        let inbound = random.one_in(if traffic.live > CROWD { 2 } else { 3 });
        if !inbound && random.one_in(2) {
            self.look_up()?;
        }
        let [_, a, b, c, ..] = random.next().to_le_bytes();
        // Few peers on the same node, as many on others.
        let peer = Ipv4Addr::new(172, 21, 206 + (a & 1), 2 + b % 40);
        let service = (Ipv4Addr::new(10, 96, 1, c % 100), 80);
        // Now and then a port is used again at once.
        let mut again = || random.one_in(8);
        let (mut lo, mut eth0) = if inbound {
            let (port, wire_port) = (self.passthrough.take(again()), self.callers.take(again()));
            let server = (POD, APPLICATION);
            (Leg::new((PASSTHROUGH, port), server), Leg::new((peer, wire_port), server))
        } else {
            let (port, wire_port) = (self.application.take(again()), self.proxy.take(again()));
            let mut lo = Leg::new((POD, port), service);
            // conntrack changes the source port where the application uses one for two destinations.
            let changed = if random.one_in(64) { self.application.take(false) } else { port };
            lo.ends[0] = ((POD, changed), OUTBOUND);
            (lo, Leg::new((POD, wire_port), (peer, APPLICATION)))
        };
        lo.partial_checksums = true;
        eth0.partial_checksums = a & 1 == 0 || traffic.shape == Shape::Segments;
        for leg in [&mut lo, &mut eth0] {
            leg.seq = [random.next() as u32, random.next() as u32];
        }
        let mean = traffic.bytes / u64::from(traffic.connections.max(1));
        let left = mean as i64 / 4 + random.below((mean * 3 / 2).clamp(1, u64::from(u32::MAX)) as u32) as i64;
        let pair = self.opened as usize % traffic.pairs;
        let mut connection = Connection { inbound, pair, lo, eth0, to_send: VecDeque::new(), left, closing: false };
        connection.open(traffic.shape);
        self.open.push(connection);
        Ok(())
    }

    /// A name is looked up: by the application on lo, by the proxy on eth0.
    fn look_up(&mut self) -> io::Result<()> {
        let id = self.random.next() as u16;
        let client = (POD, self.application.free());
        let (proxy, upstream) = ((POD, self.proxy.free()), (RESOLVER, 53));
        self.udp(true, client, DNS, Content::Query { id })?;
        self.udp(false, proxy, upstream, Content::Query { id: !id })?;
        self.udp(false, upstream, proxy, Content::Answer { id: !id })?;
        self.udp(true, upstream, client, Content::Answer { id })
    }

    fn udp(&mut self, on_lo: bool, source: End, destination: End, content: Content) -> io::Result<()> {
        self.now += 10 + u64::from(self.random.below(40));
        if on_lo && self.traffic.only_forward {
            return Ok(());
        }
        self.captures.packet(on_lo, 0, self.now, self.frames.udp(on_lo, source, destination, content))
    }

    fn exchange(&mut self, place: usize) {
        let (request, response) = match self.traffic.shape {
            Shape::Bulk => (200 + self.random.below(4_000), 16_000 + self.random.below(234_000)),
            Shape::Small => (20 + self.random.below(180), 20 + self.random.below(220)),
            Shape::Mixed => (100 + self.random.below(600), 100 + self.random.below(2_350)),
            Shape::Hundred | Shape::Segments => (1, 1),
        };
        let connection = &mut self.open[place];
        connection.exchange(self.traffic.shape, request, response.min(connection.left as u32 / 2 + 1));
    }

    fn send(&mut self, place: usize, segment: Segment) -> io::Result<()> {
        self.now += 1 + u64::from(self.random.below(8));
        let Segment { on_lo, from_server, flags, len, record } = segment;
        let connection = &mut self.open[place];
        let leg = if on_lo { &mut connection.lo } else { &mut connection.eth0 };
        let (mine, other) = (usize::from(from_server), usize::from(!from_server));
        leg.timestamp[mine] = (self.now / 1_000) as u32;
        let tcp = Tcp {
            seq: leg.seq[mine],
            ack: if flags & flags::ACK == 0 { 0 } else { leg.seq[other] },
            flags,
            timestamps: [leg.timestamp[mine], leg.timestamp[other]],
            len,
            record,
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
        self.captures.packet(on_lo, connection.pair, self.now, frame)
    }
}

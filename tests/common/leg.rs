//! A TCP connection as a capture on lo shows it: what the client sends after REDIRECT, what comes back before.

use std::net::SocketAddr;

use super::packet::{Link, Shot, Sum, Tcp, addr, shot};

/// When the first packet of a leg is captured, if nothing else is said: nanoseconds since 1970.
pub const START: u64 = 1_700_000_000_000_000_000;

/// A connection, and the packets of it so far.
#[derive(Clone, Debug)]
pub struct Leg {
    /// The application's own address.
    pub client: SocketAddr,
    /// The original destination.
    pub server: SocketAddr,
    /// Source and destination of the client's packets as captured.
    pub captured: (SocketAddr, SocketAddr),
    /// Next sequence numbers of client and server.
    pub next: (u32, u32),
    /// Timestamp clocks of client and server, if they use the option.
    pub clocks: Option<(u32, u32)>,
    pub sum: Sum,
    /// When the next packet is captured.
    pub time: u64,
    pub packets: Vec<(u64, Vec<u8>)>,
    id: u16,
}

impl Leg {
    /// A connection that nobody redirects.
    pub fn direct(client: &str, server: &str) -> Leg {
        let (client, server) = (addr(client), addr(server));
        // Numbers that differ from leg to leg, and do not depend on anything else.
        let seed = u32::from(client.port()) * 65_537 + u32::from(server.port()) * 31;
        Leg {
            client,
            server,
            captured: (client, server),
            next: (seed.wrapping_mul(2_654_435_761), seed.wrapping_mul(40_503) ^ 0x5555_0000),
            clocks: Some((seed ^ 0x1111, seed ^ 0x2222_0000)),
            sum: Sum::Partial,
            time: START,
            packets: Vec::new(),
            id: 0,
        }
    }

    /// A connection that is redirected to a port of the proxy.
    pub fn redirected(client: &str, server: &str, listener: u16) -> Leg {
        let mut leg = Leg::direct(client, server);
        let loopback = if leg.client.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        leg.captured.1 = addr(loopback);
        leg.captured.1.set_port(listener);
        leg
    }

    /// A connection of the application to the proxy's outbound port.
    pub fn outbound(client: &str, server: &str) -> Leg {
        Leg::redirected(client, server, 15001)
    }

    /// conntrack gave the client's packets another source port.
    pub fn port(mut self, port: u16) -> Leg {
        self.captured.0.set_port(port);
        self
    }

    pub fn numbers(mut self, client: u32, server: u32) -> Leg {
        self.next = (client, server);
        self
    }

    pub fn no_timestamps(mut self) -> Leg {
        self.clocks = None;
        self
    }

    pub fn sum(mut self, sum: Sum) -> Leg {
        self.sum = sum;
        self
    }

    /// The next packet comes so many nanoseconds after [`START`].
    pub fn after(mut self, nanoseconds: u64) -> Leg {
        self.time = START + nanoseconds;
        self
    }

    fn tcp(&mut self, from_client: bool, flags: &str, data: &[u8]) {
        let (from, to) = if from_client { self.captured } else { (self.server, self.client) };
        let mut tcp = Tcp::new(from, to).flags(flags).data(data).sum(self.sum);
        let (mine, other) = if from_client { (&mut self.next.0, self.next.1) } else { (&mut self.next.1, self.next.0) };
        tcp.seq = *mine;
        tcp.ack = if flags.contains('A') { other } else { 0 };
        let taken = data.len() as u32 + u32::from(flags.contains('S')) + u32::from(flags.contains('F'));
        *mine = mine.wrapping_add(taken);
        if let Some((client, server)) = &mut self.clocks {
            let (own, peer) = if from_client { (client, *server) } else { (server, *client) };
            *own += 1;
            tcp.timestamps = Some((*own, if flags.contains('A') { peer } else { 0 }));
        }
        self.id += 1;
        tcp.id = self.id;
        self.packets.push((self.time, tcp.ip()));
        self.time += 10_000;
    }

    /// One segment, with its control bits by their letters.
    pub fn send(mut self, from_client: bool, flags: &str, data: &str) -> Leg {
        self.tcp(from_client, flags, data.as_bytes());
        self
    }

    /// The server sends so many octets that the client has not seen yet, and that are not in the capture.
    pub fn unseen(mut self, octets: u32) -> Leg {
        self.next.1 = self.next.1.wrapping_add(octets);
        self
    }

    pub fn syn(mut self) -> Leg {
        self.tcp(true, "S", b"");
        self
    }

    /// SYN, SYN-ACK, ACK.
    pub fn open(mut self) -> Leg {
        self.tcp(true, "S", b"");
        self.tcp(false, "SA", b"");
        self.tcp(true, "A", b"");
        self
    }

    /// Data of the client, and the acknowledgment.
    pub fn ask(mut self, data: &str) -> Leg {
        self.tcp(true, "PA", data.as_bytes());
        self.tcp(false, "A", b"");
        self
    }

    /// Data of the server, and the acknowledgment.
    pub fn answer(mut self, data: &str) -> Leg {
        self.tcp(false, "PA", data.as_bytes());
        self.tcp(true, "A", b"");
        self
    }

    /// FIN both ways.
    pub fn close(mut self) -> Leg {
        self.tcp(true, "FA", b"");
        self.tcp(false, "FA", b"");
        self.tcp(true, "A", b"");
        self
    }

    /// RST of the client.
    pub fn reset(mut self) -> Leg {
        self.tcp(true, "RA", b"");
        self
    }

    /// RST of the server: before anything else, a refusal.
    pub fn refuse(mut self) -> Leg {
        self.tcp(false, "RA", b"");
        self
    }

    /// A connection with a request and a response, from SYN to FIN.
    pub fn whole(self) -> Leg {
        self.open().ask("GET / HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\n\r\n").close()
    }

    /// Without its first packets: the capture began later.
    pub fn begun_at(mut self, first: usize) -> Leg {
        self.packets.drain(..first);
        self
    }

    pub fn shots(&self, link: Link) -> Vec<Shot> {
        self.packets.iter().map(|(time, datagram)| shot(*time, link.frame(datagram))).collect()
    }

    /// Source and destination, in the order of time, as they are after a repair.
    pub fn repaired(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.ends((self.client, self.server))
    }

    /// Source and destination as captured.
    pub fn as_captured(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.ends(self.captured)
    }

    fn ends(&self, forward: (SocketAddr, SocketAddr)) -> Vec<(SocketAddr, SocketAddr)> {
        let source = |datagram: &[u8]| {
            let (address, ports) = if datagram[0] >> 4 == 4 { (12..16, 20) } else { (8..24, 40) };
            (datagram[address].to_vec(), u16::from_be_bytes([datagram[ports], datagram[ports + 1]]))
        };
        let octets = |a: SocketAddr| match a.ip() {
            std::net::IpAddr::V4(a) => a.octets().to_vec(),
            std::net::IpAddr::V6(a) => a.octets().to_vec(),
        };
        let server = (octets(self.server), self.server.port());
        let end = |(_, datagram): &(u64, Vec<u8>)| match source(datagram) == server {
            true => (self.server, self.client),
            false => forward,
        };
        self.packets.iter().map(end).collect()
    }
}

/// The packets of several legs in the order of time, each with its link layer.
pub fn together(legs: &[&Leg], link: Link) -> Vec<Shot> {
    let mut shots: Vec<Shot> = legs.iter().flat_map(|leg| leg.shots(link)).collect();
    shots.sort_by_key(|shot| shot.time);
    shots
}

//! Pairing against a model of the pod: connections as they are, the nat that hides them, a capture that loses some.
//!
//! Sound: a packet leaves with its true addresses, or as it was captured; never with others. Complete: where a whole
//! handshake was captured, every packet of the connection leaves with its true addresses.
//!
//! What the model grants, because no capture can show otherwise: the numbers of two connections lie further apart than
//! one connection gets, and no query of a group of equal ones is lost.

use proptest::prelude::*;

use super::*;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const LISTENER: ([u8; 4], u16) = ([127, 0, 0, 1], 15001);
const DNS_LISTENER: ([u8; 4], u16) = ([127, 0, 0, 1], 15053);

/// A connection as the application sees it.
#[derive(Clone, Debug)]
struct Connection {
    port: u16,
    server: u8,
    /// Microseconds.
    start: u64,
    rtt: u64,
    isn: [u32; 2],
    /// Octets, and whether the server sends them.
    data: Vec<(bool, u32)>,
    end: End,
    timestamps: bool,
    refused: bool,
    /// Whether conntrack forgets the connection at its end, so that its port is free.
    forgotten: bool,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Rst,
    Silence,
}

/// A packet as captured, and what it should leave as.
#[derive(Clone, Copy, Debug)]
struct Packet {
    segment: Segment,
    connection: usize,
    truth: Option<Translation>,
    /// SYN, SYN-ACK and the first ACK.
    handshake: bool,
}

fn connection() -> impl Strategy<Value = Connection> {
    let end = prop_oneof![Just(End::Fin), Just(End::Rst), Just(End::Silence)];
    let data = proptest::collection::vec((any::<bool>(), 1..3000_u32), 0..6);
    let flags = (any::<bool>(), proptest::bool::weighted(0.1), any::<bool>());
    ((1000..1003_u16, 0..3_u8), 0..2_000_000_u64, 6..400_u64, data, end, flags).prop_map(
        |((port, server), start, rtt, data, end, (timestamps, refused, forgotten))| {
            let isn = [0; 2];
            Connection { port, server, start, rtt, isn, data, end, timestamps, refused, forgotten }
        },
    )
}

fn server(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 96, 0, 10 + number], 80 + u16::from(number)))
}

/// Source port of the forward half as captured: conntrack changes the one of a connection whose port is taken.
struct Nat {
    /// Port, server, port as captured, from and until when taken.
    entries: Vec<(u16, u8, u16, u64)>,
    next: u16,
}

impl Nat {
    /// `None`: the application cannot have this connection, the other one still lives.
    fn connect(&mut self, connection: &Connection, end: u64) -> Option<u16> {
        let Connection { port, server, start, .. } = *connection;
        let until = if connection.forgotten { end } else { u64::MAX };
        if let Some(entry) = self.entries.iter_mut().find(|e| (e.0, e.1) == (port, server) && e.3 >= start) {
            if entry.3 != u64::MAX {
                return None;
            }
            entry.3 = until;
            return Some(entry.2);
        }
        let taken = |candidate| self.entries.iter().any(|e| e.2 == candidate && e.3 >= start);
        let captured = if taken(port) {
            self.next += 1;
            self.next
        } else {
            port
        };
        self.entries.push((port, server, captured, until));
        Some(captured)
    }
}

/// The packets of a connection: time in microseconds, from the server, flags, whether of the handshake, and lengths.
fn packets(c: &Connection) -> Vec<(u64, bool, Segment, bool)> {
    let mut time = c.start;
    let mut next = c.isn;
    let mut heard = [0_u32; 2];
    let clock = [c.isn[1] ^ 0x5a5a, c.isn[0] ^ 0xa5a5];
    let mut tsecr = [0_u32; 2];
    let mut all = Vec::new();
    let mut send = |time: u64, from: usize, f: u8, len: u32, handshake: bool| {
        let to = 1 - from;
        let tsval = clock[from].wrapping_add((time / 1000) as u32);
        let timestamps = c.timestamps.then_some((tsval, tsecr[from]));
        let ack = if f & flags::ACK != 0 { heard[from] } else { 0 };
        let seq = if c.refused && from == 1 { 0 } else { next[from] };
        let content = Content::Tcp { seq, ack, flags: f, timestamps };
        next[from] = segment::end_of(next[from], len, f);
        (heard[to], tsecr[to]) = (next[from], tsval);
        let none = SocketAddr::from(([0; 4], 0));
        let segment = Segment {
            protocol: Protocol::Tcp,
            source: none,
            destination: none,
            origin: Origin::Loopback,
            time: Timestamp(time * 1000),
            place: Place::default(),
            data_len: len,
            content,
        };
        all.push((time, from == 1, segment, handshake));
    };
    send(time, 0, flags::SYN, 0, true);
    time += c.rtt;
    if c.refused {
        send(time, 1, flags::RST | flags::ACK, 0, true);
        return all;
    }
    send(time, 1, flags::SYN | flags::ACK, 0, true);
    time += c.rtt;
    send(time, 0, flags::ACK, 0, true);
    for &(from_server, len) in &c.data {
        let from = usize::from(from_server);
        time += c.rtt;
        send(time, from, flags::ACK, len, false);
        time += c.rtt;
        send(time, 1 - from, flags::ACK, 0, false);
    }
    time += c.rtt;
    match c.end {
        End::Fin => {
            send(time, 0, flags::FIN | flags::ACK, 0, false);
            send(time + c.rtt, 1, flags::FIN | flags::ACK, 0, false);
            send(time + 2 * c.rtt, 0, flags::ACK, 0, false);
        }
        End::Rst => send(time, 0, flags::RST | flags::ACK, 0, false),
        End::Silence => {}
    }
    all
}

/// What a capture of these connections would hold, were nothing lost.
fn capture(mut connections: Vec<Connection>, numbers: &[u32], gap: u64) -> Vec<Packet> {
    connections.sort_by_key(|c| c.start);
    let mut nat = Nat { entries: Vec::new(), next: 45_000 };
    let mut all: Vec<Packet> = Vec::new();
    // The end of the last connection on each port and server: the application cannot have two at once.
    let mut busy: Vec<((u16, u8), u64)> = Vec::new();
    for (index, mut c) in connections.into_iter().enumerate() {
        c.isn = [numbers[2 * index], numbers[2 * index + 1]];
        let end = packets(&c).last().map_or(c.start, |p| p.0) + gap;
        if busy.iter().any(|&(socket, until)| socket == (c.port, c.server) && until >= c.start) {
            continue;
        }
        let Some(captured) = nat.connect(&c, end) else { continue };
        busy.push(((c.port, c.server), end));
        let (app, server) = (SocketAddr::from((CLIENT, c.port)), server(c.server));
        for (_, from_server, mut segment, handshake) in packets(&c) {
            let truth = if from_server {
                (segment.source, segment.destination) = (server, app);
                None
            } else {
                segment.source = SocketAddr::from((CLIENT, captured));
                segment.destination = SocketAddr::from(LISTENER);
                Some(Translation { source: app, destination: server })
            };
            all.push(Packet { segment, connection: index, truth, handshake });
        }
    }
    all.sort_by_key(|p| p.segment.time);
    all
}

/// Numbers for the connections, each far from every other.
fn far_numbers() -> impl Strategy<Value = Vec<u32>> {
    let steps: Vec<u32> = (0..32).collect();
    (Just(steps).prop_shuffle(), any::<u32>())
        .prop_map(|(steps, base)| steps.into_iter().map(|step| base.wrapping_add(step << 27)).collect())
}

fn check(packets: &[Packet], look_ahead: Option<u64>, complete: bool) -> Result<(), TestCaseError> {
    let mut run = Run::new(Limits::default(), look_ahead);
    for (number, packet) in packets.iter().enumerate() {
        let mut segment = packet.segment;
        segment.place.frame = number as u64 + 1;
        run.packet(&segment);
    }
    run.finish();
    for (packet, out) in packets.iter().zip(&run.out) {
        prop_assert!(out.is_none() || *out == packet.truth, "wrong: {packet:?} left as {out:?}");
    }
    let counted: u64 = run.legs.iter().map(|leg| leg.from_client.packets + leg.from_server.packets).sum();
    prop_assert_eq!(counted, packets.len() as u64);
    let whole = |connection: usize| {
        let of = |p: &&Packet| p.connection == connection && p.handshake;
        let handshake: Vec<&Packet> = packets.iter().filter(of).collect();
        let refused = |p: &Packet| matches!(p.segment.content, Content::Tcp { flags: f, .. } if f & flags::RST != 0);
        // In order, where there are two only.
        handshake.len() == 3 || (handshake.len() == 2 && refused(handshake[1]))
    };
    for (packet, out) in packets.iter().zip(&run.out).filter(|_| complete) {
        if whole(packet.connection) {
            prop_assert!(*out == packet.truth, "not repaired: {packet:?}");
        }
    }
    Ok(())
}

/// Loses packets, those before a time among them, and mixes up the directions by some microseconds.
fn damage(packets: &mut Vec<Packet>, begin: u64, dice: &[(u8, u8)], loss: u8) {
    let mut dice = dice.iter().cycle();
    packets.retain(|p| p.segment.time.0 >= begin * 1000 && dice.next().is_none_or(|&(lost, _)| lost >= loss));
    for (packet, &(_, jitter)) in packets.iter_mut().zip(dice) {
        if packet.truth.is_none() {
            packet.segment.time.0 = packet.segment.time.0.saturating_sub(u64::from(jitter) * 40);
        }
    }
    packets.sort_by_key(|p| p.segment.time);
}

/// A lookup as a resolver does it.
#[derive(Clone, Debug)]
struct Lookup {
    port: u16,
    start: u64,
    id: u16,
    /// The servers asked, and when each answers in microseconds, if it does.
    servers: Vec<(u8, Option<u64>)>,
    how: Resolver,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Resolver {
    /// All servers at once from one socket, as musl.
    AtOnce,
    /// One after the other from a socket each, with one ID, as glibc.
    InTurn,
}

fn lookup() -> impl Strategy<Value = Lookup> {
    let answer = proptest::option::weighted(0.7, 1..3_000_000_u64);
    let servers = proptest::collection::vec(answer, 1..3);
    let how = prop_oneof![Just(Resolver::AtOnce), Just(Resolver::InTurn)];
    (4000..4003_u16, 0..60_000_000_u64, 0..3_u16, servers, how).prop_map(|(port, start, id, answers, how)| {
        let servers = answers.into_iter().enumerate().map(|(server, answer)| (server as u8, answer)).collect();
        Lookup { port, start, id, servers, how }
    })
}

/// The lookups as captured; those that would share a port or an ID with one that lives are left out.
fn resolve(mut lookups: Vec<Lookup>) -> Vec<Packet> {
    const PORT_FREE: u64 = 4_000_000;
    lookups.sort_by_key(|l| l.start);
    let mut all = Vec::new();
    let mut entries: Vec<(u16, u8, u16, u64)> = Vec::new();
    let mut busy: Vec<(u16, u64)> = Vec::new();
    let mut next = 45_000;
    for (index, l) in lookups.into_iter().enumerate() {
        if busy.iter().any(|&(port, until)| port == l.port && until >= l.start) {
            continue;
        }
        busy.push((l.port, l.start + 3 * PORT_FREE));
        for (turn, &(number, answer)) in l.servers.iter().enumerate() {
            let (port, sent) = match l.how {
                Resolver::AtOnce => (l.port, l.start + turn as u64),
                Resolver::InTurn => (l.port + 10 * turn as u16, l.start + turn as u64 * PORT_FREE),
            };
            // A mapping lives on for 30 s.
            let known = entries.iter_mut().find(|e| (e.0, e.1) == (port, number) && e.3 >= sent);
            let captured = if let Some(entry) = known {
                entry.3 = sent + 30_000_000;
                entry.2
            } else {
                let taken = entries.iter().any(|e| e.2 == port && e.3 >= sent);
                next += u16::from(taken);
                let captured = if taken { next } else { port };
                entries.push((port, number, captured, sent + 30_000_000));
                captured
            };
            let (app, server) = (SocketAddr::from((CLIENT, port)), SocketAddr::from(([10, 96, 0, 53 + number], 53)));
            let message = |time: u64, source, destination, response| Segment {
                protocol: Protocol::Udp,
                source,
                destination,
                origin: Origin::Loopback,
                time: Timestamp(time * 1000),
                place: Place::default(),
                data_len: 30,
                content: Content::Dns { id: l.id, question: 1, response },
            };
            let query = message(sent, SocketAddr::from((CLIENT, captured)), SocketAddr::from(DNS_LISTENER), false);
            let truth = Some(Translation { source: app, destination: server });
            all.push(Packet { segment: query, connection: index, truth, handshake: false });
            if let Some(answer) = answer {
                let segment = message(sent + answer, server, app, true);
                all.push(Packet { segment, connection: index, truth: None, handshake: false });
            }
        }
    }
    all.sort_by_key(|p| p.segment.time);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_whole_capture_is_repaired_wholly(
        connections in proptest::collection::vec(connection(), 1..12),
        numbers in far_numbers(),
    ) {
        check(&capture(connections, &numbers, 1), None, true)?;
    }

    #[test]
    fn a_damaged_capture_is_never_repaired_wrongly(
        connections in proptest::collection::vec(connection(), 1..12),
        numbers in far_numbers(),
        begin in 0..1_000_000_u64,
        dice in proptest::collection::vec(any::<(u8, u8)>(), 61),
        loss in 0..120_u8,
        look_ahead in proptest::option::of(0..50_000_000_u64),
    ) {
        let mut packets = capture(connections, &numbers, 20);
        damage(&mut packets, begin, &dice, loss);
        check(&packets, look_ahead, look_ahead.is_none())?;
    }

    /// All initial sequence numbers of four: what is not certain is left.
    #[test]
    fn equal_numbers_are_never_repaired_wrongly(
        connections in proptest::collection::vec(connection(), 1..12),
        numbers in proptest::collection::vec(0..4_u32, 32),
    ) {
        let connections = connections.into_iter().map(|c| Connection { refused: false, ..c }).collect();
        check(&capture(connections, &numbers, 1), None, false)?;
    }

    #[test]
    fn lookups_are_never_repaired_wrongly(lookups in proptest::collection::vec(lookup(), 1..8)) {
        check(&resolve(lookups), None, false)?;
    }
}

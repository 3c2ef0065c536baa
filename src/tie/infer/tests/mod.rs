//! Legs made by hand, and what is inferred of them.

mod exchanges;
mod gateway;
mod observer;
mod octets;
mod random;

use std::net::SocketAddr;

use super::*;
use crate::flow::flags;

/// Milliseconds as a time.
pub fn ms(ms: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + ms * 1_000_000)
}

/// Microseconds as a time.
pub fn us(us: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000_000 + us * 1000)
}

/// Which end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

pub use self::From::{Client, Server};

/// Conversation and direction, time, sequence number, what is acknowledged, flags, octets, and how many there were.
type Captured = (Half, Timestamp, u32, u32, u8, Vec<u8>, u32);

/// Legs on both sides of a proxy.
pub struct World {
    segments: Vec<Captured>,
    pub near: Vec<TcpLeg>,
    pub far: Vec<TcpLeg>,
    legs: u32,
}

/// A leg that is being captured.
pub struct Talk {
    id: u32,
    next: [u32; 2],
}

impl World {
    pub fn new() -> World {
        World { segments: Vec::new(), near: Vec::new(), far: Vec::new(), legs: 0 }
    }

    /// A leg whose SYN is not captured.
    fn add(&mut self, client: &str, server: &str) -> (TcpLeg, Talk) {
        let id = self.legs;
        self.legs += 1;
        let half = |from_first| Half { conversation: id, from_first };
        let end = |text: &str| -> SocketAddr { text.parse().expect("an address and a port") };
        let (client, server, port) = (end(client).ip(), end(server).ip(), end(server).port());
        let leg = TcpLeg { id, from_client: half(true), from_server: half(false), client, server, port };
        (leg, Talk { id, next: [1_000 + id, u32::MAX - 5] })
    }

    pub fn near_midstream(&mut self, client: &str) -> Talk {
        let (leg, talk) = self.add(client, "10.0.0.1:80");
        self.near.push(leg);
        talk
    }

    pub fn near(&mut self, time: Timestamp, client: &str) -> Talk {
        let mut talk = self.near_midstream(client);
        self.open(&mut talk, time);
        talk
    }

    pub fn far_midstream(&mut self, port: u16) -> Talk {
        let (leg, talk) = self.add(&format!("127.0.0.6:{port}"), "10.0.0.1:80");
        self.far.push(leg);
        talk
    }

    pub fn far(&mut self, time: Timestamp, port: u16) -> Talk {
        let mut talk = self.far_midstream(port);
        self.open(&mut talk, time);
        talk
    }

    fn open(&mut self, talk: &mut Talk, time: Timestamp) {
        self.segment(talk, time, Client, flags::SYN, b"");
        self.segment(talk, time, Server, flags::SYN | flags::ACK, b"");
    }

    pub fn segment(&mut self, talk: &mut Talk, time: Timestamp, from: From, flags: u8, data: &[u8]) {
        let side = usize::from(from == Server);
        let seq = talk.next[side];
        let half = Half { conversation: talk.id, from_first: from == Client };
        self.segments.push((half, time, seq, talk.next[1 - side], flags, data.to_vec(), data.len() as u32));
        let control = flags & (flags::SYN | flags::FIN);
        talk.next[side] = seq.wrapping_add(data.len() as u32 + u32::from(control != 0));
    }

    /// A segment of any sequence number.
    pub fn at(&mut self, talk: &Talk, time: Timestamp, from: From, flags: u8, seq: u32, data: &[u8]) {
        let half = Half { conversation: talk.id, from_first: from == Client };
        self.cut(half, time, seq, flags, data, data.len() as u32);
    }

    /// A segment of which not all was captured.
    pub fn cut(&mut self, half: Half, time: Timestamp, seq: u32, flags: u8, data: &[u8], len: u32) {
        // Without an acknowledgment: it would be of any number.
        self.segments.push((half, time, seq, 0, flags & !flags::ACK, data.to_vec(), len));
    }

    /// Takes out what was sent at a time: it is not captured.
    pub fn lose(&mut self, talk: &Talk, at: Timestamp, from: From) {
        let lost = Half { conversation: talk.id, from_first: from == Client };
        let before = self.segments.len();
        self.segments.retain(|(half, time, ..)| (*half, *time) != (lost, at));
        assert_eq!(self.segments.len() + 1, before);
    }

    /// What an observer makes of it.
    fn observed(&self, limits: Limits) -> Observed {
        let mut observer = Observer::new(limits);
        for &(half, time, seq, ack, flags, ref data, data_len) in &self.segments {
            observer.segment(&Segment { half, time, seq, ack, flags, data, data_len });
        }
        observer.finish().expect("the temporary file can be written")
    }

    pub fn send(&mut self, talk: &mut Talk, time: Timestamp, from: From, data: &[u8]) {
        self.segment(talk, time, from, flags::ACK, data);
    }

    pub fn fin(&mut self, talk: &mut Talk, time: Timestamp, from: From) {
        self.segment(talk, time, from, flags::FIN | flags::ACK, b"");
    }

    pub fn rst(&mut self, talk: &mut Talk, time: Timestamp, from: From) {
        self.segment(talk, time, from, flags::RST, b"");
    }

    pub fn infer(&self) -> Inferred {
        self.infer_of(Stage::Inbound, &self.far)
    }

    /// What is inferred, which does not depend on what is in memory.
    pub fn infer_of(&self, stage: Stage, far: &[TcpLeg]) -> Inferred {
        let inferred = |limits| {
            let (near, far) = (self.near.iter().map(known), far.iter().map(known));
            infer(&self.observed(limits), stage, near, far, true).expect("it can be read")
        };
        let all = inferred(Limits::default());
        let limits = |most| Limits { least: 0, most, returns: u8::MAX };
        for limits in [limits(0), limits(3000)] {
            assert_eq!(inferred(limits), all);
        }
        all
    }

    /// The pairs that are tied.
    pub fn ties(&self) -> Vec<(u32, u32)> {
        let mut ties: Vec<(u32, u32)> = self.infer().ties.iter().map(|tie| (tie.near, tie.far)).collect();
        ties.sort_unstable();
        ties
    }
}

/// A leg that need not be read.
fn known(leg: &TcpLeg) -> io::Result<TcpLeg> {
    Ok(*leg)
}

impl Talk {
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The sequence number that comes next.
    pub fn next(&self, from: From) -> u32 {
        self.next[usize::from(from == Server)]
    }
}

/// A TLS record with a body of `len` octets.
pub fn record(kind: u8, len: usize) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend((len as u16).to_be_bytes());
    record.resize(5 + len, 0);
    record
}

/// A record of TLS 1.3 that protects this many octets.
pub fn protected(len: usize) -> Vec<u8> {
    record(23, len + 17)
}

/// A near leg of TLS 1.3 with client certificate, up to its Finished; the far leg can be opened from `time + 1 ms`, the
/// server answers at `time + 3 ms`, and tickets come at `time + 6 ms`.
pub fn tls(world: &mut World, time: u64, client: &str) -> Talk {
    let mut near = world.near(ms(time), client);
    world.send(&mut near, ms(time + 1), Client, &record(22, 512));
    world.send(&mut near, ms(time + 3), Server, &[record(22, 122), record(20, 1), record(23, 655)].concat());
    let flight = [record(20, 1), record(23, 834), record(23, 96), record(23, 69)].concat();
    world.send(&mut near, ms(time + 5), Client, &flight);
    world.send(&mut near, ms(time + 6), Server, &record(23, 2109));
    near
}

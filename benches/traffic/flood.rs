//! A SYN flood: each SYN from another client, none answered. Half of them arrive on eth0, half are redirected on lo.

use std::io;
use std::net::Ipv4Addr;

use super::capture::Captures;
use super::frame::{Frames, Tcp, flags};
use super::random::Random;
use super::{APPLICATION, OUTBOUND, POD, Traffic};

/// Octets of ordinary traffic for one step of the pod, about.
const STEP: u64 = 900;

pub(super) struct Flood {
    left: u64,
    /// SYNs for one step of the pod.
    each: u64,
    random: Random,
    frames: Frames,
}

impl Flood {
    pub fn new(traffic: &Traffic) -> Flood {
        let mut random = Random(!traffic.seed);
        let frames = Frames::new(&mut random);
        let each = (traffic.flood * STEP).div_ceil(traffic.bytes.max(STEP));
        Flood { left: traffic.flood, each, random, frames }
    }

    /// The SYNs of one step, all at one time: the pod's own packets are the same with and without them.
    pub fn step(&mut self, captures: &mut Captures, time: u64) -> io::Result<()> {
        (0..self.each.min(self.left)).try_for_each(|_| self.syn(captures, time))
    }

    /// What is left of them.
    pub fn finish(&mut self, captures: &mut Captures, time: u64) -> io::Result<()> {
        (0..self.left).try_for_each(|n| self.syn(captures, time + n))
    }

    fn syn(&mut self, captures: &mut Captures, time: u64) -> io::Result<()> {
        self.left -= 1;
        let [a, b, c, ..] = self.random.next().to_le_bytes();
        // RFC 2544: addresses for benchmarks.
        let client = (Ipv4Addr::new(198, 18 + (a & 1), b, c), 1_024 + self.random.below(60_000) as u16);
        let seq = self.random.next() as u32;
        let on_lo = self.left.is_multiple_of(2);
        let server = if on_lo { OUTBOUND } else { (POD, APPLICATION) };
        let tcp = Tcp { seq, ack: 0, flags: flags::SYN, timestamps: [seq, 0], len: 0, record: None };
        captures.packet(on_lo, 0, time, self.frames.tcp(on_lo, client, server, tcp, on_lo))
    }
}

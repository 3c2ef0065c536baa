//! A connection of the application, as its two legs are captured.

use std::collections::VecDeque;

use super::frame::flags;
use super::{End, Shape};

/// Most data of a segment on lo: an IPv4 datagram without its headers.
const LO_SEGMENT: u32 = 65_483;
/// Most data of a segment on eth0: an MTU of 1500 without headers and timestamps.
const ETH0_SEGMENT: u32 = 1_448;
/// Data of a segment that makes a frame of 100 octets.
const HUNDRED: u32 = 34;
/// What a TLS 1.3 record adds to its plaintext.
const TLS_RECORD: u32 = 22;

/// A connection of the application, with both of its legs.
pub(super) struct Connection {
    pub inbound: bool,
    /// Which of the pairs of files shows it.
    pub pair: usize,
    pub lo: Leg,
    pub eth0: Leg,
    pub to_send: VecDeque<Segment>,
    /// Octets that it will still cause.
    pub left: i64,
    pub closing: bool,
}

/// A leg as it is captured.
pub(super) struct Leg {
    /// Source and destination of what the client sends, and of what the server sends.
    pub ends: [(End, End); 2],
    /// The next sequence number of client and server.
    pub seq: [u32; 2],
    /// The last timestamp of client and server.
    pub timestamp: [u32; 2],
    pub partial_checksums: bool,
}

/// A segment that is going to be sent.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub on_lo: bool,
    pub from_server: bool,
    pub flags: u8,
    pub len: u32,
}

impl Leg {
    /// A leg that nobody translates.
    pub fn new(client: End, server: End) -> Leg {
        let ends = [(client, server), (server, client)];
        Leg { ends, seq: [0; 2], timestamp: [0; 2], partial_checksums: false }
    }
}

impl Connection {
    /// The leg that a request takes first, and the other one: whether it is that on lo.
    pub fn order(&self) -> [bool; 2] {
        [!self.inbound, self.inbound]
    }

    pub fn open(&mut self) {
        for on_lo in self.order() {
            for (from_server, flags) in [(false, flags::SYN), (true, flags::SYN | flags::ACK), (false, flags::ACK)] {
                self.to_send.push_back(Segment { on_lo, from_server, flags, len: 0 });
            }
        }
    }

    /// A request and its response, through the proxy.
    pub fn exchange(&mut self, shape: Shape, request: u32, response: u32) {
        let order = self.order();
        for on_lo in order {
            self.message(shape, on_lo, false, request);
        }
        for on_lo in order.into_iter().rev() {
            self.message(shape, on_lo, true, response);
        }
    }

    /// Data in segments, each second one acknowledged at least.
    fn message(&mut self, shape: Shape, on_lo: bool, from_server: bool, len: u32) {
        let (most, mut left) = match (shape, on_lo) {
            (Shape::Hundred, _) => (HUNDRED, HUNDRED),
            (Shape::Segments, _) => (LO_SEGMENT, LO_SEGMENT),
            (_, true) => (LO_SEGMENT, len),
            (_, false) => (ETH0_SEGMENT, len + TLS_RECORD),
        };
        let mut unacknowledged = 0;
        while left > 0 {
            let len = left.min(most);
            left -= len;
            unacknowledged += 1;
            self.to_send.push_back(Segment { on_lo, from_server, flags: flags::PSH | flags::ACK, len });
            if shape != Shape::Hundred && (unacknowledged == 2 || left == 0) {
                unacknowledged = 0;
                self.to_send.push_back(Segment { on_lo, from_server: !from_server, flags: flags::ACK, len: 0 });
            }
        }
    }

    pub fn close(&mut self) {
        self.closing = true;
        for on_lo in self.order() {
            let fin = flags::FIN | flags::ACK;
            for (from_server, flags) in [(false, fin), (true, fin), (false, flags::ACK)] {
                self.to_send.push_back(Segment { on_lo, from_server, flags, len: 0 });
            }
        }
    }
}

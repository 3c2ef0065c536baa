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
/// What a TLS 1.3 record adds to its plaintext: header, content type, tag.
const TLS_RECORD: u32 = 22;

/// Content types of TLS records (RFC 8446, section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The records of a TLS 1.3 handshake in which both show a certificate: who sends them, content type, octets with the header.
const CLIENT_HELLO: (bool, u8, u32) = (false, HANDSHAKE, 522);
const HANDSHAKE_BEHIND_IT: [(bool, u8, u32); 7] = [
    (true, HANDSHAKE, 127),
    (true, CHANGE_CIPHER_SPEC, 6),
    (true, APPLICATION_DATA, ETH0_SEGMENT),
    (true, APPLICATION_DATA, 500),
    (false, CHANGE_CIPHER_SPEC, 6),
    (false, APPLICATION_DATA, ETH0_SEGMENT),
    // Finished, with SHA-256.
    (false, APPLICATION_DATA, 36 + TLS_RECORD),
];

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
    /// The content type of the TLS record that it is.
    pub record: Option<u8>,
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

    /// Both legs are opened: that of the proxy's server when the client has said what it wants.
    pub fn open(&mut self, shape: Shape) {
        let is_tls = !matches!(shape, Shape::Hundred | Shape::Segments);
        for on_lo in self.order() {
            for (from_server, flags) in [(false, flags::SYN), (true, flags::SYN | flags::ACK), (false, flags::ACK)] {
                self.to_send.push_back(Segment { on_lo, from_server, flags, len: 0, record: None });
            }
            if is_tls && !on_lo {
                self.record(CLIENT_HELLO);
            }
        }
        if is_tls {
            HANDSHAKE_BEHIND_IT.into_iter().for_each(|record| self.record(record));
            self.to_send.push_back(Segment {
                on_lo: false,
                from_server: true,
                flags: flags::ACK,
                len: 0,
                record: None,
            });
        }
    }

    fn record(&mut self, (from_server, content_type, len): (bool, u8, u32)) {
        let (flags, record) = (flags::PSH | flags::ACK, Some(content_type));
        self.to_send.push_back(Segment { on_lo: false, from_server, flags, len, record });
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

    /// Data in segments, each second one acknowledged at least. On eth0 each is a TLS record.
    fn message(&mut self, shape: Shape, on_lo: bool, from_server: bool, len: u32) {
        let (most, mut left, around) = match (shape, on_lo) {
            (Shape::Hundred, _) => (HUNDRED, HUNDRED, 0),
            (Shape::Segments, _) => (LO_SEGMENT, LO_SEGMENT, 0),
            (_, true) => (LO_SEGMENT, len, 0),
            (_, false) => (ETH0_SEGMENT - TLS_RECORD, len, TLS_RECORD),
        };
        let record = (!on_lo).then_some(APPLICATION_DATA);
        let mut unacknowledged = 0;
        while left > 0 {
            let len = left.min(most);
            left -= len;
            unacknowledged += 1;
            let flags = flags::PSH | flags::ACK;
            self.to_send.push_back(Segment { on_lo, from_server, flags, len: len + around, record });
            if shape != Shape::Hundred && (unacknowledged == 2 || left == 0) {
                unacknowledged = 0;
                self.to_send.push_back(Segment {
                    on_lo,
                    from_server: !from_server,
                    flags: flags::ACK,
                    len: 0,
                    record: None,
                });
            }
        }
    }

    pub fn close(&mut self) {
        self.closing = true;
        for on_lo in self.order() {
            let fin = flags::FIN | flags::ACK;
            for (from_server, flags) in [(false, fin), (true, fin), (false, flags::ACK)] {
                self.to_send.push_back(Segment { on_lo, from_server, flags, len: 0, record: None });
            }
        }
    }
}

//! A conversation as captured: what is known of it beside the directions that it has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::evidence::{Evidence, PackedEvidence, Reason};
use super::half::Half;
use super::key::{IPV6, Key, Part, Side, UDP};
use super::segment::{Place, Segment};
use crate::capture::Timestamp;
use crate::nat::Protocol;
use crate::packet::Origin;

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Stays as captured, and nothing is missing.
    Whole,
    /// To a listener of the proxy: the forward half of a leg, if it was redirected.
    Forward,
    /// On loopback, to what is no listener that is known for sure: whole, unless its answer comes from another address.
    Open,
    /// One direction on loopback: the reply half of a leg, unless its mirror image shows.
    Reply,
    /// A forward half whose reply half is known; its proof tells by what.
    Repaired { reply: u32 },
    /// A reply half whose forward half is known.
    Answering { forward: u32 },
    /// Stays as captured, though something is missing.
    Left(Reason),
}

/// What joins two halves, or will unless a second candidate shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    pub partner: u32,
    evidence: PackedEvidence,
    /// When it is taken.
    pub due: Timestamp,
}

impl Proof {
    pub fn new(partner: u32, evidence: Evidence, due: Timestamp) -> Proof {
        Proof { partner, evidence: evidence.into(), due }
    }

    pub fn evidence(&self) -> Evidence {
        self.evidence.into()
    }
}

/// The addresses of both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    V4([u32; 2]),
    V6(Box<[u128; 2]>),
}

/// A conversation as captured.
///
/// What every packet needs fills the first line of the cache; the direction of the first packet takes another one. Most
/// conversations on loopback have no other: where there is one, it stands elsewhere.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Record {
    addresses: Addresses,
    ports: u32,
    tag: u8,
    pub origin: Origin,
    /// The end that opened the conversation, as far as known.
    client: Option<bool>,
    /// Whether packets wait until the state is final.
    pub waits: bool,
    /// Tells this record from an earlier one in the same slot.
    pub serial: u64,
    pub state: State,
    pub last_time: Timestamp,
    /// Of a half that is not settled: the pairing that will be taken if no other fits. Of a repaired one: its own. From 1.
    pub(super) proof: u32,
    /// The direction that the first packet does not have. From 1; 0 as long as there is none.
    pub(super) second: u32,
    /// How many packets of it have been read and not yet written.
    pub in_flight: u32,
    first_input: u16,
    /// Whether the client sent something that was not answered yet.
    pub unanswered: bool,
    pub(super) marks: u8,
    /// The direction of the first packet.
    pub(super) half: Half,
    first_frame: u64,
    pub first_time: Timestamp,
}

const _: () = assert!(size_of::<Record>() == 128, "two lines of the cache");

/// Bits of [`Record::marks`].
pub(super) mod marks {
    /// More than one half fitted this one.
    pub const CONTESTED: u8 = 1;
    /// The leg's comment was written.
    pub const COMMENTED: u8 = 2;
    /// It was opened while nobody asked the proxy for anything, though that would have been captured.
    pub const UNASKED: u8 = 4;
    /// It ended, or was never answered.
    pub const OVER: u8 = 8;
    /// One of its ends said that it ends.
    pub const CLOSING: u8 = 16;
    /// One reset it, or both said so and know it of each other.
    pub const ENDED: u8 = 32;
    /// Its first packet was sent by the higher end.
    pub const FROM_HIGHER: u8 = 64;
    /// A SYN between its ends came: what answers from then on can be another's.
    pub const SUPERSEDED: u8 = 128;
}

impl Record {
    /// A conversation that begins with this segment, which that end sent.
    pub fn new(key: Key, serial: u64, segment: &Segment, side: Side, state: State) -> Record {
        let Key { low, high, ports, tag } = key;
        let addresses = match tag & IPV6 {
            0 => Addresses::V4([low as u32, high as u32]),
            _ => Addresses::V6(Box::new([low, high])),
        };
        Record {
            addresses,
            ports,
            tag,
            origin: segment.origin,
            serial,
            state,
            last_time: segment.time,
            first_input: segment.place.input,
            marks: if side == 0 { 0 } else { marks::FROM_HIGHER },
            first_frame: segment.place.frame,
            first_time: segment.time,
            ..Record::default()
        }
    }

    pub fn key(&self) -> Key {
        let [low, high] = match &self.addresses {
            Addresses::V4(addresses) => addresses.map(u128::from),
            Addresses::V6(addresses) => **addresses,
        };
        Key { low, high, ports: self.ports, tag: self.tag }
    }

    #[inline]
    pub fn has_key(&self, key: &Key) -> bool {
        // The tag tells which addresses they are.
        let has_addresses = || match &self.addresses {
            Addresses::V4(addresses) => *addresses == [key.low as u32, key.high as u32],
            Addresses::V6(addresses) => **addresses == [key.low, key.high],
        };
        self.ports == key.ports && self.tag == key.tag && has_addresses()
    }

    pub fn protocol(&self) -> Protocol {
        if self.tag & UDP == 0 { Protocol::Tcp } else { Protocol::Udp }
    }

    /// Address and port of an end.
    pub fn end(&self, side: Side) -> SocketAddr {
        let address: IpAddr = match &self.addresses {
            Addresses::V4(addresses) => Ipv4Addr::from_bits(addresses[side]).into(),
            Addresses::V6(addresses) => Ipv6Addr::from_bits(addresses[side]).into(),
        };
        let port = if side == 0 { self.ports >> 16 } else { self.ports };
        SocketAddr::new(address, port as u16)
    }

    pub fn ends(&self) -> [SocketAddr; 2] {
        [self.end(0), self.end(1)]
    }

    /// The end that opened the conversation, as far as known.
    pub fn client(&self) -> Option<Side> {
        self.client.map(Side::from)
    }

    pub fn set_client(&mut self, client: Option<Side>) {
        self.client = client.map(|side| side == 1);
    }

    /// Where it was captured first.
    pub fn first(&self) -> Place {
        Place { input: self.first_input, frame: self.first_frame }
    }

    /// Whether it has one of these [`marks`].
    pub fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// Gives it one of the [`marks`]; whether it had that.
    pub fn mark(&mut self, mark: u8) -> bool {
        let had = self.is(mark);
        self.marks |= mark;
        had
    }

    /// The record of its other half, once it is known.
    pub fn other(&self) -> Option<u32> {
        match self.state {
            State::Repaired { reply } => Some(reply),
            State::Answering { forward } => Some(forward),
            _ => None,
        }
    }

    pub fn is_settled(&self) -> bool {
        !matches!(self.state, State::Forward | State::Open | State::Reply)
    }

    /// How it is known outside, with this end for the client.
    pub fn part(&self, client: Side) -> Part {
        Part { number: self.serial - 1, client_is_first: client == 0 }
    }

    /// Whether its answer is looked for: it is a forward half, or may turn out to be one.
    pub fn is_forward(&self) -> bool {
        matches!(self.state, State::Forward | State::Open)
    }

    /// Whether it is on the wire, and its answer may come from another address.
    pub fn is_open_on_wire(&self) -> bool {
        self.state == State::Open && self.origin == Origin::Network
    }

    /// The end that sent its first packet.
    #[inline]
    pub fn first_side(&self) -> Side {
        Side::from(self.is(marks::FROM_HIGHER))
    }
}

/// No conversation's: it has no serial number.
impl Default for Record {
    fn default() -> Record {
        Record {
            addresses: Addresses::V4([0; 2]),
            ports: 0,
            tag: 0,
            origin: Origin::Unknown,
            client: None,
            waits: false,
            serial: 0,
            state: State::Whole,
            last_time: Timestamp(0),
            proof: 0,
            second: 0,
            in_flight: 0,
            first_input: 0,
            unanswered: false,
            marks: 0,
            half: Half::default(),
            first_frame: 0,
            first_time: Timestamp(0),
        }
    }
}

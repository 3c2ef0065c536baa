//! The short way of most packets: TCP segments of conversations whose state is final, that neither open nor end anything.

use super::key::{Key, Side};
use super::pairing::follows;
use super::record::{Record, marks};
use super::requests::Said;
use super::segment::{Content, Place, Segment, flags};
use super::table::Records;
use super::{Flows, Mark};
use crate::capture::Timestamp;
use crate::nat::Protocol;
use crate::packet::{Origin, Transport, View};

/// The conversation that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    /// The number of the conversation, as in [`Part`](super::Part).
    pub number: u64,
    /// Whether the lower end sent the packet.
    pub from_first: bool,
    /// Whether the conversation was captured on the wire.
    pub is_on_wire: bool,
    /// The input that showed it first.
    pub first_input: u16,
}

impl Flows {
    /// The conversation that a packet belongs to, if it is not an ICMP error that quotes one, or a fragment whose first one was
    /// not seen yet.
    pub(crate) fn whose(&self, mark: Mark) -> Option<Whose> {
        let Mark::Conversation { id, from_first } = mark else { return None };
        let record = &self.table.records[id];
        let is_on_wire = record.origin == Origin::Network;
        Some(Whose { number: record.serial - 1, from_first, is_on_wire, first_input: record.first().input })
    }

    /// Takes in a packet, if it is a segment that neither opens nor ends anything, of a conversation that is settled: as
    /// [`observe`](Flows::observe) would, and [`release`](Flows::release) behind it. `None`: it was not taken in.
    #[inline]
    pub(crate) fn observe_settled(
        &mut self,
        view: &View,
        origin: Origin,
        time: Timestamp,
        place: Place,
    ) -> Option<Whose> {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return None };
        if tcp.flags & (flags::SYN | flags::FIN | flags::RST) != 0 || ip.fragment.is_some() {
            return None;
        }
        self.expire(time);
        let is_on_wire = origin == Origin::Network;
        let (source, destination) = ((ip.source, tcp.source), (ip.destination, tcp.destination));
        let (key, side) = Key::between(Protocol::Tcp, is_on_wire, source, destination);
        let id = self.table.find(&key)?;
        let (seq, ack, control, data_len) = (tcp.seq, tcp.ack, tcp.flags, tcp.data_len);
        let sent = Sent { seq, ack, control, timestamps: tcp.timestamps(), data_len, time, place };
        if !self.follow(id, side, &sent) {
            return None;
        }
        let record = &self.table.records[id];
        let (number, first_input) = (record.serial - 1, record.first().input);
        Some(Whose { number, from_first: side == 0, is_on_wire, first_input })
    }

    /// The short way of a segment, if its conversation is there and it may go that way; whether it did.
    #[inline]
    pub(super) fn observe_following(&mut self, id: u32, side: Side, segment: &Segment) -> bool {
        let Content::Tcp { seq, ack, flags: control, timestamps } = segment.content else { return false };
        if control & (flags::SYN | flags::FIN | flags::RST) != 0 {
            return false;
        }
        let (data_len, time, place) = (segment.data_len, segment.time, segment.place);
        let is_following = self.follow(id, side, &Sent { seq, ack, control, timestamps, data_len, time, place });
        self.table.records[id].in_flight += u32::from(is_following);
        is_following
    }

    /// Takes in a segment without SYN, FIN and RST; whether it did: see [`Records::follow`].
    #[inline(always)]
    fn follow(&mut self, id: u32, side: Side, sent: &Sent) -> bool {
        let Some(record) = self.table.records.follow(id, side, sent) else { return false };
        let said = Said { time: sent.time, control: sent.control, data_len: sent.data_len };
        if let Some(forward) = self.requests.hear(record, side, &said) {
            self.requests.note(&mut self.table.records[forward], &said, false);
        }
        true
    }
}

/// A TCP segment that bears no SYN, no FIN and no RST.
struct Sent {
    seq: u32,
    ack: u32,
    control: u8,
    timestamps: Option<(u32, u32)>,
    data_len: u32,
    time: Timestamp,
    place: Place,
}

impl Records {
    /// Takes in a segment without SYN, FIN and RST. `None`, and it was not, if its conversation is not settled or comes to its
    /// end, if it is the first one of its direction, or does not follow what was sent before.
    #[inline(always)]
    fn follow(&mut self, id: u32, side: Side, sent: &Sent) -> Option<&mut Record> {
        let (record, seconds) = self.parts(id);
        if !record.is_settled() || record.is(marks::CLOSING | marks::ENDED) {
            return None;
        }
        let half = match record.second {
            _ if record.first_side() == side => &mut record.half,
            0 => return None,
            second => &mut seconds[second - 1],
        };
        if half.packets() == 0 || !follows(half, sent.seq, sent.ack, sent.control) {
            return None;
        }
        half.note_data(sent.time, sent.place, sent.data_len);
        half.note_numbers(sent.seq.wrapping_add(sent.data_len), sent.ack, sent.control, sent.timestamps);
        record.last_time = record.last_time.max(sent.time);
        Some(record)
    }
}

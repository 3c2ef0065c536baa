//! The short way of most packets: TCP segments of conversations whose state is final, that neither open nor end anything.

use super::half::Half;
use super::key::Key;
use super::pairing::follows;
use super::record::marks;
use super::requests::Said;
use super::segment::{Place, flags};
use super::{Flows, Side};
use crate::capture::Timestamp;
use crate::nat::Protocol;
use crate::packet::{Origin, Transport, View};

/// The conversation of a packet that is settled, and of which nothing has to be remembered until it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
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
    /// Takes in a packet, if it is a segment that neither opens nor ends anything, of a conversation that is settled: as
    /// [`observe`](Flows::observe) would, and [`release`](Flows::release) behind it. `None`: it was not taken in.
    #[inline]
    pub(crate) fn observe_settled(
        &mut self,
        view: &View,
        origin: Origin,
        time: Timestamp,
        place: Place,
    ) -> Option<Settled> {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return None };
        if tcp.flags & (flags::SYN | flags::FIN | flags::RST) != 0 || ip.fragment.is_some() {
            return None;
        }
        self.expire(time);
        let is_on_wire = origin == Origin::Network;
        let (source, destination) = ((ip.source, tcp.source), (ip.destination, tcp.destination));
        let (key, side) = Key::between(Protocol::Tcp, is_on_wire, source, destination);
        let id = self.table.find(&key)?;
        let half = self.settled_half(id, side)?;
        if !follows(half, tcp.seq, tcp.ack, tcp.flags) {
            return None;
        }
        half.note_data(time, place, tcp.data_len);
        half.note_numbers(tcp.seq.wrapping_add(tcp.data_len), tcp.ack, tcp.flags, tcp.timestamps());
        self.note_request(id, side, &Said { time, control: tcp.flags, data_len: tcp.data_len });
        let record = &mut self.table.records[id];
        record.last_time = record.last_time.max(time);
        let (number, first_input) = (record.serial - 1, record.first().input);
        Some(Settled { number, from_first: side == 0, is_on_wire, first_input })
    }

    /// The direction of a conversation that is settled and does not come to its end, if something was sent in it already.
    #[inline]
    fn settled_half(&mut self, id: u32, side: Side) -> Option<&mut Half> {
        let records = &mut self.table.records;
        let record = &records[id];
        if !record.is_settled() || record.is(marks::CLOSING) {
            return None;
        }
        records.half_mut(id, side).filter(|half| half.packets() > 0)
    }
}

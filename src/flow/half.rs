//! One direction of a conversation, as far as pairing and the report need it.

use super::segment::{Content, Place, Segment, end_of, flags};
use crate::capture::Timestamp;

/// One direction of a conversation.
///
/// There is one for each direction in which something was sent: it is small, and has one look for every packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Half {
    /// How many packets, and above them what was seen: see [`seen`].
    packets: u64,
    /// Octets of data.
    pub bytes: u64,
    /// When data was sent last.
    pub last_data: Timestamp,
    /// Where the last segment stands.
    place: PackedPlace,
    /// The sequence number that follows the last segment.
    pub next: u32,
    ack: u32,
    isn: u32,
    tsval: u32,
}

const _: () = assert!(size_of::<Half>() == 48, "what a record has room for");

/// Bits of [`Half::packets`], above the number: nobody has captured so many packets.
mod seen {
    pub const ACK: u64 = 1 << 56;
    pub const ISN: u64 = 1 << 57;
    pub const TSVAL: u64 = 1 << 58;
    pub const FIN: u64 = 1 << 59;
    pub const RST: u64 = 1 << 60;
}

/// A [`Place`] in 8 octets: there are fewer frames in an input than 2^48.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PackedPlace(u64);

impl From<Place> for PackedPlace {
    #[inline]
    fn from(place: Place) -> PackedPlace {
        PackedPlace(place.frame << 16 | u64::from(place.input))
    }
}

impl From<PackedPlace> for Place {
    fn from(packed: PackedPlace) -> Place {
        Place { input: packed.0 as u16, frame: packed.0 >> 16 }
    }
}

impl Half {
    /// One that sent nothing.
    pub const NONE: &Half = &Half {
        packets: 0,
        bytes: 0,
        last_data: Timestamp(0),
        place: PackedPlace(0),
        next: 0,
        ack: 0,
        isn: 0,
        tsval: 0,
    };

    /// Takes in one more segment.
    #[inline]
    pub fn note(&mut self, segment: &Segment) {
        self.note_data(segment.time, segment.place, segment.data_len);
        if let Content::Tcp { seq, ack, flags: f, timestamps } = segment.content {
            self.note_numbers(end_of(seq, segment.data_len, f), ack, f, timestamps);
            if f & (flags::SYN | flags::FIN | flags::RST) != 0 {
                self.note_control(seq, f);
            }
        }
    }

    /// Takes in what one more segment has of any protocol.
    #[inline]
    pub fn note_data(&mut self, time: Timestamp, place: Place, data_len: u32) {
        self.packets += 1;
        self.bytes += u64::from(data_len);
        if data_len > 0 {
            self.last_data = time;
        }
        self.place = place.into();
    }

    /// Takes in the numbers of a TCP segment, and the one behind it.
    #[inline]
    pub fn note_numbers(&mut self, next: u32, ack: u32, f: u8, timestamps: Option<(u32, u32)>) {
        self.next = next;
        if f & flags::ACK != 0 {
            self.ack = ack;
            self.packets |= seen::ACK;
        }
        if let Some((tsval, _)) = timestamps {
            self.tsval = tsval;
            self.packets |= seen::TSVAL;
        }
    }

    fn note_control(&mut self, seq: u32, f: u8) {
        if f & flags::SYN != 0 {
            self.isn = seq;
            self.packets |= seen::ISN;
        }
        self.packets |= if f & flags::FIN != 0 { seen::FIN } else { 0 };
        self.packets |= if f & flags::RST != 0 { seen::RST } else { 0 };
    }

    #[inline]
    fn has(&self, seen: u64) -> bool {
        self.packets & seen != 0
    }

    /// How many packets there were.
    #[inline]
    pub fn packets(&self) -> u64 {
        self.packets & (seen::ACK - 1)
    }

    /// Whether a FIN was sent.
    pub fn fin(&self) -> bool {
        self.has(seen::FIN)
    }

    /// Whether a RST was sent.
    pub fn rst(&self) -> bool {
        self.has(seen::RST)
    }

    /// The last acknowledgment number, if any was sent.
    #[inline]
    pub fn ack(&self) -> Option<u32> {
        self.has(seen::ACK).then_some(self.ack)
    }

    /// The initial sequence number, if the SYN was captured.
    pub fn isn(&self) -> Option<u32> {
        self.has(seen::ISN).then_some(self.isn)
    }

    /// Whether it ended, and the `other` one acknowledged that.
    pub fn has_ended(&self, other: &Half) -> bool {
        // RFC 9293, section 3.4: numbers are compared within half of their space.
        self.fin() && other.ack().is_some_and(|ack| ack.wrapping_sub(self.next) as i32 >= 0)
    }

    /// TSval of the last segment.
    pub fn tsval(&self) -> Option<u32> {
        self.has(seen::TSVAL).then_some(self.tsval)
    }

    /// Where the last segment stands.
    pub fn place(&self) -> Place {
        self.place.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back() {
        for place in
            [Place::default(), Place { input: u16::MAX, frame: (1 << 48) - 1 }, Place { input: 1, frame: 70_000 }]
        {
            assert_eq!(Place::from(PackedPlace::from(place)), place);
        }
    }
}

//! One direction of a TCP connection, put in order (RFC 9293, section 3.4): octets come out once, whatever was sent again.
//!
//! Memory: [`HELD`] segments of [`HELD_OCTETS`] octets that came before their turn.

use std::collections::BTreeMap;

use crate::flow::flags;

/// Segments that wait for one before them.
const HELD: usize = 4096;

/// Octets that wait for others before them.
const HELD_OCTETS: usize = 4 << 20;

/// What is remembered of a direction.
#[derive(Default)]
pub(super) struct Order {
    next: Option<u32>,
    /// Octets that came in order.
    delivered: u64,
    /// Octets that were sent, as far as sequence numbers tell.
    sent: u64,
    /// By their place; what came before its turn.
    held: BTreeMap<u64, Box<[u8]>>,
    held_octets: usize,
    /// Where the FIN stands.
    fin: Option<u64>,
    /// Whether octets are missing that cannot be had any more.
    lost: bool,
}

impl Order {
    /// Takes in a segment: `data` is what was captured of its `len` octets. Hands out what is in order now.
    pub fn segment(&mut self, seq: u32, control: u8, data: &[u8], len: u32, out: &mut dyn FnMut(&[u8])) {
        // The SYN takes a number of its own.
        let seq = seq.wrapping_add(u32::from(control & flags::SYN != 0));
        let next = *self.next.get_or_insert(seq);
        let ahead = i64::from(seq.wrapping_sub(next).cast_signed());
        let Some(place) = self.delivered.checked_add_signed(ahead) else { return };
        let end = place.saturating_add(u64::from(len));
        if control & flags::FIN != 0 {
            self.fin.get_or_insert(end);
        }
        // So does the FIN, and all that comes behind it.
        self.sent = self.sent.max(self.fin.map_or(end, |fin| end.min(fin)));
        if self.lost || len == 0 {
            return;
        }
        if place > self.delivered {
            return self.hold(place, data, len);
        }
        self.deliver(place, data, len, out);
        while let Some(first) = self.held.first_entry().filter(|first| *first.key() <= self.delivered) {
            let (place, data) = first.remove_entry();
            self.held_octets -= data.len();
            self.deliver(place, &data, data.len() as u32, out);
        }
    }

    /// There is a hole, or the snaplen cut something: what was sent is not known whole.
    pub fn is_whole(&self) -> bool {
        !self.lost && self.delivered == self.sent
    }

    /// Octets that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Octets of memory in use.
    pub fn memory(&self) -> usize {
        self.held_octets + self.held.len() * 64
    }

    fn deliver(&mut self, place: u64, data: &[u8], len: u32, out: &mut dyn FnMut(&[u8])) {
        let known = self.delivered - place;
        if known >= u64::from(len) {
            return;
        }
        let new = data.get(known as usize..).unwrap_or_default();
        out(new);
        let len = u64::from(len) - known;
        self.lost |= (new.len() as u64) < len;
        self.delivered += len;
        self.next = self.next.map(|next| next.wrapping_add(len as u32));
    }

    fn hold(&mut self, place: u64, data: &[u8], len: u32) {
        if self.held.get(&place).is_some_and(|held| held.len() >= data.len()) {
            return;
        }
        let is_full = self.held.len() == HELD || self.held_octets + data.len() > HELD_OCTETS;
        if is_full || data.len() < len as usize {
            (self.lost, self.held_octets) = (true, 0);
            self.held.clear();
            return;
        }
        self.held_octets += data.len();
        let before = self.held.insert(place, data.into());
        self.held_octets -= before.map_or(0, |before| before.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(segments: &[(u32, &str)]) -> (String, Order) {
        let mut order = Order::default();
        let mut text = String::new();
        order.segment(u32::MAX - 3, flags::SYN, b"", 0, &mut |_| ());
        for (seq, data) in segments {
            let seq = (u32::MAX - 2).wrapping_add(*seq);
            order.segment(seq, flags::ACK, data.as_bytes(), data.len() as u32, &mut |octets| {
                text.push_str(std::str::from_utf8(octets).expect("ASCII"));
            });
        }
        (text, order)
    }

    #[test]
    fn octets_come_once_and_in_order() {
        for segments in [
            &[(0, "abc"), (3, "defgh")][..],
            &[(3, "de"), (5, "fgh"), (0, "abc")],
            &[(0, "ab"), (0, "abcd"), (1, "bcde"), (5, "fgh"), (4, "e")],
            &[(6, "gh"), (2, "cdef"), (4, "efgh"), (0, "abc")],
        ] {
            let (text, order) = read(segments);
            assert_eq!((text.as_str(), order.is_whole(), order.sent()), ("abcdefgh", true, 8), "{segments:?}");
        }
    }

    #[test]
    fn a_hole_is_told() {
        let (text, order) = read(&[(0, "abc"), (5, "fgh")]);
        assert_eq!((text.as_str(), order.is_whole(), order.sent()), ("abc", false, 8));
        let mut cut = Order::default();
        cut.segment(0, flags::ACK, b"ab", 4, &mut |_| ());
        assert_eq!((cut.is_whole(), cut.sent()), (false, 4));
    }

    #[test]
    fn the_fin_is_no_octet() {
        let mut order = Order::default();
        order.segment(7, flags::SYN, b"", 0, &mut |_| ());
        order.segment(8, flags::ACK | flags::FIN, b"ab", 2, &mut |_| ());
        order.segment(11, flags::ACK, b"", 0, &mut |_| ());
        assert_eq!((order.is_whole(), order.sent()), (true, 2));
    }
}

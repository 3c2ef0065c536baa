//! The number that Wireshark will give a conversation: `tcp.stream`, `udp.stream`.
//!
//! Wireshark counts conversations in the order in which they first appear in the file. Addresses and ports
//! tell them apart, and a SYN with another initial sequence number starts a new one (`packet-tcp.c`,
//! `dissect_tcp`; the same in 3.x and 4.x).

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use crate::flow::{Key, flags};
use crate::nat::Protocol;
use crate::packet::{Transport, View, array, protocol};

/// How many conversations are remembered. Wireshark never forgets one; past this bound, new ones get no
/// number, rather than a wrong one.
const LIMIT: usize = 1 << 20;

/// The conversations of the output so far.
#[derive(Default)]
pub(super) struct Streams {
    known: HashMap<Key, Stream, RandomState>,
    tcp: u32,
    udp: u32,
}

struct Stream {
    number: u32,
    /// Of each end: the sequence number that Wireshark counts from, as soon as it has one.
    base: [Option<u32>; 2],
}

impl Streams {
    /// The number of the conversation of a packet that is written now, with these bytes.
    ///
    /// A header that an ICMP error quotes counts as well, if Wireshark reads it as TCP or UDP: the ICMP packet
    /// has no number of its own, but the next conversation has the next one.
    pub fn of(&mut self, view: &View, bytes: &[u8]) -> Option<u32> {
        let ip = view.ip.as_ref()?;
        match &view.transport {
            Transport::Tcp(tcp) => {
                let ends = (SocketAddr::new(ip.source, tcp.source), SocketAddr::new(ip.destination, tcp.destination));
                self.tcp(ends.0, ends.1, tcp.seq, tcp.ack, tcp.flags)
            }
            Transport::Udp(udp) => {
                let ends = (SocketAddr::new(ip.source, udp.source), SocketAddr::new(ip.destination, udp.destination));
                self.udp(ends.0, ends.1)
            }
            Transport::IcmpError(quote) => {
                let header = bytes.get(quote.transport..ip.end).unwrap_or_default();
                match (quote.protocol, header.first_chunk::<16>()) {
                    (protocol::UDP, _) if header.len() >= 8 => {
                        self.udp(quote.source, quote.destination);
                    }
                    (protocol::TCP, Some(header)) => {
                        let word = |at: usize| array(header, at).map_or(0, u32::from_be_bytes);
                        self.tcp(quote.source, quote.destination, word(4), word(8), header[13]);
                    }
                    _ => {}
                }
                None
            }
            _ => None,
        }
    }

    /// The number of the TCP conversation of a packet that is written now.
    fn tcp(&mut self, source: SocketAddr, destination: SocketAddr, seq: u32, ack: u32, control: u8) -> Option<u32> {
        let (key, side) = Key::new(Protocol::Tcp, false, source, destination);
        let stream = find(&mut self.known, &mut self.tcp, key)?;
        let syn = control & (flags::SYN | flags::ACK) == flags::SYN;
        if syn && stream.base[side].is_some_and(|base| base != seq) {
            *stream = Stream { number: self.tcp, base: [None, None] };
            self.tcp += 1;
        }
        if control & flags::SYN != 0 && control & flags::ACK != 0 && stream.base[side].is_some() {
            stream.base[side] = Some(seq);
        }
        let before_data = u32::from(control & flags::SYN == 0);
        stream.base[side].get_or_insert(seq.wrapping_sub(before_data));
        if control & flags::ACK != 0 {
            stream.base[1 - side].get_or_insert(ack.wrapping_sub(1));
        }
        Some(stream.number)
    }

    /// The number of the UDP conversation of a packet that is written now.
    fn udp(&mut self, source: SocketAddr, destination: SocketAddr) -> Option<u32> {
        let (key, _) = Key::new(Protocol::Udp, false, source, destination);
        find(&mut self.known, &mut self.udp, key).map(|stream| stream.number)
    }
}

fn find<'a>(known: &'a mut HashMap<Key, Stream, RandomState>, next: &mut u32, key: Key) -> Option<&'a mut Stream> {
    let full = known.len() >= LIMIT;
    match known.entry(key) {
        std::collections::hash_map::Entry::Occupied(entry) => Some(entry.into_mut()),
        std::collections::hash_map::Entry::Vacant(_) if full => None,
        std::collections::hash_map::Entry::Vacant(entry) => {
            let number = *next;
            *next += 1;
            Some(entry.insert(Stream { number, base: [None, None] }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(streams: &mut Streams, from: &str, to: &str, seq: u32, ack: u32, control: u8) -> Option<u32> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("address"), to.parse().expect("address"));
        streams.tcp(from, to, seq, ack, control)
    }

    #[test]
    fn a_syn_with_another_number_starts_a_stream() {
        let (a, b) = ("10.0.0.1:1000", "10.0.0.2:80");
        let mut s = Streams::default();
        assert_eq!(packet(&mut s, a, b, 5, 0, flags::SYN), Some(0));
        assert_eq!(packet(&mut s, b, a, 9, 6, flags::SYN | flags::ACK), Some(0));
        assert_eq!(packet(&mut s, a, b, 5, 0, flags::SYN), Some(0), "a retransmission");
        assert_eq!(packet(&mut s, a, "10.0.0.2:81", 5, 0, flags::SYN), Some(1));
        assert_eq!(packet(&mut s, a, b, 77, 0, flags::SYN), Some(2), "the port is used again");
        assert_eq!(packet(&mut s, b, a, 9, 78, flags::ACK), Some(2));
    }

    #[test]
    fn a_syn_after_a_beginning_mid_stream() {
        let (a, b) = ("10.0.0.1:1000", "10.0.0.2:80");
        let mut s = Streams::default();
        assert_eq!(packet(&mut s, b, a, 100, 51, flags::ACK), Some(0));
        assert_eq!(packet(&mut s, a, b, 50, 0, flags::SYN), Some(0), "the number that the ACK told");
        assert_eq!(packet(&mut s, a, b, 51, 0, flags::SYN), Some(1));
    }
}

//! Datagrams in fragments, as Wireshark puts them together: it reads the transport header in the packet that makes a
//! datagram whole, not in the first fragment, and never where a fragment is missing.
//!
//! In come fragments in the order of the output; out goes what the first one said, once all are there.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::packet::{Fragment, Ip};

/// Datagrams that are remembered at least; at most twice as many. Wireshark forgets none.
const LIMIT: usize = 2048;
/// Parts of one datagram that do not touch each other. One in more is given up.
const MAX_PARTS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

/// Datagrams that are not whole yet; `T` is what a first fragment says.
pub(crate) struct Datagrams<T> {
    recent: HashMap<Key, Datagram<T>, RandomState>,
    /// What was recent until there were too many.
    older: HashMap<Key, Datagram<T>, RandomState>,
}

struct Datagram<T> {
    first: Option<T>,
    /// From where to where there is something, in octets; in order, none touches another.
    parts: Vec<(usize, usize)>,
    /// Where the last fragment ends.
    end: Option<usize>,
}

impl<T> Default for Datagrams<T> {
    fn default() -> Datagrams<T> {
        Datagrams { recent: HashMap::default(), older: HashMap::default() }
    }
}

impl<T> Datagrams<T> {
    /// What Wireshark reads in a packet: what its `header` says, and of a fragment, where it makes a datagram whole, what
    /// that of the first one said. One that is cut is not put together: IPv4's is read as it is, IPv6's is not read.
    pub fn read(&mut self, ip: &Ip, header: impl FnOnce() -> Option<T>) -> Option<T> {
        match ip.fragment {
            Some(fragment) if ip.is_whole() => {
                let says = if fragment.is_first() { header() } else { None };
                self.add(ip, fragment, says)
            }
            Some(_) if ip.source.is_ipv6() => None,
            _ => header(),
        }
    }

    /// Takes a fragment, all of which was captured, with what it says if it is a first one. What the first one said, if
    /// the datagram is whole now; it is forgotten then.
    fn add(&mut self, ip: &Ip, fragment: Fragment, says: Option<T>) -> Option<T> {
        let Ip { source, destination, protocol, .. } = *ip;
        let key = Key { source, destination, protocol, identification: fragment.identification };
        let known = self.recent.remove(&key).or_else(|| self.older.remove(&key));
        let mut datagram = known.unwrap_or(Datagram { first: None, parts: Vec::new(), end: None });
        datagram.first = datagram.first.or(says);
        let start = usize::from(fragment.offset());
        let end = start + ip.payload_len();
        datagram.end = datagram.end.or((!fragment.has_more()).then_some(end));
        datagram.cover(start, end);
        match (datagram.end, &datagram.parts[..]) {
            (Some(whole), &[(0, end)]) if end >= whole => return datagram.first,
            (_, parts) if parts.len() > MAX_PARTS => return None,
            _ => {}
        }
        if self.recent.len() >= LIMIT {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, datagram);
        None
    }
}

impl<T> Datagram<T> {
    fn cover(&mut self, mut start: usize, mut end: usize) {
        self.parts.retain(|&(from, to)| {
            let touches = from <= end && start <= to;
            if touches {
                (start, end) = (start.min(from), end.max(to));
            }
            !touches
        });
        let place = self.parts.partition_point(|&(from, _)| from < start);
        self.parts.insert(place, (start, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LinkType;
    use crate::packet::decode;
    use crate::packet::tests::build;

    /// Adds octets `start` to `end` of datagram `identification`.
    fn add(datagrams: &mut Datagrams<u32>, identification: u32, start: u16, end: usize, more: bool) -> Option<u32> {
        let word = (start / 8) | if more { 0x2000 } else { 0 };
        let mut frame = build::v4_with(17, word, &[], &vec![0; end - usize::from(start)]);
        frame[4..6].copy_from_slice(&(identification as u16).to_be_bytes());
        let ip = decode(LinkType::RAW, &frame, frame.len()).ip.expect("a header");
        datagrams.add(&ip, ip.fragment.expect("a fragment"), (start == 0).then_some(identification))
    }

    #[test]
    fn whole_when_the_last_of_any_order_is_there() {
        let pieces = [(0, 16, true), (16, 32, true), (32, 40, false)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut datagrams = Datagrams::default();
            let mut last = None;
            for (count, place) in order.into_iter().enumerate() {
                let (start, end, more) = pieces[place];
                assert_eq!(add(&mut datagrams, 8, start, end, true), None, "of another datagram nothing is the last");
                last = add(&mut datagrams, 7, start, end, more);
                assert_eq!(last.is_some(), count == 2, "{order:?}");
                assert!(add(&mut datagrams, 7, start, end, more).is_none(), "twice");
            }
            assert_eq!(last, Some(7));
        }
    }

    #[test]
    fn no_more_than_it_may_remember() {
        let mut datagrams = Datagrams::default();
        for identification in 0..5 * LIMIT as u32 {
            assert_eq!(add(&mut datagrams, identification, 0, 8, true), None);
            assert!(datagrams.recent.len() + datagrams.older.len() <= 2 * LIMIT);
        }
        assert_eq!(add(&mut datagrams, 0, 8, 16, false), None, "forgotten");
        assert_eq!(add(&mut datagrams, 5 * LIMIT as u32 - 1, 8, 16, false), Some(5 * LIMIT as u32 - 1));
        let mut datagrams = Datagrams::default();
        for part in 0..1000_u16 {
            add(&mut datagrams, 1, part * 16, usize::from(part) * 16 + 8, true);
            assert!(datagrams.recent.values().all(|datagram| datagram.parts.len() <= MAX_PARTS));
        }
    }
}

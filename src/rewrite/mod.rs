//! New addresses for a frame: IP addresses, ports and the checksums over them; nothing else.
//!
//! What comes in is a frame with its [`View`] and the addresses that it shall bear; what goes out is the frame changed in
//! place, its length as before, and the view to match. It refuses to change the address family.
//!
//! What happens to the checksums:
//!
//! * IPv4 header, and every complete transport checksum: incremental (RFC 1624), so that a right one stays right and a
//!   wrong one wrong by the same amount.
//! * *Partial* transport checksums, as captures on lo and veth hold them: the sum of the pseudo header, not complemented,
//!   left for a network card to complete. In a whole packet it is completed, here or by [`complete_checksum`];
//!   in one that the snaplen cut it becomes the partial checksum of the new addresses.
//! * A UDP checksum of 0, "none", stays 0 (RFC 768).
//!
//! A complete checksum may by chance (1 in 65536) equal the partial one. In a whole packet both then lead to
//! the right checksum; in a cut packet it passes for a partial one.

mod checksum;
mod link;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::capture::LinkType;
use crate::packet::{Ip, Quote, Transport, View, be16, decode, protocol};

pub use link::{can_be_ethernet, to_ethernet};

/// What was found in the place of a TCP or UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// A partial checksum, which was completed.
    Completed,
    /// A complete checksum, right or wrong.
    NotPartial,
    /// A checksum that covers octets which are not in this frame: cut by the snaplen, or a first fragment.
    NotWhole,
    /// No TCP or UDP checksum: another protocol, a field that was not captured, or UDP's 0 for "none".
    None,
}

/// Gives a packet new addresses: IP addresses, ports (if this is not a later fragment), and the checksums over them.
///
/// A partial checksum of a whole packet is completed on the way: [`complete_checksum`] is for the packets that keep their
/// addresses. `view` follows: its addresses and ports are the new ones, its offsets stay as they are.
///
/// Does nothing if the frame has no IP header, or one of another family than the addresses. For an ICMP error this changes
/// the outer header only: see [`translate_quote`].
pub fn translate(frame: &mut [u8], view: &mut View, source: SocketAddr, destination: SocketAddr) -> Checksum {
    let network = view.link.network();
    let Some(ip) = &mut view.ip else {
        return Checksum::None;
    };
    let same_family = ip.source.is_ipv4() == source.is_ipv4() && ip.source.is_ipv4() == destination.is_ipv4();
    debug_assert!(same_family, "{} to {source} > {destination}", ip.source);
    if !same_family || frame.len() < ip.end() {
        return Checksum::None;
    }
    let old_addresses = checksum::addresses(ip);
    (ip.source, ip.destination) = (source.ip(), destination.ip());
    let new_addresses = checksum::addresses(ip);
    put_addresses(frame, network, ip);
    if ip.source.is_ipv4() {
        // RFC 791, section 3.1: Header Checksum.
        update_at(frame, network + 10, old_addresses, new_addresses);
    }

    let (mut old, mut new) = (old_addresses, new_addresses);
    if let Some((old_source, old_destination)) = view.transport.ports_mut() {
        old += u64::from(*old_source) + u64::from(*old_destination);
        new += u64::from(source.port()) + u64::from(destination.port());
        *old_source = source.port();
        *old_destination = destination.port();
        put16(frame, ip.payload(), source.port());
        put16(frame, ip.payload() + 2, destination.port());
    }

    let change = |frame: &mut [u8], field: Field| {
        if field.is_partial(old_addresses) {
            put16(frame, field.at, field.partial(new_addresses));
            return field.complete(frame);
        }
        let updated = checksum::update(field.stored, old, new);
        put16(frame, field.at, field.never_none(updated));
        field.kind()
    };
    Field::with(frame, &view.transport, ip, change)
}

/// Gives the datagram that an ICMP error quotes new addresses, as [`translate`] does for a packet; the ICMP checksum follows.
///
/// Does nothing if the frame is no ICMP error that quotes TCP or UDP, or if the families differ.
pub fn translate_quote(frame: &mut [u8], view: &View, source: SocketAddr, destination: SocketAddr) -> Checksum {
    let Transport::IcmpError(quote) = view.transport else {
        return Checksum::None;
    };
    in_quote(frame, view, quote, |quoted, inner| translate(quoted, inner, source, destination))
}

/// Completes a partial TCP or UDP checksum in a whole packet, or in a whole one that an ICMP error quotes. Returns what it
/// found.
pub fn complete_checksum(frame: &mut [u8], view: &View) -> Checksum {
    let Some(ip) = &view.ip else {
        return Checksum::None;
    };
    if let Transport::IcmpError(quote) = view.transport {
        return in_quote(frame, view, quote, |quoted, inner| complete_checksum(quoted, inner));
    }
    Field::with(frame, &view.transport, ip, |frame, field| {
        if field.is_partial(checksum::addresses(ip)) { field.complete(frame) } else { field.kind() }
    })
}

/// Changes what an ICMP error quotes; the ICMP checksum follows.
#[cold]
fn in_quote(
    frame: &mut [u8],
    view: &View,
    quote: Quote,
    change: impl FnOnce(&mut [u8], &mut View) -> Checksum,
) -> Checksum {
    let (Some(ip), Some(quoted)) = (view.ip, frame.get_mut(quote.offset()..quote.end())) else {
        return Checksum::None;
    };
    let mut inner = decode(LinkType::RAW, quoted, quoted.len());
    // The quoted header starts at octet 8 of the ICMP message, so its words are the message's words.
    let old = checksum::sum(quoted);
    let found = change(quoted, &mut inner);
    let new = checksum::sum(quoted);
    // RFC 792 and RFC 4443, section 2.1: Checksum at octet 2.
    update_at(frame, ip.payload() + 2, u64::from(old), u64::from(new));
    found
}

/// A transport checksum and what it covers.
struct Field {
    protocol: u8,
    /// Offset in the frame.
    at: usize,
    stored: u16,
    /// Where the covered octets start in the frame.
    start: usize,
    /// How many they are, captured or not.
    len: usize,
    /// Whether all of them are in this frame.
    whole: bool,
    /// Whether this is a first fragment, in which no checksum is partial: cards complete them before they fragment.
    fragment: bool,
}

impl Field {
    /// Does something about the checksum of a datagram, if it has one that covers its addresses.
    #[inline(always)]
    fn with(
        frame: &mut [u8],
        transport: &Transport,
        ip: &Ip,
        change: impl Fn(&mut [u8], Field) -> Checksum,
    ) -> Checksum {
        // Most packets are these, of which less has to be asked.
        let field = match transport {
            Transport::Tcp(_) if ip.fragment.is_none() => Field::of_tcp(frame, ip),
            _ => return Field::find(frame, ip).map_or(Checksum::None, |field| change(frame, field)),
        };
        field.map_or(Checksum::None, |field| change(frame, field))
    }

    /// That of a TCP header which is there whole: RFC 9293, section 3.1.
    #[inline(always)]
    fn of_tcp(frame: &[u8], ip: &Ip) -> Option<Field> {
        let (start, len) = (ip.payload(), ip.payload_len());
        let stored = be16(frame, start + 16)?;
        Some(Field {
            protocol: protocol::TCP,
            at: start + 16,
            stored,
            start,
            len,
            whole: ip.is_whole(),
            fragment: false,
        })
    }

    /// Where the checksum of the datagram stands, if it has one that covers its addresses.
    fn find(frame: &[u8], ip: &Ip) -> Option<Field> {
        if ip.is_later_fragment() {
            return None;
        }
        let datagram = frame.get(..ip.end())?;
        let (at, len) = match ip.protocol {
            // RFC 9293, section 3.1.
            protocol::TCP => (ip.payload() + 16, ip.payload_len()),
            // RFC 768; a length of 0 is that of a jumbogram (RFC 2675, section 4).
            protocol::UDP => match be16(datagram, ip.payload() + 4)? {
                0 => (ip.payload() + 6, ip.payload_len()),
                len => (ip.payload() + 6, usize::from(len)),
            },
            // RFC 4443, section 2.3.
            protocol::ICMPV6 if ip.source.is_ipv6() => (ip.payload() + 2, ip.payload_len()),
            _ => return None,
        };
        let stored = be16(datagram, at)?;
        if ip.protocol == protocol::UDP && stored == 0 {
            return None;
        }
        let fragment = ip.fragment.is_some();
        // A length that ends before its own checksum covers nothing that could be summed.
        let whole = !fragment && ip.is_whole() && len <= ip.payload_len() && ip.payload() + len >= at + 2;
        Some(Field { protocol: ip.protocol, at, stored, start: ip.payload(), len, whole, fragment })
    }

    #[inline]
    fn partial(&self, addresses: u64) -> u16 {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        checksum::pseudo_header(addresses, self.protocol, len)
    }

    #[inline]
    fn is_partial(&self, addresses: u64) -> bool {
        !self.fragment && self.protocol != protocol::ICMPV6 && self.stored == self.partial(addresses)
    }

    /// Completes the partial checksum that stands in the frame, if it can be.
    #[inline]
    fn complete(&self, frame: &mut [u8]) -> Checksum {
        if !self.whole {
            return Checksum::NotWhole;
        }
        // The field itself brings in the pseudo header.
        let Some(covered) = frame.get(self.start..self.start + self.len) else {
            return Checksum::NotWhole;
        };
        let complete = !checksum::sum(covered);
        put16(frame, self.at, self.never_none(complete));
        Checksum::Completed
    }

    /// RFC 768: a UDP checksum that is computed as 0 is sent as all ones.
    fn never_none(&self, checksum: u16) -> u16 {
        if self.protocol == protocol::UDP && checksum == 0 { 0xffff } else { checksum }
    }

    fn kind(&self) -> Checksum {
        match self.protocol {
            protocol::ICMPV6 => Checksum::None,
            _ if self.whole => Checksum::NotPartial,
            _ => Checksum::NotWhole,
        }
    }
}

/// Source and destination: RFC 791, section 3.1; RFC 8200, section 3.
fn put_addresses(frame: &mut [u8], at: usize, ip: &Ip) {
    match (ip.source, ip.destination) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
            put(frame, at + 12, source.octets());
            put(frame, at + 16, destination.octets());
        }
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            put(frame, at + 8, source.octets());
            put(frame, at + 24, destination.octets());
        }
        _ => {}
    }
}

fn update_at(frame: &mut [u8], at: usize, old: u64, new: u64) {
    if let Some(stored) = be16(frame, at) {
        put16(frame, at, checksum::update(stored, old, new));
    }
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    put(frame, at, value.to_be_bytes());
}

/// Writes octets if the frame reaches that far.
fn put<const N: usize>(frame: &mut [u8], at: usize, octets: [u8; N]) {
    if let Some(place) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = octets;
    }
}

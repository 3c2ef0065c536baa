//! IP headers, IPv4 and IPv6 with its extension headers.
//!
//! What comes in is a frame and the offset of an IP header; what goes out is an [`Ip`] whose offsets lie within the
//! frame, and why the headers could not be walked to their end. A header whose own lengths contradict each other gives
//! no [`Ip`]; one whose lengths go beyond the captured bytes does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array, be32};
use super::{ETHERTYPE_IPV4, Fragment, Ip, Stop, narrow};

/// IPv6 extension headers that are followed.
const MAX_EXTENSIONS: usize = 16;

/// Reads the IP header at `offset`. `original_len` is the length in octets of the frame on the wire.
pub(super) fn decode(ethertype: u16, bytes: &[u8], offset: usize, original_len: usize) -> (Option<Ip>, Option<Stop>) {
    if ethertype == ETHERTYPE_IPV4 {
        return v4(bytes, offset, original_len);
    }
    match v6(bytes, offset, original_len) {
        (Some(ip), None) => extensions(bytes, ip),
        stopped => stopped,
    }
}

/// Source and destination of an IP header: RFC 791, section 3.1; RFC 8200, section 3.
pub(super) fn addresses(header: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match header.first()? >> 4 {
        4 => Some((array::<4>(header, 12)?.into(), array::<4>(header, 16)?.into())),
        6 => Some((array::<16>(header, 8)?.into(), array::<16>(header, 24)?.into())),
        _ => None,
    }
}

/// What stands in the frame from `offset` on, captured or not; at least what was captured.
fn wire_len(bytes: &[u8], offset: usize, original_len: usize) -> usize {
    original_len.max(bytes.len()).saturating_sub(offset)
}

/// RFC 791, section 3.1.
#[inline(always)]
pub(super) fn v4(bytes: &[u8], offset: usize, original_len: usize) -> (Option<Ip>, Option<Stop>) {
    let captured = bytes.get(offset..).unwrap_or_default();
    match captured.first() {
        None => return (None, Some(Stop::Truncated)),
        Some(first) if first >> 4 != 4 || first & 0xf < 5 => return (None, Some(Stop::Malformed)),
        Some(_) => {}
    }
    let Some(header) = captured.first_chunk::<20>() else {
        return (None, Some(Stop::Truncated));
    };
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total_len = match u16::from_be_bytes([header[2], header[3]]) {
        // Left open by segmentation offload, and by BIG TCP where 16 bits are too few.
        0 => wire_len(bytes, offset, original_len),
        len => usize::from(len),
    };
    if total_len < header_len {
        return (None, Some(Stop::Malformed));
    }
    // More Fragments and Fragment Offset.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let ip = Ip {
        source: Ipv4Addr::from([header[12], header[13], header[14], header[15]]).into(),
        destination: Ipv4Addr::from([header[16], header[17], header[18], header[19]]).into(),
        protocol: header[9],
        payload: narrow(offset + header_len.min(captured.len())),
        end: narrow(offset + total_len.min(captured.len())),
        payload_len: narrow(total_len - header_len),
        fragment: Fragment::new(
            u32::from(u16::from_be_bytes([header[4], header[5]])),
            (fragment & 0x1fff) << 3,
            fragment & 0x2000 != 0,
        ),
    };
    (Some(ip), (captured.len() < header_len).then_some(Stop::Truncated))
}

/// The fixed header, RFC 8200, section 3; [`extensions`] goes on from there.
#[inline(always)]
pub(super) fn v6(bytes: &[u8], offset: usize, original_len: usize) -> (Option<Ip>, Option<Stop>) {
    let captured = bytes.get(offset..).unwrap_or_default();
    match captured.first() {
        None => return (None, Some(Stop::Truncated)),
        Some(first) if first >> 4 != 6 => return (None, Some(Stop::Malformed)),
        Some(_) => {}
    }
    let (Some(header), Some(source), Some(destination)) =
        (array::<8>(captured, 0), array::<16>(captured, 8), array::<16>(captured, 24))
    else {
        return (None, Some(Stop::Truncated));
    };
    let next_header = header[6];
    let payload = offset + 40;
    let payload_len = match u16::from_be_bytes([header[4], header[5]]) {
        0 => open_len(bytes, payload, next_header, wire_len(bytes, payload, original_len)),
        len => usize::from(len),
    };
    let ip = Ip {
        source: Ipv6Addr::from(source).into(),
        destination: Ipv6Addr::from(destination).into(),
        protocol: next_header,
        payload: narrow(payload),
        end: narrow(payload.saturating_add(payload_len).min(bytes.len())),
        payload_len: narrow(payload_len),
        fragment: None,
    };
    (Some(ip), None)
}

/// The payload length of an IPv6 header that says 0: that of the Jumbo Payload option (RFC 2675, section 2) if there is
/// one; nothing if no header follows; else all that is left of the frame (segmentation offload, BIG TCP).
fn open_len(bytes: &[u8], payload: usize, next_header: u8, left: usize) -> usize {
    match next_header {
        HOP_BY_HOP => jumbo_len(bytes, payload).unwrap_or(left),
        NO_NEXT_HEADER => 0,
        _ => left,
    }
}

fn jumbo_len(bytes: &[u8], at: usize) -> Option<usize> {
    let [_, len, ..] = array::<8>(bytes, at)?;
    let mut options = bytes.get(at + 2..at + (usize::from(len) + 1) * 8)?;
    loop {
        options = match *options {
            [0, ref rest @ ..] => rest,
            [0xc2, 4, a, b, c, d, ..] => return usize::try_from(u32::from_be_bytes([a, b, c, d])).ok(),
            [_, len, ref rest @ ..] => rest.get(usize::from(len)..)?,
            _ => return None,
        };
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;
/// Mobility (RFC 6275), HIP (RFC 7401) and Shim6 (RFC 5533) have the form of the others (RFC 6564).
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Whether a Next Header value is an extension header that [`extensions`] follows.
pub(super) fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6)
}

/// Walks extension headers (RFC 8200, section 4) from `ip.payload` on. Where it stops, `ip.protocol` is the type of the
/// header at `ip.payload`.
pub(super) fn extensions(bytes: &[u8], mut ip: Ip) -> (Option<Ip>, Option<Stop>) {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(ip.protocol) {
            return (Some(ip), None);
        }
        let is_fragment = ip.protocol == FRAGMENT;
        let captured = bytes.get(ip.payload()..ip.end()).unwrap_or_default();
        // Claimed to be there, or not.
        let cut = |len| if ip.payload_len() < len { Stop::Malformed } else { Stop::Truncated };
        let Some(&[next, len, a, b, ..]) = captured.first_chunk::<8>() else {
            return (Some(ip), Some(cut(8)));
        };
        let header_len = if is_fragment { 8 } else { (usize::from(len) + 1) * 8 };
        if captured.len() < header_len {
            return (Some(ip), Some(cut(header_len)));
        }
        // Segments Left: the checksums are made for the last stop, not for the destination that stands in the header.
        if ip.protocol == ROUTING && b != 0 {
            return (Some(ip), None);
        }
        if is_fragment {
            let (offset, more) = (u16::from_be_bytes([a, b & 0xf8]), b & 1 != 0);
            let identification = be32(captured, 4).unwrap_or_default();
            ip.fragment = Fragment::new(identification, offset, more).or(ip.fragment);
        }
        ip.protocol = next;
        ip.payload += narrow(header_len);
        // Not below zero: the captured octets, hence the claimed ones, hold the header.
        ip.payload_len -= narrow(header_len);
        if ip.is_later_fragment() {
            return (Some(ip), None);
        }
    }
    let stop = is_extension(ip.protocol).then_some(Stop::TooDeep);
    (Some(ip), stop)
}

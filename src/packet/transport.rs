//! Transport headers: TCP, UDP, and the datagram that an ICMP error quotes.
//!
//! What comes in is a frame and its IP header; what goes out is the [`Transport`] and why it is less than a header. Data is
//! not looked into.

use super::bytes::{array, be16};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Ports, Quote, Stop, Tcp, Transport, Udp, ip, narrow, protocol};

/// Reads what the IP datagram carries.
pub(super) fn decode(bytes: &[u8], ip: &Ip) -> (Transport, Option<Stop>) {
    if ip.is_later_fragment() {
        return (Transport::Other, None);
    }
    match ip.protocol {
        protocol::TCP => tcp(bytes, ip),
        protocol::UDP => udp(bytes, ip),
        protocol::ICMP if ip.source.is_ipv4() => icmp(bytes, ip, ETHERTYPE_IPV4),
        protocol::ICMPV6 if ip.source.is_ipv6() => icmp(bytes, ip, ETHERTYPE_IPV6),
        _ => (Transport::Other, None),
    }
}

fn tcp(bytes: &[u8], ip: &Ip) -> (Transport, Option<Stop>) {
    match whole_tcp(bytes, ip) {
        Some(tcp) => (Transport::Tcp(tcp), None),
        None => cut(bytes, ip, 20),
    }
}

/// The TCP header at the start of the payload, if its fixed part was captured and its length makes sense: RFC 9293,
/// section 3.1.
#[inline(always)]
pub(super) fn whole_tcp(bytes: &[u8], ip: &Ip) -> Option<Tcp> {
    let captured = bytes.get(ip.payload()..ip.end())?;
    let header = captured.first_chunk::<20>()?;
    // Data Offset, in 32-bit words.
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 || (header_len > ip.payload_len() && ip.fragment.is_none()) {
        return None;
    }
    let options = captured.get(20..header_len.min(captured.len())).unwrap_or_default();
    let (has_timestamps, (tsval, tsecr)) = timestamps(options).map_or((false, (0, 0)), |pair| (true, pair));
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Some(Tcp {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
        seq: word(4),
        ack: word(8),
        flags: header[13],
        window: u16::from_be_bytes([header[14], header[15]]),
        data_len: ip.payload_len.saturating_sub(u32::from(header[12] >> 4) * 4),
        has_timestamps,
        tsval,
        tsecr,
    })
}

/// TSval and TSecr (RFC 7323, section 3.2: kind 8, length 10) among the TCP options.
pub(super) fn timestamps(options: &[u8]) -> Option<(u32, u32)> {
    // RFC 7323, appendix A: NOP, NOP, Timestamps, which is what nearly every segment has.
    if let [1, 1, 8, 10, rest @ ..] = options {
        return timestamp_pair(rest);
    }
    let mut options = options;
    loop {
        options = match *options {
            [1, ref rest @ ..] => rest,
            [8, 10, ref rest @ ..] => return timestamp_pair(rest),
            // End of Option List, or a length that does not cover its own two octets.
            [0, ..] | [_, 0 | 1, ..] => return None,
            [_, len, ..] => options.get(usize::from(len)..)?,
            _ => return None,
        };
    }
}

#[inline(always)]
fn timestamp_pair(value: &[u8]) -> Option<(u32, u32)> {
    let [a, b, c, d, e, f, g, h] = array(value, 0)?;
    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
}

/// RFC 768.
fn udp(bytes: &[u8], ip: &Ip) -> (Transport, Option<Stop>) {
    let captured = bytes.get(ip.payload()..ip.end()).unwrap_or_default();
    let Some(header) = captured.first_chunk::<8>() else {
        return cut(bytes, ip, 8);
    };
    let udp = Udp {
        source: u16::from_be_bytes([header[0], header[1]]),
        destination: u16::from_be_bytes([header[2], header[3]]),
    };
    (Transport::Udp(udp), None)
}

/// The ports of a TCP or UDP header that is not there whole (`header_len` octets), or contradicts itself.
#[cold]
fn cut(bytes: &[u8], ip: &Ip, header_len: usize) -> (Transport, Option<Stop>) {
    let captured = bytes.get(ip.payload()..ip.end()).unwrap_or_default();
    let too_short = ip.payload_len() < header_len && ip.fragment.is_none();
    let stop = if too_short || captured.len() >= header_len { Stop::Malformed } else { Stop::Truncated };
    match (be16(captured, 0), be16(captured, 2)) {
        (Some(source), Some(destination)) => {
            (Transport::Ports(Ports { protocol: ip.protocol, source, destination }), Some(stop))
        }
        _ => (Transport::Other, Some(stop)),
    }
}

/// Errors quote from octet 8 on: RFC 792 types 3, 4, 5, 11, 12; RFC 4443, section 2.1, types 1 to 4.
fn icmp(bytes: &[u8], ip: &Ip, ethertype: u16) -> (Transport, Option<Stop>) {
    let datagram = bytes.get(..ip.end()).unwrap_or_default();
    let is_error = matches!(
        (ethertype, datagram.get(ip.payload())),
        (ETHERTYPE_IPV4, Some(3 | 4 | 5 | 11 | 12)) | (ETHERTYPE_IPV6, Some(1..=4))
    );
    if !is_error {
        return (Transport::Other, None);
    }
    let offset = ip.payload() + 8;
    let end = quoted_len(&datagram[ip.payload()..], ethertype).map_or(ip.end(), |len| ip.end().min(offset + len));
    let datagram = &datagram[..end];
    let (inner, stop) = ip::decode(ethertype, datagram, offset, end);
    let (Some(inner), None) = (inner, stop) else {
        return (Transport::Other, stop);
    };
    let later = inner.is_later_fragment();
    if later || !matches!(inner.protocol, protocol::TCP | protocol::UDP) {
        return (Transport::Other, None);
    }
    let quoted = datagram.get(inner.payload()..inner.end()).unwrap_or_default();
    if quoted.len() < 4 {
        return (Transport::Other, Some(Stop::Truncated));
    }
    let quote = Quote { protocol: inner.protocol, offset: narrow(offset), transport: inner.payload, end: narrow(end) };
    (Transport::IcmpError(quote), None)
}

/// How many octets are quoted, where the message says so because an extension follows: RFC 4884, section 4. It counts words of
/// four octets in ICMP and of eight in ICMPv6.
fn quoted_len(message: &[u8], ethertype: u16) -> Option<usize> {
    let len = match (ethertype, *message.first_chunk::<8>()?) {
        (ETHERTYPE_IPV4, [3 | 11 | 12, _, _, _, _, words, ..]) => usize::from(words) * 4,
        (ETHERTYPE_IPV6, [1 | 3, _, _, _, words, ..]) => usize::from(words) * 8,
        _ => 0,
    };
    (len > 0).then_some(len)
}

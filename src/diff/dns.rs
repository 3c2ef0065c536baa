//! A DNS message (RFC 1035, section 4.1) without what differs each time: its ID, times to live, the order of records.

use super::digest::Digest;
use super::payload::Message;
use super::settings::Settings;

/// Records of a message that are read.
const RECORDS: usize = 1024;

/// Octets of a name as text.
const NAME: usize = 1024;

/// EDNS (RFC 6891): sizes, cookies.
const OPT: u16 = 41;

/// Reads a message; `None` if it is none.
pub(super) fn read(datagram: &[u8], settings: &Settings) -> Option<Message> {
    let header = datagram.get(..12)?;
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let is_response = header[2] & 0x80 != 0;
    let opcode = header[2] >> 3 & 0xf;
    let (questions, records) = (count(4), count(6) + count(8) + count(10));
    if opcode > 6 || questions > 8 || records > RECORDS {
        return None;
    }
    let mut at = 12;
    let mut asked = Vec::new();
    for _ in 0..questions {
        let (name, end) = name(datagram, at)?;
        let kind = be16(datagram, end)?;
        asked.push(format!("{} {name}", kind_name(kind)));
        at = end + 4;
    }
    let mut sum = 0_u64;
    let mut counted = 0;
    for _ in 0..records {
        let (name, end) = name(datagram, at)?;
        let (kind, len) = (be16(datagram, end)?, usize::from(be16(datagram, end + 8)?));
        let data = datagram.get(end + 10..end + 10 + len)?;
        if kind != OPT {
            let mut digest = Digest::default();
            digest.field(name.as_bytes());
            digest.update(&kind.to_be_bytes());
            digest.field(value(datagram, kind, end + 10, data, settings).as_bytes());
            // The order of records is the server's to turn.
            sum = sum.wrapping_add(digest.number());
            counted += 1;
        }
        at = end + 10 + len;
    }
    let asked = asked.join(", ");
    let line = match is_response {
        false => format!("query {asked}"),
        true => format!("response {asked}, code {}, {counted} records", header[3] & 0xf),
    };
    let hash = (counted > 0).then(|| super::digest::hex(sum));
    Some(Message { line, hash, ..Message::default() })
}

/// What a record says, in text.
fn value(datagram: &[u8], kind: u16, at: usize, data: &[u8], settings: &Settings) -> String {
    let address: Option<std::net::IpAddr> = match (kind, data) {
        (1, data) => <[u8; 4]>::try_from(data).ok().map(Into::into),
        (28, data) => <[u8; 16]>::try_from(data).ok().map(Into::into),
        _ => None,
    };
    if let Some(address) = address {
        return settings.addresses.old(address).to_string();
    }
    match kind {
        // NS, CNAME, PTR, DNAME.
        2 | 5 | 12 | 39 => name(datagram, at).map(|(name, _)| name).unwrap_or_default(),
        // The serial number of a zone (SOA) changes with anything in it.
        6 => String::new(),
        // MX and SRV: numbers, then a name.
        15 | 33 => {
            let numbers = if kind == 15 { 2 } else { 6 };
            let name = name(datagram, at + numbers).map(|(name, _)| name).unwrap_or_default();
            format!("{:?} {name}", data.get(..numbers).unwrap_or_default())
        }
        _ => super::digest::of(data),
    }
}

fn kind_name(kind: u16) -> String {
    match kind {
        1 => "A".to_owned(),
        5 => "CNAME".to_owned(),
        12 => "PTR".to_owned(),
        28 => "AAAA".to_owned(),
        33 => "SRV".to_owned(),
        other => format!("TYPE{other}"),
    }
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

/// A name, its pointers followed, and where it ends.
fn name(datagram: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end) = (start, None);
    let mut text = String::new();
    loop {
        let len = usize::from(*datagram.get(at)?);
        match len {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..64 => {
                let label = datagram.get(at + 1..at + 1 + len)?;
                text.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
                text.push('.');
                at += 1 + len;
            }
            192.. => {
                let to = usize::from(be16(datagram, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                // Pointers lead backwards, so this ends.
                if to >= at {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
        if text.len() > NAME {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03svc\x05local\x00\x00\x01\x00\x01";

    fn response(id: u8, records: &[(u8, u8)]) -> Vec<u8> {
        let mut message = vec![id, id, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        message.extend_from_slice(QUESTION);
        for (ttl, last) in records {
            message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, *ttl, 0, 4, 10, 96, 0, *last]);
        }
        message
    }

    #[test]
    fn ids_ttls_and_the_order_of_records_do_not_count() {
        let read = |message: &[u8]| read(message, &Settings::default()).expect("a message");
        let first = read(&response(1, &[(30, 10), (30, 11)]));
        assert_eq!(first.line, "response A svc.local., code 0, 2 records");
        assert_eq!(first, read(&response(2, &[(7, 11), (9, 10)])));
        assert_ne!(first, read(&response(1, &[(30, 10), (30, 12)])));
        let query = [&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], QUESTION].concat();
        assert_eq!(read(&query).line, "query A svc.local.");
    }

    #[test]
    fn what_is_damaged_is_no_message() {
        let whole = response(1, &[(30, 10)]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len], &Settings::default()).is_none(), "{len}");
        }
        // A pointer to itself.
        let mut looped = whole.clone();
        (looped[12], looped[13]) = (0xc0, 12);
        assert!(read(&looped, &Settings::default()).is_none());
    }
}

//! What the two hellos of a TLS session say in the clear (RFC 8446, section 4.1): the name and protocols that the client asks
//! for, the version that the server takes. All else is encrypted with other keys each time.
//!
//! Memory: [`HELLO`] octets.

use super::payload::{Message, Payload};

/// Octets of a hello that are read.
const HELLO: usize = 32 << 10;

/// Reads the first handshake message of one direction.
#[derive(Default)]
pub(super) struct Reader {
    /// Records so far; none when they were read.
    records: Vec<u8>,
    hello: Option<String>,
    is_over: bool,
}

/// Whether these may be the first octets of a record that begins a session.
pub(super) fn is_tls(head: &[u8]) -> bool {
    const START: [std::ops::RangeInclusive<u8>; 3] = [22..=22, 3..=3, 0..=4];
    head.iter().zip(START).all(|(octet, range)| range.contains(octet))
}

impl Reader {
    pub fn read(&mut self, data: &[u8]) {
        if self.is_over {
            return;
        }
        let room = HELLO - self.records.len();
        self.records.extend_from_slice(&data[..data.len().min(room)]);
        let message = handshake(&self.records);
        if message.is_some() || self.records.len() == HELLO {
            self.hello = message.and_then(|message| hello(&message));
            (self.records, self.is_over) = (Vec::new(), true);
        }
    }

    pub fn finish(self) -> Payload {
        let message = |line| Message { line, ..Message::default() };
        Payload { messages: self.hello.map(message).into_iter().collect(), ..Payload::of_kind("tls") }
    }

    pub fn memory(&self) -> usize {
        self.records.capacity()
    }
}

/// The first handshake message, out of its records, when it is whole.
fn handshake(mut records: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let (header, rest) = records.split_at_checked(5)?;
        if header[0] != 22 {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let body = &rest[..len.min(rest.len())];
        message.extend_from_slice(body);
        if let [_, a, b, c, ..] = message[..] {
            let whole = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            if message.len() >= whole {
                message.truncate(whole);
                return Some(message);
            }
        }
        records = rest.get(len..).filter(|_| len > 0)?;
    }
}

/// A part with its length in front, and what is behind it.
fn part(octets: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_at_checked(width)?;
    let len = len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
    rest.split_at_checked(len)
}

fn hello(message: &[u8]) -> Option<String> {
    let is_client = match message.first()? {
        1 => true,
        2 => false,
        _ => return None,
    };
    // Type, length, version, random.
    let version = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
    let (_, rest) = part(message.get(38..)?, 1)?;
    let rest = if is_client { part(part(rest, 2)?.1, 1)?.1 } else { rest.get(3..)? };
    let extensions = part(rest, 2).map_or(&[][..], |(extensions, _)| extensions);
    let extension = |wanted: u16| {
        let mut rest = extensions;
        while let [a, b, behind @ ..] = rest {
            let (body, next) = part(behind, 2)?;
            if u16::from_be_bytes([*a, *b]) == wanted {
                return Some(body);
            }
            rest = next;
        }
        None
    };
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    // ALPN (RFC 7301, section 3.1).
    let mut protocols = Vec::new();
    let mut rest = extension(16).and_then(|body| part(body, 2)).map_or(&[][..], |(list, _)| list);
    while let Some((one, next)) = part(rest, 1) {
        protocols.push(text(one));
        rest = next;
    }
    let alpn = if protocols.is_empty() { String::new() } else { format!(", ALPN {}", protocols.join(" ")) };
    if is_client {
        // The server name (RFC 6066, section 3): a list of type and name.
        let name = extension(0).and_then(|body| part(body, 2)).and_then(|(list, _)| part(list.get(1..)?, 2));
        let name = name.map_or("no server name".to_owned(), |(name, _)| format!("server name {}", text(name)));
        return Some(format!("ClientHello, {name}{alpn}"));
    }
    let version =
        extension(43).and_then(|body| Some(u16::from_be_bytes([*body.first()?, *body.get(1)?]))).unwrap_or(version);
    let version = match version {
        0x0301..=0x0304 => format!("TLS 1.{}", version - 0x0301),
        other => format!("version {other:#06x}"),
    };
    Some(format!("ServerHello, {version}{alpn}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_are_read_out_of_records() {
        let with = |width: usize, body: &[u8]| [&body.len().to_be_bytes()[8 - width..], body].concat();
        let sni = with(2, &with(2, &[&[0][..], &with(2, b"web.shop")].concat()));
        let alpn = with(2, &with(2, &[with(1, b"h2"), with(1, b"http/1.1")].concat()));
        let extensions = with(2, &[&[0, 0][..], &sni, &[0, 16], &alpn].concat());
        let body =
            [&[3, 3][..], &[7; 32], &with(1, &[1; 32]), &with(2, &[19, 1]), &with(1, &[0]), &extensions].concat();
        let message = [&[1][..], &with(3, &body)].concat();
        let (first, second) = message.split_at(50);
        let records = [&[22, 3, 1][..], &with(2, first), &[22, 3, 1], &with(2, second)].concat();
        let mut reader = Reader::default();
        records.iter().for_each(|octet| reader.read(&[*octet]));
        assert_eq!(reader.finish().messages[0].line, "ClientHello, server name web.shop, ALPN h2 http/1.1");

        let body = [&[3, 3][..], &[7; 32], &[0, 19, 1, 0], &with(2, &[0, 43, 0, 2, 3, 4])].concat();
        let records = [&[22, 3, 3][..], &with(2, &[&[2][..], &with(3, &body)].concat())].concat();
        let mut reader = Reader::default();
        reader.read(&records);
        assert_eq!(reader.finish().messages[0].line, "ServerHello, TLS 1.3");
    }

    #[test]
    fn any_octets_can_be_read() {
        for len in 0..64 {
            let mut reader = Reader::default();
            reader.read(&[&[22, 3, 1, 0, 200][..], &vec![1; len]].concat());
            reader.finish();
        }
        assert!(hello(&[1, 0, 0, 0]).is_none());
    }
}

//! What pairing looks at of a packet: an event without bytes.

use std::net::{IpAddr, SocketAddr};

use crate::capture::Timestamp;
use crate::nat::Protocol;
use crate::packet::{Origin, Transport, View};

/// Where a packet stands in the inputs, for the user to look it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The input, from 0.
    pub input: u16,
    /// The frame in this input, from 1.
    pub frame: u64,
}

/// One packet of a TCP or UDP conversation.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The transport protocol.
    pub protocol: Protocol,
    /// Source address and port as captured.
    pub source: SocketAddr,
    /// Destination address and port as captured.
    pub destination: SocketAddr,
    /// Where it was captured: redirected legs show on loopback only.
    pub origin: Origin,
    /// When it was captured.
    pub time: Timestamp,
    /// Where it stands.
    pub place: Place,
    /// Octets of data.
    pub data_len: u32,
    /// What can prove that two halves are one leg.
    pub content: Content,
}

/// The part of a packet that pairing can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TCP segment (RFC 9293).
    Tcp {
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
        /// Control bits, FIN lowest.
        flags: u8,
        /// TSval and TSecr (RFC 7323).
        timestamps: Option<(u32, u32)>,
    },
    /// A DNS message (RFC 1035, section 4.1).
    Dns {
        /// The ID that query and response share.
        id: u16,
        /// A hash of the question, which the response repeats.
        question: u64,
        /// The QR bit.
        response: bool,
    },
    /// Nothing that proves anything.
    Opaque,
}

/// TCP control bits (RFC 9293, section 3.1).
pub mod flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
}

/// The sequence number behind a segment: SYN and FIN take one each (RFC 9293, section 3.4).
pub(crate) fn end_of(seq: u32, data_len: u32, f: u8) -> u32 {
    let control = u32::from(f & flags::SYN != 0) + u32::from(f & flags::FIN != 0);
    seq.wrapping_add(data_len).wrapping_add(control)
}

impl Segment {
    /// Whether its sender ends the conversation.
    pub(super) fn ends(&self) -> bool {
        matches!(self.content, Content::Tcp { flags: f, .. } if f & (flags::FIN | flags::RST) != 0)
    }

    /// The event of a packet, if it is one that belongs to a leg.
    ///
    /// `hasher` hashes DNS questions; the result only has to be the same within one run.
    #[inline]
    pub fn from_view(
        view: &View,
        frame: &[u8],
        origin: Origin,
        time: Timestamp,
        place: Place,
        hasher: &impl std::hash::BuildHasher,
    ) -> Option<Segment> {
        let ip = view.ip.as_ref()?;
        let (protocol, ports, data_len, content) = match view.transport {
            Transport::Tcp(tcp) => {
                let content =
                    Content::Tcp { seq: tcp.seq, ack: tcp.ack, flags: tcp.flags, timestamps: tcp.timestamps() };
                (Protocol::Tcp, (tcp.source, tcp.destination), tcp.data_len, content)
            }
            Transport::Udp(udp) => {
                // RFC 9293 and RFC 768: a UDP header is 8 octets.
                let data_len = ip.payload_len().saturating_sub(8) as u32;
                // Only what a loopback interface shows is ever redirected.
                let content = match origin {
                    Origin::Network => Content::Opaque,
                    Origin::Loopback | Origin::Unknown => dns(view.data(frame), hasher),
                };
                (Protocol::Udp, (udp.source, udp.destination), data_len, content)
            }
            // Cut behind the ports: it follows its leg, and proves nothing.
            Transport::Ports(ports) => {
                let protocol = if ports.protocol == 6 { Protocol::Tcp } else { Protocol::Udp };
                (protocol, (ports.source, ports.destination), 0, Content::Opaque)
            }
            Transport::IcmpError(_) | Transport::Other => return None,
        };
        let end = |address: IpAddr, port| SocketAddr::new(address, port);
        Some(Segment {
            protocol,
            source: end(ip.source, ports.0),
            destination: end(ip.destination, ports.1),
            origin,
            time,
            place,
            data_len,
            content,
        })
    }
}

/// Reads the ID, the QR bit and the first question of a DNS message (RFC 1035, section 4.1).
///
/// A question that the snaplen cut is hashed as far as it goes: query and response are cut alike.
fn dns(message: &[u8], hasher: &impl std::hash::BuildHasher) -> Content {
    let Some((header, body)) = message.split_at_checked(12) else { return Content::Opaque };
    let questions = u16::from_be_bytes([header[4], header[5]]);
    let opcode = header[2] >> 3 & 0xf;
    if questions == 0 || opcode > 6 {
        return Content::Opaque;
    }
    let mut end = 0;
    while let Some(&length) = body.get(end) {
        if length == 0 {
            // The root label, then QTYPE and QCLASS.
            end += 5;
            break;
        }
        if length >= 64 {
            return Content::Opaque;
        }
        end += 1 + usize::from(length);
    }
    let question = &body[..end.min(body.len())];
    Content::Dns {
        id: u16::from_be_bytes([header[0], header[1]]),
        question: hasher.hash_one(question),
        response: header[2] & 0x80 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &[u8]) -> Content {
        dns(message, &foldhash::fast::FixedState::default())
    }

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03svc\x05local\x00\x00\x01\x00\x01";

    #[test]
    fn a_response_repeats_id_and_question() {
        let Content::Dns { id, question, response } = parse(QUERY) else { panic!("a query") };
        assert_eq!((id, response), (0x1234, false));
        let mut answer = QUERY.to_vec();
        answer[2] = 0x81;
        answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x60\x00\x0a");
        assert_eq!(parse(&answer), Content::Dns { id, question, response: true });
    }

    #[test]
    fn a_cut_question_is_hashed_as_far_as_it_goes() {
        let cut = &QUERY[..20];
        let mut answer = cut.to_vec();
        answer[2] |= 0x80;
        let question = |message: &[u8]| match parse(message) {
            Content::Dns { question, .. } => question,
            other => panic!("{other:?}"),
        };
        assert_eq!(question(cut), question(&answer), "both are cut alike");
        assert_ne!(parse(cut), parse(QUERY));
    }

    #[test]
    fn other_payloads_prove_nothing() {
        assert_eq!(parse(b"hello"), Content::Opaque);
        assert_eq!(parse(&[0; 40]), Content::Opaque);
        assert_eq!(parse(b"\0\0\0\0\0\x01\0\0\0\0\0\0\xff\xff"), Content::Opaque);
    }
}

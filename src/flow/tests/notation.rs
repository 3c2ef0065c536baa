//! Events as lines of text, after tcpdump's.
//!
//! ```text
//! lo 0.000 10.0.0.1:1000 > 127.0.0.1:15001 S 100
//! lo 0.001 10.96.0.10:80 > 10.0.0.1:1000 S. 500 101 len 0 ts 7 1
//! lo 0.002 10.0.0.1:1000 > 127.0.0.1:15053 query 7 name
//! lo 0.003 10.96.0.53:53 > 10.0.0.1:1000 answer 7 name
//! lo 0.004 10.0.0.1:1000 > 127.0.0.1:15053 udp
//! ```
//!
//! Interface (`lo`, or any other for the wire), seconds, addresses, then TCP's flags (`.` is ACK), sequence and
//! acknowledgment number; or a DNS ID and question.

use super::super::*;

pub fn parse(line: &str, frame: u64) -> Segment {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [interface, seconds, source, ">", destination, rest @ ..] = words.as_slice() else { panic!("{line}") };
    let number = |word: &str| -> u32 { word.parse().unwrap_or_else(|_| panic!("{word} in {line}")) };
    let named = |name: &str| rest.iter().position(|&word| word == name);
    let (protocol, content) = match *rest {
        ["query", id, name] => (Protocol::Udp, dns(number(id), name, false)),
        ["answer", id, name] => (Protocol::Udp, dns(number(id), name, true)),
        ["udp"] => (Protocol::Udp, Content::Opaque),
        ["cut"] => (Protocol::Tcp, Content::Opaque),
        [names, seq, ..] => {
            let bit = |name, bit| if names.contains(name) { bit } else { 0 };
            let control = bit('S', flags::SYN) | bit('.', flags::ACK) | bit('F', flags::FIN) | bit('R', flags::RST);
            let ack = if names.contains('.') { number(rest[2]) } else { 0 };
            let timestamps = named("ts").map(|at| (number(rest[at + 1]), number(rest[at + 2])));
            (Protocol::Tcp, Content::Tcp { seq: number(seq), ack, flags: control, timestamps })
        }
        _ => panic!("{line}"),
    };
    let seconds: f64 = seconds.parse().expect("seconds");
    let address = |word: &str| word.parse().unwrap_or_else(|_| panic!("{word} in {line}"));
    Segment {
        protocol,
        source: address(source),
        destination: address(destination),
        origin: if *interface == "lo" { Origin::Loopback } else { Origin::Network },
        time: Timestamp((seconds * 1e6).round() as u64 * 1000),
        place: Place { input: 0, frame },
        data_len: named("len").map_or(0, |at| number(rest[at + 1])),
        content,
    }
}

fn dns(id: u32, name: &str, response: bool) -> Content {
    let question = name.bytes().fold(0, |hash: u64, byte| hash * 31 + u64::from(byte));
    Content::Dns { id: id as u16, question, response }
}

/// A leg as a line: role, ends, what became of it, packets each way.
pub fn describe(leg: &Leg) -> String {
    let outcome = match leg.outcome {
        Outcome::Whole => "whole".to_owned(),
        Outcome::Repaired { evidence: evidence @ Evidence::Handshake { refused: true, .. }, .. } => {
            format!("repaired {} (refused)", evidence.name())
        }
        Outcome::Repaired { evidence, .. } => format!("repaired {}", evidence.name()),
        Outcome::Left(reason) => format!("left {}", reason.name()),
    };
    let (there, back) = (leg.from_client.packets, leg.from_server.packets);
    format!("{} {} > {} {outcome} {there}+{back}", leg.role.name(), leg.client, leg.server)
}

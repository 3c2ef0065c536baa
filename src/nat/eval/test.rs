//! The tests of rules against the packet on its path.

use super::known::{Answer, Choices, Domain, Mark};
use crate::nat::model::Protocol;
use crate::nat::parse::numbers::Numbers;
use crate::nat::probe::{Host, Probe};
use crate::nat::ruleset::{Family, Match, Register, States, Test};
use std::net::IpAddr;

/// A packet as the rules see it at one point of its path, and what is known of its sender.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// First and last possible port: they differ where the kernel picks one.
    pub(super) source_ports: (u16, u16),
    pub(super) destination_ports: (u16, u16),
    /// The interfaces; empty where the hook has none.
    pub(super) input: String,
    pub(super) output: String,
    /// Whether it still hangs on the socket that sent it.
    pub(super) has_socket: bool,
    pub(super) uid: Domain,
    pub(super) gid: Domain,
    pub(super) mark: Mark,
    pub(super) connection_mark: Mark,
    pub(super) state: States,
    /// Whether a socket is bound to the destination.
    pub(super) socket: Option<bool>,
    /// Answers that were assumed: the test's text and the answer.
    pub(super) assumed: Vec<(String, bool)>,
}

impl Packet {
    pub(super) fn new(probe: &Probe) -> Packet {
        let outgoing = probe.input.is_none();
        Packet {
            family: Family::of(probe.source.ip()),
            protocol: probe.protocol,
            source: probe.source.ip(),
            destination: probe.destination.ip(),
            source_ports: (probe.source.port(), probe.source.port()),
            destination_ports: (probe.destination.port(), probe.destination.port()),
            input: String::new(),
            output: String::new(),
            has_socket: outgoing,
            uid: Domain::new(probe.uid),
            gid: Domain::new(probe.gid),
            mark: Mark::new(probe.mark.or((!outgoing).then_some(0))),
            connection_mark: Mark::new(Some(0)),
            state: States::INVALID,
            socket: probe.socket,
            assumed: Vec::new(),
        }
    }

    /// Whether a match holds. If it is open, one answer is chosen and remembered.
    pub(super) fn matches(&mut self, rule: &Match, host: &Host, choices: &mut Choices) -> bool {
        let answer = match self.answer(&rule.test, host) {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Open => {
                let chosen = choices.choose();
                self.learn(&rule.test, rule, chosen);
                chosen
            }
        };
        answer != rule.negated
    }

    fn answer(&self, test: &Test, host: &Host) -> Answer {
        match test {
            Test::Family(family) => (self.family == *family).into(),
            Test::Protocol(numbers) => numbers.contains(self.protocol_number()).into(),
            Test::Source(addresses) => addresses.contains(self.source).into(),
            Test::Destination(addresses) => addresses.contains(self.destination).into(),
            Test::SourcePort(ports) => self.port(self.source_ports, ports, test),
            Test::DestinationPort(ports) => self.port(self.destination_ports, ports, test),
            Test::EitherPort(ports) => {
                match (self.port(self.source_ports, ports, test), self.port(self.destination_ports, ports, test)) {
                    (Answer::Yes, _) | (_, Answer::Yes) => Answer::Yes,
                    (Answer::No, Answer::No) => Answer::No,
                    _ => Answer::Open,
                }
            }
            Test::In(name, prefix) => is_named(&self.input, name, *prefix).into(),
            Test::Out(name, prefix) => is_named(&self.output, name, *prefix).into(),
            Test::HasSocket => self.has_socket.into(),
            // A packet without a socket has no owner: the test fails, its negation holds (`xt_owner.c`).
            Test::Uid(_) | Test::Gid(_) if !self.has_socket => Answer::No,
            Test::Uid(ids) => self.uid.is_in(ids),
            Test::Gid(ids) => self.gid.is_in(ids),
            Test::Mark(Register::Packet, value, mask) => self.mark.is(*value, *mask),
            Test::Mark(Register::Connection, value, mask) => self.connection_mark.is(*value, *mask),
            Test::State(states) => (states.0 & self.state.0 != 0).into(),
            Test::Local(true) => host.is_local(self.source).into(),
            Test::Local(false) => host.is_local(self.destination).into(),
            // A SYN is all flags but FIN, RST, ACK; the rest are not known to be unset, but are in a first packet.
            Test::TcpFlags(mask, flags) => (self.protocol == Protocol::Tcp && 0x02 & mask == *flags).into(),
            Test::Socket => match self.socket {
                Some(known) => known.into(),
                None => self.remembered("a socket is bound to the destination"),
            },
            Test::Unknown(text) => self.remembered(text),
        }
    }

    fn learn(&mut self, test: &Test, rule: &Match, answer: bool) {
        match test {
            Test::Uid(ids) => self.uid.learn(ids, answer),
            Test::Gid(ids) => self.gid.learn(ids, answer),
            Test::Mark(register, value, mask) => {
                let (name, mark) = match register {
                    Register::Packet => ("mark", &mut self.mark),
                    Register::Connection => ("connection mark", &mut self.connection_mark),
                };
                mark.learn(*value, *mask, answer);
                let mask = if *mask == u32::MAX { String::new() } else { format!("/{mask:#x}") };
                self.assumed.push((format!("{name} {value:#x}{mask}"), answer));
            }
            Test::Socket => {
                self.socket = Some(answer);
                self.assumed.push(("a socket is bound to the destination".to_owned(), answer));
            }
            Test::Unknown(text) => self.assumed.push((text.clone(), answer)),
            Test::SourcePort(_) | Test::DestinationPort(_) | Test::EitherPort(_) => {
                let text = rule.text.strip_prefix("! ").unwrap_or(&rule.text);
                self.assumed.push((format!("{text} {:?}", self.destination_ports), answer));
            }
            _ => {}
        }
    }

    fn remembered(&self, text: &str) -> Answer {
        match self.assumed.iter().find(|(t, _)| t == text) {
            Some((_, answer)) => (*answer).into(),
            None => Answer::Open,
        }
    }

    fn port(&self, (first, last): (u16, u16), ports: &Numbers, _test: &Test) -> Answer {
        if first == last {
            return ports.contains(first.into()).into();
        }
        Domain(Numbers::from_ranges(vec![(first.into(), last.into())])).is_in(ports)
    }

    fn protocol_number(&self) -> u32 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// What the packet has where a test asked for something else, in words.
    pub(super) fn actual(&self, test: &Test) -> String {
        let none = |name: &str| if name.is_empty() { "none".to_owned() } else { name.to_owned() };
        let ports =
            |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let mark = |mark: &Mark| mark.exact().map_or_else(|| "another".to_owned(), |m| format!("{m:#x}"));
        let owner = |owner: &Domain, name: &str| match (self.has_socket, owner.0.ranges()) {
            (false, _) => "no socket of this host sent it".to_owned(),
            (true, &[(first, last)]) if first == last => format!("{name} is {first}"),
            _ => format!("{name} is another"),
        };
        match test {
            Test::Family(_) => format!("it is {}", if self.family == Family::V4 { "IPv4" } else { "IPv6" }),
            Test::Protocol(_) => format!("it is {}", self.protocol.name()),
            Test::Source(_) | Test::Local(true) => format!("the source is {}", self.source),
            Test::Destination(_) | Test::Local(false) => format!("the destination is {}", self.destination),
            Test::SourcePort(_) => format!("the source port is {}", ports(self.source_ports)),
            Test::DestinationPort(_) => format!("the destination port is {}", ports(self.destination_ports)),
            Test::EitherPort(_) => {
                format!("the ports are {} and {}", ports(self.source_ports), ports(self.destination_ports))
            }
            Test::In(..) => format!("the incoming interface is {}", none(&self.input)),
            Test::Out(..) => format!("the outgoing interface is {}", none(&self.output)),
            Test::HasSocket => {
                if self.has_socket { "a socket sent it" } else { "no socket of this host sent it" }.to_owned()
            }
            Test::Uid(_) => owner(&self.uid, "uid"),
            Test::Gid(_) => owner(&self.gid, "gid"),
            Test::Mark(Register::Packet, ..) => format!("the mark is {}", mark(&self.mark)),
            Test::Mark(Register::Connection, ..) => format!("the connection's mark is {}", mark(&self.connection_mark)),
            Test::State(_) => "the connection is new".to_owned(),
            Test::TcpFlags(..) => "the first packet has SYN only".to_owned(),
            Test::Socket => "whether a socket is bound to the destination".to_owned(),
            Test::Unknown(_) => "as assumed".to_owned(),
        }
    }
}

/// Whether an interface's name is the one of a test, or begins with it.
fn is_named(interface: &str, name: &str, prefix: bool) -> bool {
    if prefix { interface.starts_with(name) } else { interface == name }
}

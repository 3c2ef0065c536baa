//! The tests of rules against the packet on its path.

use super::known::{Answer, Choices, Domain, Mark};
use crate::nat::model::Protocol;
use crate::nat::numbers::Numbers;
use crate::nat::probe::{Host, Probe};
use crate::nat::ruleset::{Family, Match, Place, Register, States, Test};
use std::net::{IpAddr, SocketAddr};

/// A packet as the rules see it at one point of its path, and what is known of its sender.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The possible ports: several where the kernel picks one.
    pub(super) source_ports: Domain,
    pub(super) destination_ports: Domain,
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
    /// Answers that were assumed.
    pub(super) assumed: Vec<Assumed>,
}

/// An answer that was taken where both can be.
#[derive(Clone, Debug)]
pub(super) struct Assumed {
    /// What it is about, in words.
    pub(super) what: String,
    pub(super) holds: bool,
    /// The test's text and what the packet was like, where the same question gets the same answer again.
    again: Option<(String, Header)>,
}

/// What a test that is not understood may look at.
type Header = (IpAddr, IpAddr, Domain, Domain, String, String);

/// Matches of iptables and expressions of nft that do not give equal packets equal answers.
const CAPRICIOUS: [&str; 10] = [
    "-m statistic",
    "-m limit",
    "-m hashlimit",
    "-m recent",
    "-m quota",
    "-m connlimit",
    "-m rateest",
    "-m condition",
    "-m bpf",
    "numgen",
];

impl Packet {
    pub(super) fn new(probe: &Probe) -> Packet {
        let outgoing = probe.input.is_none();
        Packet {
            family: Family::of(probe.source.ip()),
            protocol: probe.protocol,
            source: probe.source.ip(),
            destination: probe.destination.ip(),
            source_ports: Domain(Numbers::one(probe.source.port().into())),
            destination_ports: Domain(Numbers::one(probe.destination.port().into())),
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

    /// Source and destination, with the first ports they can have.
    pub(super) fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        (
            SocketAddr::new(self.source, self.source_ports.ends().0),
            SocketAddr::new(self.destination, self.destination_ports.ends().0),
        )
    }

    /// Whether conntrack has the connection.
    pub(super) fn is_tracked(&self) -> bool {
        self.state.0 & (States::INVALID.0 | States::UNTRACKED.0) == 0
    }

    /// Whether a match of the rule at `place` holds. If it is open, one answer is chosen and remembered.
    pub(super) fn matches(&mut self, rule: &Match, place: Place, host: &Host, choices: &mut Choices) -> bool {
        let answer = match self.answer(&rule.test, host) {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Open => {
                let chosen = choices.choose();
                self.learn(&rule.test, place, chosen);
                chosen
            }
        };
        answer != rule.negated
    }

    fn answer(&self, test: &Test, host: &Host) -> Answer {
        match test {
            Test::Family(family) => (self.family == *family).into(),
            Test::Protocol(numbers) => numbers.contains(self.protocol.number().into()).into(),
            Test::Source(addresses) => addresses.contains(self.source).into(),
            Test::Destination(addresses) => addresses.contains(self.destination).into(),
            Test::SourcePort(ports) => self.source_ports.is_in(ports),
            Test::DestinationPort(ports) => self.destination_ports.is_in(ports),
            Test::EitherPort(ports) => match (self.source_ports.is_in(ports), self.destination_ports.is_in(ports)) {
                (Answer::Yes, _) | (_, Answer::Yes) => Answer::Yes,
                (Answer::No, Answer::No) => Answer::No,
                _ => Answer::Open,
            },
            Test::In(name, prefix) => is_named(&self.input, name, *prefix).into(),
            Test::Out(name, prefix) => is_named(&self.output, name, *prefix).into(),
            Test::HasSocket => self.has_socket.into(),
            // A packet without a socket has no owner: the test fails, its negation holds (`xt_owner.c`).
            Test::Uid(_) | Test::Gid(_) if !self.has_socket => Answer::No,
            Test::Uid(ids) => self.uid.is_in(ids),
            Test::Gid(ids) => self.gid.is_in(ids),
            Test::Tracked => self.is_tracked().into(),
            Test::Mark(Register::Packet, value, mask) => self.mark.is(*value, *mask),
            Test::Mark(Register::Connection, value, mask) => self.connection_mark.is(*value, *mask),
            Test::State(states) => (states.0 & self.state.0 != 0).into(),
            Test::Local(true) => host.is_local(self.source).into(),
            Test::Local(false) => host.is_local(self.destination).into(),
            // A SYN is all flags but FIN, RST, ACK; the rest are not known to be unset, but are in a first packet.
            Test::TcpFlags(mask, flags) => (self.protocol == Protocol::Tcp && 0x02 & mask == *flags).into(),
            Test::Socket => self.socket.map_or(Answer::Open, Answer::from),
            Test::Unknown(text) => self.remembered(text),
        }
    }

    fn learn(&mut self, test: &Test, place: Place, holds: bool) {
        let mut assume = |what: String| self.assumed.push(Assumed { what, holds, again: None });
        match test {
            Test::Uid(ids) => self.uid.learn(ids, holds),
            Test::Gid(ids) => self.gid.learn(ids, holds),
            Test::Mark(register, value, mask) => {
                let (name, mark) = match register {
                    Register::Packet => ("mark", &mut self.mark),
                    Register::Connection => ("connection mark", &mut self.connection_mark),
                };
                mark.learn(*value, *mask, holds);
                let mask = if *mask == u32::MAX { String::new() } else { format!("/{mask:#x}") };
                assume(format!("{name} {value:#x}{mask}"));
            }
            Test::Socket => {
                self.socket = Some(holds);
                assume("a socket is bound to the destination".to_owned());
            }
            Test::Unknown(text) => {
                let seen_before = self.assumed.iter().any(|a| a.what == *text);
                let again = (!is_capricious(text)).then(|| (text.clone(), self.header()));
                // Asked again of another packet, or answered otherwise each time: then the place tells them apart.
                let what = if seen_before { format!("{text} in {place}") } else { text.clone() };
                self.assumed.push(Assumed { what, holds, again });
            }
            Test::SourcePort(ports) => {
                self.source_ports.learn(ports, holds);
                assume(format!("the port that the source gets is {ports}"));
            }
            Test::DestinationPort(ports) => {
                self.destination_ports.learn(ports, holds);
                assume(format!("the port that is picked is {ports}"));
            }
            Test::EitherPort(ports) => {
                let open = |domain: &Domain| domain.is_in(ports) == Answer::Open;
                // If both are open and one of them is it, nobody knows which.
                if !holds || open(&self.source_ports) != open(&self.destination_ports) {
                    for domain in [&mut self.source_ports, &mut self.destination_ports] {
                        if domain.is_in(ports) == Answer::Open {
                            domain.learn(ports, holds);
                        }
                    }
                }
                assume(format!("one of the ports is {ports}"));
            }
            _ => {}
        }
    }

    fn remembered(&self, text: &str) -> Answer {
        let header = self.header();
        let same = |a: &&Assumed| a.again.as_ref().is_some_and(|(asked, of)| asked == text && *of == header);
        self.assumed.iter().find(same).map_or(Answer::Open, |a| a.holds.into())
    }

    fn header(&self) -> Header {
        let ports = (self.source_ports.clone(), self.destination_ports.clone());
        (self.source, self.destination, ports.0, ports.1, self.input.clone(), self.output.clone())
    }

    /// What the packet has where a test asked for something else, in words.
    pub(super) fn actual(&self, test: &Test) -> String {
        let none = |name: &str| if name.is_empty() { "none".to_owned() } else { name.to_owned() };
        let ports = |ports: &Domain| ports.0.to_string();
        let mark = |mark: &Mark| mark.exact().map_or_else(|| "another".to_owned(), |m| format!("{m:#x}"));
        let owner = |owner: &Domain, name: &str| match (self.has_socket, owner.0.ranges()) {
            (false, _) => "no socket of this host sent it".to_owned(),
            (true, &[(first, last)]) if first == last => format!("{name} is {first}"),
            _ => format!("{name} is another"),
        };
        match test {
            Test::Family(_) => format!("it is {}", self.family.name()),
            Test::Protocol(_) => format!("it is {}", self.protocol.name()),
            Test::Source(_) | Test::Local(true) => format!("the source is {}", self.source),
            Test::Destination(_) | Test::Local(false) => format!("the destination is {}", self.destination),
            Test::SourcePort(_) => format!("the source port is {}", ports(&self.source_ports)),
            Test::DestinationPort(_) => format!("the destination port is {}", ports(&self.destination_ports)),
            Test::EitherPort(_) => {
                format!("the ports are {} and {}", ports(&self.source_ports), ports(&self.destination_ports))
            }
            Test::In(..) => format!("the incoming interface is {}", none(&self.input)),
            Test::Out(..) => format!("the outgoing interface is {}", none(&self.output)),
            Test::HasSocket => {
                if self.has_socket { "a socket sent it" } else { "no socket of this host sent it" }.to_owned()
            }
            Test::Tracked => "conntrack does not know the connection here".to_owned(),
            Test::Uid(_) => owner(&self.uid, "uid"),
            Test::Gid(_) => owner(&self.gid, "gid"),
            Test::Mark(Register::Packet, ..) => format!("the mark is {}", mark(&self.mark)),
            Test::Mark(Register::Connection, ..) => format!("the connection's mark is {}", mark(&self.connection_mark)),
            Test::State(_) if self.is_tracked() => "the connection is new".to_owned(),
            Test::State(_) => "conntrack does not know the connection here".to_owned(),
            Test::TcpFlags(..) => "the first packet has SYN only".to_owned(),
            Test::Socket => "no socket is bound to the destination".to_owned(),
            Test::Unknown(_) => "it is assumed otherwise".to_owned(),
        }
    }
}

fn is_capricious(text: &str) -> bool {
    CAPRICIOUS.iter().any(|name| text.contains(name))
}

/// Whether an interface's name is the one of a test, or begins with it.
fn is_named(interface: &str, name: &str, prefix: bool) -> bool {
    if prefix { interface.starts_with(name) } else { interface == name }
}

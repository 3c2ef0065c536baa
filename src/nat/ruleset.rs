//! Tables, chains and rules as the kernel has them, whichever program printed them.

use std::fmt;
use std::net::IpAddr;

use super::parse::numbers::Numbers;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Where in its path through the kernel a packet meets rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Arrived, not routed yet.
    Prerouting,
    /// Routed to a socket of this host.
    Input,
    /// Routed to another host.
    Forward,
    /// Sent by a socket of this host.
    Output,
    /// About to leave by an interface; also lo.
    Postrouting,
}

impl Hook {
    /// The name as iptables writes it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }

    /// The hook of a name, in iptables' or nft's spelling.
    pub(super) fn from_name(name: &str) -> Option<Hook> {
        const HOOKS: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        HOOKS.into_iter().find(|hook| hook.name().eq_ignore_ascii_case(name))
    }
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sees every packet; raw, mangle and filter of iptables.
    Filter,
    /// As a filter, in OUTPUT, with a new route if it changed the packet; mangle's OUTPUT.
    Route,
    /// Sees the first packet of a connection.
    Nat,
}

/// What happens to a packet at the end of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

impl Policy {
    /// The name as iptables writes it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        }
    }
}

/// What hangs a chain into a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it is for.
    pub kind: Kind,
    /// The hook.
    pub hook: Hook,
    /// Its place in the hook: lower ones come first (`enum nf_ip_hook_priorities`).
    pub priority: i32,
    /// What happens at its end.
    pub policy: Policy,
}

/// The rules of a pod.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The names of the files that were read.
    pub files: Vec<String>,
    /// The tables, in the order of the files.
    pub tables: Vec<Table>,
    /// What is not understood, or was guessed.
    pub notes: Vec<Note>,
}

/// A table: a name space of chains.
#[derive(Clone, Debug)]
pub struct Table {
    /// Whether it sees IPv4.
    pub v4: bool,
    /// Whether it sees IPv6.
    pub v6: bool,
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
}

impl Table {
    /// Whether the table sees packets of a family.
    pub fn sees(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its hook, unless other chains jump to it.
    pub base: Option<Base>,
    /// Its rules in their order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// Its text: the line of `iptables-save`, or the expressions of nft in nft's syntax.
    pub text: String,
    /// Tests and actions in their order. iptables has its one action at the end.
    pub steps: Vec<Step>,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as an index into [`Ruleset::files`].
    pub file: usize,
    /// The line, from 1; none for JSON, which has its rules in one line.
    pub line: Option<u32>,
    /// nft's handle of the rule.
    pub handle: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.handle) {
            (Some(line), _) => write!(f, "line {line}"),
            (None, Some(handle)) => write!(f, "handle {handle}"),
            (None, None) => f.write_str("a rule without a handle"),
        }
    }
}

/// Something worth knowing about a rules file that does not make it unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The rule, or the place in the file.
    pub place: Place,
    /// What is not understood, or was guessed.
    pub what: String,
}

/// A rule of a ruleset, as indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Into [`Ruleset::tables`].
    pub table: usize,
    /// Into [`Table::chains`].
    pub chain: usize,
    /// Into [`Chain::rules`].
    pub rule: usize,
}

impl Ruleset {
    /// The rule of an id that this ruleset gave out.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.chain(id.table, id.chain).rules[id.rule]
    }

    /// The chain of indices that this ruleset gave out.
    pub fn chain(&self, table: usize, chain: usize) -> &Chain {
        &self.tables[table].chains[chain]
    }

    /// `rules.txt line 12`, or with the handle for nft.
    pub fn whereabouts(&self, place: Place) -> String {
        match self.files.get(place.file) {
            Some(file) => format!("{file} {place}"),
            None => place.to_string(),
        }
    }

    /// Whether a test is about the source port, so that connections between the same addresses can differ.
    pub fn asks_source_port(&self) -> bool {
        let steps = self.tables.iter().flat_map(|t| &t.chains).flat_map(|c| &c.rules).flat_map(|r| &r.steps);
        let asks = |test: &Test| matches!(test, Test::SourcePort(_) | Test::EitherPort(_) | Test::Unknown(_));
        steps.into_iter().any(|step| matches!(step, Step::Match(m) if asks(&m.test)))
    }

    /// Adds the tables of another file.
    pub fn append(&mut self, other: Ruleset) {
        let shift = self.files.len();
        let moved = |place: Place| Place { file: place.file + shift, ..place };
        self.files.extend(other.files);
        self.notes.extend(other.notes.into_iter().map(|n| Note { place: moved(n.place), ..n }));
        self.tables.extend(other.tables.into_iter().map(|mut table| {
            for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
                rule.place = moved(rule.place);
            }
            table
        }));
    }
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Goes on only if it holds.
    Match(Match),
    /// Does something.
    Do(Action),
}

/// A test, perhaps negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Whether it holds when the test does not.
    pub negated: bool,
    /// The test.
    pub test: Test,
    /// Its text, with the negation.
    pub text: String,
}

/// What a rule can ask of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The IP version.
    Family(Family),
    /// The transport protocol's number (IANA).
    Protocol(Numbers),
    /// The source address.
    Source(Addresses),
    /// The destination address.
    Destination(Addresses),
    /// The source port.
    SourcePort(Numbers),
    /// The destination port.
    DestinationPort(Numbers),
    /// One of both ports.
    EitherPort(Numbers),
    /// The name of the interface it came in by; a prefix of it if the flag is set.
    In(String, bool),
    /// The name of the interface it goes out by; a prefix of it if the flag is set.
    Out(String, bool),
    /// Whether a socket of this host sent it (`xt_owner.c`, `nft_meta.c`).
    HasSocket,
    /// The user whose socket sent it.
    Uid(Numbers),
    /// The group whose socket sent it.
    Gid(Numbers),
    /// The mark of the packet or the connection, under a mask.
    Mark(Register, u32, u32),
    /// The state of the connection.
    State(States),
    /// The type of the source address (flag) or the destination address; only `LOCAL` is decided here.
    Local(bool),
    /// Of the TCP flags in the first mask, exactly those in the second are set.
    TcpFlags(u8, u8),
    /// Whether a socket of this host is bound to the packet's destination (`xt_socket.c`).
    Socket,
    /// Not understood: its text tells it from others.
    Unknown(String),
}

/// Addresses that a test accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<(IpAddr, IpAddr, u128)>);

impl Addresses {
    /// Whether an address is one of them. An entry is first, last, mask: masked, it lies between.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|&(first, last, mask)| {
            Family::of(first) == Family::of(address)
                && (bits(first) & mask..=bits(last) & mask).contains(&(bits(address) & mask))
        })
    }
}

/// An address as a number.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(pub u8);

impl States {
    /// No connection can be made of it, or conntrack has not seen it yet.
    pub const INVALID: States = States(1);
    /// The first packet of a connection.
    pub const NEW: States = States(2);
    /// A later packet.
    pub const ESTABLISHED: States = States(4);
    /// The first packet of a connection that another one announced.
    pub const RELATED: States = States(8);
    /// Exempt from conntrack.
    pub const UNTRACKED: States = States(16);
    /// The source was translated.
    pub const SNAT: States = States(32);
    /// The destination was translated.
    pub const DNAT: States = States(64);

    /// The state of a name, in iptables' or nft's spelling.
    pub(super) fn from_name(name: &str) -> Option<States> {
        Some(match name.to_ascii_uppercase().as_str() {
            "INVALID" => States::INVALID,
            "NEW" => States::NEW,
            "ESTABLISHED" => States::ESTABLISHED,
            "RELATED" => States::RELATED,
            "UNTRACKED" => States::UNTRACKED,
            "SNAT" => States::SNAT,
            "DNAT" => States::DNAT,
            _ => return None,
        })
    }
}

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The packet's.
    Packet,
    /// The connection's.
    Connection,
}

/// Another mark that flows into a new value, and its mask.
pub type Other = Option<(Register, u32)>;

/// A new value of a mark: `old & keep ^ other & mask ^ flip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The mark that changes.
    pub register: Register,
    /// The bits of its old value that stay.
    pub keep: u32,
    /// The other mark and the bits taken from it.
    pub other: Other,
    /// The bits that are flipped at last.
    pub flip: u32,
}

/// A new address, port, or both; ports as first and last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The address; none: it stays, or the rule's kind says which.
    pub address: Option<IpAddr>,
    /// The ports; none: it stays.
    pub ports: Option<(u16, u16)>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ends the base chain; other base chains still see the packet.
    Accept,
    /// Ends the packet.
    Drop,
    /// Ends the packet, and tells its sender.
    Reject,
    /// Back to the chain that jumped here; in a base chain, to its policy.
    Return,
    /// Into another chain of the table, by index.
    Jump(usize),
    /// Into another chain, without coming back.
    Goto(usize),
    /// To a port of this host.
    Redirect(Target),
    /// To another destination.
    Dnat(Target),
    /// From another source.
    Snat(Target),
    /// From the address of the interface.
    Masquerade(Target),
    /// To a transparent socket of this host, addresses unchanged. iptables' ends the chain, nft's does not.
    Tproxy {
        /// The family, if nft restricts it.
        family: Option<Family>,
        /// Address and port of the socket.
        to: Target,
        /// The mark that it gives the packet.
        change: Option<Change>,
        /// Whether it ends the chain.
        ends: bool,
    },
    /// Changes a mark.
    Mark(Change),
    /// Puts the connection into a conntrack zone.
    Zone(u16),
    /// Exempts the packet from conntrack.
    Notrack,
    /// Nothing that changes a packet's way: LOG, counters.
    Nothing,
    /// Not understood.
    Unknown(String),
}

//! What a rule can ask of a packet.

use std::net::IpAddr;

use super::{Action, Family, Register};
use crate::nat::numbers::Numbers;

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
    /// Whether conntrack knows the connection: before it, and for untracked packets, a test of the connection's mark
    /// fails, negated or not (`xt_connmark.c`, `nft_ct.c`).
    Tracked,
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
pub(in crate::nat) fn bits(address: IpAddr) -> u128 {
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
    pub(in crate::nat) fn from_name(name: &str) -> Option<States> {
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

//! What a rule can do with a packet.

use std::net::IpAddr;

use super::Family;

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The packet's.
    Packet,
    /// The connection's.
    Connection,
}

/// Another mark that flows into a new value, and its mask.
type Other = Option<(Register, u32)>;

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
    /// Whether the port is picked at random, even if the old one would do.
    pub random: bool,
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

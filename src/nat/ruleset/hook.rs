//! IP versions, hooks, and what hangs a chain into a hook.

use std::net::IpAddr;

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

    /// The name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
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
    pub(in crate::nat) fn from_name(name: &str) -> Option<Hook> {
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

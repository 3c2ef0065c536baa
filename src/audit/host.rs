//! The pod that rules are evaluated in.

use std::net::IpAddr;

use crate::nat::{Host, Interface};

/// The interface that rules name, where they name one.
pub(super) const INTERFACE: &str = "eth0";

/// The pods that a packet may be sent from, or come in to. They have the addresses `own`, the sender's first. `local` is the
/// destination, if a capture shows it to be a pod's: with captures of several pods it need not be this one's.
pub(super) fn hosts(own: &[IpAddr], local: Option<IpAddr>) -> Vec<Host> {
    let host = |local: Option<IpAddr>| {
        let mut addresses: Vec<IpAddr> =
            own.iter().copied().chain(local).filter(|address| !address.is_loopback()).collect();
        addresses.dedup();
        Host { interfaces: vec![Interface { name: INTERFACE.to_owned(), addresses }], loopback: Vec::new() }
    };
    let is_sure = own.first().is_some_and(|sender| sender.is_loopback() || Some(*sender) == local);
    let another = local.filter(|_| !is_sure).map(|_| host(None));
    another.into_iter().chain([host(local)]).collect()
}

//! Name Resolution Blocks (pcapng, section 4.5): the names of the addresses that occur, before the first packet that
//! bears each.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::blocks::Blocks;
use super::{Change, block_type};
use crate::beside::Loaded;
use crate::packet::{Transport, View};

/// Record types.
const IPV4: u16 = 1;
const IPV6: u16 = 2;

/// The names that are written, and those that are. Remembers only addresses that have names.
pub(super) struct Names {
    loaded: Arc<Loaded>,
    done: HashSet<IpAddr, RandomState>,
    /// Names that an input's own blocks brought: the address, and which of its names.
    carried: HashSet<(IpAddr, usize), RandomState>,
    body: Vec<u8>,
}

impl Names {
    /// None if there are no names.
    pub fn new(loaded: &Arc<Loaded>) -> Option<Names> {
        (!loaded.names.is_empty()).then(|| Names {
            loaded: Arc::clone(loaded),
            done: HashSet::default(),
            carried: HashSet::default(),
            body: Vec::new(),
        })
    }

    /// How many addresses have their names in the output.
    pub fn named(&self) -> u64 {
        self.done.len() as u64
    }

    /// Writes the names that a packet is the first to need, with the addresses that it leaves with.
    pub fn before(&mut self, view: &View, frame: &[u8], change: Change, blocks: &mut Blocks) -> io::Result<()> {
        let Some(ip) = &view.ip else { return Ok(()) };
        self.body.clear();
        let outer = match change {
            Change::Translate(to) => [to.source.ip(), to.destination.ip()],
            Change::None | Change::TranslateQuote(_) => [ip.source, ip.destination],
        };
        outer.into_iter().for_each(|address| self.add(address));
        if let Transport::IcmpError(quote) = &view.transport {
            let quoted = match change {
                Change::TranslateQuote(to) => Some((to.source, to.destination)),
                Change::None | Change::Translate(_) => quote.ends(frame),
            };
            let quoted = quoted.into_iter().flat_map(|(source, destination)| [source, destination]);
            quoted.for_each(|end| self.add(end.ip()));
        }
        if self.body.is_empty() {
            return Ok(());
        }
        // nrb_record_end
        self.body.extend_from_slice(&[0; 4]);
        blocks.other(block_type::NAME_RESOLUTION, &self.body)
    }

    /// Adds the records of an address, if this is the first packet that bears it.
    fn add(&mut self, address: IpAddr) {
        let names = self.loaded.names.of(address);
        if names.is_empty() || !self.done.insert(address) {
            return;
        }
        // A record for each, and the first name last: of several, Wireshark shows that which it reads last.
        for (number, name) in names.iter().enumerate().rev() {
            if self.carried.contains(&(address, number)) {
                continue;
            }
            let (kind, octets): (u16, &[u8]) = match &address {
                IpAddr::V4(address) => (IPV4, &address.octets()),
                IpAddr::V6(address) => (IPV6, &address.octets()),
            };
            let length = octets.len() + name.len() + 1;
            self.body.extend_from_slice(&kind.to_le_bytes());
            self.body.extend_from_slice(&(length as u16).to_le_bytes()); // names are short: see `is_name`
            self.body.extend_from_slice(octets);
            self.body.extend_from_slice(name.as_bytes());
            let padded = length.next_multiple_of(4);
            self.body.extend_from_slice(&[0; 4][..1 + padded - length]);
        }
    }

    /// Notes what a block of an input says, little-endian: it is not said again.
    pub fn carry(&mut self, body: &[u8]) {
        for (kind, value) in super::blocks::options(body) {
            let (address, names) = match (kind, value.first_chunk::<4>(), value.first_chunk::<16>()) {
                (IPV4, Some(octets), _) => (IpAddr::from(*octets), &value[4..]),
                (IPV6, _, Some(octets)) => (IpAddr::from(*octets), &value[16..]),
                (0, ..) => return,
                _ => continue,
            };
            let known = self.loaded.names.of(address);
            for name in names.split(|&octet| octet == 0).filter(|name| !name.is_empty()) {
                let number = known.iter().position(|there| there.as_bytes() == name);
                self.carried.extend(number.map(|number| (address, number)));
            }
        }
    }
}

//! A translation of addresses and ports, as nat does it.

use std::net::IpAddr;

use super::Event;
use super::known::{Answer, Domain};
use super::walk::{Stop, Walk, is_destination};
use crate::nat::probe::Host;
use crate::nat::ruleset::{Action, Hook, RuleId, States, Target};

impl Walk<'_> {
    pub(super) fn translate(&mut self, action: &Action, to: Target, id: RuleId, hook: Hook) -> Result<(), Stop> {
        let destination = matches!(action, Action::Redirect(_) | Action::Dnat(_));
        if destination != is_destination(hook) {
            return Err(Stop::Unknown(Some(id), "a translation in the wrong hook".to_owned()));
        }
        let address = match (action, hook) {
            // nf_nat_redirect.c
            (Action::Redirect(_), Hook::Output) => Some(Host::loopback_of(self.packet.family)),
            (Action::Redirect(_), _) => Some(self.own(
                id,
                &self.packet.input,
                self.host.redirected(&self.packet.input, self.packet.destination),
            )?),
            (Action::Masquerade(_), _) => {
                let address = self.host.masqueraded(&self.packet.output, self.packet.destination);
                Some(self.own(id, &self.packet.output, address)?)
            }
            _ => to.address,
        };
        let packet = &mut self.packet;
        let (now, ports) = if destination {
            (&mut packet.destination, &mut packet.destination_ports)
        } else {
            (&mut packet.source, &mut packet.source_ports)
        };
        if address.is_some_and(|address| address.is_ipv4() != now.is_ipv4()) {
            return Err(Stop::Unknown(Some(id), "an address of the other family".to_owned()));
        }
        let before = (*now, ports.clone());
        *now = address.unwrap_or(*now);
        // A port that is in the range already stays, unless one is picked at random; without a range, a destination's
        // port stays, and a source's is picked below 1024 or not, as it was (`nf_nat_l4proto_unique_tuple`).
        let picked = match to.ports {
            Some((first, last)) => {
                Some(Domain::ports(first, last)).filter(|range| to.random || ports.is_in(&range.0) != Answer::Yes)
            }
            None if to.random && !destination && ports.ends().0 >= 1024 => Some(Domain::ports(1024, u16::MAX)),
            None if to.random && !destination => Some(Domain::ports(1, 1023)),
            None => None,
        };
        if let Some(picked) = picked {
            *ports = picked;
        }
        // A mapping to what is there already is none (`nf_nat_setup_info`).
        let is_changed = before != (*now, ports.clone());
        self.translating = self.translating.filter(|_| !destination).or(Some(id));
        if is_changed {
            self.packet.state.0 |= if destination { States::DNAT.0 } else { States::SNAT.0 };
        }
        self.set_done(hook);
        let (source, destination) = self.packet.endpoints();
        self.events.push(Event::Translated(source, destination));
        Ok(())
    }

    /// The address that a translation takes from an interface.
    fn own(&self, id: RuleId, interface: &str, address: Option<IpAddr>) -> Result<IpAddr, Stop> {
        match address {
            Some(address) => Ok(address),
            None if self.host.knows(interface) => {
                let why = format!("{interface} has no address that the rule could take");
                Err(Stop::Dropped(Some(id), Some(why)))
            }
            None => Err(Stop::Unknown(Some(id), format!("which address {interface} has is not known"))),
        }
    }
}

//! A translation of addresses and ports, as nat does it.

use std::net::SocketAddr;

use super::Event;
use super::walk::{Stop, Walk, is_destination};
use crate::nat::ruleset::{Action, Hook, RuleId, States, Target};

impl Walk<'_> {
    pub(super) fn translate(&mut self, action: &Action, to: Target, id: RuleId, hook: Hook) -> Result<(), Stop> {
        let destination = matches!(action, Action::Redirect(_) | Action::Dnat(_));
        if destination != is_destination(hook) {
            return Err(Stop::Unknown(Some(id), "a translation in the wrong hook".to_owned()));
        }
        let family = self.packet.family;
        let address = match (action, hook) {
            // nf_nat_redirect.c
            (Action::Redirect(_), Hook::Output) => self.host.primary("lo", family),
            (Action::Redirect(_), _) => match self.host.primary(&self.packet.input, family) {
                Some(address) => Some(address),
                None => return Err(Stop::Dropped(Some(id))),
            },
            (Action::Masquerade(_), _) => match self.host.primary(&self.packet.output, family) {
                Some(address) => Some(address),
                None => return Err(Stop::Dropped(Some(id))),
            },
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
        *now = address.unwrap_or(*now);
        if let Some((first, last)) = to.ports {
            // A port that is in the range already stays (`nf_nat_l4proto_unique_tuple`).
            let stays = ports.0 == ports.1 && (first..=last).contains(&ports.0) && (first, last) != (1, u16::MAX);
            if !stays {
                *ports = (first, last);
            }
        }
        self.translating = self.translating.filter(|_| !destination).or(Some(id));
        self.packet.state.0 |= if destination { States::DNAT.0 } else { States::SNAT.0 };
        self.set_done(hook);
        let packet = &self.packet;
        self.events.push(Event::Translated(
            SocketAddr::new(packet.source, packet.source_ports.0),
            SocketAddr::new(packet.destination, packet.destination_ports.0),
        ));
        Ok(())
    }
}

//! One way of a packet through the hooks, with the kernel's order and the kernel's exceptions.

use std::net::{IpAddr, SocketAddr};

use super::known::Choices;
use super::test::Packet;
use super::{Condition, DEPTH, Event, Fate, Outcome, RULES, Seen, View};
use crate::nat::probe::{Host, Probe, is_loopback};
use crate::nat::ruleset::{Action, Base, Hook, Kind, Policy, Register, RuleId, Ruleset, States, Step, Target};

/// Where conntrack looks at a packet (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;

/// Why a packet does not get further.
enum Stop {
    Dropped(Option<RuleId>),
    Rejected(RuleId),
    Unknown(Option<RuleId>, String),
}

/// How a chain ends.
enum End {
    /// At its end, or by RETURN.
    Through,
    Accepted,
}

pub(super) struct Walk<'a> {
    rules: &'a Ruleset,
    host: &'a Host,
    probe: &'a Probe,
    choices: &'a mut Choices,
    packet: Packet,
    events: Vec<Event>,
    views: Vec<View>,
    looked_at: usize,
    /// Whether conntrack has seen the connection, and whether it was told not to.
    tracked: bool,
    notrack: bool,
    zone: u16,
    /// Whether a rule told conntrack what to do: the first one wins, and those that come after conntrack, as on lo, are
    /// too late (`xt_CT.c`, `nft_ct.c`).
    templated: bool,
    /// Whether destination and source have their mapping: nat runs once per connection for each.
    destination_done: bool,
    source_done: bool,
    proxied: Option<(Option<IpAddr>, u16)>,
    /// The rules that decided.
    proxying: Option<RuleId>,
    translating: Option<RuleId>,
    passing: Option<RuleId>,
    passing_elsewhere: Option<RuleId>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(rules: &'a Ruleset, host: &'a Host, probe: &'a Probe, choices: &'a mut Choices) -> Walk<'a> {
        Walk {
            rules,
            host,
            probe,
            choices,
            packet: Packet::new(probe),
            events: Vec::new(),
            views: Vec::new(),
            looked_at: 0,
            tracked: false,
            notrack: false,
            zone: 0,
            templated: false,
            destination_done: false,
            source_done: false,
            proxied: None,
            proxying: None,
            translating: None,
            passing: None,
            passing_elsewhere: None,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        let (fate, stopped_by) = match self.path() {
            Ok(fate) => (fate, None),
            Err(Stop::Dropped(rule)) => (Fate::Dropped, rule),
            Err(Stop::Rejected(rule)) => (Fate::Rejected, Some(rule)),
            Err(Stop::Unknown(rule, why)) => (Fate::Unknown { why }, rule),
        };
        let decided = self.proxying.or(self.translating).or(self.passing).or(self.passing_elsewhere);
        let packet = &self.packet;
        let owners = [packet.uid.condition("uid", self.probe.uid), packet.gid.condition("gid", self.probe.gid)];
        let assumed = packet.assumed.iter().map(|(what, holds)| Condition { what: what.clone(), holds: *holds });
        Outcome {
            conditions: owners.into_iter().flatten().chain(assumed).collect(),
            rule: if matches!(fate, Fate::Dropped | Fate::Rejected | Fate::Unknown { .. }) {
                stopped_by
            } else {
                decided
            },
            fate,
            source: SocketAddr::new(packet.source, packet.source_ports.0),
            source_last: packet.source_ports.1,
            destination: SocketAddr::new(packet.destination, packet.destination_ports.0),
            destination_last: packet.destination_ports.1,
            zone: self.zone,
            tracked: self.tracked,
            connection_mark: packet.connection_mark.exact(),
            views: self.views,
            walk: self.events,
        }
    }

    /// The hooks in the order in which the packet meets them.
    fn path(&mut self) -> Result<Fate, Stop> {
        match self.probe.input.clone() {
            Some(input) => {
                self.packet.input = input;
                self.view(false);
            }
            None => {
                let route = self.probe.output.clone().unwrap_or_else(|| self.host.route(self.packet.destination));
                self.packet.output = route;
                let before = self.packet.destination;
                self.hook(Hook::Output)?;
                if self.packet.destination != before {
                    // Rules of the hook saw the old interface to its end: `nf_hook_state` does not change.
                    self.packet.output = self.host.route(self.packet.destination);
                    self.events.push(Event::Routed(self.packet.output.clone()));
                    if is_loopback(self.packet.source) && self.packet.output != "lo" {
                        // No route from a loopback address to the wire (`__mkroute_output`).
                        return Err(Stop::Dropped(self.translating));
                    }
                }
                self.hook(Hook::Postrouting)?;
                self.view(true);
                if self.packet.output != "lo" {
                    return Ok(Fate::Sent { interface: std::mem::take(&mut self.packet.output) });
                }
                // lo hands it back, with its mark and its connection, but without its socket.
                self.packet.has_socket = false;
                self.packet.input = "lo".to_owned();
            }
        }
        self.packet.output.clear();
        self.hook(Hook::Prerouting)?;
        if let Some((address, port)) = self.proxied {
            self.hook(Hook::Input)?;
            return Ok(Fate::Proxied { address, port });
        }
        if self.host.is_local(self.packet.destination) {
            if is_loopback(self.packet.destination) && self.packet.input != "lo" {
                // A packet from the wire to 127.0.0.0/8 has no route (`route_localnet` is off), nor has ::1.
                return Err(Stop::Dropped(self.translating));
            }
            self.hook(Hook::Input)?;
            return Ok(Fate::Delivered);
        }
        self.packet.output = self.host.route(self.packet.destination);
        self.events.push(Event::Routed(self.packet.output.clone()));
        self.hook(Hook::Forward)?;
        self.packet.input.clear();
        self.hook(Hook::Postrouting)?;
        self.view(true);
        Ok(Fate::Sent { interface: std::mem::take(&mut self.packet.output) })
    }

    /// What tcpdump shows where the packet is now: inbound before the rules, outbound after them.
    fn view(&mut self, outbound: bool) {
        let probe = (self.probe.source, self.probe.destination);
        let packet = &self.packet;
        let now = (
            SocketAddr::new(packet.source, packet.source_ports.0),
            SocketAddr::new(packet.destination, packet.destination_ports.0),
        );
        let swapped = |(source, destination)| (destination, source);
        let view = if outbound {
            // Replies on lo have been translated back when tcpdump sees them; from the wire they have not.
            let replies = if packet.output == "lo" { swapped(probe) } else { swapped(now) };
            View { interface: packet.output.clone(), packets: now, replies }
        } else {
            View { interface: packet.input.clone(), packets: probe, replies: swapped(probe) }
        };
        self.views.push(view);
    }

    fn hook(&mut self, hook: Hook) -> Result<(), Stop> {
        self.events.push(Event::Hook(hook, self.packet.input.clone(), self.packet.output.clone()));
        let family = self.packet.family;
        let mut chains: Vec<(i32, i32, usize, usize, Base)> = Vec::new();
        let mut any_nat = false;
        for (t, table) in self.rules.tables.iter().enumerate().filter(|(_, table)| table.sees(family)) {
            for (c, chain) in table.chains.iter().enumerate() {
                let Some(base) = chain.base else { continue };
                any_nat |= base.kind == Kind::Nat;
                if base.hook == hook {
                    chains.push((slot(&base), base.priority, t, c, base));
                }
            }
        }
        // Equal priorities run in the order in which they were registered; the order of the files stands for it.
        chains.sort_by_key(|&(slot, priority, ..)| (slot, priority));
        let starts = matches!(hook, Hook::Prerouting | Hook::Output);
        for (slot, _, table, chain, base) in chains {
            if starts && slot >= CONNTRACK {
                self.track();
            }
            if base.kind == Kind::Nat
                && let Some(why) = self.no_nat(hook)
            {
                self.events.push(Event::Skipped(table, chain, why));
                continue;
            }
            self.base_chain(table, chain, base)?;
        }
        if starts {
            self.track();
        }
        // What has no mapping now gets an empty one, if there is nat at all (`nf_nat_alloc_null_binding`).
        if any_nat && self.tracked {
            self.set_done(hook);
        }
        Ok(())
    }

    /// Conntrack's turn, unless it had it, or was told not to.
    fn track(&mut self) {
        if self.packet.state == States::INVALID {
            self.tracked = !self.notrack;
            self.packet.state = if self.notrack { States::UNTRACKED } else { States::NEW };
        }
    }

    /// Why a nat chain is not looked at.
    fn no_nat(&self, hook: Hook) -> Option<&'static str> {
        let done = if is_destination(hook) { self.destination_done } else { self.source_done };
        match (self.tracked, done) {
            (false, _) => Some("the connection is not tracked"),
            (true, true) => Some("the connection has its mapping already"),
            (true, false) => None,
        }
    }

    fn set_done(&mut self, hook: Hook) {
        if is_destination(hook) { self.destination_done = true } else { self.source_done = true }
    }

    fn base_chain(&mut self, table: usize, chain: usize, base: Base) -> Result<(), Stop> {
        self.events.push(Event::Chain(table, chain));
        if let End::Through = self.chain(table, chain, base, 0)? {
            self.events.push(Event::Policy(table, chain));
            if base.policy == Policy::Drop {
                return Err(Stop::Dropped(None));
            }
        }
        Ok(())
    }

    fn chain(&mut self, table: usize, chain: usize, base: Base, depth: usize) -> Result<End, Stop> {
        if depth > DEPTH {
            return Err(Stop::Unknown(None, "the chains jump in a circle".to_owned()));
        }
        let rules = self.rules;
        for (index, rule) in rules.chain(table, chain).rules.iter().enumerate() {
            self.looked_at += 1;
            if self.looked_at > RULES {
                return Err(Stop::Unknown(None, "the rules do not come to an end".to_owned()));
            }
            let id = RuleId { table, chain, rule: index };
            let mut told = false;
            for (number, step) in rule.steps.iter().enumerate() {
                match step {
                    Step::Match(test) => {
                        if !self.packet.matches(test, self.host, self.choices) {
                            if !told {
                                let actual = self.packet.actual(&test.test);
                                self.events.push(Event::Rule(id, depth, Seen::Failed(number, actual)));
                            }
                            told = true;
                            break;
                        }
                    }
                    Step::Do(action) => {
                        if !std::mem::replace(&mut told, true) {
                            self.events.push(Event::Rule(id, depth, Seen::Matched));
                        }
                        match self.act(action, id, base, depth)? {
                            Flow::Next => {}
                            Flow::Skip => break,
                            Flow::End(end) => return Ok(end),
                        }
                    }
                }
            }
            if !told {
                self.events.push(Event::Rule(id, depth, Seen::Matched));
            }
        }
        Ok(End::Through)
    }

    fn act(&mut self, action: &Action, id: RuleId, base: Base, depth: usize) -> Result<Flow, Stop> {
        let nat = base.kind == Kind::Nat;
        if matches!(action, Action::Accept | Action::Return) {
            let passing = if nat { &mut self.passing } else { &mut self.passing_elsewhere };
            if !nat || is_destination(base.hook) {
                *passing = Some(id);
            }
        }
        match action {
            Action::Accept => return Ok(Flow::End(End::Accepted)),
            Action::Return => return Ok(Flow::End(End::Through)),
            Action::Drop => return Err(Stop::Dropped(Some(id))),
            Action::Reject => return Err(Stop::Rejected(id)),
            Action::Jump(chain) => {
                if let End::Accepted = self.chain(id.table, *chain, base, depth + 1)? {
                    return Ok(Flow::End(End::Accepted));
                }
            }
            Action::Goto(chain) => return self.chain(id.table, *chain, base, depth + 1).map(Flow::End),
            Action::Redirect(to) | Action::Dnat(to) | Action::Snat(to) | Action::Masquerade(to) => {
                if !nat {
                    return Err(Stop::Unknown(Some(id), "a translation outside of nat".to_owned()));
                }
                self.translate(action, *to, id, base.hook)?;
                return Ok(Flow::End(End::Accepted));
            }
            Action::Tproxy { family, to, change, ends } => {
                if family.is_some_and(|family| family != self.packet.family) {
                    return Ok(Flow::Skip);
                }
                self.proxied = Some((to.address, to.ports.map_or(self.packet.destination_ports.0, |p| p.0)));
                self.proxying = Some(id);
                if let Some(change) = change {
                    self.packet.mark = self.packet.mark.change(change.keep, None, change.flip);
                }
                if *ends {
                    return Ok(Flow::End(End::Accepted));
                }
            }
            Action::Mark(change) => {
                let packet = &mut self.packet;
                let of = |register| match register {
                    Register::Packet => &packet.mark,
                    Register::Connection => &packet.connection_mark,
                };
                let other = change.other.map(|(register, mask)| (of(register), mask));
                let new = of(change.register).change(change.keep, other, change.flip);
                match change.register {
                    Register::Packet => packet.mark = new,
                    // Without a connection there is nothing to mark.
                    Register::Connection if self.tracked => packet.connection_mark = new,
                    Register::Connection => {}
                }
            }
            Action::Zone(_) | Action::Notrack if self.templated || self.packet.state != States::INVALID => {}
            Action::Zone(zone) => (self.templated, self.zone) = (true, *zone),
            Action::Notrack => (self.templated, self.notrack) = (true, true),
            Action::Nothing => {}
            Action::Unknown(what) => return Err(Stop::Unknown(Some(id), format!("`{what}` is not understood"))),
        }
        Ok(Flow::Next)
    }

    fn translate(&mut self, action: &Action, to: Target, id: RuleId, hook: Hook) -> Result<(), Stop> {
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

/// What follows an action.
enum Flow {
    /// The next step of the rule.
    Next,
    /// The next rule.
    Skip,
    /// The chain ends.
    End(End),
}

/// Whether nat of a hook changes destinations.
fn is_destination(hook: Hook) -> bool {
    matches!(hook, Hook::Prerouting | Hook::Output)
}

/// Where a base chain runs in its hook. All nat chains run where nat has its place, in the order of their priorities.
fn slot(base: &Base) -> i32 {
    match base.kind {
        Kind::Nat if is_destination(base.hook) => -100,
        Kind::Nat => 100,
        _ => base.priority,
    }
}

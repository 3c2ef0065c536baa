//! One way of a packet through the hooks, with the kernel's order and the kernel's exceptions.

use std::net::IpAddr;

use super::known::Choices;
use super::test::Packet;
use super::{Condition, Event, Fate, Outcome, View};
use crate::nat::probe::{Host, Probe};
use crate::nat::ruleset::{Base, Hook, Kind, RuleId, Ruleset, States};

/// Where conntrack looks at a packet (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;

/// Why a packet does not get further.
pub(super) enum Stop {
    /// By a rule, or by a policy; and if neither says why, the reason.
    Dropped(Option<RuleId>, Option<String>),
    Rejected(RuleId),
    Unknown(Option<RuleId>, String),
}

pub(super) struct Walk<'a> {
    pub(super) rules: &'a Ruleset,
    pub(super) host: &'a Host,
    pub(super) probe: &'a Probe,
    pub(super) choices: &'a mut Choices,
    pub(super) packet: Packet,
    pub(super) events: Vec<Event>,
    pub(super) views: Vec<View>,
    pub(super) looked_at: usize,
    /// Whether conntrack was told not to see the connection.
    pub(super) notrack: bool,
    pub(super) zone: u16,
    /// Whether a rule told conntrack what to do: the first one wins, and those that come after conntrack, as on lo, are
    /// too late (`xt_CT.c`, `nft_ct.c`).
    pub(super) templated: bool,
    /// Whether destination and source have their mapping: nat runs once per connection for each.
    pub(super) destination_done: bool,
    pub(super) source_done: bool,
    pub(super) proxied: Option<(Option<IpAddr>, u16)>,
    /// What is taken for granted, since no rule says it.
    pub(super) assumes: Vec<String>,
    /// The rules that decided.
    pub(super) proxying: Option<RuleId>,
    pub(super) translating: Option<RuleId>,
    pub(super) passing: Option<RuleId>,
    pub(super) passing_elsewhere: Option<RuleId>,
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
            notrack: false,
            zone: 0,
            templated: false,
            destination_done: false,
            source_done: false,
            proxied: None,
            assumes: Vec::new(),
            proxying: None,
            translating: None,
            passing: None,
            passing_elsewhere: None,
        }
    }

    /// Goes the way; also says how many rules were looked at.
    pub(super) fn run(mut self) -> (Outcome, usize) {
        let (fate, stopped_by, why) = match self.path() {
            Ok(fate) => (fate, None, None),
            Err(Stop::Dropped(rule, why)) => (Fate::Dropped, rule, why),
            Err(Stop::Rejected(rule)) => (Fate::Rejected, Some(rule), None),
            Err(Stop::Unknown(rule, why)) => (Fate::Unknown { why }, rule, None),
        };
        let is_stopped = matches!(fate, Fate::Dropped | Fate::Rejected | Fate::Unknown { .. });
        if is_stopped {
            self.views.iter_mut().for_each(|view| view.replies = None);
        }
        let decided = self.proxying.or(self.translating).or(self.passing).or(self.passing_elsewhere);
        let packet = &self.packet;
        let owners = [packet.uid.condition("uid", self.probe.uid), packet.gid.condition("gid", self.probe.gid)];
        let assumed = packet.assumed.iter().map(|a| Condition { what: a.what.clone(), holds: a.holds });
        let (source, destination) = packet.endpoints();
        let outcome = Outcome {
            conditions: owners.into_iter().flatten().chain(assumed).collect(),
            rule: if is_stopped { stopped_by } else { decided },
            fate,
            why,
            source,
            source_last: packet.source_ports.ends().1,
            destination,
            destination_last: packet.destination_ports.ends().1,
            zone: self.zone,
            tracked: packet.is_tracked(),
            connection_mark: packet.connection_mark.exact(),
            assumes: self.assumes,
            views: self.views,
            walk: self.events,
        };
        (outcome, self.looked_at)
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
                let (before, mark) = (self.packet.destination, self.packet.mark.clone());
                self.hook(Hook::Output)?;
                if self.packet.mark != mark && self.packet.mark.exact() != Some(0) {
                    self.assumes.push(format!("no ip rule sends mark {} another way", self.packet.mark));
                }
                if self.packet.destination != before {
                    // Rules of the hook saw the old interface to its end: `nf_hook_state` does not change.
                    self.packet.output = self.host.route(self.packet.destination);
                    self.events.push(Event::Routed(self.packet.output.clone()));
                    if self.packet.source.is_loopback() && self.packet.output != "lo" {
                        // No route from a loopback address to the wire (`__mkroute_output`).
                        let why = format!("no route leads from {} to the wire", self.packet.source);
                        return Err(Stop::Dropped(self.translating, Some(why)));
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
            let at = address.map_or_else(String::new, |address| format!("{address} "));
            self.assumes.push(format!("a transparent socket listens on {at}port {port}"));
            if !self.host.is_local(self.packet.destination) {
                let mark = &self.packet.mark;
                self.assumes.push(format!("ip rule and ip route deliver packets with mark {mark} to the pod itself"));
            }
            self.hook(Hook::Input)?;
            return Ok(Fate::Proxied { address, port });
        }
        if self.host.is_local(self.packet.destination) {
            if self.packet.destination.is_loopback() && self.packet.input != "lo" {
                let why = format!("no route leads from the wire to {}", self.packet.destination);
                if self.packet.destination.is_ipv4() {
                    self.assumes.push("net.ipv4.conf.*.route_localnet is off".to_owned());
                }
                return Err(Stop::Dropped(self.translating, Some(why)));
            }
            self.hook(Hook::Input)?;
            return Ok(Fate::Delivered);
        }
        self.packet.output = self.host.route(self.packet.destination);
        self.events.push(Event::Routed(self.packet.output.clone()));
        self.assumes.push("the pod forwards packets (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding)".to_owned());
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
        let now = packet.endpoints();
        let swapped = |(source, destination)| (destination, source);
        let view = if outbound {
            // Replies on lo have been translated back when tcpdump sees them; from the wire they have not.
            let replies = if packet.output == "lo" { swapped(probe) } else { swapped(now) };
            View { interface: packet.output.clone(), packets: now, replies: Some(replies) }
        } else {
            View { interface: packet.input.clone(), packets: probe, replies: Some(swapped(probe)) }
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
        // What has no mapping now gets an empty one, if there is nat at all (`nf_nat_alloc_null_binding`). FORWARD has none.
        if any_nat && self.packet.is_tracked() && hook != Hook::Forward {
            self.set_done(hook);
        }
        Ok(())
    }

    /// Conntrack's turn, unless it had it, or was told not to.
    fn track(&mut self) {
        if self.packet.state == States::INVALID {
            self.packet.state = if self.notrack { States::UNTRACKED } else { States::NEW };
        }
    }

    /// Why a nat chain is not looked at.
    fn no_nat(&self, hook: Hook) -> Option<&'static str> {
        let done = if is_destination(hook) { self.destination_done } else { self.source_done };
        match (self.packet.is_tracked(), done) {
            (false, _) => Some("the connection is not tracked"),
            (true, true) => Some("the connection has its mapping already"),
            (true, false) => None,
        }
    }

    pub(super) fn set_done(&mut self, hook: Hook) {
        if is_destination(hook) { self.destination_done = true } else { self.source_done = true }
    }
}

/// Whether nat of a hook changes destinations.
pub(super) fn is_destination(hook: Hook) -> bool {
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

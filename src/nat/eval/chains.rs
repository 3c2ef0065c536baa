//! A packet in a chain: rule by rule, with jumps, verdicts and what rules do to it.

use super::walk::{Stop, Walk, is_destination};
use super::{DEPTH, Event, RULES, Seen};
use crate::nat::ruleset::{Action, Base, Hook, Kind, Policy, Register, RuleId, States, Step};

/// How a chain ends.
pub(super) enum End {
    /// At its end, or by RETURN.
    Through,
    Accepted,
}

/// What follows an action.
pub(super) enum Flow {
    /// The next step of the rule.
    Next,
    /// The next rule.
    Skip,
    /// The chain ends.
    End(End),
}

impl Walk<'_> {
    pub(super) fn base_chain(&mut self, table: usize, chain: usize, base: Base) -> Result<(), Stop> {
        self.events.push(Event::Chain(table, chain));
        if let End::Through = self.chain(table, chain, base, 0)? {
            self.events.push(Event::Policy(table, chain));
            if base.policy == Policy::Drop {
                return Err(Stop::Dropped(None, None));
            }
        }
        Ok(())
    }

    pub(super) fn chain(&mut self, table: usize, chain: usize, base: Base, depth: usize) -> Result<End, Stop> {
        if depth > DEPTH {
            return Err(Stop::Unknown(None, format!("more than {DEPTH} chains jump to each other, or in a circle")));
        }
        let rules = self.rules;
        for (index, rule) in rules.chain(table, chain).rules.iter().enumerate() {
            self.looked_at += 1;
            if self.looked_at > RULES {
                return Err(Stop::Unknown(None, format!("the packet meets more than {RULES} rules")));
            }
            let id = RuleId { table, chain, rule: index };
            let mut told = false;
            for (number, step) in rule.steps.iter().enumerate() {
                match step {
                    Step::Match(test) => {
                        if !self.packet.matches(test, rule.place, self.host, self.choices) {
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

    pub(super) fn act(&mut self, action: &Action, id: RuleId, base: Base, depth: usize) -> Result<Flow, Stop> {
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
            Action::Drop => return Err(Stop::Dropped(Some(id), None)),
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
                if base.hook != Hook::Prerouting {
                    return Err(Stop::Unknown(Some(id), "TPROXY outside of PREROUTING".to_owned()));
                }
                self.proxied = Some((to.address, to.ports.map_or(self.packet.destination_ports.ends().0, |p| p.0)));
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
                // Without a connection there is no mark to set, nor one to take (`xt_connmark.c`).
                let of_connection = |register| register == Register::Connection;
                let uses = of_connection(change.register) || change.other.is_some_and(|(from, _)| of_connection(from));
                if uses && !packet.is_tracked() {
                    return Ok(Flow::Next);
                }
                let of = |register| match register {
                    Register::Packet => &packet.mark,
                    Register::Connection => &packet.connection_mark,
                };
                let other = change.other.map(|(register, mask)| (of(register), mask));
                let new = of(change.register).change(change.keep, other, change.flip);
                match change.register {
                    Register::Packet => packet.mark = new,
                    Register::Connection => packet.connection_mark = new,
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
}

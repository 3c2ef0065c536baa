//! One leg against given rules: could they have done what the packets show?

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::Past;
use super::host::{INTERFACE, hosts};
use super::recognise::Observed;
use crate::flow::{Leg, Outcome};
use crate::nat::{self, Action, Family, Fate, Probe, Protocol, Role, Ruleset, Step, Verdict, evaluate};

/// Verdicts that are remembered: connections to one address and port have one. Full, they are all forgotten.
const VERDICTS: usize = 4096;

/// Connections to ports of the pod that are remembered, until it is known whether lo shows the proxy's own.
const PORTS: usize = 256;

/// How a leg and the rules agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It was redirected, and the rules redirect so.
    Agrees,
    /// The rules do not say enough.
    Undecided,
    /// It was redirected as the rules cannot do it.
    Contradicts(Contradiction),
    /// It was not redirected, and the rules redirect it.
    Bypasses(Contradiction),
}

impl Agreement {
    /// The name as the report writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Agreement::Agrees => "agree",
            Agreement::Undecided => "undecided",
            Agreement::Contradicts(_) => "contradict",
            Agreement::Bypasses(_) => "bypass",
        }
    }

    /// Both sides, if they differ.
    pub fn contradiction(&self) -> Option<&Contradiction> {
        match self {
            Agreement::Contradicts(told) | Agreement::Bypasses(told) => Some(told),
            Agreement::Agrees | Agreement::Undecided => None,
        }
    }
}

/// Both sides of a contradiction, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What the packets show.
    pub packets: String,
    /// What the rules say, with the rule that decides.
    pub rules: String,
    /// Whether the packets leave no other explanation.
    pub is_certain: bool,
}

/// What the rules do to connections from one address to another.
#[derive(Debug)]
struct Ruling {
    /// Where they can end when they are redirected; no port: at any.
    redirected: Vec<SocketAddr>,
    /// Whether some of them are left alone.
    untouched: bool,
    /// Whether those are that no user, group or mark of the rules excepts.
    spares_others: bool,
    /// Whether something about them is not known.
    unknown: bool,
    words: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    protocol: Protocol,
    source: IpAddr,
    source_port: u16,
    destination: SocketAddr,
    incoming: bool,
}

pub(super) struct Holder {
    rules: Ruleset,
    asks_source_port: bool,
    rulings: HashMap<Question, Rc<Ruling>, RandomState>,
    /// Connections that came in and that the rules redirect, by the port of the pod: the first, and how many.
    incoming: HashMap<SocketAddr, Past, RandomState>,
}

impl Holder {
    pub fn new(rules: Ruleset) -> Holder {
        let asks_source_port = rules.asks_source_port();
        Holder { rules, asks_source_port, rulings: HashMap::default(), incoming: HashMap::default() }
    }

    /// Whether the rules redirect anything that the pod sends.
    pub fn redirects(&self) -> bool {
        !nat::Model::from_rules(&self.rules).listeners.is_empty()
    }

    /// Holds a leg against the rules.
    pub fn hold(&mut self, leg: &Leg) -> Option<Agreement> {
        let what = format_args!("{} {} > {}", leg.protocol.name(), leg.client, leg.server).to_string();
        match (leg.outcome, leg.role) {
            (Outcome::Repaired { destination, .. }, _) => {
                let ruling = self.ruling(leg, Some(destination), false);
                let is_said = ruling.redirected.contains(&destination);
                // What comes in by a bridge is redirected to the bridge's own address, which is not known here.
                let is_elsewhere = !destination.ip().is_loopback()
                    && ruling.redirected.iter().any(|said| said.port() == destination.port());
                Some(match (is_said, ruling.unknown || is_elsewhere) {
                    (true, _) => Agreement::Agrees,
                    (false, true) => Agreement::Undecided,
                    (false, false) => Agreement::Contradicts(Contradiction {
                        packets: format!("{what} was redirected to {destination}, {}", seen(leg)),
                        rules: ruling.words.clone(),
                        is_certain: true,
                    }),
                })
            }
            (Outcome::Whole, Role::OutboundPeer | Role::Local) if leg.opened() => {
                // It can be the proxy's own, unless nobody asked the proxy for anything.
                let ruling = self.ruling(leg, None, false);
                let whose = match leg.role {
                    _ if ruling.spares_others || ruling.untouched && !leg.unasked => return None,
                    _ if ruling.untouched => "while nobody was waiting for the proxy",
                    Role::Local => "inside the pod",
                    _ => "on the wire",
                };
                let told = Contradiction {
                    packets: format!("{what} went straight to its destination, {whose}, {}", seen(leg)),
                    rules: ruling.words.clone(),
                    // Of requests that share a connection one may wait though another one was answered.
                    is_certain: !ruling.untouched,
                };
                let is_redirected = !ruling.redirected.is_empty() && !ruling.unknown;
                is_redirected.then_some(Agreement::Bypasses(told))
            }
            (Outcome::Whole, Role::InboundPeer) if leg.opened() && leg.from_server.bytes > 0 => {
                let ruling = self.ruling(leg, None, true);
                let is_redirected = !ruling.redirected.is_empty() && !ruling.untouched && !ruling.unknown;
                if is_redirected && self.incoming.len() < PORTS {
                    self.incoming.entry(leg.server).or_insert_with(|| Past {
                        conversation: leg.forward.number,
                        opened: leg.first_time,
                        told: Contradiction {
                            packets: format!(
                                "{what} was answered, but the proxy opened no connection to that port on lo, {}",
                                seen(leg)
                            ),
                            rules: ruling.words.clone(),
                            // A proxy that refuses a request answers by itself.
                            is_certain: false,
                        },
                    });
                }
                None
            }
            _ => None,
        }
    }

    /// What could be said only when all legs were seen: who was answered without the proxy.
    pub fn finish(&mut self, observed: &Observed) -> Vec<Past> {
        if observed.loopback_seen().is_none() {
            return Vec::new();
        }
        let mut past: Vec<(SocketAddr, Past)> =
            self.incoming.drain().filter(|(server, _)| !observed.is_served(server.port())).collect();
        past.sort_by_key(|(server, _)| *server);
        past.into_iter().map(|(_, past)| past).collect()
    }

    /// What the rules do to a leg's connection; `captured` is where it was redirected to.
    fn ruling(&mut self, leg: &Leg, captured: Option<SocketAddr>, incoming: bool) -> Rc<Ruling> {
        let question = Question {
            protocol: leg.protocol,
            source: leg.client.ip(),
            source_port: if self.asks_source_port { leg.client.port() } else { 0 },
            destination: leg.server,
            incoming,
        };
        if let Some(known) = self.rulings.get(&question) {
            return Rc::clone(known);
        }
        let ruling = Rc::new(self.judge(leg, captured, incoming));
        if self.rulings.len() >= VERDICTS {
            self.rulings.clear();
        }
        self.rulings.insert(question, Rc::clone(&ruling));
        ruling
    }

    fn judge(&self, leg: &Leg, captured: Option<SocketAddr>, incoming: bool) -> Ruling {
        let probe = Probe {
            protocol: leg.protocol,
            source: leg.client,
            destination: leg.server,
            input: incoming.then(|| INTERFACE.to_owned()),
            ..Probe::default()
        };
        // The pod's own: the client if it sends, and what lo shows.
        let sender = if incoming { leg.server.ip() } else { leg.client.ip() };
        let own: Vec<IpAddr> = [sender].into_iter().chain(captured.map(|address| address.ip())).collect();
        let local = Some(leg.server.ip()).filter(|_| !incoming && leg.server_is_local);
        let verdicts: Vec<Verdict> =
            hosts(&own, local).iter().map(|host| evaluate(&self.rules, host, &probe)).collect();
        let mut ruling = Ruling {
            redirected: Vec::new(),
            untouched: false,
            spares_others: false,
            unknown: verdicts.iter().any(|verdict| verdict.incomplete) || !self.rules.sees(Family::of(leg.server.ip())),
            words: String::new(),
        };
        for outcome in verdicts.iter().flat_map(|verdict| &verdict.outcomes) {
            // Who comes in by DNAT need not meet a proxy: it may be a port that the host forwards.
            let is_dnat = outcome.rule.is_some_and(|id| {
                self.rules.rule(id).steps.iter().any(|step| matches!(step, Step::Do(Action::Dnat(_))))
            });
            match outcome.fate {
                Fate::Unknown { .. } => ruling.unknown = true,
                _ if incoming && is_dnat => ruling.untouched = true,
                Fate::Proxied { port, address } => {
                    ruling.redirected.push(SocketAddr::new(address.unwrap_or(leg.server.ip()), port));
                }
                _ if outcome.destination != probe.destination => ruling.redirected.push(outcome.destination),
                _ => {
                    ruling.untouched = true;
                    ruling.spares_others |= outcome.conditions.iter().all(|condition| !condition.holds);
                }
            }
        }
        ruling.words = verdicts.first().map(|verdict| self.words(&probe, verdict)).unwrap_or_default();
        ruling
    }

    /// `uid 1337: not redirected (rules.txt line 12); any other: to 127.0.0.1:15001 (rules.txt line 25)`.
    fn words(&self, probe: &Probe, verdict: &Verdict) -> String {
        let several = verdict.outcomes.len() > 1;
        let last = verdict.outcomes.len() - 1;
        let outcome = |(index, outcome): (usize, &nat::Outcome)| {
            let conditions: Vec<String> = outcome.conditions.iter().map(ToString::to_string).collect();
            let who = match conditions.as_slice() {
                _ if several && index == last => "any other: ".to_owned(),
                [] => String::new(),
                all => all.join(", ") + ": ",
            };
            let what = match &outcome.fate {
                Fate::Unknown { why } => format!("not known, {why}"),
                Fate::Dropped | Fate::Rejected => outcome.fate.name().to_owned(),
                Fate::Proxied { port, .. } => format!("to the transparent socket on port {port}"),
                _ if outcome.destination != probe.destination => format!("redirected to {}", outcome.destination),
                _ => "not redirected".to_owned(),
            };
            let by = outcome.rule.map(|id| self.rules.rule(id));
            let by = by.map_or_else(
                || "no rule decides".to_owned(),
                |rule| format!("{}: {}", self.rules.whereabouts(rule.place), rule.text),
            );
            format!("{who}{what} ({by})")
        };
        verdict.outcomes.iter().enumerate().map(outcome).collect::<Vec<_>>().join("; ")
    }
}

/// Where to look.
fn seen(leg: &Leg) -> String {
    format!("frame {} of input {}", leg.first.frame, leg.first.input + 1)
}

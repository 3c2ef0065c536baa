//! A [`Model`] from rules: which listeners they redirect to, and what for.
//!
//! Every way from a base chain to a translation is followed, with the tests on it. Their sense tells the role: port 53 is
//! DNS; on lo, what the proxy's own user sends is its call to its own pod, or to the application if the rules give lo's
//! address for the pod's; anything else that a socket sends is the application's.

use std::net::IpAddr;

use super::model::{Inbound, Listener, Model, Protocol, Role};
use super::numbers::Numbers;
use super::ruleset::{Action, Chain, Hook, Kind, Match, Ruleset, Step, Target, Test};

/// Rules looked at, at most: past it, listeners may be missing.
const RULES: usize = 20_000;

/// Jumps within jumps, at most.
const DEPTH: usize = 32;

impl Model {
    /// What a capture shows of rules.
    pub fn from_rules(rules: &Ruleset) -> Model {
        let model = Model { listeners: Vec::new(), passthrough: Vec::new(), inbound: Inbound::Direct };
        let mut reader = Reader { rules, model, looked_at: 0 };
        for (t, table) in rules.tables.iter().enumerate() {
            for chain in &table.chains {
                if let Some(base) = chain.base {
                    reader.chain(t, chain, base.hook, base.kind == Kind::Nat, &mut Vec::new(), 0);
                }
            }
        }
        // A port for the application's and the proxy's own connections is the application's.
        let mut model = reader.model;
        model.listeners.sort_by_key(|l| (l.protocol, l.port, l.role));
        model.listeners.dedup_by_key(|l| (l.protocol, l.address, l.port));
        model
    }
}

struct Reader<'a> {
    rules: &'a Ruleset,
    model: Model,
    looked_at: usize,
}

impl<'a> Reader<'a> {
    /// Follows a chain; `way` has the tests that led to it.
    fn chain(&mut self, table: usize, chain: &'a Chain, hook: Hook, nat: bool, way: &mut Vec<&'a Match>, depth: usize) {
        for rule in &chain.rules {
            self.looked_at += 1;
            if self.looked_at > RULES || depth > DEPTH {
                return;
            }
            let before = way.len();
            for step in &rule.steps {
                match step {
                    Step::Match(test) => way.push(test),
                    Step::Do(Action::Jump(to) | Action::Goto(to)) => {
                        let to = self.rules.chain(table, *to);
                        self.chain(table, to, hook, nat, way, depth + 1);
                    }
                    Step::Do(Action::Return) if nat && hook == Hook::Output => self.passthrough(way),
                    Step::Do(Action::Redirect(to)) if nat => self.redirect(*to, hook, way),
                    Step::Do(Action::Dnat(to)) if nat => self.redirect(*to, hook, way),
                    Step::Do(Action::Tproxy { .. }) => self.model.inbound = Inbound::Tproxy,
                    Step::Do(_) => {}
                }
            }
            way.truncate(before);
        }
    }

    /// `-s 127.0.0.6/32 -o lo -j RETURN`: the proxy's own address.
    fn passthrough(&mut self, way: &[&Match]) {
        let on_lo = way.iter().any(|m| !m.negated && m.test == Test::Out("lo".to_owned(), false));
        for test in way.iter().filter(|m| on_lo && !m.negated) {
            if let Test::Source(addresses) = &test.test {
                for &(first, last, mask) in &addresses.0 {
                    let whole = mask == u128::MAX || first.is_ipv4() && mask == u128::from(u32::MAX);
                    if first == last && whole && !self.model.passthrough.contains(&first) {
                        self.model.passthrough.push(first);
                    }
                }
            }
        }
    }

    fn redirect(&mut self, to: Target, hook: Hook, way: &[&Match]) {
        if hook == Hook::Prerouting {
            if self.model.inbound == Inbound::Direct {
                self.model.inbound = Inbound::Redirect;
            }
            return;
        }
        if hook != Hook::Output {
            return;
        }
        let address: Option<IpAddr> = to.address.filter(|a| !a.is_loopback() || !super::is_redirect_address(*a));
        let port = match to.ports {
            // A range names no listener; neither does what stays where it is.
            Some((port, last)) if port == last => Some(port),
            None if address.is_some() => None,
            _ => return,
        };
        let role = role(way, address);
        for protocol in protocols(way) {
            // An address that is not lo's is reached without translation as well.
            self.model.listeners.push(Listener { protocol, address, port, role, sure: address.is_none() });
        }
    }
}

fn role(way: &[&Match], address: Option<IpAddr>) -> Role {
    let dns = Numbers::one(53);
    let has = |sense: &dyn Fn(&Test) -> bool| way.iter().any(|m| !m.negated && sense(&m.test));
    let is_lo = address.is_none_or(|a| a.is_loopback());
    if has(&|test| *test == Test::DestinationPort(dns.clone())) {
        Role::Dns
    } else if has(&|test| matches!(test, Test::Uid(_) | Test::Gid(_)))
        && has(&|t| *t == Test::Out("lo".to_owned(), false))
    {
        // From lo to the pod's own address: the application does not listen on lo.
        if is_lo { Role::SelfCall } else { Role::InboundApp }
    } else if !is_lo {
        Role::Local
    } else {
        Role::OutboundApp
    }
}

/// The protocols that tests on the way let through.
fn protocols(way: &[&Match]) -> Vec<Protocol> {
    let passes = |protocol: &Protocol| {
        way.iter().all(|m| match &m.test {
            Test::Protocol(set) => set.contains(protocol.number().into()) != m.negated,
            _ => true,
        })
    };
    [Protocol::Tcp, Protocol::Udp].into_iter().filter(passes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Preset;

    fn listeners(mesh: &str) -> Vec<(&'static str, u16, Role)> {
        let model = Model::from_rules(&Preset::named(mesh).expect("a preset").ruleset());
        assert!(model.listeners.iter().all(|l| l.address.is_none()), "{mesh}");
        model.listeners.iter().map(|l| (l.protocol.name(), l.port.unwrap_or(0), l.role)).collect()
    }

    #[test]
    fn listeners_of_the_meshes() {
        use Role::{Dns, OutboundApp, SelfCall};
        assert_eq!(listeners("istio"), [("tcp", 15001, OutboundApp), ("tcp", 15006, SelfCall)]);
        assert_eq!(
            listeners("istio-dns"),
            [("tcp", 15001, OutboundApp), ("tcp", 15006, SelfCall), ("tcp", 15053, Dns), ("udp", 15053, Dns)]
        );
        assert_eq!(listeners("istio-ambient"), [("tcp", 15001, OutboundApp), ("tcp", 15053, Dns), ("udp", 15053, Dns)]);
        assert_eq!(listeners("linkerd"), [("tcp", 4140, OutboundApp)]);
        assert_eq!(listeners("kuma"), [("tcp", 15001, OutboundApp), ("tcp", 15006, SelfCall), ("udp", 15053, Dns)]);
        assert_eq!(listeners("consul"), [("tcp", 8600, Dns), ("tcp", 15001, OutboundApp), ("udp", 8600, Dns)]);
        assert_eq!(listeners("osm"), [("tcp", 15001, OutboundApp), ("tcp", 15003, SelfCall)]);
        assert_eq!(listeners("app-mesh"), [("tcp", 15001, OutboundApp)]);
    }

    #[test]
    fn addresses_without_a_port() {
        let text = "*nat\n:OUTPUT ACCEPT [0:0]\n\
            -A OUTPUT -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500 -j DNAT --to-destination 10.0.0.7\nCOMMIT\n";
        let rules = Ruleset::read("rules", text.as_bytes(), None).expect("rules");
        let model = Model::from_rules(&rules);
        let address = Some("10.0.0.7".parse().expect("an address"));
        let pod = Listener { protocol: Protocol::Tcp, address, port: None, role: Role::InboundApp, sure: false };
        assert_eq!(model.listeners, [pod]);
    }

    #[test]
    fn addresses_and_modes() {
        let derived = Model::from_rules(&Preset::named("istio-dns").expect("a preset").ruleset());
        assert_eq!(derived.passthrough, Model::usual().passthrough);
        assert_eq!(derived.inbound, Inbound::Redirect);
        let tproxy = Model::from_rules(&Preset::named("istio-tproxy").expect("a preset").ruleset());
        assert_eq!(tproxy.inbound, Inbound::Tproxy);
    }
}

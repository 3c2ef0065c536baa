//! Ports of the proxy that were reached from outside the pod.

use super::facts::Fact;
use super::{Context, Draft};
use crate::nat::Role;
use crate::ports::{self, Kind, Port, Reach};

/// The mesh whose ports are meant where nothing tells which one it is.
const USUAL: &str = "istio";

pub(super) fn check(context: &Context<'_>, found: &mut Vec<Draft>) {
    let known = context.audit.and_then(|audit| audit.mesh());
    let mesh = ports::mesh_of_preset(known.unwrap_or(USUAL));
    for (number, fact) in context.facts.iter().enumerate() {
        if fact.leg.role != Role::InboundPeer || !fact.leg.client_known || !fact.is_tcp() || fact.is_refused() {
            continue;
        }
        let Some(port) = ports::find(Some(mesh), Some(fact.leg.server.port())).next() else { continue };
        // A port that is redirected is opened by the proxy, whether anybody listens there or not.
        let is_reached = match port.kind {
            Kind::Capture => fact.is_answered(),
            _ => fact.server.first_data.is_some(),
        };
        if let Some(draft) = reached(number, fact, port).filter(|_| is_reached) {
            found.push(draft.likely(known.is_none()).at(fact.first()));
        }
    }
}

fn reached(number: usize, fact: &Fact<'_>, port: &Port) -> Option<Draft> {
    let from = fact.leg.client.ip();
    let what = format!(
        "{from} reached port {} of the pod: {} ({}), {}; for {}",
        port.number, port.component, port.protocol, port.purpose, port.reach
    );
    let draft = match (port.kind, port.reach) {
        (Kind::Capture, _) => Draft::new(
            "capture-port-reached",
            &[number],
            what,
            "block it (a NetworkPolicy for this port) and find out who calls it: a connection to it that nat did not \
             redirect can loop, or pass the proxy off as a destination",
        ),
        (_, Reach::Pod) => Draft::new(
            "admin-port-reached",
            &[number],
            what,
            "block it (a NetworkPolicy for this port) or bind it to 127.0.0.1: who reaches it can read the configuration \
             and stop the proxy",
        ),
        (_, Reach::Metrics | Reach::Probes) => {
            Draft::new("telemetry-port-reached", &[number], what, "nothing if it is your collector or the kubelet")
        }
        _ => return None,
    };
    Some(draft)
}

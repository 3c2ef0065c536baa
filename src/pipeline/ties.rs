//! Between the two passes: legs are tied, and those of the proxy's own address get their client's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::Builder;

use foldhash::fast::RandomState;

use super::Error;
use super::passages::{Passage, Passages};
use super::survey::{Kept, Surveyed};
use crate::beside::{Files, Unused};
use crate::flow::{self, Leg, Outcome, Part, Reason, Translation};
use crate::nat::{Model, Protocol, Role};
use crate::tie::infer::{self, Half, Observed, Stage, TcpLeg};
use crate::tie::{self, Clients, Edge, Evidence, Logged, Logs, Mappings, Said, Side};

/// Exchanges that are kept of a leg, at most.
const EXCHANGES: usize = 1024;

/// Envoy's clock in the log.
const MILLISECOND: u64 = 1_000_000;

/// Ties the legs of a survey. `keep_proxy` if no leg is to get other addresses.
pub(super) fn tie(surveyed: &mut Surveyed, files: &Files, keep_proxy: bool) -> Result<Vec<Unused>, Error> {
    let (mappings, mut unused) = Mappings::read(files)?;
    restore(surveyed, &mappings);
    let sides: Vec<Side> = surveyed.legs.iter().map(|kept| side(kept, surveyed)).collect();
    let mut said = Said::default();
    if !files.access_logs.is_empty() {
        let mut logs = Logs::new(&sides, &mappings);
        unused.extend(tie::read(&mut logs, files)?);
        said = logs.finish();
    }
    let Said { mut edges, mut clients, flags } = said;
    if let Some(observed) = surveyed.observed.take() {
        infer(&observed, &surveyed.legs, &mut edges, &mut clients).map_err(Error::Temporary)?;
    }
    let usual = Model::usual();
    // Where the application listens on loopback, so may the proxy's end be.
    let is_proxy = |address: IpAddr| usual.is_passthrough(address) || address.is_loopback();
    let renames =
        if keep_proxy { Vec::new() } else { tie::renames(&sides, &edges, &clients, &surveyed.others, is_proxy) };
    for rename in renames {
        let kept = &mut surveyed.legs[rename.leg];
        let to = Translation { source: rename.client, destination: rename.server };
        let part = kept.leg.forward;
        let client_is_first = part.client_is_first;
        let passage = Passage { leg: rename.leg, client_is_first, to: Some(to), both_ways: true };
        surveyed.passages.set(part.number as u32, passage);
        kept.captured = Some((kept.leg.client, kept.leg.server));
        (kept.leg.client, kept.leg.server) = (rename.client, rename.server);
    }
    for (leg, known) in clients {
        surveyed.legs[leg].tied.clients = known.addresses;
    }
    for (leg, flags) in flags {
        surveyed.legs[leg].tied.flags = flags.into_iter().collect();
    }
    join(&mut surveyed.legs, &mut surveyed.passages, &edges);
    surveyed.ties = tie::group(&edges, surveyed.legs.len());
    Ok(unused)
}

/// Repairs forward halves whose replies are not in the capture, by conntrack.
fn restore(surveyed: &mut Surveyed, mappings: &Mappings) {
    let waits = |leg: &Leg| leg.outcome == Outcome::Left(Reason::NoReply);
    let mut ends: HashMap<(SocketAddr, SocketAddr), usize, RandomState> = HashMap::default();
    for kept in surveyed.legs.iter().filter(|kept| waits(&kept.leg)) {
        *ends.entry((kept.leg.client, kept.leg.server)).or_default() += 1;
    }
    for (number, kept) in surveyed.legs.iter_mut().enumerate().filter(|(_, kept)| waits(&kept.leg)) {
        let leg = &mut kept.leg;
        let only = ends.get(&(leg.client, leg.server)) == Some(&1);
        let Some(found) = mappings.find(leg.protocol.number(), leg.client, leg.server, leg.first_time.0, only) else {
            continue;
        };
        surveyed.summary.repaired(leg);
        let (listing, line) = found.line;
        let evidence = flow::Evidence::Conntrack { forward: leg.first, listing, line };
        leg.outcome = Outcome::Repaired { source: leg.client, destination: leg.server, evidence };
        (leg.client, leg.server) = found.meant;
        let to = Translation { source: leg.client, destination: leg.server };
        let client_is_first = leg.forward.client_is_first;
        let passage = Passage { leg: number, client_is_first, to: Some(to), both_ways: false };
        surveyed.passages.set(leg.forward.number as u32, passage);
    }
}

/// Adds what the packets alone show. What a log says of a leg is exact, and not added to.
fn infer(
    observed: &Observed,
    legs: &[Kept],
    edges: &mut Vec<Edge>,
    clients: &mut HashMap<usize, Clients, RandomState>,
) -> io::Result<()> {
    let stages = [Stage::Inbound, Stage::Outbound, Stage::Gateway];
    let infer = |stage: Stage| {
        let side = |is_near: bool| -> Vec<TcpLeg> {
            let legs = legs.iter().enumerate().filter(|(_, kept)| may_be(&kept.leg, stage, is_near));
            legs.map(|(number, kept)| tcp_leg(number, &kept.leg)).collect()
        };
        infer::infer(observed, stage, &side(true), &side(false))
    };
    // None of them depends on another; where there can be no thread, one comes after the other.
    let all = std::thread::scope(|scope| {
        let threads = stages.map(|stage| (stage, Builder::new().spawn_scoped(scope, move || infer(stage))));
        threads.map(|(stage, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => infer(stage),
        })
    });
    for (stage, inferred) in stages.into_iter().zip(all) {
        let inferred = inferred?;
        let logged: HashSet<usize> = edges.iter().map(|edge| edge.far).collect();
        let places: HashMap<(usize, usize), usize> =
            edges.iter().enumerate().map(|(place, edge)| ((edge.near, edge.far), place)).collect();
        for tie in inferred.ties {
            let (near, far) = (tie.near as usize, tie.far as usize);
            if logged.contains(&far) {
                if let Some(&place) = places.get(&(near, far)) {
                    edges[place].exchanges = tie.exchanges;
                }
                continue;
            }
            let evidence = match tie.evidence {
                infer::Evidence::Bytes => Evidence::Bytes,
                infer::Evidence::Elimination => Evidence::Elimination,
                infer::Evidence::Exchanges => Evidence::Exchanges,
            };
            let requests = tie.exchanges.len().max(1) as u64;
            edges.push(Edge { near, far, evidence, requests, logged: Vec::new(), exchanges: tie.exchanges });
        }
        // Whose a leg from the application to the proxy is, is known.
        for (far, found) in inferred.clients.into_iter().filter(|_| stage != Stage::Outbound) {
            let addresses = match found {
                infer::Clients::One(address) => vec![address],
                infer::Clients::Several(addresses) => addresses,
                infer::Clients::Unknown => continue,
            };
            let found = Clients { addresses, complete: true };
            clients.entry(far as usize).and_modify(|known| known.confirm(&found)).or_insert(found);
        }
    }
    Ok(())
}

/// Whether a leg may be on a side of the proxy.
fn may_be(leg: &Leg, stage: Stage, is_near: bool) -> bool {
    if leg.protocol != Protocol::Tcp {
        return false;
    }
    match (stage, is_near, leg.role) {
        (Stage::Inbound, true, Role::InboundPeer | Role::SelfCall) => true,
        // Of another pod whose captures were given.
        (Stage::Inbound, true, Role::OutboundPeer | Role::Upstream) => leg.server_is_local,
        (Stage::Inbound, false, Role::InboundApp | Role::Local) => true,
        (Stage::Outbound, true, Role::OutboundApp) => true,
        (Stage::Outbound, false, Role::OutboundPeer | Role::SelfCall) => true,
        // To a gateway whose captures were given, too.
        (Stage::Outbound, false, Role::Downstream) => leg.client_is_local,
        (Stage::Gateway, true, Role::Downstream) => true,
        (Stage::Gateway, false, Role::Upstream) => true,
        _ => false,
    }
}

fn tcp_leg(number: usize, leg: &Leg) -> TcpLeg {
    let half = |part: Part, is_client: bool| Half {
        conversation: part.number as u32,
        from_first: part.client_is_first == is_client,
    };
    // There are fewer legs than that.
    let id = number as u32;
    let (from_client, from_server) = (half(leg.forward, true), half(leg.reply, false));
    TcpLeg { id, from_client, from_server, client: leg.client, server: leg.server }
}

/// Notes at each leg what its edges say.
fn join(legs: &mut [Kept], passages: &mut Passages, edges: &[Edge]) {
    for edge in edges {
        for number in [edge.near, edge.far] {
            let kept = &mut legs[number];
            kept.tied.requests += edge.requests;
            let room = EXCHANGES.saturating_sub(kept.tied.exchanges.len());
            let exchanges = edge.exchanges.iter().take(room).map(|exchange| {
                let span = if number == edge.near { exchange.near } else { exchange.far };
                (span, logged(edge, exchange))
            });
            kept.tied.exchanges.extend(exchanges);
            let weakest = Evidence::weakest(kept.tied.evidence.iter().chain([&edge.evidence])).cloned();
            kept.tied.evidence = weakest;
            // Its first packet has a comment, changed or not.
            for Part { number: conversation, client_is_first } in [kept.leg.forward, kept.leg.reply] {
                if passages.get(conversation as u32).is_none() {
                    let passage = Passage { leg: number, client_is_first, to: None, both_ways: false };
                    passages.set(conversation as u32, passage);
                }
            }
        }
    }
}

/// The id of a request by the log: of the one line whose time lies between both sides'.
fn logged(edge: &Edge, exchange: &infer::Exchange) -> Option<String> {
    let (near, far) = (exchange.near, exchange.far);
    let fits = |logged: &&Logged| {
        let (start, end) = logged.times;
        start <= far.request.0.0 + MILLISECOND
            && end + MILLISECOND >= far.response.1.0
            && start + MILLISECOND >= near.request.0.0
            && end <= near.response.1.0 + MILLISECOND
    };
    let mut fitting = edge.logged.iter().filter(fits);
    let only = fitting.next().filter(|_| fitting.next().is_none());
    only.and_then(|logged| logged.id.clone())
}

fn side(kept: &Kept, surveyed: &Surveyed) -> Side {
    let leg = &kept.leg;
    Side {
        client: leg.client,
        seen_client: leg.captured().map_or(leg.client, |(client, _)| client),
        server: leg.server,
        times: (leg.first_time, leg.last_time),
        last_request: leg.last_request,
        is_tcp: leg.protocol == Protocol::Tcp,
        opened: leg.opened(),
        is_fragmented: [leg.forward, leg.reply].iter().any(|part| surveyed.fragmented.contains(&(part.number as u32))),
        is_to_application: matches!(leg.role, Role::InboundApp | Role::Local) && leg.captured().is_none(),
    }
}

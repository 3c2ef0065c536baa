//! Between the two passes: legs are tied, and those of the proxy's own address get their client's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::Builder;

use foldhash::fast::RandomState;

use super::Error;
use super::calls::Calls;
use super::legs::Legs;
use super::passages::{Passage, Passages};
use super::survey::{Kept, Surveyed};
use crate::beside::{Files, Unused};
use crate::flow::{self, Leg, Outcome, Part, Reason, Translation};
use crate::nat::{Model, Protocol, Role};
use crate::store::Reader;
use crate::tie::infer::{self, Half, Observed, Stage, TcpLeg};
use crate::tie::{self, Clients, Edge, Evidence, Logs, Mappings, Said, Side};

/// Ties the legs of a survey. `keep_proxy` if no leg is to get other addresses, `has_exchanges` if those of legs are wanted.
pub(super) fn tie(
    surveyed: &mut Surveyed,
    files: &Files,
    keep_proxy: bool,
    has_exchanges: bool,
) -> Result<Vec<Unused>, Error> {
    let (mappings, mut unused) = Mappings::read(files)?;
    if !mappings.is_empty() {
        restore(surveyed, &mappings).map_err(Error::Temporary)?;
    }
    let mut said = Said::default();
    if !files.access_logs.is_empty() {
        let sides = surveyed.legs.iter().map(|kept| Ok(side(&kept?, surveyed)));
        let sides: Vec<Side> = sides.collect::<io::Result<_>>().map_err(Error::Temporary)?;
        let mut logs = Logs::new(&sides, &mappings);
        unused.extend(tie::read(&mut logs, files)?);
        said = logs.finish();
    }
    let Said { mut edges, mut clients, flags } = said;
    if let Some(observed) = surveyed.observed.take() {
        infer(&observed, &surveyed.legs, has_exchanges, &mut edges, &mut clients).map_err(Error::Temporary)?;
    }
    if !keep_proxy {
        rename(surveyed, &edges, &clients).map_err(Error::Temporary)?;
    }
    comment(&surveyed.legs, &mut surveyed.passages, &edges).map_err(Error::Temporary)?;
    surveyed.calls = Calls { edges, clients, flags };
    Ok(unused)
}

/// Gives legs from the proxy's address their client's.
fn rename(surveyed: &mut Surveyed, edges: &[Edge], clients: &HashMap<usize, Clients, RandomState>) -> io::Result<()> {
    let usual = Model::usual();
    // Where the application listens on loopback, so may the proxy's end be.
    let is_proxy = |address: IpAddr| usual.is_passthrough(address) || address.is_loopback();
    let mut reader = Reader::default();
    let side = |leg| Ok(side(&surveyed.legs.get(leg, &mut reader)?, surveyed));
    let renames = tie::renames(surveyed.legs.len(), side, edges, clients, &surveyed.others, is_proxy)?;
    // What is changed is put behind what was read.
    let mut reader = Reader::default();
    for rename in renames {
        let mut kept = surveyed.legs.get(rename.leg, &mut reader)?;
        let to = Translation { source: rename.client, destination: rename.server };
        let part = kept.leg.forward;
        let client_is_first = part.client_is_first;
        let passage = Passage { leg: rename.leg, client_is_first, to: Some(to), both_ways: true };
        surveyed.passages.set(part.number as u32, passage);
        kept.captured = Some((kept.leg.client, kept.leg.server));
        (kept.leg.client, kept.leg.server) = (rename.client, rename.server);
        surveyed.legs.set(rename.leg, &kept)?;
    }
    Ok(())
}

/// Repairs forward halves whose replies are not in the capture, by conntrack.
fn restore(surveyed: &mut Surveyed, mappings: &Mappings) -> io::Result<()> {
    let mut waiting: Vec<(usize, Kept)> = Vec::new();
    for (number, kept) in surveyed.legs.iter().enumerate() {
        let kept = kept?;
        if kept.leg.outcome == Outcome::Left(Reason::NoReply) {
            waiting.push((number, kept));
        }
    }
    let mut ends: HashMap<(SocketAddr, SocketAddr), usize, RandomState> = HashMap::default();
    for (_, kept) in &waiting {
        *ends.entry((kept.leg.client, kept.leg.server)).or_default() += 1;
    }
    for (number, mut kept) in waiting {
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
        surveyed.legs.set(number, &kept)?;
    }
    Ok(())
}

/// Legs on both sides of the proxy.
#[derive(Default)]
struct Sides {
    near: Vec<TcpLeg>,
    far: Vec<TcpLeg>,
}

/// Adds what the packets alone show. What a log says of a leg is exact, and not added to.
fn infer(
    observed: &Observed,
    legs: &Legs,
    has_exchanges: bool,
    edges: &mut Vec<Edge>,
    clients: &mut HashMap<usize, Clients, RandomState>,
) -> io::Result<()> {
    let stages = [Stage::Inbound, Stage::Outbound, Stage::Gateway];
    let mut sides = stages.map(|_| Sides::default());
    for (number, kept) in legs.iter().enumerate() {
        let leg = kept?.leg;
        for (&stage, Sides { near, far }) in stages.iter().zip(&mut sides) {
            if may_be(&leg, stage, true) {
                near.push(tcp_leg(number, &leg));
            }
            if may_be(&leg, stage, false) {
                far.push(tcp_leg(number, &leg));
            }
        }
    }
    let infer = |stage: Stage, Sides { near, far }: &Sides| infer::infer(observed, stage, near, far, has_exchanges);
    // None of them depends on another. What takes longest is done here; where there can be no thread, all is.
    let [inbound, outbound, gateway] = &sides;
    let all = std::thread::scope(|scope| {
        let others = [(Stage::Inbound, inbound), (Stage::Gateway, gateway)]
            .map(|(stage, sides)| (stage, sides, Builder::new().spawn_scoped(scope, move || infer(stage, sides))));
        let outbound = infer(Stage::Outbound, outbound);
        let [inbound, gateway] = others.map(|(stage, sides, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => infer(stage, sides),
        });
        [inbound, outbound, gateway]
    });
    drop(sides);
    for (stage, inferred) in stages.into_iter().zip(all) {
        let inferred = inferred?;
        let logged: HashSet<usize> = edges.iter().map(|edge| edge.far).collect();
        let places: HashMap<(usize, usize), usize> =
            edges.iter().enumerate().map(|(place, edge)| ((edge.near, edge.far), place)).collect();
        for tie in inferred.ties {
            let (near, far) = (tie.near as usize, tie.far as usize);
            if logged.contains(&far) {
                if let Some(&place) = places.get(&(near, far)) {
                    (edges[place].exchanged, edges[place].exchanges) = (tie.exchanged, tie.exchanges);
                }
                continue;
            }
            let evidence = match tie.evidence {
                infer::Evidence::Bytes => Evidence::Bytes,
                infer::Evidence::Elimination => Evidence::Elimination,
                infer::Evidence::Exchanges => Evidence::Exchanges,
            };
            let (requests, exchanged, exchanges) = (tie.exchanged.max(1) as u64, tie.exchanged, tie.exchanges);
            edges.push(Edge { near, far, evidence, requests, logged: Vec::new(), exchanged, exchanges });
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
    let (client, server, port) = (leg.client.ip(), leg.server.ip(), leg.server.port());
    TcpLeg { id, from_client, from_server, client, server, port }
}

/// The first packets of tied legs have a comment, changed or not.
fn comment(legs: &Legs, passages: &mut Passages, edges: &[Edge]) -> io::Result<()> {
    let mut reader = Reader::default();
    for number in edges.iter().flat_map(|edge| [edge.near, edge.far]) {
        for Part { number: conversation, client_is_first } in legs.parts(number, &mut reader)? {
            if passages.get(conversation as u32).is_none() {
                let passage = Passage { leg: number, client_is_first, to: None, both_ways: false };
                passages.set(conversation as u32, passage);
            }
        }
    }
    Ok(())
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

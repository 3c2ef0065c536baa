//! Between the two passes: legs are tied, and those of the proxy's own address get their client's.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::Builder;

use foldhash::fast::RandomState;

use super::Error;
use super::calls::Calls;
use super::copies::Clocks;
use super::kept::Kept;
use super::legs::{Legs, Outline};
use super::passages::{Passage, Passages};
use super::surveyed::Surveyed;
use crate::beside::{Files, Unused};
use crate::flow::{self, Outcome, Part, Reason, Translation};
use crate::nat::{Model, Protocol, Role};
use crate::store::Reader;
use crate::tie::infer::{self, Half, Observed, Stage, TcpLeg};
use crate::tie::{self, Clients, Edge, Ends, Known, Logs, Mappings, Said, Side, Wanted};

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
        surveyed.summary.logged = Some(said.found);
    }
    let Said { mut edges, mut clients, flags, .. } = said;
    if let Some(observed) = surveyed.observed.take() {
        infer(&observed, surveyed, has_exchanges, &mut edges, &mut clients).map_err(Error::Temporary)?;
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
    let mut legs = Read { surveyed, reader: Reader::default() };
    let renames = tie::renames(&mut legs, edges, clients, &surveyed.others, is_proxy)?;
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

/// The legs of a survey, each read when it is asked for.
struct Read<'a> {
    surveyed: &'a Surveyed,
    reader: Reader,
}

impl Known for Read<'_> {
    fn len(&self) -> usize {
        self.surveyed.legs.len()
    }

    fn ends(&mut self, leg: usize) -> io::Result<Ends> {
        let Outline { protocol, client, server, .. } = self.surveyed.legs.outline(leg, &mut self.reader)?;
        Ok(Ends { client, server, is_tcp: protocol == Protocol::Tcp })
    }

    fn side(&mut self, leg: usize) -> io::Result<Side> {
        Ok(side(&self.surveyed.legs.get(leg, &mut self.reader)?, self.surveyed))
    }
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
        let closed = leg.from_client.fin || leg.from_client.rst;
        let wanted = Wanted {
            protocol: leg.protocol.number(),
            ends: (leg.client, leg.server),
            time: leg.first_time.0,
            is_only: only,
            came_and_went: leg.opened() && closed,
        };
        let Some(found) = mappings.find(&wanted) else { continue };
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

/// Legs on both sides of the proxy, by their numbers.
#[derive(Default)]
struct Sides {
    near: Vec<u32>,
    far: Vec<u32>,
}

/// Adds what the packets alone show. What a log says of a leg is exact, and not added to.
fn infer(
    observed: &Observed,
    surveyed: &Surveyed,
    has_exchanges: bool,
    edges: &mut Vec<Edge>,
    clients: &mut HashMap<usize, Clients, RandomState>,
) -> io::Result<()> {
    let Surveyed { legs, clocks, .. } = surveyed;
    if clocks.are_unknown() {
        return Ok(());
    }
    let stages = [Stage::Inbound, Stage::Outbound, Stage::Gateway];
    let doubts = Doubts::find(stages, legs, clocks)?;
    let mut sides = stages.map(|_| Sides::default());
    let mut reader = Reader::in_order();
    // There are fewer legs than that.
    for number in 0..legs.len() as u32 {
        let leg = legs.outline(number as usize, &mut reader)?;
        for (&stage, Sides { near, far }) in stages.iter().zip(&mut sides) {
            if may_be(&leg, stage, true) && !doubts.has(stage, true, &leg) {
                near.push(number);
            }
            if may_be(&leg, stage, false) && !doubts.has(stage, false, &leg) {
                far.push(number);
            }
        }
    }
    drop(reader);
    let infer = |stage: Stage, Sides { near, far }: &Sides| {
        infer::infer(observed, stage, tcp_legs(near, surveyed, true), tcp_legs(far, surveyed, false), has_exchanges)
    };
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
    let logged: HashMap<u32, Vec<usize>, RandomState> = by_far(edges);
    for inferred in all {
        let inferred = inferred?;
        edges.reserve_exact(inferred.ties.len());
        for tie in inferred.ties {
            match logged.get(&tie.far) {
                None => edges.push(tie),
                Some(places) => {
                    if let Some(&place) = places.iter().find(|&&place| edges[place].near == tie.near) {
                        edges[place].set_exchanges(tie);
                    }
                }
            }
        }
        for (far, found) in inferred.clients {
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

/// The places of edges, by their far legs.
fn by_far(edges: &[Edge]) -> HashMap<u32, Vec<usize>, RandomState> {
    let mut places: HashMap<u32, Vec<usize>, RandomState> = HashMap::default();
    for (place, edge) in edges.iter().enumerate() {
        places.entry(edge.far).or_default().push(place);
    }
    places
}

/// Whether a leg may be on a side of the proxy.
fn may_be(leg: &Outline, stage: Stage, is_near: bool) -> bool {
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

/// Proxies of which it is not known when they saw what: a leg of theirs was captured by clocks that differ, and may be of any
/// other leg.
#[derive(Default)]
struct Doubts {
    proxies: HashSet<(u8, u16, IpAddr), RandomState>,
    /// Whether their addresses are of IPv4, of each stage and port.
    families: HashSet<(u8, u16, bool), RandomState>,
}

impl Doubts {
    fn find(stages: [Stage; 3], legs: &Legs, clocks: &Clocks) -> io::Result<Doubts> {
        let mut doubts = Doubts::default();
        if clocks.are_one() {
            return Ok(doubts);
        }
        let mut reader = Reader::in_order();
        for number in 0..legs.len() {
            let leg = legs.outline(number, &mut reader)?;
            for stage in stages {
                for is_near in [true, false] {
                    let is_in_doubt = || leg.parts.iter().any(|part| seen_by_proxy(*part, is_near, clocks).is_none());
                    if may_be(&leg, stage, is_near) && is_in_doubt() {
                        doubts.add(proxy(stage, is_near, &leg));
                    }
                }
            }
        }
        Ok(doubts)
    }

    /// Whether a leg is of such a proxy, or may be.
    fn has(&self, stage: Stage, is_near: bool, leg: &Outline) -> bool {
        if self.proxies.is_empty() {
            return false;
        }
        let (stage, port, address) = proxy(stage, is_near, leg);
        let has_family = |is_ipv4: bool| self.families.contains(&(stage, port, is_ipv4));
        // One of another family is another address of it, and so is loopback.
        let may_be = has_family(!address.is_ipv4()) || address.is_loopback() && has_family(address.is_ipv4());
        may_be || self.proxies.contains(&(stage, port, address))
    }

    fn add(&mut self, (stage, port, address): (u8, u16, IpAddr)) {
        self.proxies.insert((stage, port, address));
        self.families.insert((stage, port, address.is_ipv4()));
    }
}

/// What the legs of a proxy have in common: the stage, a port if it has several for its services, an address.
fn proxy(stage: Stage, is_near: bool, leg: &Outline) -> (u8, u16, IpAddr) {
    match (stage, is_near) {
        (Stage::Inbound, _) => (0, leg.server.port(), leg.server.ip()),
        (Stage::Outbound, _) => (1, 0, leg.client.ip()),
        (Stage::Gateway, true) => (2, 0, leg.server.ip()),
        (Stage::Gateway, false) => (2, 0, leg.client.ip()),
    }
}

/// Legs of these numbers, as inference knows them.
fn tcp_legs(
    numbers: &[u32],
    surveyed: &Surveyed,
    is_near: bool,
) -> impl ExactSizeIterator<Item = io::Result<TcpLeg>> + Clone + Send {
    let Surveyed { legs, clocks, .. } = surveyed;
    let mut reader = Reader::in_order();
    let leg = move |&number: &u32| {
        let leg = legs.outline(number as usize, &mut reader)?;
        Ok(tcp_leg(number, &leg, |part| seen_by_proxy(part, is_near, clocks).unwrap_or(part.number as u32)))
    };
    numbers.iter().map(leg)
}

/// What inference knows a conversation by as the proxy saw it that is at its server's end if the leg is a near one, else at its
/// client's; none if nobody knows when the proxy saw what.
fn seen_by_proxy(part: Part, is_near: bool, clocks: &Clocks) -> Option<u32> {
    clocks.seen_by(part.number as u32, part.client_is_first != is_near)
}

fn tcp_leg(id: u32, leg: &Outline, known_by: impl Fn(Part) -> u32) -> TcpLeg {
    let half = |part: Part, is_client: bool| Half {
        conversation: known_by(part),
        from_first: part.client_is_first == is_client,
    };
    let [forward, reply] = leg.parts;
    let (from_client, from_server) = (half(forward, true), half(reply, false));
    let (client, server, port) = (leg.client.ip(), leg.server.ip(), leg.server.port());
    TcpLeg { id, from_client, from_server, client, server, port }
}

/// The first packets of tied legs have a comment, changed or not.
fn comment(legs: &Legs, passages: &mut Passages, edges: &[Edge]) -> io::Result<()> {
    let mut reader = Reader::default();
    for number in edges.iter().flat_map(|edge| [edge.near as usize, edge.far as usize]) {
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

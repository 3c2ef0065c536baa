//! Between the two passes: legs are tied, and those of the proxy's own address get their client's.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::Error;
use super::survey::{Kept, Passage, Surveyed};
use crate::beside::{Files, Unused};
use crate::flow::Translation;
use crate::nat::{Model, Protocol, Role};
use crate::tie::{self, Edge, Evidence, Logs, Side};

/// Ties the legs of a survey. `keep_proxy` if no leg is to get other addresses.
pub(super) fn tie(surveyed: &mut Surveyed, files: &Files, keep_proxy: bool) -> Result<Vec<Unused>, Error> {
    let sides: Vec<Side> = surveyed.legs.iter().map(side).collect();
    let mut logs = Logs::new(&sides);
    let unused = tie::read(&mut logs, files)?;
    let (edges, clients) = logs.finish();
    let usual = Model::usual();
    // Where the application listens on loopback, so may the proxy's end be.
    let is_proxy = |address: IpAddr| usual.is_passthrough(address) || address.is_loopback();
    let renames = if keep_proxy { Vec::new() } else { tie::renames(&sides, &edges, &clients, is_proxy) };
    for rename in renames {
        let kept = &mut surveyed.legs[rename.leg];
        let to_server = Translation { source: rename.client, destination: rename.server };
        let to_client = Translation { source: rename.server, destination: rename.client };
        let part = kept.leg.forward;
        let passage = Passage::new(part.client_is_first, Some(to_server), Some(to_client), rename.leg);
        surveyed.passages.insert(part.number as u32, passage);
        kept.captured = Some((kept.leg.client, kept.leg.server));
        (kept.leg.client, kept.leg.server) = (rename.client, rename.server);
    }
    for (leg, known) in clients {
        surveyed.legs[leg].tied.clients = known.addresses;
    }
    join(&mut surveyed.legs, &mut surveyed.passages, &edges);
    surveyed.ties = tie::group(&edges, surveyed.legs.len());
    Ok(unused)
}

/// Notes at each leg what its edges say.
fn join(legs: &mut [Kept], passages: &mut HashMap<u32, Passage, RandomState>, edges: &[Edge]) {
    for edge in edges {
        for number in [edge.near, edge.far] {
            let kept = &mut legs[number];
            kept.tied.requests += edge.requests;
            let weakest = Evidence::weakest(kept.tied.evidence.iter().chain([&edge.evidence])).cloned();
            kept.tied.evidence = weakest;
            // Its first packet has a comment, changed or not.
            for part in [kept.leg.forward, kept.leg.reply] {
                let as_it_is = Passage::new(part.client_is_first, None, None, number);
                passages.entry(part.number as u32).or_insert(as_it_is);
            }
        }
    }
}

fn side(kept: &Kept) -> Side {
    let leg = &kept.leg;
    Side {
        client: leg.client,
        seen_client: leg.captured().map_or(leg.client, |(client, _)| client),
        server: leg.server,
        times: (leg.first_time, leg.last_time),
        last_data: leg.last_data,
        is_tcp: leg.protocol == Protocol::Tcp,
        is_to_application: matches!(leg.role, Role::InboundApp | Role::Local) && leg.captured().is_none(),
    }
}

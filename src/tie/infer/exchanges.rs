//! HTTP/1.1: the exchanges of a far leg, each within one of a near leg in time, and of a size that the proxy makes of it.
//!
//! A pooled far leg carries the exchanges of many near ones, so each is looked at on its own. A far leg is claimed for its
//! client when every one of its exchanges has one client address that it can be of, and no other.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::learned::{Growth, Learned};
use super::sweep::{Interval, NEVER, Within, sweep};
use super::turns::{Turn, turns};
use super::{Clients, EXCHANGES, Evidence, Exchange, Inferred, Side, Stage, TOLERANCE, Tie, may_meet};
use crate::capture::Timestamp;

/// Near exchanges that are under way at one time; with more, nothing is said of what goes on then.
const AT_ONCE: usize = 1024;

/// Candidates of all exchanges together; with more, nothing is said of any.
const CANDIDATES: usize = 4 << 20;

/// Near exchanges, in all ways to read them; legs with more may have carried anything.
const READ: usize = 2 << 20;

/// Rounds of learning: what is learned tells more pairs apart, which tell more.
const ROUNDS: usize = 3;

/// Nothing is said if more than one of so many far exchanges is of no near one.
const MISSING: usize = 100;

/// Rounds of elimination.
const ELIMINATIONS: usize = 64;

/// What was captured in the last moments may not have been passed on: 1 s, in nanoseconds.
const ENDING: u64 = 1_000_000_000;

/// An exchange on the near side, or a leg of which it can not be told what it carried.
#[derive(Clone, Copy, Debug)]
struct Near {
    leg: usize,
    turn: Turn,
    /// The first of those that are the same exchange, read in another way.
    slot: u32,
    /// When a request that was not answered is given up.
    until: Timestamp,
    /// Whether the request may have any length.
    any_up: bool,
    /// Whether the response may have any length, and end later.
    any_down: bool,
}

/// An exchange on the far side.
#[derive(Debug)]
struct Far {
    leg: usize,
    turn: Turn,
    /// Indices of the near exchanges that it is within.
    within: Vec<u32>,
    /// Those of them that it can have been made of.
    candidates: Vec<u32>,
    /// Whether there are candidates that are not known.
    is_crowded: bool,
}

/// Ties what is left of the far legs by their exchanges.
pub fn tie(stage: Stage, near: &[Side<'_>], far: &[Side<'_>], end: Timestamp, inferred: &mut Inferred) {
    let port_of = |side: &Side<'_>| if stage == Stage::Inbound { side.leg.server.port() } else { 0 };
    let http2: BTreeSet<u16> = far.iter().filter(|side| is_http2(side)).map(port_of).collect();
    let mut buckets: HashMap<u16, (Vec<usize>, Vec<usize>), RandomState> = HashMap::default();
    for (index, side) in far.iter().enumerate().filter(|(_, side)| is_http(side)) {
        buckets.entry(port_of(side)).or_default().1.push(index);
    }
    for (index, side) in near.iter().enumerate() {
        if let Some((near, _)) = buckets.get_mut(&port_of(side)) {
            near.push(index);
        }
    }
    let mut buckets: Vec<(u16, (Vec<usize>, Vec<usize>))> = buckets.into_iter().collect();
    buckets.sort_unstable_by_key(|(port, _)| *port);
    for (port, (near_legs, far_legs)) in buckets {
        Matching::new(stage, near, far, &near_legs, &far_legs, http2.contains(&port), end).tell(inferred);
    }
}

/// Whether it is HTTP/1.1 in plain text, by how it begins.
fn is_http(side: &Side<'_>) -> bool {
    const METHODS: [&[u8]; 8] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"HTTP/1."];
    let begins = |head: &[u8]| METHODS.iter().any(|method| head.starts_with(method));
    [side.shape.up, side.shape.down].iter().filter_map(|stream| stream.data.as_ref()).any(|data| begins(data.head()))
}

/// Whether it is HTTP/2, in plain text or as its records tell.
///
/// The preface (RFC 9113, section 3.4), or one of the first records holds the 9 octets of a SETTINGS frame that acknowledges
/// the server's (section 6.5), which no request of HTTP/1.1 has.
fn is_http2(side: &Side<'_>) -> bool {
    if side.shape.tls.is_none() {
        return side.shape.up.data.as_ref().is_some_and(|data| data.head().starts_with(b"PRI * HTTP/2."));
    }
    let protected = side.shape.readings.iter().filter(|reading| !reading.is_raw());
    let mut firsts = protected.flat_map(|reading| reading.up.parts().skip(1).take(4));
    firsts.any(|(octets, _)| octets == 9)
}

/// The exchanges of one server port.
struct Matching<'a> {
    stage: Stage,
    near_legs: &'a [Side<'a>],
    far_legs: &'a [Side<'a>],
    near: Vec<Near>,
    far: Vec<Far>,
    /// The ways in which a near leg's exchanges can be read, each as indices of `near`.
    readings: Vec<(usize, Vec<u32>)>,
    /// Far legs of which not every exchange is known.
    unknown: BTreeSet<usize>,
    /// Near exchanges read so far.
    read: usize,
    learned: Learned,
    /// Whether the proxy speaks HTTP/2 to this server, too: then it does so for those who do, and for nobody else.
    has_http2: bool,
}

impl<'a> Matching<'a> {
    fn new(
        stage: Stage,
        near_legs: &'a [Side<'a>],
        far_legs: &'a [Side<'a>],
        near: &[usize],
        far: &[usize],
        has_http2: bool,
        end: Timestamp,
    ) -> Matching<'a> {
        let mut matching = Matching {
            stage,
            near_legs,
            far_legs,
            near: Vec::new(),
            far: Vec::new(),
            readings: Vec::new(),
            unknown: BTreeSet::new(),
            read: 0,
            learned: Learned::default(),
            has_http2,
        };
        for &leg in near {
            matching.read_near(leg, end);
        }
        for &leg in far {
            matching.read_far(leg);
        }
        let all = (0..matching.near.len() as u32).collect();
        if !matching.sweep(all) {
            matching.unknown.extend(far);
        }
        matching
    }

    fn read_near(&mut self, leg: usize, end: Timestamp) {
        let shape = &self.near_legs[leg].shape;
        let is_thinned = [shape.up, shape.down].iter().any(|stream| stream.is_thinned());
        if !shape.is_sure || is_thinned {
            self.add_unsure(leg);
            return;
        }
        let is_cut = shape.up.rst.is_some() || shape.down.rst.is_some();
        let is_open = shape.up.ended().is_none() && shape.down.ended().is_none();
        let ended = shape.up.ended().max(shape.down.ended());
        let until = ended.map_or(NEVER, |ended| Timestamp(ended.0.saturating_add(ENDING)));
        let mut known: HashMap<Turn, u32, RandomState> = HashMap::default();
        let mut slots: HashMap<Timestamp, u32, RandomState> = HashMap::default();
        for reading in shape.readings.iter().filter(|reading| reading.is_raw() == shape.tls.is_none()) {
            let turns = turns(reading.up, reading.down);
            self.read += turns.len();
            if self.read > READ {
                self.add_unsure(leg);
                return;
            }
            let mut indices = Vec::with_capacity(turns.len());
            for (n, turn) in turns.iter().enumerate() {
                let is_last = n + 1 == turns.len();
                let is_late = turn.response.is_none_or(|(_, last)| last.0.saturating_add(ENDING) > end.0);
                let any_up = n == 0 && shape.up.syn.is_none();
                let any_down = any_up || turn.response.is_none() || is_last && (is_cut || is_open && is_late);
                let index = *known.entry(*turn).or_insert_with(|| {
                    let index = self.near.len() as u32;
                    let slot = *slots.entry(turn.request.0).or_insert(index);
                    self.near.push(Near { leg, turn: *turn, slot, until, any_up, any_down });
                    index
                });
                indices.push(index);
            }
            self.readings.push((leg, indices));
        }
    }

    /// Any exchange may be in this leg while it lasts.
    fn add_unsure(&mut self, leg: usize) -> u32 {
        let shape = &self.near_legs[leg].shape;
        let seen = [shape.up, shape.down].into_iter().filter_map(|stream| stream.seen);
        let (first, last) = seen.fold((NEVER, Timestamp(0)), |(a, b), (first, last)| (a.min(first), b.max(last)));
        let last = if shape.up.ended().is_some() || shape.down.ended().is_some() { last } else { NEVER };
        let turn = Turn { request: (first, Timestamp(0)), response: Some((last, last)), up: 0, down: 0 };
        let slot = self.near.len() as u32;
        self.near.push(Near { leg, turn, slot, until: last, any_up: true, any_down: true });
        slot
    }

    fn read_far(&mut self, leg: usize) {
        let shape = &self.far_legs[leg].shape;
        let is_thinned = [shape.up, shape.down].iter().any(|stream| stream.is_thinned());
        let Some(reading) = shape.readings.first().filter(|_| shape.is_whole && !is_thinned) else {
            self.unknown.insert(leg);
            return;
        };
        for turn in turns(reading.up, reading.down) {
            if turn.up == 0 {
                self.unknown.insert(leg);
            }
            self.far.push(Far { leg, turn, within: Vec::new(), candidates: Vec::new(), is_crowded: false });
        }
    }

    /// Finds for each far exchange those of `near` that it is within. False if there are too many.
    fn sweep(&mut self, near: Vec<u32>) -> bool {
        let interval = |n: u32| {
            let near = &self.near[n as usize];
            let from = Timestamp(near.turn.request.0.0.saturating_sub(TOLERANCE));
            Interval { from, until: Timestamp(near.ends().0.saturating_add(TOLERANCE)), what: n }
        };
        let intervals = near.into_iter().map(interval).collect();
        let moments = self.far.iter().enumerate().map(|(f, far)| (far.turn.request.0, f)).collect();
        let mut far = std::mem::take(&mut self.far);
        let mut found = 0;
        sweep(intervals, moments, AT_ONCE, |f, within| match within {
            Within::TooMany(_) => far[f].is_crowded = true,
            Within::These(_) if found > CANDIDATES => far[f].is_crowded = true,
            Within::These(open) => {
                let fits = open.iter().map(|near| near.what);
                let fits: Vec<u32> = fits.filter(|&n| self.is_within(&self.near[n as usize], &far[f])).collect();
                found += fits.len();
                far[f].candidates.extend(&fits);
                far[f].within.extend(fits);
            }
        });
        self.far = far;
        found <= CANDIDATES
    }

    fn is_within(&self, near: &Near, far: &Far) -> bool {
        let until = |time: Timestamp| Timestamp(time.0.saturating_add(TOLERANCE));
        let (n, f) = (&near.turn, &far.turn);
        let is_answered = match (n.response, f.response) {
            (Some(n), Some(f)) => f.0 <= until(n.0) && (near.any_down && n.1 != NEVER || f.1 <= until(n.1)),
            (None, _) | (_, None) => true,
        };
        is_answered
            && n.request.0 <= until(f.request.0)
            && n.request.1 <= until(f.request.1)
            && may_meet(self.stage, self.near_legs[near.leg].leg, self.far_legs[far.leg].leg)
            && self.has_size(near, far)
    }

    fn is_tls(&self, near: &Near) -> bool {
        self.near_legs[near.leg].shape.tls.is_some()
    }

    /// Whether the proxy may have made the one of the other.
    fn has_size(&self, near: &Near, far: &Far) -> bool {
        let growth = growth(near, far);
        (near.any_up || self.learned.has_request(self.is_tls(near), growth.request))
            && (far.turn.response.is_none()
                || near.any_up && near.any_down
                || near.any_down && self.learned.has_response_part(growth.response)
                || self.learned.has_response(growth.response))
    }

    /// Learns from what has no other answer, and drops the candidates that do not agree with it.
    fn learn(&mut self) {
        let mut wanted = vec![0_u32; self.near.len()];
        for &n in self.far.iter().flat_map(|far| &far.candidates) {
            wanted[n as usize] += 1;
        }
        let only = self.far.iter().filter_map(|far| match far.candidates[..] {
            [n] if wanted[n as usize] == 1 && far.turn.response.is_some() => {
                let near = &self.near[n as usize];
                let is_known = !near.any_up && !near.any_down;
                is_known.then(|| (self.is_tls(near), growth(near, far)))
            }
            _ => None,
        });
        self.learned = Learned::from_pairs(only);
        let mut far = std::mem::take(&mut self.far);
        for far in &mut far {
            let fits = far.within.iter().copied().filter(|&n| self.has_size(&self.near[n as usize], far));
            far.candidates = fits.collect();
        }
        self.far = far;
    }

    /// Near legs with an exchange that is nowhere on the far side: what they carry was read wrongly, or is something else.
    fn unexplained(&self) -> Vec<usize> {
        let is_wanted = self.wanted();
        let is_explained =
            |indices: &Vec<u32>| indices.iter().all(|&n| is_wanted[n as usize] || self.near[n as usize].any_down);
        let mut legs: HashMap<usize, bool, RandomState> = HashMap::default();
        for (leg, indices) in &self.readings {
            *legs.entry(*leg).or_default() |= is_explained(indices);
        }
        let mut legs: Vec<usize> = legs.into_iter().filter(|(_, is)| !is).map(|(leg, _)| leg).collect();
        legs.sort_unstable();
        legs
    }

    /// Where one reading of a near leg explains all its exchanges, what only the others have is dropped.
    fn prefer_explained(&mut self) {
        let is_wanted = self.wanted();
        let explains = |n: &u32| is_wanted[*n as usize] && self.near[*n as usize].turn.response.is_some();
        let mut is_dropped = vec![false; self.near.len()];
        for readings in self.readings.chunk_by(|a, b| a.0 == b.0) {
            let (good, bad): (Vec<_>, Vec<_>) = readings.iter().partition(|(_, indices)| indices.iter().all(explains));
            if good.is_empty() {
                continue;
            }
            for &n in bad.iter().flat_map(|(_, indices)| indices) {
                is_dropped[n as usize] = true;
            }
            for &n in good.iter().flat_map(|(_, indices)| indices) {
                is_dropped[n as usize] = false;
            }
        }
        for far in &mut self.far {
            far.candidates.retain(|&n| !is_dropped[n as usize]);
        }
    }

    /// Whether so many far exchanges are of no near one that some near ones must be missing: then one that fits may not be
    /// the right one.
    fn is_incomplete(&self) -> bool {
        let without = self.far.iter().filter(|far| far.candidates.is_empty() && !far.is_crowded).count();
        without * MISSING > self.far.len()
    }

    /// A request id that one request on either side has is the same request, if all else fits.
    fn prefer_ids(&mut self) {
        let id = |side: &Side<'_>, turn: &Turn| side.shape.up.data.as_ref()?.requests.at(turn.request.0);
        let near: Vec<Option<u64>> = self.near.iter().map(|near| id(&self.near_legs[near.leg], &near.turn)).collect();
        let far: Vec<Option<u64>> = self.far.iter().map(|far| id(&self.far_legs[far.leg], &far.turn)).collect();
        let mut counts: HashMap<u64, (u32, u32), RandomState> = HashMap::default();
        for id in near.iter().flatten() {
            counts.entry(*id).or_default().0 += 1;
        }
        for id in far.iter().flatten() {
            counts.entry(*id).or_default().1 += 1;
        }
        for (far, id) in self.far.iter_mut().zip(&far) {
            let is_alone = id.is_some_and(|id| counts[&id] == (1, 1));
            if is_alone && far.candidates.iter().any(|&n| near[n as usize] == *id) {
                far.candidates.retain(|&n| near[n as usize] == *id);
            }
        }
    }

    /// Which near exchanges are somebody's candidate.
    fn wanted(&self) -> Vec<bool> {
        let mut is_wanted = vec![false; self.near.len()];
        for &n in self.far.iter().flat_map(|far| &far.candidates) {
            is_wanted[n as usize] = true;
        }
        is_wanted
    }

    /// Takes near exchanges that are some far one's only candidate from the others, as often as that settles more. Returns how
    /// many far exchanges need each: one that two need is the answer to neither.
    fn eliminate(&mut self) -> Vec<u32> {
        for _ in 0..ELIMINATIONS {
            let needed = self.needed();
            let only: Vec<Option<u32>> = self.far.iter().map(|far| self.only_slot(far)).collect();
            let near = &self.near;
            let is_taken = |n: u32| needed[near[n as usize].slot as usize] == 1 && !near[n as usize].any_up;
            let mut has_changed = false;
            for (far, _) in self.far.iter_mut().zip(only).filter(|(_, only)| only.is_none()) {
                let before = far.candidates.len();
                far.candidates.retain(|&n| !is_taken(n));
                has_changed |= far.candidates.len() != before;
            }
            if !has_changed {
                return needed;
            }
        }
        self.needed()
    }

    /// By slot: how many far exchanges have nothing else.
    fn needed(&self) -> Vec<u32> {
        let mut needed = vec![0_u32; self.near.len()];
        for slot in self.far.iter().filter_map(|far| self.only_slot(far)) {
            needed[slot as usize] += 1;
        }
        needed
    }

    /// The one near exchange that it can be of.
    fn only_slot(&self, far: &Far) -> Option<u32> {
        let slot = |n: &u32| self.near[*n as usize].slot;
        let first = far.candidates.first().map(slot)?;
        (!far.is_crowded && far.candidates.iter().all(|n| slot(n) == first)).then_some(first)
    }

    /// Tells the clients of the far legs, and the ties.
    fn tell(mut self, inferred: &mut Inferred) {
        for _ in 0..ROUNDS {
            self.learn();
        }
        let unexplained = self.unexplained();
        let has_h2 = self.has_http2;
        let unexplained: Vec<usize> =
            unexplained.into_iter().filter(|&leg| !(has_h2 && is_http2(&self.near_legs[leg]))).collect();
        let unsure: Vec<u32> = unexplained.into_iter().map(|leg| self.add_unsure(leg)).collect();
        if !self.sweep(unsure) {
            self.unknown.extend(self.far.iter().map(|far| far.leg));
        }
        if self.is_incomplete() {
            self.unknown.extend(self.far.iter().map(|far| far.leg));
        }
        self.prefer_explained();
        self.prefer_ids();
        let needed = self.eliminate();
        let mut legs: Vec<(usize, Vec<&Far>)> = Vec::new();
        for far in &self.far {
            match legs.last_mut() {
                Some((leg, exchanges)) if *leg == far.leg => exchanges.push(far),
                _ => legs.push((far.leg, vec![far])),
            }
        }
        for (leg, exchanges) in legs {
            let id = self.far_legs[leg].leg.id;
            let is_unknown = self.unknown.contains(&leg);
            let clients: Option<BTreeSet<IpAddr>> =
                if is_unknown { None } else { exchanges.iter().map(|far| self.client(far, &needed)).collect() };
            let Some(clients) = clients else {
                inferred.clients.push((id, Clients::Unknown));
                continue;
            };
            inferred.ties.extend(self.ties(leg, &exchanges));
            let clients: Vec<IpAddr> = clients.into_iter().collect();
            let clients = match clients[..] {
                [client] => Clients::One(client),
                _ => Clients::Several(clients),
            };
            inferred.clients.push((id, clients));
        }
    }

    /// The client address of an exchange, if there is but one.
    fn client(&self, far: &Far, needed: &[u32]) -> Option<IpAddr> {
        let is_contested =
            self.only_slot(far).is_some_and(|slot| needed[slot as usize] > 1 && !self.near[slot as usize].any_up);
        if far.is_crowded || is_contested {
            return None;
        }
        let of = |&n: &u32| self.near_legs[self.near[n as usize].leg].leg.client.ip();
        let first = far.candidates.first().map(of)?;
        far.candidates.iter().all(|n| of(n) == first).then_some(first)
    }

    fn ties(&self, leg: usize, exchanges: &[&Far]) -> Vec<Tie> {
        let mut ties: Vec<(usize, Tie)> = Vec::new();
        for far in exchanges {
            let near = self.only_slot(far).and(far.candidates.first()).map(|&n| &self.near[n as usize]);
            let Some(near) = near else { continue };
            if near.any_up {
                continue;
            }
            let at = ties.iter().position(|(leg, _)| *leg == near.leg).unwrap_or_else(|| {
                let (near_id, far_id) = (self.near_legs[near.leg].leg.id, self.far_legs[leg].leg.id);
                let tie = Tie { near: near_id, far: far_id, evidence: Evidence::Exchanges, exchanges: Vec::new() };
                ties.push((near.leg, tie));
                ties.len() - 1
            });
            if ties[at].1.exchanges.len() < EXCHANGES {
                ties[at].1.exchanges.extend(Exchange::of(&near.turn, &far.turn));
            }
        }
        ties.into_iter().map(|(_, tie)| tie).collect()
    }
}

impl Near {
    fn ends(&self) -> Timestamp {
        match self.turn.response {
            Some((_, last)) if !self.any_down => last,
            _ => self.until,
        }
    }
}

fn growth(near: &Near, far: &Far) -> Growth {
    Growth {
        request: far.turn.up.cast_signed().wrapping_sub(near.turn.up.cast_signed()),
        response: near.turn.down.cast_signed().wrapping_sub(far.turn.down.cast_signed()),
    }
}

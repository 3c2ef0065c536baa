//! Exchanges of one server port on both sides, and which of them may be the same.
//!
//! What comes in is legs; what goes out is, for each exchange on the far side, the near ones that it is within in time, and
//! that the proxy can have made it of. By how much it makes them longer is learned from those that leave no choice.

use std::collections::{BTreeSet, HashMap};
use std::io;

use foldhash::fast::RandomState;

use super::learned::{Growth, Learned};
use super::shape::Shape;
use super::shelf::Shelf;
use super::sides::Sides;
use super::sweep::{Interval, NEVER, Within, sweep};
use super::turns::{Turn, turns};
use super::{Stage, TOLERANCE, may_meet};
use crate::capture::Timestamp;

/// Near exchanges that are under way at one time; with more, nothing is said of what goes on then.
const AT_ONCE: usize = 1024;

/// Candidates of all exchanges together; with more, nothing is said of any.
const CANDIDATES: usize = 4 << 20;

/// Near exchanges, in all ways to read them; legs with more may have carried anything.
const READ: usize = 2 << 20;

/// Far exchanges; with more, nothing is said of any.
const READ_FAR: usize = 1 << 20;

/// What was captured in the last moments may not have been passed on: 1 s, in nanoseconds.
const ENDING: u64 = 1_000_000_000;

/// An exchange on the near side, or a leg of which it can not be told what it carried.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    pub leg: usize,
    pub turn: Turn,
    /// The id of its request, if it has one.
    pub id: Option<u64>,
    /// The first of those that are the same exchange, read in another way.
    pub slot: u32,
    /// When a request that was not answered is given up.
    pub until: Timestamp,
    /// Whether the request may have any length.
    pub any_up: bool,
    /// Whether the response may have any length, and end later.
    pub any_down: bool,
}

/// An exchange on the far side.
#[derive(Debug)]
pub struct Far {
    pub leg: usize,
    pub turn: Turn,
    /// The id of its request, if it has one.
    pub id: Option<u64>,
    /// Indices of the near exchanges that it is within.
    pub within: Vec<u32>,
    /// Those of them that it can have been made of.
    pub candidates: Vec<u32>,
    /// Whether there are candidates that are not known.
    pub is_crowded: bool,
}

/// The legs of one server port, as indices.
pub struct OnPort<'a> {
    pub near: &'a [usize],
    pub far: &'a [usize],
    /// Whether the proxy speaks HTTP/2 to this server, too.
    pub has_http2: bool,
}

/// The exchanges of one server port.
pub struct Matching<'a> {
    pub stage: Stage,
    pub near_legs: &'a Sides,
    pub far_legs: &'a Sides,
    pub near: Vec<Near>,
    pub far: Vec<Far>,
    /// The ways in which a near leg's exchanges can be read, each as indices of `near`.
    pub readings: Vec<(usize, Vec<u32>)>,
    /// Far legs of which not every exchange is known.
    pub unknown: BTreeSet<usize>,
    /// When each near leg was first seen, and until when it may have gone on.
    seen: HashMap<usize, (Timestamp, Timestamp), RandomState>,
    /// Near exchanges read so far.
    pub read: usize,
    pub learned: Learned,
    /// Whether the proxy speaks HTTP/2 to this server, too: then it does so for those who do, and for nobody else.
    pub has_http2: bool,
}

impl<'a> Matching<'a> {
    pub fn new(
        stage: Stage,
        near_legs: &'a Sides,
        far_legs: &'a Sides,
        on_port: &OnPort<'_>,
        end: Timestamp,
        shelf: &mut Shelf<'_>,
    ) -> io::Result<Matching<'a>> {
        let OnPort { near, far, has_http2 } = *on_port;
        let mut matching = Matching {
            stage,
            near_legs,
            far_legs,
            near: Vec::new(),
            far: Vec::new(),
            readings: Vec::new(),
            unknown: BTreeSet::new(),
            seen: HashMap::default(),
            read: 0,
            learned: Learned::default(),
            has_http2,
        };
        for &leg in near {
            matching.read_near(leg, shelf.read(&near_legs.leg(leg))?, end);
        }
        for &leg in far {
            matching.read_far(leg, shelf.read(&far_legs.leg(leg))?);
            if matching.far.len() > READ_FAR {
                // Whoever is left out may be who made an exchange of what then fits another.
                (matching.near, matching.far, matching.readings) = Default::default();
                return Ok(matching);
            }
        }
        let all = (0..matching.near.len() as u32).collect();
        if !matching.sweep(all) {
            matching.unknown.extend(far);
        }
        Ok(matching)
    }

    fn read_near(&mut self, leg: usize, shape: &Shape, end: Timestamp) {
        let (first, last) = shape.seen().unwrap_or((NEVER, Timestamp(0)));
        let has_ended = shape.up.ended().is_some() || shape.down.ended().is_some();
        self.seen.insert(leg, (first, if has_ended { last } else { NEVER }));
        let is_thinned = [&shape.up, &shape.down].iter().any(|way| way.is_thinned);
        if !shape.is_sure || is_thinned {
            self.add_unsure(leg);
            return;
        }
        let is_cut = shape.up.rst().is_some() || shape.down.rst().is_some();
        let is_open = shape.up.ended().is_none() && shape.down.ended().is_none();
        let ended = shape.up.ended().max(shape.down.ended());
        let until = ended.map_or(NEVER, |ended| Timestamp(ended.0.saturating_add(ENDING)));
        let mut known: HashMap<Turn, u32, RandomState> = HashMap::default();
        let mut slots: HashMap<Timestamp, u32, RandomState> = HashMap::default();
        let readings = shape.readings().filter(|reading| reading.is_raw() == shape.tls.is_none());
        let mut readings: Vec<Vec<Turn>> = readings.map(|reading| turns(reading.up, reading.down).collect()).collect();
        // A client speaks first and is answered: a reading in which it is so is the better one.
        let is_plausible = |turns: &Vec<Turn>| turns.iter().all(|turn| turn.up > 0 && turn.response.is_some());
        if readings.iter().any(is_plausible) {
            readings.retain(is_plausible);
        }
        for turns in readings {
            self.read += turns.len();
            if self.read > READ {
                self.add_unsure(leg);
                return;
            }
            let mut indices = Vec::with_capacity(turns.len());
            for (n, turn) in turns.iter().enumerate() {
                let is_last = n + 1 == turns.len();
                let is_late = turn.response.is_none_or(|(_, last)| last.0.saturating_add(ENDING) > end.0);
                let any_up = n == 0 && shape.up.syn().is_none();
                let any_down = any_up || turn.response.is_none() || is_last && (is_cut || is_open && is_late);
                let index = *known.entry(*turn).or_insert_with(|| {
                    let index = self.near.len() as u32;
                    let slot = *slots.entry(turn.request.0).or_insert(index);
                    let id = shape.up.requests.at(turn.request.0);
                    self.near.push(Near { leg, turn: *turn, id, slot, until, any_up, any_down });
                    index
                });
                indices.push(index);
            }
            self.readings.push((leg, indices));
        }
    }

    /// Any exchange may be in this leg while it lasts.
    pub fn add_unsure(&mut self, leg: usize) -> u32 {
        let (first, last) = self.seen.get(&leg).copied().unwrap_or((NEVER, NEVER));
        let turn = Turn { request: (first, Timestamp(0)), response: Some((last, last)), up: 0, down: 0 };
        let slot = self.near.len() as u32;
        self.near.push(Near { leg, turn, id: None, slot, until: last, any_up: true, any_down: true });
        slot
    }

    fn read_far(&mut self, leg: usize, shape: &Shape) {
        let is_thinned = [&shape.up, &shape.down].iter().any(|way| way.is_thinned);
        let Some(reading) = shape.readings().next().filter(|_| shape.is_whole && !is_thinned) else {
            self.unknown.insert(leg);
            return;
        };
        for turn in turns(reading.up, reading.down) {
            if turn.up == 0 {
                self.unknown.insert(leg);
            }
            let id = shape.up.requests.at(turn.request.0);
            self.far.push(Far { leg, turn, id, within: Vec::new(), candidates: Vec::new(), is_crowded: false });
        }
    }

    /// Finds for each far exchange those of `near` that it is within. False if there are too many.
    pub fn sweep(&mut self, near: Vec<u32>) -> bool {
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
            Within::TooMany { .. } => far[f].is_crowded = true,
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
            && may_meet(self.stage, &self.near_legs.leg(near.leg), &self.far_legs.leg(far.leg))
            && self.has_size(near, far)
    }

    fn is_tls(&self, near: &Near) -> bool {
        self.near_legs.sides[near.leg].is_tls()
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
    pub fn learn(&mut self) {
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
    pub fn unexplained(&self) -> Vec<usize> {
        let is_wanted = self.wanted();
        // A request that was not answered need not have been passed on.
        let is_free = |near: &Near| near.any_up || near.turn.response.is_none();
        let is_explained =
            |indices: &Vec<u32>| indices.iter().all(|&n| is_wanted[n as usize] || is_free(&self.near[n as usize]));
        let mut legs: HashMap<usize, bool, RandomState> = HashMap::default();
        for (leg, indices) in &self.readings {
            *legs.entry(*leg).or_default() |= is_explained(indices);
        }
        let mut legs: Vec<usize> = legs.into_iter().filter(|(_, is)| !is).map(|(leg, _)| leg).collect();
        legs.sort_unstable();
        legs
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

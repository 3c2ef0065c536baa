//! TCP: a proxy that passes octets on sends the same number of them as it got, both ways, and none before it got it.

use std::cell::Cell;
use std::io;

use super::alone::{Looseness, looseness};
use super::buckets::{Bucket, Buckets, Entry};
use super::candidates::{Candidates, Fit, Tied};
use super::shape::{Reading, Shape};
use super::shelf::Shelf;
use super::sides::{Side, Sides};
use super::sweep::{Interval, NEVER, Within, sweep};
use super::turns::{Turn, exchanged, turns};
use super::units::{Counts, Curve};
use super::way::Way;
use super::{Exchange, Stage, TOLERANCE, may_meet};
use crate::capture::Timestamp;

/// Near legs that are tried for one far leg; with more, nothing is said of any of them.
const TRIED: usize = 2048;

/// What was captured in the first moments may belong to a leg that began before the capture: 2 s, in nanoseconds.
const BEGINNING: u64 = 2_000_000_000;

/// How long a proxy takes to close the other side of a leg, if nothing is left to be sent: 1 s, in nanoseconds.
const CLOSING: u64 = 1_000_000_000;

/// How long a proxy waits for the answer to its SYN, about: 10 s, in nanoseconds.
const ANSWERING: u64 = 10_000_000_000;

/// Steps of all comparisons together: units that are walked over, ways to read both legs, pairs.
const WORK: usize = 400_000_000;

/// Steps that a pair takes at least: the legs have to be read.
const PAIR: usize = 16;

/// Pairs that are compared at once.
const AT_ONCE: usize = 1 << 18;

/// Near legs without data that one far leg without data is compared with. Nothing shows that two of them belong together; what
/// counts is whether there are any.
const SILENT: usize = 16;

/// Two legs that may belong together, as indices: the far one, the near one.
type Pair = (u32, u32);

/// Ties legs by their octets.
pub fn tie(stage: Stage, near: &Sides, far: &Sides, end: Timestamp, shelf: &mut Shelf<'_>) -> io::Result<Vec<Tied>> {
    tie_within(WORK, stage, near, far, end, shelf)
}

/// The same, in so many steps.
pub(super) fn tie_within(
    steps: usize,
    stage: Stage,
    near: &Sides,
    far: &Sides,
    end: Timestamp,
    shelf: &mut Shelf<'_>,
) -> io::Result<Vec<Tied>> {
    let begin = Begin { near: near.first.unwrap_or(NEVER), far: far.first.unwrap_or(NEVER) };
    let mut candidates = Candidates::new(near.sides.len(), far.sides.len());
    let work = Work::of(steps);
    let mut compared = Compared { stage, near, far, end, work, pairs: Vec::new(), silent: (0, 0), shelf };
    let buckets = Buckets::new(stage, near, far);
    let (mut opened, mut answered, mut others, mut early) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Bucket { near: in_near, far: in_far } in buckets.iter() {
        opened.clear();
        answered.clear();
        others.clear();
        for f in in_far.iter().map(Entry::index) {
            match far.sides[f].opened.get() {
                Some(time) if far.sides[f].is_answer() => answered.push((time, f)),
                Some(time) => opened.push((time, f)),
                None => others.push(f),
            }
        }
        let interval = |entry: &Entry| interval(&near.sides[entry.index()], entry.index(), begin);
        compared.add_opened(in_near.iter().map(interval), &mut opened, &mut candidates)?;
        // Their SYN came before that.
        let longer = |entry| {
            let interval = interval(entry);
            Interval { until: Timestamp(interval.until.0.saturating_add(ANSWERING)), ..interval }
        };
        compared.add_opened(in_near.iter().map(longer), &mut answered, &mut candidates)?;
        if others.is_empty() {
            continue;
        }
        // What began before the capture on the far side did so on the near side, too.
        let is_early =
            |n: &usize| near.sides[*n].opened.get().is_none_or(|from| from.0 <= begin.far.0.saturating_add(TOLERANCE));
        early.clear();
        early.extend(in_near.iter().map(Entry::index).filter(is_early));
        if early.len() > TRIED {
            others.iter().for_each(|&f| candidates.give_up(f, []));
            early.iter().for_each(|&n| candidates.contest(n));
        } else {
            for &f in &others {
                early.iter().try_for_each(|&n| compared.add(f, n, &mut candidates))?;
            }
        }
    }
    drop(buckets);
    compared.compare(&mut candidates)?;
    Ok(candidates.settle())
}

/// How many steps may still be taken.
struct Work {
    left: Cell<usize>,
}

impl Work {
    fn of(steps: usize) -> Work {
        Work { left: Cell::new(steps) }
    }

    fn take(&self, steps: usize) {
        self.left.set(self.left.get().saturating_sub(steps));
    }

    /// Whether all are taken: what is compared then is not known.
    fn is_over(&self) -> bool {
        self.left.get() == 0
    }
}

/// Pairs that are to be compared.
struct Compared<'a, 'b> {
    stage: Stage,
    near: &'a Sides,
    far: &'a Sides,
    end: Timestamp,
    work: Work,
    pairs: Vec<Pair>,
    /// A far leg without data, and with how many near ones without data it is compared.
    silent: (usize, usize),
    shelf: &'a mut Shelf<'b>,
}

impl Compared<'_, '_> {
    /// Adds far legs, each with when it was opened, and the near legs that it can have been opened for.
    fn add_opened(
        &mut self,
        mut near: impl ExactSizeIterator<Item = Interval<usize>>,
        far: &mut Vec<(Timestamp, usize)>,
        candidates: &mut Candidates,
    ) -> io::Result<()> {
        match (near.len(), far.len()) {
            (_, 0) => Ok(()),
            // As it is most often.
            (1, _) => {
                let Some(Interval { from, until, what }) = near.next() else { return Ok(()) };
                far.sort_by_key(|(time, _)| *time);
                let mut fitting = far.iter().filter(|(time, _)| from <= *time && *time <= until);
                fitting.try_for_each(|&(_, f)| self.add(f, what, candidates))
            }
            _ => {
                let mut added = Ok(());
                sweep(near.collect(), std::mem::take(far), TRIED, |f, within| match within {
                    _ if added.is_err() => {}
                    Within::These(open) => {
                        added = open.iter().try_for_each(|near| self.add(f, near.what, candidates));
                    }
                    Within::TooMany { new } => candidates.give_up(f, new.iter().map(|near| near.what)),
                });
                added
            }
        }
    }

    /// Adds a pair, unless their addresses tell them apart.
    fn add(&mut self, far: usize, near: usize, candidates: &mut Candidates) -> io::Result<()> {
        let are_silent = self.near.sides[near].len == 0 && self.far.sides[far].len == 0;
        if are_silent && self.silent == (far, SILENT) {
            return Ok(());
        }
        if !may_meet(self.stage, &self.near.leg(near), &self.far.leg(far)) {
            return Ok(());
        }
        if are_silent {
            self.silent = (far, if self.silent.0 == far { self.silent.1 + 1 } else { 1 });
        }
        if self.work.is_over() {
            candidates.give_up(far, [near]);
            return Ok(());
        }
        self.work.take(PAIR);
        self.pairs.push((far as u32, near as u32));
        if self.pairs.len() == AT_ONCE { self.compare(candidates) } else { Ok(()) }
    }

    /// Compares them all, in the order of the far legs: what is read for one is there for the next.
    fn compare(&mut self, candidates: &mut Candidates) -> io::Result<()> {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        let legs = self.near.sides.len().min(self.far.sides.len()).max(1);
        self.shelf.expect(self.pairs.len() / legs);
        for (far, near) in self.pairs.drain(..).map(|(far, near)| (far as usize, near as usize)) {
            let mut found = None;
            if !self.work.is_over() {
                let [n, f] = self.shelf.pair(&self.near.leg(near), &self.far.leg(far))?;
                self.work.take(n.len() + f.len() + n.readings().count() * f.readings().count());
                found = fit(&Rules { stage: self.stage, end: self.end, work: &self.work }, n, f);
            }
            // What is not compared to its end may fit.
            if self.work.is_over() {
                candidates.give_up(far, [near]);
            } else if let Some((fit, exchanged)) = found {
                candidates.add(far, near, fit, exchanged);
            }
        }
        Ok(())
    }
}

/// By what two legs are compared.
#[derive(Clone, Copy)]
struct Rules<'a> {
    stage: Stage,
    /// When the capture ended.
    end: Timestamp,
    work: &'a Work,
}

/// Octets that must be the same where the rest was dropped.
const SHOWN: u64 = 64;

/// When the first leg of either side was captured.
#[derive(Clone, Copy, Debug)]
struct Begin {
    near: Timestamp,
    far: Timestamp,
}

/// When a far leg can have been opened for the near one: after the client asked, before it was answered.
fn interval(near: &Side, what: usize, begin: Begin) -> Interval<usize> {
    let later = |time: Timestamp, nanos: u64| Timestamp(time.0.saturating_add(nanos));
    let answered = near.answered.get().map_or(NEVER, |time| later(time, TOLERANCE));
    match near.opened.get() {
        Some(from) => Interval { from: Timestamp(from.0.saturating_sub(TOLERANCE)), until: answered, what },
        // It began before the capture, and so did the far leg, or soon after.
        None => Interval { from: Timestamp(0), until: answered.min(later(begin.near, BEGINNING)), what },
    }
}

/// Whether each side closed because the other did, in this order, or the proxy closed both.
fn closes(near: &Shape, far: &Shape) -> bool {
    let until = |time: Timestamp| Timestamp(time.0.saturating_add(TOLERANCE));
    let is_close = |a: Timestamp, b: Timestamp| a.0.abs_diff(b.0) <= CLOSING;
    let caused = |at: Timestamp| [near.left(), far.down.ended()].into_iter().flatten().any(|cause| cause <= until(at));
    let far_is_caused = far.up.fin().is_none_or(|at| {
        let first = near.down.ended().filter(|&proxy| near.up.ended().is_none_or(|client| proxy < client));
        caused(at) || first.is_some_and(|proxy| is_close(proxy, at))
    });
    let near_is_caused =
        near.down.fin().is_none_or(|at| caused(at) || far.up.ended().is_some_and(|proxy| is_close(proxy, at)));
    far_is_caused && near_is_caused
}

/// How well the octets fit, and how many exchanges went over both.
fn fit(rules: &Rules<'_>, near: &Shape, far: &Shape) -> Option<(Fit, u32)> {
    if !closes(near, far) {
        return None;
    }
    let same = same(rules, near, far).next();
    let fit = match &same {
        Some(_) if near.is_sure && far.is_sure => whole(rules, near, far),
        _ => part(rules, near, far)?,
    };
    let exchanged = same.map_or(0, |(n, f)| exchanged(turns(n.up, n.down), turns(f.up, f.down)));
    Some((fit, exchanged))
}

/// The readings of two legs that may be of the same octets.
fn same<'a>(rules: &'a Rules<'_>, near: &'a Shape, far: &'a Shape) -> impl Iterator<Item = (Reading<'a>, Reading<'a>)> {
    pairs(near, far)
        .filter(move |(n, f)| n.total == f.total && agree(rules.stage, near, far, n, f) && is_causal(rules, n, f))
}

/// Every reading of one leg with every reading of another.
fn pairs<'a>(near: &'a Shape, far: &'a Shape) -> impl Iterator<Item = (Reading<'a>, Reading<'a>)> {
    near.readings().flat_map(|n| far.readings().map(move |f| (n, f)))
}

/// How well two legs fit of which all is known, and which have the same octets.
fn whole(rules: &Rules<'_>, near: &Shape, far: &Shape) -> Fit {
    let is_plain = near.readings().count() == 1 && far.readings().count() == 1;
    let is_captured = near.up.syn().is_some() && far.up.syn().is_some();
    // Without the beginning, lengths mean little.
    let is_enough = is_captured || is_plain;
    // Where it may be that nothing was passed on, that nothing was is the same of many.
    let is_empty = |reading: Reading<'_>| reading.total == (0, 0);
    let may_be_silent = near.readings().any(is_empty) && far.readings().any(is_empty);
    let is_silent = may_be_silent && same(rules, near, far).any(|(n, _)| is_empty(n));
    if is_enough && !is_silent { Fit::Whole } else { Fit::Possible }
}

/// How well two legs fit of which not all is known, or whose octets are not the same.
fn part(rules: &Rules<'_>, near: &Shape, far: &Shape) -> Option<Fit> {
    let Rules { stage, end, .. } = *rules;
    match (looseness(near, end), looseness(far, end)) {
        (Looseness::None, Looseness::None) => None,
        (Looseness::Any, _) if near.is_whole && is_captured_later(near, far) && !holds(near, far) => None,
        (Looseness::Any, _) | (_, Looseness::Any) => Some(Fit::Possible),
        _ => {
            let is_part = |n: &Reading<'_>, f: &Reading<'_>| {
                n.total.0 >= f.total.0
                    && n.total.1 <= f.total.1
                    && agree(stage, near, far, n, f)
                    && is_causal(rules, n, f)
            };
            // By lengths alone a part fits too much: only what is seen to be the same is enough.
            let shows = |n: &Reading<'_>, f: &Reading<'_>| {
                near.up.rst().is_some()
                    && n.is_raw()
                    && f.is_raw()
                    && f.total.0 >= SHOWN
                    && f.total.1.min(n.total.1) != 0
            };
            let is_shown = pairs(near, far).any(|(n, f)| shows(&n, &f) && is_part(&n, &f));
            let fit = if is_shown { Fit::Part } else { Fit::Possible };
            let is_over = |at: Timestamp| match far.up.ended() {
                Some(over) => over.0.saturating_add(TOLERANCE) >= at.0 && over.0 <= at.0.saturating_add(CLOSING),
                None => at.0.saturating_add(CLOSING) > end.0,
            };
            (near.up.rst().is_none_or(is_over) && pairs(near, far).any(|(n, f)| is_part(&n, &f))).then_some(fit)
        }
    }
}

/// Whether the near leg began before the capture, the far one in it.
fn is_captured_later(near: &Shape, far: &Shape) -> bool {
    near.up.syn().is_none() && far.up.syn().is_some()
}

/// Whether what the far leg's server sent can be in what the near leg's did, however it is wrapped.
fn holds(near: &Shape, far: &Shape) -> bool {
    let (Some(near), Some(far)) = (near.readings().next(), far.readings().next()) else { return true };
    near.total.1 >= far.total.1
}

/// What two legs carried that were tied: turn by turn where both have the same turns, else as one.
pub fn exchanges(stage: Stage, near: &Shape, far: &Shape) -> Vec<Exchange> {
    // They were compared before, up to here.
    let rules = Rules { stage, end: NEVER, work: &Work::of(WORK) };
    let Some((n, f)) = same(&rules, near, far).next() else { return Vec::new() };
    let all = |reading: Reading<'_>| -> Vec<Turn> { turns(reading.up, reading.down).collect() };
    let (mut n, mut f) = (all(n), all(f));
    let is_like = |(n, f): (&Turn, &Turn)| n.up == f.up && n.down == f.down;
    if n.len() != f.len() || !n.iter().zip(&f).all(is_like) {
        (n, f) = (Turn::all(&n).into_iter().collect(), Turn::all(&f).into_iter().collect());
    }
    n.iter().zip(&f).filter_map(|(n, f)| Exchange::of(n, f)).collect()
}

/// Whether two readings may be of the same: both as they are, with the same octets, or one without its TLS. A gateway may end
/// one TLS session and begin another.
fn agree(stage: Stage, near: &Shape, far: &Shape, n: &Reading<'_>, f: &Reading<'_>) -> bool {
    let content = |a: &Way, b: &Way| match (&a.content, &b.content) {
        (Some(a), Some(b)) => a.agrees(b),
        _ => true,
    };
    match (n.up.counts, f.up.counts) {
        (Counts::Raw, Counts::Raw) => content(&near.up, &far.up) && content(&near.down, &far.down),
        (Counts::Protected { .. }, Counts::Protected { .. }) => stage == Stage::Gateway,
        _ => true,
    }
}

/// Whether nothing was sent on before it came.
fn is_causal(rules: &Rules<'_>, near: &Reading<'_>, far: &Reading<'_>) -> bool {
    let causes = |cause: Curve<'_>, effect: Curve<'_>| {
        let (causes, steps) = cause.causes(effect, TOLERANCE);
        rules.work.take(steps);
        causes
    };
    !rules.work.is_over() && causes(near.up, far.up) && causes(far.down, near.down)
}

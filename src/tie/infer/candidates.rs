//! Who fits whom, and what follows: pairs that are each other's only candidate, and what is left when these are taken.

use super::Evidence;

/// How well a near leg fits a far one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// In everything that is known of both, which is enough for a tie.
    Whole,
    /// In all that was passed on before a reset, which dropped the rest.
    Part,
    /// Nothing contradicts it, but it shows nothing either: only that no other answer is sure.
    Possible,
}

/// Rounds of elimination; each settles what the one before left with one candidate.
const ROUNDS: usize = 64;

/// Pairs that are looked at; with more, nothing is said of those that come late.
const PAIRS: usize = 4 << 20;

/// A near leg that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Its index.
    near: u32,
    fit: Fit,
    exchanged: u32,
}

impl Candidate {
    fn index(&self) -> usize {
        self.near as usize
    }
}

/// The candidates of each far leg.
#[derive(Debug)]
pub struct Candidates {
    of: Vec<Vec<Candidate>>,
    /// Far legs that may have others than those.
    given_up: Vec<bool>,
    /// Pairs of all together.
    pairs: usize,
    /// Near legs of which it is not known who else may have them.
    contested: Vec<bool>,
}

/// A pair of indices, and what shows that they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tied {
    pub near: usize,
    pub far: usize,
    pub evidence: Evidence,
    /// Exchanges that went over both.
    pub exchanged: u32,
}

impl Candidates {
    pub fn new(near: usize, far: usize) -> Candidates {
        Candidates { of: vec![Vec::new(); far], given_up: vec![false; far], pairs: 0, contested: vec![false; near] }
    }

    /// Adds a pair, perhaps again, and how many exchanges went over both.
    pub fn add(&mut self, far: usize, near: usize, fit: Fit, exchanged: u32) {
        if self.pairs == PAIRS {
            return self.give_up(far, [near]);
        }
        self.pairs += 1;
        // There are no more legs than that.
        self.of[far].push(Candidate { near: near as u32, fit, exchanged });
    }

    /// There are too many for this one: whoever it may have, it is not known.
    pub fn give_up(&mut self, far: usize, near: impl IntoIterator<Item = usize>) {
        self.given_up[far] = true;
        near.into_iter().for_each(|near| self.contest(near));
    }

    /// Somebody may have this one who does not say so.
    pub fn contest(&mut self, near: usize) {
        self.contested[near] = true;
    }

    /// The pairs that are sure.
    pub fn settle(mut self) -> Vec<Tied> {
        for (of, given_up) in self.of.iter_mut().zip(&self.given_up) {
            of.sort_unstable();
            of.dedup_by_key(|candidate| candidate.near);
            if *given_up {
                of.drain(..).for_each(|candidate| self.contested[candidate.index()] = true);
            }
        }
        // A near leg that wholly fits somewhere is not looked for where it might fit in part.
        let mut has_home = vec![false; self.contested.len()];
        for candidate in self.of.iter().flatten().filter(|candidate| candidate.fit == Fit::Whole) {
            has_home[candidate.index()] = true;
        }
        for of in &mut self.of {
            of.retain(|candidate| candidate.fit == Fit::Whole || !has_home[candidate.index()]);
        }
        let mut settled: Vec<Tied> = Vec::new();
        let mut taken = vec![false; self.contested.len()];
        for round in 0..ROUNDS {
            // By near leg: how many may have it, and how many have nothing else.
            let mut wanted = vec![(0_u32, 0_u32); taken.len()];
            for of in &self.of {
                for candidate in of {
                    let (all, only) = &mut wanted[candidate.index()];
                    *all += 1;
                    *only += u32::from(of.len() == 1);
                }
            }
            let only = |of: &Vec<Candidate>| match of[..] {
                [only] if only.fit != Fit::Possible => {
                    (wanted[only.index()].1 == 1 && !self.contested[only.index()]).then_some(only)
                }
                _ => None,
            };
            let found = self.of.iter().enumerate().filter_map(|(far, of)| Some((far, only(of)?)));
            let found: Vec<(usize, Candidate)> = found.collect();
            // Those that nobody else may have go first: they leave the least to conclude.
            let alone = found.iter().any(|(_, candidate)| wanted[candidate.index()].0 == 1);
            let found = found.into_iter().filter(|(_, candidate)| !alone || wanted[candidate.index()].0 == 1);
            let evidence = if round == 0 && alone { Evidence::Bytes } else { Evidence::Elimination };
            let before = settled.len();
            settled.extend(found.map(|(far, candidate)| {
                let (near, exchanged) = (candidate.index(), candidate.exchanged);
                Tied { near, far, evidence, exchanged }
            }));
            if settled.len() == before {
                break;
            }
            for tied in &settled[before..] {
                taken[tied.near] = true;
                self.of[tied.far].clear();
            }
            for of in &mut self.of {
                of.retain(|candidate| !taken[candidate.index()]);
            }
        }
        settled
    }
}

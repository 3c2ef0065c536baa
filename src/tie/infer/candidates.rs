//! Who fits whom, and what follows: pairs that are each other's only candidate, and what is left when these are taken.

use super::Evidence;

/// How well a near leg fits a far one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The candidates of each far leg, as indices of near legs.
#[derive(Debug, Default)]
pub struct Candidates {
    pub of: Vec<Vec<(usize, Fit)>>,
    /// Near legs of which it is not known who else may have them.
    contested: Vec<bool>,
}

/// A pair of indices, and what shows that they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tied {
    pub near: usize,
    pub far: usize,
    pub evidence: Evidence,
}

impl Candidates {
    pub fn new(near: usize, far: usize) -> Candidates {
        Candidates { of: vec![Vec::new(); far], contested: vec![false; near] }
    }

    pub fn add(&mut self, far: usize, near: usize, fit: Fit) {
        self.of[far].push((near, fit));
    }

    /// There are too many for this one: whoever it may have, it is not known.
    pub fn give_up(&mut self, far: usize, near: impl IntoIterator<Item = usize>) {
        self.of[far].clear();
        for near in near {
            self.contested[near] = true;
        }
    }

    /// The pairs that are sure.
    pub fn settle(mut self) -> Vec<Tied> {
        // A near leg that wholly fits somewhere is not looked for where it might fit in part.
        let mut has_home = vec![false; self.contested.len()];
        for &(near, _) in self.of.iter().flatten().filter(|(_, fit)| *fit == Fit::Whole) {
            has_home[near] = true;
        }
        for of in &mut self.of {
            of.retain(|&(near, fit)| fit == Fit::Whole || !has_home[near]);
        }
        let mut settled: Vec<Tied> = Vec::new();
        let mut taken = vec![false; self.contested.len()];
        for round in 0..ROUNDS {
            // By near leg: how many may have it, and how many have nothing else.
            let mut wanted = vec![(0_u32, 0_u32); taken.len()];
            for of in &self.of {
                for &(near, _) in of {
                    wanted[near].0 += 1;
                    wanted[near].1 += u32::from(of.len() == 1);
                }
            }
            let only = |far: usize, of: &Vec<(usize, Fit)>| match of[..] {
                [(near, Fit::Whole | Fit::Part)] if wanted[near].1 == 1 && !self.contested[near] => Some((near, far)),
                _ => None,
            };
            let found: Vec<(usize, usize)> = self.of.iter().enumerate().filter_map(|(far, of)| only(far, of)).collect();
            // Those that nobody else may have go first: they leave the least to conclude.
            let alone = found.iter().any(|&(near, _)| wanted[near].0 == 1);
            let found = found.into_iter().filter(|&(near, _)| !alone || wanted[near].0 == 1);
            let evidence = if round == 0 && alone { Evidence::Bytes } else { Evidence::Elimination };
            let before = settled.len();
            settled.extend(found.map(|(near, far)| Tied { near, far, evidence }));
            if settled.len() == before {
                break;
            }
            for tied in &settled[before..] {
                taken[tied.near] = true;
                self.of[tied.far].clear();
            }
            for of in &mut self.of {
                of.retain(|&(near, _)| !taken[near]);
            }
        }
        settled
    }
}

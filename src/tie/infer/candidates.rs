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

/// A far leg and a near one that fits it, by their indices, in the order of far legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    far: u32,
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
    /// Of all, one behind the other.
    all: Vec<Candidate>,
    /// Far legs that may have others than those.
    given_up: Vec<bool>,
    /// Near legs of which it is not known who else may have them.
    contested: Vec<bool>,
}

/// A pair of indices, and what shows that they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tied {
    pub near: u32,
    pub far: u32,
    /// Exchanges that went over both.
    pub exchanged: u32,
    /// Whether others would fit that belong to other legs.
    by_elimination: bool,
}

impl Tied {
    pub fn evidence(&self) -> Evidence {
        if self.by_elimination { Evidence::Elimination } else { Evidence::Bytes }
    }
}

/// Of a near leg: how many far legs may have it, and how many have nothing else.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    all: u32,
    only: u32,
}

impl Candidates {
    pub fn new(near: usize, far: usize) -> Candidates {
        Candidates { all: Vec::new(), given_up: vec![false; far], contested: vec![false; near] }
    }

    /// Adds a pair, perhaps again, and how many exchanges went over both.
    pub fn add(&mut self, far: usize, near: usize, fit: Fit, exchanged: u32) {
        if self.all.len() == PAIRS {
            return self.give_up(far, [near]);
        }
        // There are no more legs than that.
        self.all.push(Candidate { far: far as u32, near: near as u32, fit, exchanged });
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
        self.tidy();
        let mut settled: Vec<Tied> = Vec::new();
        let mut wanted = vec![Wanted::default(); self.contested.len()];
        let mut taken = vec![false; self.contested.len()];
        for round in 0..ROUNDS {
            let found = self.found(&mut wanted);
            // Those that nobody else may have go first: they leave the least to conclude.
            let is_alone = |candidate: &Candidate| wanted[candidate.index()].all == 1;
            let are_alone = found.iter().any(is_alone);
            let by_elimination = round > 0 || !are_alone;
            let before = settled.len();
            let found = found.iter().filter(|candidate| !are_alone || is_alone(candidate));
            settled.extend(found.map(|&Candidate { near, far, exchanged, .. }| {
                taken[near as usize] = true;
                Tied { near, far, exchanged, by_elimination }
            }));
            if settled.len() == before {
                break;
            }
            // Whoever took one had no other.
            self.all.retain(|candidate| !taken[candidate.index()]);
        }
        settled
    }

    /// Puts candidates in order, each once, and drops those that cannot be meant.
    fn tidy(&mut self) {
        self.all.sort_unstable();
        self.all.dedup_by_key(|candidate| (candidate.far, candidate.near));
        let (given_up, contested) = (&self.given_up, &mut self.contested);
        self.all.retain(|candidate| {
            let is_given_up = given_up[candidate.far as usize];
            contested[candidate.index()] |= is_given_up;
            !is_given_up
        });
        // A near leg that wholly fits somewhere is not looked for where it might fit in part.
        let mut has_home = vec![false; self.contested.len()];
        for candidate in self.all.iter().filter(|candidate| candidate.fit == Fit::Whole) {
            has_home[candidate.index()] = true;
        }
        self.all.retain(|candidate| candidate.fit == Fit::Whole || !has_home[candidate.index()]);
    }

    /// The candidates of far legs that have one, which no other far leg needs; `wanted` is told of each near leg who may have it.
    fn found(&self, wanted: &mut [Wanted]) -> Vec<Candidate> {
        wanted.fill(Wanted::default());
        let of_each = || self.all.chunk_by(|a, b| a.far == b.far);
        for of in of_each() {
            for candidate in of {
                let wanted = &mut wanted[candidate.index()];
                wanted.all += 1;
                wanted.only += u32::from(of.len() == 1);
            }
        }
        let only = of_each().filter_map(|of| match *of {
            [only] if only.fit != Fit::Possible => Some(only),
            _ => None,
        });
        only.filter(|only| wanted[only.index()].only == 1 && !self.contested[only.index()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is settled of these pairs, each a far leg, a near leg and how well they fit.
    fn settled(pairs: &[(usize, usize, Fit)]) -> Vec<(u32, u32, Evidence)> {
        let mut candidates = Candidates::new(4, 4);
        pairs.iter().for_each(|&(far, near, fit)| candidates.add(far, near, fit, 0));
        candidates.settle().iter().map(|tied| (tied.far, tied.near, tied.evidence())).collect()
    }

    #[test]
    fn what_is_taken_leaves_the_others_less() {
        let whole = Fit::Whole;
        assert_eq!(
            settled(&[(1, 1, whole), (0, 3, whole), (0, 3, whole)]),
            [(0, 3, Evidence::Bytes), (1, 1, Evidence::Bytes)]
        );
        assert_eq!(settled(&[(0, 0, whole), (1, 0, whole)]), [], "two need it");
        let chain = [(0, 0, whole), (1, 0, whole), (1, 1, whole), (2, 1, whole), (2, 2, whole)];
        assert_eq!(settled(&chain), [0, 1, 2].map(|n| (n, n, Evidence::Elimination)));
    }

    #[test]
    fn who_fits_in_part_is_taken_where_it_fits_wholly() {
        assert_eq!(settled(&[(0, 0, Fit::Possible)]), []);
        assert_eq!(settled(&[(0, 0, Fit::Part), (1, 0, Fit::Whole)]), [(1, 0, Evidence::Bytes)]);
        let mut candidates = Candidates::new(2, 2);
        candidates.add(0, 0, Fit::Whole, 7);
        candidates.add(1, 0, Fit::Whole, 7);
        candidates.give_up(1, []);
        assert_eq!(candidates.settle(), [], "the one that is given up may have it");
    }
}

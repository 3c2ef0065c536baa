//! Whose times of a connection are taken where inputs show it by clocks that differ.
//!
//! A packet passes the capture nearer to its sender first. So of two inputs by one clock, each is the earlier one for what one
//! of the ends sent, or both are as early. Where one is the earlier for both ends, its clock is behind the other's. The proxy at
//! an end has the clock of the capture nearest to it: where hop limits do not tell which that is, nobody knows when the proxy
//! saw what, and no leg is tied by it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::Captured;
use crate::tie::infer::Half;

/// How far apart two captures by one clock may be in the wrong order: 30 µs, in nanoseconds, as for [`crate::tie::infer`].
const TOLERANCE: i64 = 30_000;

/// The clocks of inputs.
#[derive(Clone, Default)]
pub(in crate::pipeline) struct Clocks {
    /// Inputs, two by two, whose clocks differ.
    differing: HashSet<(u16, u16), RandomState>,
    /// Connections that some of them show.
    views: HashMap<u32, View, RandomState>,
    /// Whether it is not known of all connections whose times were taken.
    are_doubted: bool,
}

/// Whose times of a connection are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    /// For the proxy at the lower end and at the other one: the input that has its clock, if that is known.
    inputs: [Option<u16>; 2],
    /// What inference knows the connection by as the other end's clock shows it; by its own number it is the lower end's.
    number: u32,
}

/// Whether two inputs that are so far apart can have one clock.
fn is_one([one, other]: [i64; 2]) -> bool {
    one.max(other) >= -TOLERANCE && one.min(other) <= TOLERANCE
}

impl Clocks {
    /// Takes in what each input shows of a connection, in the order of inputs.
    pub(super) fn note(&mut self, all: &[Captured]) {
        for (at, ((_, input), shown)) in all.iter().enumerate() {
            for ((_, other), others) in &all[at + 1..] {
                if shown.apart(others).is_some_and(|apart| !is_one(apart)) {
                    self.differing.insert((*input, *other));
                }
            }
        }
    }

    /// Finds out whose times of a connection are taken, when all are noted.
    pub(super) fn view(&mut self, all: &[Captured]) {
        let mut pairs = (0..all.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        if pairs.all(|(one, other)| self.is_one(&all[one], &all[other])) {
            return;
        }
        let nearest = |end: usize| {
            let one = (0..all.len()).find(|&one| self.is_nearest(end, one, all))?;
            Some(all[one].0.1)
        };
        let view = View { inputs: [nearest(0), nearest(1)], number: 0 };
        self.views.extend(all.first().map(|((conversation, _), _)| (*conversation, view)));
    }

    /// Whether nothing shows that the clocks of two inputs differ.
    fn is_one(&self, one: &Captured, other: &Captured) -> bool {
        one.1.apart(&other.1).map_or_else(|| !self.differ(one.0.1, other.0.1), is_one)
    }

    /// Whether an input has the clock at an end: all others are further away, or have the same one.
    fn is_nearest(&self, end: usize, one: usize, all: &[Captured]) -> bool {
        let mut others = all.iter().enumerate().filter(|(other, _)| *other != one).map(|(_, other)| other);
        others.all(|other| self.is_one(&all[one], other) || all[one].1.is_nearer(end, &other.1))
    }

    fn differ(&self, one: u16, other: u16) -> bool {
        self.differing.contains(&(one.min(other), one.max(other)))
    }

    /// Numbers what each other end sees; `free` is the first number that no conversation has.
    pub fn number(&mut self, free: u32) {
        for (view, number) in self.views.values_mut().zip(free..) {
            view.number = number;
        }
    }

    /// Whether all inputs may have one clock.
    pub fn are_one(&self) -> bool {
        self.differing.is_empty()
    }

    /// Whether some inputs show a connection by clocks that differ.
    pub fn differ_on(&self, conversation: u32) -> bool {
        self.views.contains_key(&conversation)
    }

    /// What inference is told that a packet of an input belongs to.
    pub fn told(&self, half: Half, input: u16) -> [Option<Half>; 2] {
        let Some(view) = self.views.get(&half.conversation) else { return [Some(half), None] };
        let has_its_clock = |taken: u16| taken == input || !self.differ(taken, input);
        let [lower, other] = view.inputs.map(|taken| taken.is_some_and(has_its_clock));
        let seen_by_other = Half { conversation: view.number, ..half };
        [lower.then_some(half), other.then_some(seen_by_other)]
    }

    /// What inference knows a connection by as a proxy saw it, at its lower end or at the other one; none if nobody knows when the
    /// proxy saw what.
    pub fn seen_by(&self, conversation: u32, is_lower: bool) -> Option<u32> {
        let Some(view) = self.views.get(&conversation) else { return Some(conversation) };
        let number = if is_lower { conversation } else { view.number };
        view.inputs[usize::from(!is_lower)].map(|_| number)
    }

    /// All numbers that inference knows a connection by.
    pub fn all(&self, conversation: u32) -> [Option<u32>; 2] {
        [Some(conversation), self.views.get(&conversation).map(|view| view.number)]
    }

    /// It is not known of all connections whose times were taken.
    pub fn doubt(&mut self) {
        self.are_doubted = true;
    }

    /// Whether nothing can be told by times: clocks differ, and it is not known of all connections whose were taken.
    pub fn are_unknown(&self) -> bool {
        self.are_doubted && !self.are_one()
    }

    /// How many connections some inputs show by clocks that differ, and of how many of them it is not known at each end when the
    /// proxy saw what.
    pub fn count(&self) -> [u64; 2] {
        let doubted = self.views.values().filter(|view| self.are_doubted || view.inputs.contains(&None));
        [self.views.len() as u64, doubted.count() as u64]
    }

    /// Octets in use.
    pub fn memory(&self) -> usize {
        2 * self.views.len() * (size_of::<(u32, View)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::shown::Shown;
    use super::*;
    use crate::capture::Timestamp;
    use crate::flow::flags;

    /// A handshake of two ends as an input shows it: when SYN and SYN-ACK came, in microseconds, and their hop limits.
    fn shown(input: u16, [syn, answer]: [u64; 2], hops: [u8; 2]) -> Captured {
        let mut shown = Shown::default();
        let controls = [flags::SYN, flags::SYN | flags::ACK];
        for ((end, control), (time, hops)) in (0..).zip(controls).zip([syn, answer].into_iter().zip(hops)) {
            let time = Timestamp((time + 1_000_000) * 1_000);
            let (conversation, seq, ack, data_len, is_copy) = (7, 1, 1, 0, false);
            shown.add(&Seen { conversation, input, time, seq, ack, control, data_len, end, hops, is_copy });
        }
        ((7, input), shown)
    }

    fn clocks(all: &[Captured]) -> Clocks {
        let mut clocks = Clocks::default();
        clocks.note(all);
        clocks.view(all);
        clocks.number(100);
        clocks
    }

    #[test]
    fn each_end_sends_first_to_the_capture_that_is_nearer() {
        for (other, are_one) in [
            ([50, 50], true),
            ([50, 150], false),
            ([29, 129], true),
            ([950, 1050], false),
            ([0, 100], true),
            // The clock behind, and ahead, by less than the way takes.
            ([10, 90], true),
            ([90, 90], true),
            // What was sent again, and missed here.
            ([1_000_000, 1], true),
        ] {
            let clocks = clocks(&[shown(0, [0, 100], [64, 63]), shown(1, other, [63, 64])]);
            assert_eq!(clocks.are_one(), are_one, "{other:?}");
        }
    }

    #[test]
    fn a_proxy_has_the_clock_of_the_nearest_capture() {
        let half = Half { conversation: 7, from_first: true };
        let number = |half: Option<Half>| half.map(|half| half.conversation);
        let told = |clocks: &Clocks, input| clocks.told(half, input).map(number);
        let seen = |clocks: &Clocks| [true, false].map(|is_lower| clocks.seen_by(7, is_lower));
        // The second one is ahead by a millisecond.
        let two = [shown(0, [0, 100], [64, 63]), shown(1, [1050, 1050], [63, 64])];
        let known = clocks(&two);
        assert_eq!(seen(&known), [Some(7), Some(100)]);
        assert_eq!([told(&known, 0), told(&known, 1)], [[Some(7), None], [None, Some(100)]]);
        // A third one stands beside the first one, by its own clock.
        let beside = [two[0], two[1], shown(2, [5000, 5100], [64, 63])];
        assert_eq!(seen(&clocks(&beside)), [None, Some(100)]);
        // The same by the first one's clock.
        let alike = clocks(&[two[0], two[1], shown(2, [1, 101], [64, 63])]);
        assert_eq!(seen(&alike), [Some(7), Some(100)]);
        assert_eq!(told(&alike, 2), [Some(7), None]);
        let same = clocks(&[shown(0, [0, 100], [64, 64]), shown(1, [1000, 1100], [64, 64])]);
        assert_eq!((seen(&same), same.count()), ([None, None], [1, 1]));
    }
}

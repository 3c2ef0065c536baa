//! By how many octets the proxy makes requests and responses longer: what it adds and takes away is the same again and
//! again, for one configuration and one kind of leg.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::shape::Version;

/// Before anything is learned: headers of a few hundred octets may be added to a request, or some taken away.
const REQUEST: std::ops::RangeInclusive<i64> = -100..=900;

/// The same of a response.
const RESPONSE: std::ops::RangeInclusive<i64> = -50..=400;

/// A difference counts if it was seen this often, and in one of [`SHARE`] cases.
const LEAST: usize = 3;
const SHARE: usize = 100;

/// The octets that a request grew by towards the server, and its response towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Growth {
    pub request: i64,
    pub response: i64,
}

/// The differences that occur.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Of requests, by what carries them, and of responses, which the proxy changes alike whatever does.
    known: Option<(HashSet<(Option<Version>, i64), RandomState>, HashSet<i64, RandomState>)>,
}

impl Learned {
    /// From pairs that nothing else was in question for.
    pub fn from_pairs(pairs: impl Iterator<Item = (Option<Version>, Growth)>) -> Learned {
        let mut requests: HashMap<(Option<Version>, i64), usize, RandomState> = HashMap::default();
        let mut responses: HashMap<i64, usize, RandomState> = HashMap::default();
        let mut all = 0;
        for (version, growth) in pairs {
            *requests.entry((version, growth.request)).or_default() += 1;
            *responses.entry(growth.response).or_default() += 1;
            all += 1;
        }
        let enough = LEAST.max(all / SHARE);
        let requests = requests.into_iter().filter(|&(_, n)| n >= enough).map(|(key, _)| key).collect();
        let responses = responses.into_iter().filter(|&(_, n)| n >= enough).map(|(key, _)| key).collect();
        Learned { known: Some((requests, responses)) }
    }

    /// Whether a request may have grown by this much.
    pub fn has_request(&self, version: Option<Version>, growth: i64) -> bool {
        self.known.as_ref().map_or(REQUEST.contains(&growth), |(known, _)| known.contains(&(version, growth)))
    }

    /// Whether a response may have.
    pub fn has_response(&self, growth: i64) -> bool {
        // A number in decimal that is added, as the time that it took, may have a digit more or less.
        let is_near = |known: &HashSet<i64, RandomState>| (-1..=1).any(|digit| known.contains(&(growth + digit)));
        self.known.as_ref().map_or(RESPONSE.contains(&growth), |(_, known)| is_near(known))
    }

    /// Whether a response that was cut off may have grown by this much: by no more than a whole one.
    pub fn has_response_part(&self, growth: i64) -> bool {
        let most = match &self.known {
            Some((_, known)) => known.iter().max().map_or(i64::MIN, |most| most + 1),
            None => *RESPONSE.end(),
        };
        growth <= most
    }
}

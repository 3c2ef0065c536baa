//! By how many octets the proxy makes requests and responses longer: what it adds and takes away is the same again and
//! again, for one configuration: of requests another with TLS than without it.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

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
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Of requests, by whether TLS carries them.
    requests: HashSet<(bool, i64), RandomState>,
    /// Of responses, which the proxy changes alike whatever carries them.
    responses: HashSet<i64, RandomState>,
}

impl Learned {
    /// From pairs that nothing else was in question for.
    pub fn from_pairs(pairs: impl Iterator<Item = (bool, Growth)>) -> Learned {
        let mut requests: HashMap<(bool, i64), usize, RandomState> = HashMap::default();
        let mut responses: HashMap<i64, usize, RandomState> = HashMap::default();
        let mut all = 0;
        for (is_tls, growth) in pairs {
            *requests.entry((is_tls, growth.request)).or_default() += 1;
            *responses.entry(growth.response).or_default() += 1;
            all += 1;
        }
        let enough = LEAST.max(all / SHARE);
        let requests = requests.into_iter().filter(|&(_, n)| n >= enough).map(|(key, _)| key).collect();
        let responses = responses.into_iter().filter(|&(_, n)| n >= enough).map(|(key, _)| key).collect();
        Learned { known: Some(Known { requests, responses }) }
    }

    /// Whether a request may have grown by this much.
    pub fn has_request(&self, is_tls: bool, growth: i64) -> bool {
        self.known.as_ref().map_or(REQUEST.contains(&growth), |known| known.requests.contains(&(is_tls, growth)))
    }

    /// Whether a response may have.
    pub fn has_response(&self, growth: i64) -> bool {
        // A number in decimal that is added, as the time that it took, may have a digit more or less.
        let is_near = |known: &HashSet<i64, RandomState>| (-1..=1).any(|digit| known.contains(&(growth + digit)));
        self.known.as_ref().map_or(RESPONSE.contains(&growth), |known| is_near(&known.responses))
    }

    /// Whether a response that was cut off may have grown by this much: by no more than a whole one.
    pub fn has_response_part(&self, growth: i64) -> bool {
        let most = match &self.known {
            Some(known) => known.responses.iter().max().map_or(i64::MIN, |most| most + 1),
            None => *RESPONSE.end(),
        };
        growth <= most
    }
}

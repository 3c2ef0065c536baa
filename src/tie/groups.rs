//! From edges to ties: all legs of one call, through as many proxies as there are.

use std::collections::BTreeMap;

use super::{Edge, Evidence};

/// Legs whose streams a filter names, at most: Wireshark reads filters of some 64 KiB.
const STREAMS: usize = 4096;

/// Legs that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Its number, from 1, in the order of first legs.
    pub number: u64,
    /// Its legs.
    pub legs: Vec<usize>,
}

/// The ties that edges make; legs are numbered to `legs`.
pub(crate) fn group(edges: &[Edge], legs: usize) -> Vec<Tie> {
    let mut parent: Vec<usize> = (0..legs).collect();
    fn root(parent: &mut [usize], mut leg: usize) -> usize {
        while parent[leg] != leg {
            parent[leg] = parent[parent[leg]];
            leg = parent[leg];
        }
        leg
    }
    for edge in edges {
        let (a, b) = (root(&mut parent, edge.near), root(&mut parent, edge.far));
        // The lower one leads, so that the result depends on no order.
        parent[a.max(b)] = a.min(b);
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in edges {
        for leg in [edge.near, edge.far] {
            members.entry(root(&mut parent, leg)).or_default().push(leg);
        }
    }
    let sorted = members.into_values().zip(1..).map(|(mut legs, number)| {
        legs.sort_unstable();
        legs.dedup();
        Tie { number, legs }
    });
    sorted.collect()
}

/// The display filter that shows the legs of a tie; none if they are too many, or one has no number.
pub fn filter(streams: impl Iterator<Item = Option<u32>>) -> Option<String> {
    let mut streams = streams.collect::<Option<Vec<u32>>>()?;
    streams.sort_unstable();
    streams.dedup();
    if streams.len() > STREAMS {
        return None;
    }
    let listed: Vec<String> = streams.iter().map(u32::to_string).collect();
    Some(format!("tcp.stream in {{{}}}", listed.join(", ")))
}

impl Evidence {
    /// The weakest of several: a chain is as sure as its weakest link.
    pub fn weakest<'a>(all: impl Iterator<Item = &'a Evidence>) -> Option<&'a Evidence> {
        all.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(near: usize, far: usize) -> Edge {
        Edge {
            near,
            far,
            evidence: Evidence::AccessLog { file: "log".to_owned(), line: 1 },
            requests: 1,
            logged: vec![],
            exchanged: 0,
            exchanges: vec![],
        }
    }

    #[test]
    fn a_chain_is_one_tie_and_a_pool_joins_its_clients() {
        let legs = |edges: &[Edge]| group(edges, 10).into_iter().map(|tie| tie.legs).collect::<Vec<_>>();
        assert_eq!(legs(&[]), [[0; 0]; 0]);
        assert_eq!(legs(&[edge(4, 2), edge(7, 9), edge(2, 5)]), [vec![2, 4, 5], vec![7, 9]]);
        assert_eq!(legs(&[edge(1, 3), edge(2, 3)]), [vec![1, 2, 3]]);
        let numbers: Vec<u64> = group(&[edge(8, 9), edge(0, 1)], 10).iter().map(|tie| tie.number).collect();
        assert_eq!(numbers, [1, 2]);
    }

    #[test]
    fn filters() {
        assert_eq!(filter([Some(7), Some(3), Some(7)].into_iter()).as_deref(), Some("tcp.stream in {3, 7}"));
        assert_eq!(filter([Some(7), None].into_iter()), None);
        assert_eq!(filter((0..5000).map(Some)), None);
    }
}

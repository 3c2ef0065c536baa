//! From edges to ties: all legs of one call, through as many proxies as there are.

use std::fmt::Write;

use super::{Edge, Evidence};

/// Legs whose streams a filter names, at most: Wireshark reads filters of some 64 KiB.
const STREAMS: usize = 4096;

/// A leg of a tie, by one of its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The first leg of the tie: each has another one.
    pub first: u32,
    pub leg: u32,
    /// The edge, as an index.
    pub edge: u32,
}

/// The legs that edges tie, in the order of ties by their first legs, of legs, and of edges; legs are numbered to `legs`.
pub(crate) fn group(edges: &[Edge], legs: usize) -> Vec<Member> {
    // There are fewer than that, of both.
    let mut parent: Vec<u32> = (0..legs as u32).collect();
    fn root(parent: &mut [u32], mut leg: u32) -> u32 {
        while parent[leg as usize] != leg {
            parent[leg as usize] = parent[parent[leg as usize] as usize];
            leg = parent[leg as usize];
        }
        leg
    }
    for edge in edges {
        let (a, b) = (root(&mut parent, edge.near), root(&mut parent, edge.far));
        // The lower one leads, so that the result depends on no order.
        parent[a.max(b) as usize] = a.min(b);
    }
    let mut members = Vec::with_capacity(2 * edges.len());
    for (edge, number) in edges.iter().zip(0..) {
        let of = |leg| Member { first: root(&mut parent, leg), leg, edge: number };
        members.extend([edge.near, edge.far].map(of));
    }
    members.sort_unstable();
    members
}

/// The display filter that shows the legs of a tie; none if they are too many, or one has no number.
pub fn filter(streams: impl Iterator<Item = Option<u32>>) -> Option<String> {
    let mut streams = streams.collect::<Option<Vec<u32>>>()?;
    streams.sort_unstable();
    streams.dedup();
    if streams.len() > STREAMS {
        return None;
    }
    let mut text = "tcp.stream in {".to_owned();
    for (number, stream) in streams.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{stream}", if number > 0 { ", " } else { "" });
    }
    text.push('}');
    Some(text)
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

    /// The legs of each tie.
    fn ties(edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
        let edges: Vec<Edge> = edges.iter().map(|&(near, far)| Edge::new(near, far, Evidence::Bytes)).collect();
        let members = group(&edges, 10);
        let ties = members.chunk_by(|a, b| a.first == b.first);
        ties.map(|tie| tie.chunk_by(|a, b| a.leg == b.leg).map(|of_leg| of_leg[0].leg).collect()).collect()
    }

    #[test]
    fn a_chain_is_one_tie_and_a_pool_joins_its_clients() {
        assert_eq!(ties(&[]), [[0; 0]; 0]);
        assert_eq!(ties(&[(4, 2), (7, 9), (2, 5)]), [vec![2, 4, 5], vec![7, 9]]);
        assert_eq!(ties(&[(1, 3), (2, 3)]), [vec![1, 2, 3]]);
        assert_eq!(ties(&[(8, 9), (0, 1)]), [vec![0, 1], vec![8, 9]]);
    }

    #[test]
    fn filters() {
        assert_eq!(filter([Some(7), Some(3), Some(7)].into_iter()).as_deref(), Some("tcp.stream in {3, 7}"));
        assert_eq!(filter([Some(7), None].into_iter()), None);
        assert_eq!(filter((0..5000).map(Some)), None);
    }
}

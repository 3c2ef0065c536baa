//! What holds for every recording: how it was sent does not count, what was said does.

use std::sync::Arc;

use meshpcap::diff::{self, Kind, Limits, Settings, compare};
use proptest::prelude::*;

use crate::common::leg::together;
use crate::common::{Leg, Link, Shot};
use crate::trace;

/// What is said on a connection, turn by turn, the client first; and how it ends.
#[derive(Clone, Debug)]
struct Talk {
    server: u8,
    is_http: bool,
    bodies: Vec<Vec<u8>>,
    end: char,
}

/// How it is sent.
#[derive(Clone, Debug)]
struct Way {
    port: u16,
    seed: u32,
    start: u64,
    gap: u64,
    /// Octets of segments, in turn.
    cuts: Vec<usize>,
    /// Whether segments come out of order and twice.
    is_shuffled: bool,
}

fn talk() -> impl Strategy<Value = Talk> {
    let body = prop::collection::vec(b'a'..=b'z', 1..60);
    let end = prop::sample::select(vec!['f', 'r', '-']);
    (0..3_u8, any::<bool>(), prop::collection::vec(body, 1..6), end).prop_map(|(server, is_http, bodies, end)| Talk {
        server,
        is_http,
        bodies,
        end,
    })
}

fn way() -> impl Strategy<Value = Way> {
    let cuts = prop::collection::vec(1..40_usize, 1..6);
    (20_000..40_000_u16, any::<u32>(), 0..1_u64 << 40, 1_000_000..9_000_000_u64, cuts, any::<bool>())
        .prop_map(|(port, seed, start, gap, cuts, is_shuffled)| Way { port, seed, start, gap, cuts, is_shuffled })
}

/// What a turn says.
fn said(talk: &Talk, turn: usize) -> Vec<u8> {
    let body = &talk.bodies[turn];
    if !talk.is_http {
        return body.clone();
    }
    let first = if turn.is_multiple_of(2) { "POST /x HTTP/1.1" } else { "HTTP/1.1 200 OK" };
    let head = format!("{first}\r\nx-request-id: {turn}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn leg(n: u16, talk: &Talk, way: &Way) -> Leg {
    let client = format!("10.1.0.5:{}", way.port + n);
    let seed = way.seed.wrapping_add(u32::from(n).wrapping_mul(100_000_007));
    let mut leg = Leg::outbound(&client, &format!("10.96.0.{}:80", talk.server))
        .numbers(seed, seed.rotate_left(9) ^ 0x1357_9bdf)
        .after(way.start + u64::from(n) * way.gap)
        .open();
    for turn in 0..talk.bodies.len() {
        let from_client = turn.is_multiple_of(2);
        let octets = String::from_utf8(said(talk, turn)).expect("ASCII");
        let mut rest = octets.as_str();
        let first = leg.packets.len();
        for cut in way.cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, next) = rest.split_at((*cut).min(rest.len()));
            leg = leg.send(from_client, "PA", part);
            rest = next;
        }
        if way.is_shuffled {
            // The last comes first, and the first again in the end.
            let mut datagrams: Vec<Vec<u8>> = leg.packets.drain(first..).map(|(_, datagram)| datagram).collect();
            datagrams.reverse();
            let again = datagrams[datagrams.len() - 1].clone();
            datagrams.push(again);
            for datagram in datagrams {
                leg.packets.push((leg.time, datagram));
                leg.time += 1_000;
            }
        }
        leg = leg.send(!from_client, "A", "");
    }
    match talk.end {
        'f' => leg.close(),
        'r' => leg.reset(),
        _ => leg,
    }
}

fn record(talks: &[Talk], way: &Way) -> Vec<Shot> {
    let legs: Vec<Leg> = (0..).zip(talks).map(|(n, talk)| leg(n, talk, way)).collect();
    together(&legs.iter().collect::<Vec<_>>(), Link::Lo)
}

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 64 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn how_it_was_sent_does_not_count(talks in prop::collection::vec(talk(), 1..8), old in way(), new in way()) {
        let (old, new) = (trace(&record(&talks, &old)), trace(&record(&talks, &new)));
        prop_assert_eq!(old.conversations.len(), talks.len());
        prop_assert!(old.conversations.iter().all(|c| !c.sent.incomplete && !c.received.incomplete));
        let diff = compare(&old, &new);
        prop_assert!(diff.is_empty(), "{:#?}", diff);
        prop_assert_eq!(diff.same, talks.len());
    }

    #[test]
    fn one_octet_is_one_change(
        talks in prop::collection::vec(talk(), 1..8), old in way(), new in way(), place: prop::sample::Index,
    ) {
        // One octet of all that are said.
        let mut changed = talks.clone();
        let octets = changed.iter_mut().flat_map(|talk| &mut talk.bodies).flatten();
        let mut octets: Vec<&mut u8> = octets.collect();
        let octet = place.index(octets.len());
        *octets[octet] ^= 0x20;
        let which = talks.iter().scan(0, |before, talk| {
            *before += talk.bodies.iter().map(Vec::len).sum::<usize>();
            Some(*before)
        }).take_while(|before| *before <= octet).count();
        // Where another one says just that, which of them changed cannot be told.
        let (old, new) = (trace(&record(&talks, &old)), trace(&record(&changed, &new)));
        let diff = compare(&old, &new);
        prop_assert_eq!(diff.differences.len(), 1, "{:#?}", diff);
        let difference = &diff.differences[0];
        prop_assert_eq!(difference.kind, Kind::Changed);
        let server = |trace: &meshpcap::diff::Trace, n: Option<usize>| n.map(|n| trace.conversations[n].server);
        prop_assert_eq!(server(&old, difference.old), Some(old.conversations[which].server));
        prop_assert_eq!(difference.fields.len(), 1, "{:#?}", difference.fields);
    }

    #[test]
    fn a_spoiled_file_is_read_as_far_as_it_goes(
        talks in prop::collection::vec(talk(), 1..5), way in way(),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), end: prop::sample::Index,
    ) {
        let mut bytes = crate::common::merge(Link::Lo, &record(&talks, &way)).bytes;
        // Behind the section header.
        let from = 128.min(bytes.len());
        for (place, octet) in spoiled {
            let place = from + place.index(bytes.len() - from);
            bytes[place] ^= octet;
        }
        bytes.truncate(from + end.index(bytes.len() - from));
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &bytes).expect("the spoiled file");
        let settings = Settings::default();
        if let Ok(read) = diff::read(file.path(), "spoiled", &settings, Limits::default(), &Arc::default()) {
            prop_assert!(compare(&read.trace, &read.trace).is_empty());
        }
    }

    #[test]
    fn the_number_of_edits_is_the_least(
        old in prop::collection::vec((0..2_u8, 0..3_u8), 0..8), new in prop::collection::vec((0..2_u8, 0..3_u8), 0..8),
    ) {
        let way = Way { port: 20_000, seed: 1, start: 0, gap: 1_000_000, cuts: vec![1000], is_shuffled: false };
        // One after the other, of few kinds: server and what is said.
        let talks = |kinds: &[(u8, u8)]| -> Vec<Talk> {
            let talk = |&(server, word): &(u8, u8)| Talk { server, is_http: false, bodies: vec![vec![b'a' + word]], end: 'f' };
            kinds.iter().map(talk).collect()
        };
        let (a, b) = (trace(&record(&talks(&old), &way)), trace(&record(&talks(&new), &way)));
        let diff = compare(&a, &b);
        let mut least = 0;
        for server in 0..2 {
            let count = |kinds: &[(u8, u8)], word: Option<u8>| {
                kinds.iter().filter(|kind| kind.0 == server && word.is_none_or(|word| kind.1 == word)).count()
            };
            let equal: usize = (0..3).map(|word| count(&old, Some(word)).min(count(&new, Some(word)))).sum();
            least += count(&old, None).max(count(&new, None)) - equal;
        }
        prop_assert_eq!(diff.differences.len() - diff.count(Kind::Moved), least, "{:#?}", diff);
    }
}

//! What is put away comes back as it was, and not much more than it is written.

use super::super::shape::Shape;
use super::*;

/// Segments of some conversations that take turns.
struct Turns {
    conversations: u32,
    rounds: u32,
    /// What the client sends in each, what the server answers.
    request: fn(u32) -> Vec<u8>,
    response: fn(u32) -> Vec<u8>,
}

impl Turns {
    /// What is observed of them, and how many octets were written.
    fn observed(&self, limits: Limits) -> (Observed, u64) {
        let mut observer = Observer::new(limits);
        let mut next = vec![[1_000_u32, u32::MAX - 5_000]; self.conversations as usize];
        let mut time = 0;
        for round in 0..self.rounds {
            for (conversation, next) in (0..).zip(&mut next) {
                for (from_first, data) in [(true, (self.request)(round)), (false, (self.response)(round))] {
                    let half = Half { conversation, from_first };
                    let [seq, ack] = if from_first { *next } else { [next[1], next[0]] };
                    let data_len = data.len() as u32;
                    time += 50;
                    observer.segment(&Segment {
                        half,
                        time: us(time),
                        seq,
                        ack,
                        flags: flags::ACK,
                        data: &data,
                        data_len,
                    });
                    next[usize::from(!from_first)] = seq.wrapping_add(data_len);
                }
            }
        }
        let observed = observer.finish().expect("the temporary file can be written");
        let written = observed.written();
        (observed, written)
    }

    /// What is read of each conversation.
    fn read(&self, observed: &Observed) -> Vec<String> {
        let (mut reader, mut shape) = (Default::default(), Shape::default());
        let mut read = |conversation| {
            let halves = [true, false].map(|from_first| Half { conversation, from_first });
            observed.read(halves, &mut reader, &mut shape).expect("it can be read");
            // Where units were joined, nobody asks for the ids of requests.
            let ids = if shape.up.is_thinned { String::new() } else { format!("{:?}", shape.up.requests) };
            let ways = [(&shape.up, &shape.down), (&shape.down, &shape.up)];
            let read = ways.map(|(way, other)| {
                (way.units().to_vec(), way.is_whole(other), way.is_thinned, way.seen(), way.head().to_vec())
            });
            format!("{read:?} {ids}")
        };
        (0..self.conversations).map(&mut read).collect()
    }
}

fn request(round: u32) -> Vec<u8> {
    format!("GET /{round} HTTP/1.1\r\nx-request-id: {round:032}\r\n\r\n").into_bytes()
}

fn response(round: u32) -> Vec<u8> {
    vec![b'x'; 1 + round as usize % 7]
}

/// Two records, and the beginning of a third one that goes on in the next round.
fn records(round: u32) -> Vec<u8> {
    let mut records = [record(23, 20 + round as usize % 5), record(23, 3), record(23, 9)].concat();
    records.rotate_left(10);
    if round == 0 { record(22, 100) } else { records }
}

#[test]
fn parts_are_put_together() {
    let few = Turns { conversations: 7, rounds: 1000, request, response };
    let many = Turns { conversations: 3, rounds: 9000, request, response };
    let tls = Turns { conversations: 3, rounds: 2500, request: records, response: records };
    for turns in [few, many, tls] {
        let (all, _) = turns.observed(Limits::default());
        let wanted = turns.read(&all);
        for most in [0, 3_000, 20_000] {
            let (parted, _) = turns.observed(Limits { least: 0, most, returns: 0 });
            assert!(turns.read(&parted) == wanted, "{} of {} with {most}", turns.conversations, turns.rounds);
        }
    }
}

#[test]
fn what_is_under_way_is_written_about_once() {
    // Of each, 40 KB: they have room for a fifth of it.
    let turns = Turns { conversations: 300, rounds: 500, request, response };
    let (_, once) = turns.observed(Limits { least: usize::MAX, most: usize::MAX, returns: 0 });
    let (_, parted) = turns.observed(Limits { least: 64 << 10, most: 1 << 20, returns: 0 });
    assert!(parted < 3 * once, "{parted} octets, {once} if they are put away at the end");
}

#[test]
fn what_shows_nothing_is_not_written_again() {
    let segment = |conversation, seq, flags, data: &'static [u8]| {
        let half = Half { conversation, from_first: true };
        Segment { half, time: us(u64::from(seq)), seq, ack: 0, flags, data, data_len: data.len() as u32 }
    };
    let mut observer = Observer::new(Limits { least: 0, most: 100_000, returns: 4 });
    for conversation in 0..200 {
        observer.segment(&segment(conversation, 1, flags::SYN, b""));
        observer.segment(&segment(conversation, 5_000, flags::ACK, &[b'x'; 10_000]));
    }
    for round in 0..50 {
        (0..200).for_each(|conversation| observer.segment(&segment(conversation, round, flags::ACK, b"")));
    }
    let written = observer.finish().expect("the temporary file can be written").written();
    assert!(written < 200 * 11_000, "{written}");
    // What waits is brought back a few times only.
    let mut observer = Observer::new(Limits { least: 0, most: 100_000, returns: 4 });
    (0..200).for_each(|conversation| observer.segment(&segment(conversation, 1, flags::SYN, b"")));
    for _ in 0..50 {
        (0..200).for_each(|conversation| observer.segment(&segment(conversation, 5_000, flags::ACK, &[b'x'; 9_000])));
    }
    let written = observer.finish().expect("the temporary file can be written").written();
    assert!((200 * 9_000 * 4..200 * 9_000 * 5).contains(&written), "{written}");
}

//! What is remembered of conversations, and what of it is given back.

use super::notation::parse;
use super::*;
use crate::flow::key::Side;
use crate::flow::table::Records;

/// A conversation on the wire from a SYN on, by its slot, and the side of its client.
fn begun(table: &mut Table) -> (u32, Side) {
    let syn = parse("eth0 0.0 10.0.0.9:1000 > 10.0.0.1:80 S 5", 1);
    let (key, side) = Key::of(&syn);
    let id = table.insert(key, &syn, side, State::Whole);
    table.records.note(id, side, &syn);
    (id, side)
}

fn packets(records: &Records, id: u32) -> [u64; 2] {
    records.halves(id).map(|half| half.packets())
}

#[test]
fn a_direction_is_remembered_when_something_was_sent_in_it() {
    let mut table = Table::new();
    let (id, client) = begun(&mut table);
    let mut expected = [0, 0];
    expected[client] = 1;
    assert_eq!(packets(&table.records, id), expected);
    assert!(table.records.half_mut(id, 1 - client).is_none());
    table.records.note(id, 1 - client, &parse("eth0 0.1 10.0.0.1:80 > 10.0.0.9:1000 S. 9 6", 2));
    table.records.note(id, 1 - client, &parse("eth0 0.2 10.0.0.1:80 > 10.0.0.9:1000 F. 10 6", 3));
    expected[1 - client] = 2;
    assert_eq!(packets(&table.records, id), expected);
    let server = table.records.half(id, 1 - client);
    assert_eq!((server.isn(), server.ack(), server.next), (Some(9), Some(6), 11));
    assert_eq!((server.fin(), server.rst(), server.place().frame), (true, false, 3));
}

#[test]
fn what_has_gone_takes_nothing_along_to_the_next() {
    let mut table = Table::new();
    let evidence = Evidence::Dns { query: Place { input: 0, frame: 1 }, reply: Place { input: 1, frame: 2 } };
    for _ in 0..3 {
        let (id, client) = begun(&mut table);
        assert_eq!(packets(&table.records, id)[1 - client], 0);
        assert_eq!(table.records.evidence(id), None);
        table.records.note(id, 1 - client, &parse("eth0 0.1 10.0.0.1:80 > 10.0.0.9:1000 S. 9 6", 2));
        table.records.prove(id, 7, evidence);
        assert_eq!(table.records.evidence(id), Some(evidence));
        table.remove(id);
        assert_eq!((table.len(), table.records.most()), (0, 1));
    }
}

#[test]
fn a_segment_follows_within_a_window() {
    let mut table = Table::new();
    let (id, client) = begun(&mut table);
    table.records.note(id, client, &parse("eth0 0.1 10.0.0.9:1000 > 10.0.0.1:80 . 6 100", 2));
    let half = table.records.half(id, client);
    let follows = |seq: u32, ack: u32| pairing::follows(half, seq, ack, flags::ACK);
    assert!(follows(6, 100) && follows(6 + (1 << 24), 100) && follows(6, 100 + (1 << 24)));
    assert!(follows(6_u32.wrapping_sub(1 << 24), 100), "sent again");
    assert!(!follows(7 + (1 << 24), 100) && !follows(6, 101 + (1 << 24)));
    assert!(pairing::follows(half, 6, 1 << 30, 0), "an acknowledgment that is none");
}

#[test]
fn to_look_who_is_gone_from_a_line_costs_little() {
    let mut table = Table::new();
    let (id, _) = begun(&mut table);
    let (mut line, looks, pushed) = (Line::default(), std::cell::Cell::new(0_u64), 100_000);
    for number in 0..pushed {
        // All of them belong there, and more than there should be.
        line.push(id, Timestamp(number), &table.records, 1, |_| {
            looks.set(looks.get() + 1);
            true
        });
    }
    assert_eq!(line.len() as u64, pushed);
    assert!(looks.get() <= 10 * pushed, "{} looks", looks.get());
}

//! TCP: the same octets on both sides.

use super::*;

/// A plain leg through the proxy: `up` octets, `down` in answer, then the client closes. Returns near and far.
fn plain(world: &mut World, time: u64, client: &str, port: u16, up: usize, down: usize) -> (Talk, Talk) {
    let mut near = world.near(ms(time), client);
    let mut far = world.far(ms(time + 2), port);
    world.send(&mut near, ms(time + 1), Client, &vec![b'x'; up]);
    world.send(&mut far, ms(time + 3), Client, &vec![b'x'; up]);
    world.send(&mut far, ms(time + 5), Server, &vec![b'y'; down]);
    world.send(&mut near, ms(time + 6), Server, &vec![b'y'; down]);
    world.fin(&mut near, ms(time + 8), Client);
    world.fin(&mut far, ms(time + 9), Client);
    world.fin(&mut far, ms(time + 10), Server);
    world.fin(&mut near, ms(time + 11), Server);
    (near, far)
}

/// A TLS leg through the proxy.
fn secret(world: &mut World, time: u64, client: &str, port: u16, up: usize, down: usize) -> (Talk, Talk) {
    let mut near = tls(world, time, client);
    let mut far = world.far(ms(time + 2), port);
    world.send(&mut near, ms(time + 7), Client, &protected(up));
    world.send(&mut far, ms(time + 8), Client, &vec![b'x'; up]);
    world.send(&mut far, ms(time + 9), Server, &vec![b'y'; down]);
    world.send(&mut near, ms(time + 10), Server, &protected(down));
    world.fin(&mut near, ms(time + 12), Client);
    world.fin(&mut far, ms(time + 13), Client);
    (near, far)
}

#[test]
fn plain_legs_of_the_same_octets_are_tied() {
    let mut world = World::new();
    let (near, far) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let inferred = world.infer();
    let [tie] = &inferred.ties[..] else { panic!("{inferred:?}") };
    assert_eq!((tie.near, tie.far, &tie.evidence), (near.id(), far.id(), &Evidence::Bytes));
    assert_eq!(inferred.clients, [(far.id(), Clients::One("10.9.0.1".parse().expect("an address")))]);
    let span = |request, response| Span { request: (ms(request), ms(request)), response: (ms(response), ms(response)) };
    assert_eq!(tie.exchanges(), [Exchange { near: span(1, 6), far: span(3, 5) }]);
}

#[test]
fn two_that_fit_are_not_tied_and_one_that_is_taken_settles_another() {
    let mut world = World::new();
    let (a, far_a) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let (b, far_b) = plain(&mut world, 0, "10.9.0.2:4000", 2, 100, 2000);
    assert_eq!(world.ties(), [], "either may be of either");
    // Later, and as long: the far leg can be of all three, but the earlier ones' can not be of the later client.
    let mut world = World::new();
    let (_, _) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let (c, far_c) = plain(&mut world, 1000, "10.9.0.3:4000", 3, 100, 2000);
    assert!(world.ties().contains(&(c.id(), far_c.id())), "{:?}", world.ties());
    let _ = (a, far_a, b, far_b);
}

#[test]
fn what_only_one_can_have_is_taken_from_the_others() {
    let mut world = World::new();
    // `a` came first and may be of both far legs; `b` came after the first of them was opened.
    let mut a = world.near(ms(0), "10.9.0.1:4000");
    world.send(&mut a, ms(1), Client, b"hello");
    let mut far_a = world.far(ms(2), 1);
    let mut b = world.near(ms(3), "10.9.0.2:4000");
    world.send(&mut b, ms(4), Client, b"hello");
    let mut far_b = world.far(ms(5), 2);
    for far in [&mut far_a, &mut far_b] {
        world.send(far, ms(6), Client, b"hello");
        world.send(far, ms(7), Server, b"world");
    }
    for near in [&mut a, &mut b] {
        world.send(near, ms(8), Server, b"world");
    }
    let mut ties = world.infer().ties;
    ties.sort_by_key(|tie| tie.near);
    let told: Vec<_> = ties.iter().map(|tie| (tie.near, tie.far, tie.evidence.clone())).collect();
    let by = Evidence::Elimination;
    assert_eq!(told, [(a.id(), far_a.id(), by.clone()), (b.id(), far_b.id(), by)]);
}

#[test]
fn without_the_true_partner_nothing_else_is_taken_for_it() {
    let mut world = World::new();
    plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    plain(&mut world, 0, "10.9.0.2:4000", 2, 100, 2000);
    world.near.pop();
    assert_eq!(world.ties(), [], "two far legs for one near leg");
}

#[test]
fn nothing_is_passed_on_before_it_came() {
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    let mut far = world.far(ms(2), 1);
    world.send(&mut far, ms(3), Client, b"hello");
    world.send(&mut near, ms(4), Client, b"hello");
    assert_eq!(world.ties(), []);
}

#[test]
fn legs_that_carried_nothing_are_never_tied() {
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    let mut far = world.far(ms(2), 1);
    world.fin(&mut near, ms(8), Client);
    world.fin(&mut far, ms(9), Client);
    let mut secret = tls(&mut world, 20, "10.9.0.2:4000");
    world.far(ms(22), 2);
    world.fin(&mut secret, ms(30), Client);
    assert_eq!(world.ties(), []);
}

#[test]
fn other_octets_of_the_same_length_do_not_fit() {
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    world.send(&mut near, ms(1), Client, b"hello");
    let mut far = world.far(ms(2), 1);
    world.send(&mut far, ms(3), Client, b"holla");
    assert_eq!(world.ties(), []);
}

#[test]
fn tls_is_tied_by_the_length_of_its_records() {
    let mut world = World::new();
    let (near, far) = secret(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    secret(&mut world, 0, "10.9.0.2:4000", 2, 101, 2000);
    secret(&mut world, 0, "10.9.0.3:4000", 3, 100, 2001);
    assert_eq!(world.ties().len(), 3);
    assert!(world.ties().contains(&(near.id(), far.id())));
}

#[test]
fn tls_legs_connect_onwards_between_the_two_hellos() {
    let mut world = World::new();
    secret(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    // Opened after the server's hello: not for this client.
    world.far.clear();
    let mut late = world.far(ms(4), 2);
    world.send(&mut late, ms(8), Client, &[b'x'; 100]);
    world.send(&mut late, ms(9), Server, &[b'y'; 2000]);
    assert_eq!(world.ties(), []);
}

#[test]
fn a_first_message_as_long_as_a_finished_is_no_finished() {
    // A client that packs its flight into one record, and then sends 36 octets.
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    world.send(&mut near, ms(1), Client, &record(22, 512));
    world.send(&mut near, ms(3), Server, &[record(22, 122), record(20, 1), record(23, 655)].concat());
    world.send(&mut near, ms(5), Client, &[record(20, 1), record(23, 562)].concat());
    world.send(&mut near, ms(6), Server, &record(23, 1341));
    let mut far = world.far(ms(2), 1);
    world.send(&mut near, ms(7), Client, &protected(36));
    world.send(&mut far, ms(8), Client, &[b'x'; 36]);
    assert_eq!(world.ties(), [(near.id(), far.id())]);
}

#[test]
fn tls_1_2_names_its_records() {
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    world.send(&mut near, ms(1), Client, &record(22, 202));
    world.send(&mut near, ms(3), Server, &[record(22, 72), record(22, 428), record(22, 4)].concat());
    world.send(&mut near, ms(4), Client, &[record(22, 37), record(20, 1), record(22, 40)].concat());
    world.send(&mut near, ms(5), Server, &[record(20, 1), record(22, 40)].concat());
    let mut far = world.far(ms(2), 1);
    world.send(&mut near, ms(6), Client, &record(23, 24 + 50));
    world.send(&mut far, ms(7), Client, &[b'x'; 50]);
    world.send(&mut near, ms(9), Client, &record(21, 26));
    assert_eq!(world.ties(), [(near.id(), far.id())]);
}

#[test]
fn a_leg_that_lost_octets_may_be_any() {
    let mut world = World::new();
    let (_, _) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    assert_eq!(world.ties().len(), 1);
    // Another client whose octets were not all captured may be the true one.
    let mut lost = world.near(ms(0), "10.9.0.2:4000");
    world.at(&lost, ms(1), Client, flags::ACK, lost.next(Client).wrapping_add(50), &[b'x'; 50]);
    assert_eq!(world.ties().len(), 1, "but the first has its far leg, and no other");
    world.near.remove(0);
    assert_eq!(world.ties(), []);
    world.fin(&mut lost, ms(9), Client);
    assert_eq!(world.ties(), []);
}

#[test]
fn out_of_order_and_sent_again_is_the_same() {
    let mut world = World::new();
    let near = world.near(ms(0), "10.9.0.1:4000");
    let mut far = world.far(ms(2), 1);
    let seq = near.next(Client);
    world.at(&near, us(900), Client, flags::ACK, seq.wrapping_add(5), b"world");
    world.at(&near, us(950), Client, flags::ACK, seq, b"hello");
    world.at(&near, us(960), Client, flags::ACK, seq, b"hello");
    world.send(&mut far, ms(3), Client, b"helloworld");
    assert_eq!(world.ties(), [(near.id(), far.id())]);
}

#[test]
fn after_a_reset_a_part_is_enough_if_it_is_seen_to_be_the_same() {
    let mut world = World::new();
    let mut near = world.near(ms(0), "10.9.0.1:4000");
    let mut far = world.far(ms(2), 1);
    world.send(&mut near, ms(1), Client, &[b'x'; 100]);
    world.send(&mut far, ms(3), Client, &[b'x'; 100]);
    world.send(&mut far, ms(4), Server, b"ready");
    world.send(&mut near, ms(5), Server, b"ready");
    world.send(&mut near, ms(6), Client, &[b'z'; 100]);
    world.rst(&mut near, ms(7), Client);
    world.rst(&mut far, ms(8), Client);
    assert_eq!(world.ties(), [(near.id(), far.id())]);
    // Within TLS, no length tells what a part is.
    let mut world = World::new();
    let mut near = tls(&mut world, 0, "10.9.0.1:4000");
    let mut far = world.far(ms(2), 1);
    world.send(&mut near, ms(7), Client, &protected(100));
    world.send(&mut far, ms(8), Client, &[b'x'; 100]);
    world.send(&mut near, ms(9), Client, &protected(100));
    world.rst(&mut near, ms(10), Client);
    world.rst(&mut far, ms(11), Client);
    assert_eq!(world.ties(), []);
}

#[test]
fn a_port_that_is_used_again_is_another_leg() {
    let mut world = World::new();
    let (a, far_a) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let (b, far_b) = plain(&mut world, 5000, "10.9.0.1:4000", 1, 100, 2000);
    assert_eq!(world.ties(), [(a.id(), far_a.id()), (b.id(), far_b.id())]);
}

#[test]
fn crowds_are_left_alone() {
    let mut world = World::new();
    for n in 0..3000_u32 {
        let mut near = world.near(ms(0), &format!("10.{}.{}.9:4000", n / 250, n % 250));
        world.send(&mut near, ms(1), Client, b"PING\r\n");
        let mut far = world.far(ms(2), n as u16);
        world.send(&mut far, ms(3), Client, b"PING\r\n");
    }
    assert_eq!(world.ties(), []);
}

#[test]
fn what_is_acknowledged_and_not_there_was_lost() {
    // The answer was captured on one side only, and so was one to another client.
    let mut world = World::new();
    let (a, far_a) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let (b, _) = plain(&mut world, 0, "10.9.0.2:4000", 2, 100, 2000);
    world.far.pop();
    assert_eq!(world.ties(), [], "either may be meant");
    world.lose(&a, ms(6), Server);
    world.lose(&a, ms(11), Server);
    assert_eq!(world.ties(), [], "the client acknowledges what is not there");
    // Without it, nothing was sent as far as anybody knows.
    world.lose(&a, ms(8), Client);
    assert_eq!(world.ties(), [(b.id(), far_a.id())]);
}

#[test]
fn what_is_acknowledged_in_another_conversation_counts() {
    let mut world = World::new();
    let (a, far_a) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let (b, _) = plain(&mut world, 0, "10.9.0.2:4000", 2, 100, 2000);
    world.far.pop();
    world.lose(&a, ms(6), Server);
    world.lose(&a, ms(11), Server);
    // What the proxy sent has other addresses, as on lo.
    let apart = Half { conversation: 1_000, from_first: false };
    let of_proxy = |half: &&mut Half| half.conversation == a.id() && !half.from_first;
    world.segments.iter_mut().map(|(half, ..)| half).filter(of_proxy).for_each(|half| *half = apart);
    world.near[0].from_server = apart;
    assert_eq!(world.ties(), []);
    world.lose(&a, ms(8), Client);
    assert_eq!(world.ties(), [(b.id(), far_a.id())]);
}

#[test]
fn a_fin_that_was_lost_is_no_octet() {
    let mut world = World::new();
    let (near, far) = plain(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    world.send(&mut Talk { ..near }, ms(12), Client, b"");
    world.lose(&near, ms(11), Server);
    world.lose(&far, ms(9), Client);
    assert_eq!(world.ties(), [(near.id(), far.id())], "the other end closed, too");
    world.lose(&near, ms(8), Client);
    assert_eq!(world.ties(), [], "what is missing may be an octet");
}

#[test]
fn the_answer_to_a_syn_that_was_lost_tells_when_a_leg_began() {
    // The server speaks first. Of one call, only the far leg was captured.
    let greeted = |world: &mut World, time: u64, port: u16| {
        let mut near = world.near(ms(time), &format!("10.9.0.{port}:4000"));
        let mut far = world.far(ms(time + 2), port);
        world.send(&mut far, ms(time + 4), Server, b"220 welcome");
        world.send(&mut near, ms(time + 5), Server, b"220 welcome");
        (near, far)
    };
    let mut world = World::new();
    greeted(&mut world, 0, 1);
    world.near.pop();
    let (near, far) = greeted(&mut world, 250, 2);
    let only = world.far.pop();
    world.lose(&near, ms(250), Client);
    assert_eq!(world.ties(), [], "it began when the other one was over");
    world.far.extend(only);
    assert_eq!(world.ties(), [(near.id(), far.id())]);
    world.lose(&far, ms(252), Client);
    assert_eq!(world.ties(), [(near.id(), far.id())], "nor did the far one begin before the capture");
}

#[test]
fn legs_without_data_are_no_work() {
    let mut world = World::new();
    (0..3000).for_each(|n| _ = world.near(ms(n % 7), &format!("10.{}.{}.9:4000", n / 250, n % 250)));
    (0..3000).for_each(|n| _ = world.far(ms(9), n));
    let (near, far) = plain(&mut world, 20, "10.9.0.1:4000", 1, 100, 2000);
    assert_eq!(world.ties(), [(near.id(), far.id())]);
}

#[test]
fn what_is_not_compared_to_its_end_is_not_tied() {
    let mut world = World::new();
    secret(&mut world, 0, "10.9.0.1:4000", 1, 100, 2000);
    let observed = world.observed(Limits::default());
    let mut shelf = Shelf::new(&observed);
    let near = Sides::read(Stage::Inbound, true, world.near.iter().map(known), &mut shelf).expect("it can be read");
    let far = Sides::read(Stage::Inbound, false, world.far.iter().map(known), &mut shelf).expect("it can be read");
    let mut tied = |steps| {
        let tied = bytes::tie_within(steps, Stage::Inbound, &near, &far, observed.end(), &mut shelf);
        tied.expect("it can be read").len()
    };
    // A pair, both legs, their ways to be read, and what is walked over.
    assert_eq!((0..200).map(&mut tied).position(|tied| tied == 1).map(|steps| steps > 16 + 10 + 2), Some(true));
    assert_eq!((tied(1000), tied(20)), (1, 0));
}

#[test]
fn what_is_forgotten_is_nowhere_and_the_others_stay() {
    let forgotten = |number: u32| number % 3 == 1;
    let segment = |observer: &mut Observer, conversation, n| {
        let half = Half { conversation, from_first: true };
        let (time, seq) = (ms(n), 100 + 4 * n as u32);
        observer.segment(&Segment { half, time, seq, ack: 0, flags: 0, data: b"data", data_len: 4 });
    };
    let (mut reader, mut shape) = Default::default();
    for limits in [Limits::default(), Limits { least: 0, most: 5000, returns: 1 }] {
        let mut observer = Observer::new(limits);
        for n in 0..4 {
            (0..300).for_each(|conversation| segment(&mut observer, conversation, n));
        }
        (0..300).filter(|n| forgotten(*n)).for_each(|number| observer.forget(number));
        (0..300).filter(|n| !forgotten(*n)).for_each(|conversation| segment(&mut observer, conversation, 4));
        let observed = observer.finish().expect("the temporary file can be written");
        for conversation in 0..300 {
            let halves = [true, false].map(|from_first| Half { conversation, from_first });
            observed.read(halves, &mut reader, &mut shape).expect("it can be read");
            let octets: u32 = shape.up.units().iter().map(|unit| unit.len).sum();
            assert_eq!(octets, if forgotten(conversation) { 0 } else { 20 });
        }
        reader = Default::default();
    }
}

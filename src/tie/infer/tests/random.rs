//! Whatever passes through the proxy, no tie is wrong.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// A connection of a client through the proxy: when it began, its delays in microseconds, what was sent and answered.
#[derive(Clone, Debug)]
struct Call {
    begin: u64,
    delays: [u64; 4],
    tls: bool,
    exchanges: Vec<(usize, usize)>,
    closes: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let delays = prop::array::uniform4(20_u64..20_000);
    let exchanges = prop::collection::vec((0_usize..4, 0_usize..4), 0..4);
    (0_u64..30_000, delays, any::<bool>(), exchanges, any::<bool>())
        .prop_map(|(begin, delays, tls, exchanges, closes)| Call { begin, delays, tls, exchanges, closes })
}

/// A step of a leg: when, on the near side or not, who, flags, and octets.
type Step = (u64, bool, From, u8, Vec<u8>);

fn steps(call: &Call) -> (u64, Vec<Step>) {
    let [a, b, c, d] = call.delays;
    let mut steps: Vec<Step> = Vec::new();
    let mut now = call.begin;
    let mut opened = now + a;
    if call.tls {
        steps.push((now + a, true, Client, 0, record(22, 512)));
        opened = now + a + b;
        now = opened + c;
        steps.push((now, true, Server, 0, [record(22, 122), record(20, 1), record(23, 655)].concat()));
        now += d;
        let flight = [record(20, 1), record(23, 834), record(23, 96), record(23, 69)].concat();
        steps.push((now, true, Client, 0, flight));
        steps.push((now + 1, true, Server, 0, record(23, 2109)));
    }
    now = now.max(opened);
    let wrap = |len: usize| if call.tls { protected(len) } else { vec![b'x'; len] };
    for &(up, down) in &call.exchanges {
        now += a;
        if up > 0 {
            steps.push((now, true, Client, 0, wrap(up)));
            now += b;
            steps.push((now, false, Client, 0, vec![b'x'; up]));
        }
        if down > 0 {
            now += c;
            steps.push((now, false, Server, 0, vec![b'x'; down]));
            now += d;
            steps.push((now, true, Server, 0, wrap(down)));
        }
    }
    if call.closes {
        steps.push((now + a, true, Client, flags::FIN, Vec::new()));
        steps.push((now + a + b, false, Client, flags::FIN, Vec::new()));
        steps.push((now + a + b + c, false, Server, flags::FIN, Vec::new()));
        steps.push((now + a + b + c + d, true, Server, flags::FIN, Vec::new()));
    }
    (opened, steps)
}

/// Captures all calls; returns which near leg belongs to which far leg.
fn capture(calls: &[Call]) -> (World, HashSet<(u32, u32)>) {
    let mut world = World::new();
    let mut pairs = HashSet::new();
    for (n, call) in calls.iter().enumerate() {
        let (opened, steps) = steps(call);
        let mut near = world.near(us(call.begin), &format!("10.9.0.{n}:4000"));
        let mut far = world.far(us(opened), n as u16);
        pairs.insert((near.id(), far.id()));
        for (time, is_near, from, flags, data) in steps {
            let talk = if is_near { &mut near } else { &mut far };
            world.segment(talk, us(time), from, flags | flags::ACK, &data);
        }
    }
    (world, pairs)
}

proptest! {
    #[test]
    fn every_tie_is_of_one_call(calls in prop::collection::vec(call(), 1..12)) {
        let (world, pairs) = capture(&calls);
        for tie in world.ties() {
            prop_assert!(pairs.contains(&tie), "{:?} is none of {:?}", tie, pairs);
        }
    }

    #[test]
    fn what_has_no_partner_is_not_tied(near in prop::collection::vec(call(), 1..6), far in prop::collection::vec(call(), 1..6)) {
        // Octets that are longer by far, on the far side of one call and on the near side of another.
        let far: Vec<Call> = far.into_iter().map(|mut call| {
            call.exchanges.iter_mut().for_each(|(up, down)| (*up, *down) = (*up + 5000, *down + 7000));
            call
        }).collect();
        let calls: Vec<Call> = near.iter().chain(&far).cloned().collect();
        let (mut world, _) = capture(&calls);
        world.near.truncate(near.len());
        world.far.drain(..near.len());
        prop_assert_eq!(world.ties(), []);
    }

    #[test]
    fn any_segments_at_all_are_taken(
        segments in prop::collection::vec((0_u32..4, any::<bool>(), 0_u64..1000, any::<u32>(), any::<u8>(),
            prop::collection::vec(any::<u8>(), 0..40), 0_u32..100_000), 0..200),
    ) {
        let mut world = World::new();
        world.near_midstream("10.9.0.1:4000");
        world.near_midstream("10.9.0.2:4000");
        world.far_midstream(1);
        world.far_midstream(2);
        for (conversation, from_first, time, seq, flags, data, more) in segments {
            let len = data.len() as u32 + if seq % 2 == 0 { more } else { 0 };
            world.cut(Half { conversation, from_first }, us(time), seq % 300, flags, &data, len);
        }
        world.infer();
    }
}

//! Times and order: any resolution becomes nanoseconds; packets leave in the order of time, ties in that of the inputs.

use crate::common::file::{Order, Section, record};
use crate::common::leg::START;
use crate::common::{Job, Leg, Link, Shot, Tcp, addr, pcap, shot};

/// A packet that is not like any other.
fn distinct(time: u64, number: u8) -> Shot {
    let tcp = Tcp::new(addr("10.1.0.5:40000"), addr("10.1.0.6:80")).data(&[number; 4]).sum(crate::common::Sum::Right);
    shot(time, Link::Eth.frame(&tcp.ip()))
}

fn numbers(output: &crate::common::Output) -> Vec<u8> {
    output.packets.iter().map(|packet| packet.bytes[packet.bytes.len() - 1]).collect()
}

#[test]
fn resolutions_and_offsets_of_pcapng() {
    for (resolution, offset, units, nanoseconds) in [
        (None, None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (Some(6), None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (Some(9), None, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (Some(0), None, 1_700_000_000, 1_700_000_000_000_000_000),
        (Some(3), None, 1_700_000_000_001, 1_700_000_000_001_000_000),
        // Finer than nanoseconds: truncated.
        (Some(12), None, 1_234_567_999, 1_234_567),
        // Powers of two.
        (Some(0x80 | 10), None, 1_700_000_000 * 1024 + 512, 1_700_000_000_500_000_000),
        (Some(0x80 | 30), None, (1_700_000_000 << 30) + (1 << 28), 1_700_000_000_250_000_000),
        (Some(9), Some(1_700_000_000), 5, 1_700_000_000_000_000_005),
        (Some(9), Some(-1), 1_500_000_000, 500_000_000),
    ] {
        for order in [Order::Little, Order::Big] {
            let resolution: Vec<u8> = resolution.into_iter().collect();
            let offset = offset.map(|o: i64| if order == Order::Big { o.to_be_bytes() } else { o.to_le_bytes() });
            let mut options: Vec<(u16, &[u8])> = Vec::new();
            if !resolution.is_empty() {
                options.push((9, &resolution));
            }
            options.extend(offset.as_ref().map(|offset| (14_u16, &offset[..])));
            let section = Section::new(order).interface(Link::Eth, &options);
            let outcome = Job::new().input(&section.packet(0, &distinct(units, 1), &[]).bytes).run();
            assert_eq!(outcome.output.times(), [nanoseconds], "{options:?}");
            // What was said of the old units is not said of the new ones.
            assert_eq!(outcome.output.interfaces[0].options(14).len(), 0);
        }
    }
}

#[test]
fn magics_of_pcap() {
    let shots = [distinct(1_700_000_000_000_123_456, 1), distinct(1_700_000_001_000_000_000, 2)];
    for (magic, unit) in [(0xa1b2_c3d4_u32, 1_000), (0xa1b2_3c4d, 1), (0xa1b2_cd34, 1_000)] {
        for big in [false, true] {
            let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
            let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
            let mut file = [&word(magic)[..], &half(2), &half(4), &[0; 8], &word(65_535), &word(1)].concat();
            for shot in &shots {
                let (seconds, rest) = (shot.time / 1_000_000_000, shot.time % 1_000_000_000 / unit);
                file.extend([seconds as u32, rest as u32, shot.length, shot.length].map(word).concat());
                // Kuznetsov's modified records: interface index, protocol, packet type.
                file.extend(if magic == 0xa1b2_cd34 { &[0; 8][..] } else { &[] });
                file.extend(&shot.bytes);
            }
            let outcome = Job::new().input(&file).run();
            let expected: Vec<u64> = shots.iter().map(|shot| shot.time / unit * unit).collect();
            assert_eq!(outcome.output.times(), expected, "{magic:x} {big}");
            assert_eq!(numbers(&outcome.output), [1, 2]);
        }
    }
}

#[test]
fn inputs_are_interleaved_by_time() {
    let one: Vec<Shot> = [0, 20, 40].map(|t| distinct(START + t, t as u8)).to_vec();
    let two: Vec<Shot> = [10, 30, 50].map(|t| distinct(START + t, t as u8)).to_vec();
    let outcome = Job::new().shots(Link::Eth, &two).shots(Link::Eth, &one).run();
    assert_eq!(numbers(&outcome.output), [0, 10, 20, 30, 40, 50]);
}

#[test]
fn ties_go_by_input_then_by_their_own_order() {
    let at = |numbers: &[u8]| numbers.iter().map(|&n| distinct(START, n)).collect::<Vec<_>>();
    let outcome =
        Job::new().shots(Link::Eth, &at(&[5, 1])).shots(Link::Eth, &at(&[4, 0])).shots(Link::Eth, &at(&[3])).run();
    assert_eq!(numbers(&outcome.output), [5, 1, 4, 0, 3]);
}

#[test]
fn a_disordered_file_is_put_in_order() {
    // By microseconds and by an hour; ties keep their order.
    let times = [500, 100, 300, 300, 3_600_000_000_000, 0, 200];
    let shots: Vec<Shot> = times.iter().zip(0..).map(|(time, number)| distinct(START + time, number)).collect();
    let outcome = Job::new().shots(Link::Eth, &shots).run();
    assert_eq!(numbers(&outcome.output), [5, 1, 6, 2, 3, 0, 4]);
    let times = outcome.output.times();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(outcome.done.summary.late, 0);
}

#[test]
fn a_disordered_leg_is_repaired() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let mut shots = leg.shots(Link::Lo);
    shots.swap(0, 1);
    shots.swap(4, 8);
    let outcome = Job::new().shots(Link::Lo, &shots).run();
    assert_eq!(outcome.output.ends(), leg.repaired());
}

#[test]
fn a_disordered_file_keeps_its_damage() {
    let mut file = pcap(Link::Eth, &[distinct(START + 9, 1), distinct(START, 2)]);
    file.extend(&record(&distinct(START, 3))[..20]);
    let outcome = Job::new().input(&file).run();
    assert_eq!(numbers(&outcome.output), [2, 1]);
    let damage: Vec<String> = outcome.done.damage.iter().map(ToString::to_string).collect();
    assert_eq!(damage.len(), 1);
    assert!(damage[0].contains("cut short in frame 3"), "{damage:?}");
}

#[test]
fn the_ends_of_time() {
    // Corrupt clocks: nothing overflows, nothing is lost, and the order is still that of time.
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    for times in
        [[0, 1, 2, u64::MAX - 2, u64::MAX - 1, u64::MAX], [u64::MAX; 6], [0; 6], [u64::MAX, 0, 5, 0, u64::MAX, 7]]
    {
        let shots: Vec<Shot> =
            leg.shots(Link::Lo).into_iter().zip(times).map(|(shot, time)| Shot { time, ..shot }).collect();
        let file = crate::common::pcapng(Link::Lo, "lo", &shots);
        for look_ahead in [0, 1_000_000, u64::MAX] {
            let outcome = Job::new().input(&file).input(&pcap(Link::Lo, &[])).look_ahead(look_ahead, 1 << 20).run();
            let mut expected = times;
            expected.sort_unstable();
            assert_eq!(outcome.output.times(), expected);
        }
    }
}

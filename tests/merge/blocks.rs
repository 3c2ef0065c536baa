//! pcapng inputs: what their sections, interfaces, packets and other blocks say comes out, in one little-endian section.

use crate::common::file::{Order, Section};
use crate::common::leg::START;
use crate::common::{Job, Leg, Link, Outcome, Shot};

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

fn leg() -> Leg {
    Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole()
}

fn shots() -> Vec<Shot> {
    leg().shots(Link::Lo)
}

/// An interface on lo with nanoseconds.
fn on_lo(section: Section) -> Section {
    section.interface(Link::Lo, &[(2, b"lo"), (9, &[9])])
}

fn run(bytes: &[u8]) -> Outcome {
    Job::new().input(bytes).run()
}

#[test]
fn several_sections_in_both_byte_orders() {
    let shots = shots();
    for (first, second) in [(Order::Little, Order::Big), (Order::Big, Order::Little)] {
        // The leg goes on in the second section, whose interface 0 is another one.
        let one = shots[..5].iter().fold(on_lo(Section::new(first)), |s, shot| s.packet(0, shot, &[]));
        let other = Section::new(second).interface(Link::Eth, &[(2, b"eth0")]);
        let two = shots[5..].iter().fold(on_lo(other), |s, shot| s.packet(1, shot, &[]));
        let outcome = run(&[one.bytes, two.bytes].concat());
        assert_eq!(outcome.output.ends(), leg().repaired());
        assert_eq!(outcome.output.times(), shots.iter().map(|s| s.time).collect::<Vec<_>>());
        assert_eq!(outcome.output.interface_names(), ["lo", "lo", "eth0"]);
        outcome.output.assert_sums();
    }
}

#[test]
fn options_of_packets() {
    for order in ORDERS {
        let mut section = on_lo(Section::new(order));
        let flags = section.u32(1);
        let options: [(u16, &[u8]); 4] =
            [(1, b"seen by hand"), (2, &flags), (0x7abc, b"who knows"), (1, "größer".as_bytes())];
        for shot in shots() {
            section = section.packet(0, &shot, &options);
        }
        let outcome = run(&section.bytes);
        for (number, packet) in outcome.output.packets.iter().enumerate() {
            let own = packet.options[..4].to_vec();
            let expected = [
                (1, b"seen by hand".to_vec()),
                (2, 1_u32.to_le_bytes().to_vec()),
                (0x7abc, b"who knows".to_vec()),
                (1, "größer".as_bytes().to_vec()),
            ];
            assert_eq!(own, expected);
            // The comment of the leg comes behind.
            assert_eq!(packet.options.len(), if number == 0 { 5 } else { 4 });
        }
        assert!(outcome.output.packets[0].comments()[2].starts_with("meshpcap: outbound-app leg"));
    }
}

#[test]
fn options_of_sections_and_interfaces() {
    for order in ORDERS {
        let section = Section::with(
            order,
            &[(1, b"a comment on all"), (2, b"a machine"), (3, b"Linux 6.18"), (4, b"Dumpcap"), (0x7abc, b"unknown")],
        );
        let speed: [u8; 8] = if order == Order::Big { 7_u64.to_be_bytes() } else { 7_u64.to_le_bytes() };
        let options: [(u16, &[u8]); 7] = [
            (2, b"lo"),
            (3, b"the loopback"),
            (9, &[9]),
            (1, b"a comment on one"),
            (11, b"\0port 80"),
            (8, &speed),
            (0x7abd, b"odd"),
        ];
        let section = section.interface(Link::Lo, &options).packet(0, &shots()[0], &[]);
        let output = run(&section.bytes).output;
        let comments: Vec<_> = output.section.iter().filter(|(code, _)| *code == 1).collect();
        assert_eq!(comments, [&(1, b"a comment on all".to_vec())]);
        assert!(output.section.contains(&(0x7abc, b"unknown".to_vec())));
        let application = output.section.iter().find(|(code, _)| *code == 4).expect("the application");
        assert!(application.1.starts_with(b"meshpcap "));
        let interface = &output.interfaces[0];
        assert_eq!(interface.texts(2), ["lo"]);
        assert_eq!(interface.texts(3), ["the loopback"]);
        assert_eq!(interface.options(8), [7_u64.to_le_bytes()]);
        assert_eq!(interface.options(11), [b"\0port 80"]);
        assert_eq!(interface.texts(0x7abd), ["odd"]);
        assert_eq!((interface.texts(12), interface.texts(15)), (vec!["Linux 6.18".into()], vec!["a machine".into()]));
        assert_eq!(
            interface.texts(1),
            ["loopback; input 1, interface 0; name from the capture", "a comment on one", "captured by Dumpcap"]
        );
    }
}

#[test]
fn secrets_stand_before_the_packets() {
    // They come while packets wait for a proof that never comes, and are not held up.
    let keys = b"CLIENT_RANDOM 01 02\n";
    let syn = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").syn().shots(Link::Lo);
    let tls = Leg::direct("10.1.0.5:50000", "10.1.0.5:443").after(1_000_000).whole().shots(Link::Lo);
    for order in ORDERS {
        let section = on_lo(Section::new(order)).packet(0, &syn[0], &[]).secrets(keys);
        let section = tls.iter().fold(section, |section, shot| section.packet(0, shot, &[]));
        // Files are read twice: nothing waits, and they stand where they stood.
        let order = run(&section.bytes).output.order;
        assert_eq!(order[2..5], [6, 10, 6]);
        let outcome = Job::new().input(&section.bytes).look_ahead(u64::MAX, u64::MAX).run();
        let place = |wanted| outcome.output.order.iter().position(|&block_type| block_type == wanted);
        assert!(place(10) < place(6), "{:?}", outcome.output.order);
        let body = [&0x544c_534b_u32.to_le_bytes()[..], &(keys.len() as u32).to_le_bytes(), keys].concat();
        assert_eq!(outcome.output.blocks, [(10, body)]);
    }
}

#[test]
fn secrets_of_one_input_stand_before_the_packets_of_another() {
    let keys = on_lo(Section::new(Order::Little)).secrets(b"CLIENT_RANDOM 01 02\n");
    let outcome = Job::new().shots(Link::Eth, &leg().shots(Link::Eth)).input(&keys.bytes).run();
    let place = |wanted| outcome.output.order.iter().position(|&block_type| block_type == wanted);
    assert!(place(10) < place(6), "{:?}", outcome.output.order);
}

#[test]
fn names_custom_blocks_and_what_is_unknown() {
    for order in ORDERS {
        let section = on_lo(Section::new(order));
        let number = section.u32(32473);
        let record = [&section.u16(1)[..], &section.u16(7), &[10, 96, 0, 10], b"we\0", &[0], &[0; 4]].concat();
        let section = section
            .block(4, &record)
            .packet(0, &shots()[0], &[])
            .block(0x0000_0bad, &[&number[..], b"kept"].concat())
            .block(0x4000_0bad, &[&number[..], b"gone"].concat())
            .block(0x7fff_0001, b"whatever");
        let outcome = run(&section.bytes);
        let pen = 32473_u32.to_le_bytes();
        assert_eq!(
            outcome.output.blocks,
            [
                (4, [&[1, 0, 7, 0, 10, 96, 0, 10][..], b"we\0\0", &[0; 4]].concat()),
                (0x0bad, [&pen[..], b"kept"].concat()),
                (0x7fff_0001, b"whatever".to_vec()),
            ]
        );
        assert_eq!(outcome.done.summary.counts.not_copied, 1);
        assert!(outcome.summary().ends_with("1 custom block left out: they are marked as not to be copied\n"));
    }
}

/// They stayed in names, secrets and statistics.
#[test]
fn options_that_may_not_be_copied() {
    for order in ORDERS {
        let section = on_lo(Section::new(order));
        let secret = [&section.u32(32473)[..], b"gone"].concat();
        let kept = [&section.u32(32473)[..], b"kept"].concat();
        let options = section.options(&[(19372, &secret), (2988, &kept), (19373, &secret)]);
        let statistics = [&section.u32(0)[..], &[0; 8], &options].concat();
        let names = [&[0; 4][..], &options].concat();
        let keys = [&section.u32(0x544c_534b)[..], &section.u32(4), b"keys", &options].concat();
        let section = section.packet(0, &shots()[0], &[]).block(4, &names).block(5, &statistics).block(10, &keys);
        let blocks = run(&section.bytes).output.blocks;
        assert_eq!(blocks.iter().map(|(block_type, _)| *block_type).collect::<Vec<_>>(), [4, 5, 10]);
        for (block_type, body) in blocks {
            let has = |word: &[u8]| body.windows(4).any(|window| window == word);
            assert!(has(b"kept") && !has(b"gone"), "block {block_type}: {body:?}");
        }
    }
}

#[test]
fn statistics_keep_their_interface() {
    let shots = shots();
    for order in ORDERS {
        // Interface 1 has the only packet, so that it is the first one in the output.
        let section = on_lo(Section::new(order).interface(Link::Eth, &[(2, b"eth0")]));
        let time = [section.u32(1), section.u32(2)].concat();
        let dropped: [u8; 8] = if order == Order::Big { 3_u64.to_be_bytes() } else { 3_u64.to_le_bytes() };
        let body = [&section.u32(1)[..], &time, &section.options(&[(5, &dropped)])].concat();
        let output = run(&section.packet(1, &shots[0], &[]).block(5, &body).bytes).output;
        assert_eq!(output.interface_names(), ["lo", "eth0"]);
        let (_, body) = &output.blocks[0];
        assert_eq!(body[..12], [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(body[12..24], [5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn other_packet_blocks() {
    let frame = &shots()[0].bytes;
    for order in ORDERS {
        let section = on_lo(Section::new(order));
        let length = section.u32(frame.len() as u32);
        // Simple Packet Block: no time. The obsolete Packet Block: interface and drops in 16 bits each.
        let simple = [&length[..], frame].concat();
        let mut old = [&section.u16(0)[..], &section.u16(5)].concat();
        old.extend([section.u32((START >> 32) as u32), section.u32(START as u32), length, length].concat());
        old.extend(frame);
        let output = run(&section.block(3, &simple).block(2, &old).bytes).output;
        assert_eq!(output.times(), [0, START]);
        assert!(output.packets.iter().all(|packet| packet.bytes.len() == frame.len()));
        // What it says of lost packets is an option now: epb_dropcount.
        assert!(output.packets[1].options.contains(&(4, 5_u64.to_le_bytes().to_vec())));
    }
}

#[test]
fn an_interface_without_packets_is_described_too() {
    let section = on_lo(Section::new(Order::Little)).interface(Link::Eth, &[(2, b"eth1")]);
    let output = run(&section.bytes).output;
    assert_eq!(output.interface_names(), ["lo", "eth1"]);
    assert_eq!(output.packets.len(), 0);
}

#[test]
fn a_name_that_is_not_utf8() {
    let section = Section::new(Order::Little).interface(Link::Lo, &[(2, b"lo\xff"), (9, &[9])]);
    let output = run(&section.packet(0, &shots()[0], &[]).bytes).output;
    assert_eq!(output.interface_names(), ["lo\u{fffd}"]);
}

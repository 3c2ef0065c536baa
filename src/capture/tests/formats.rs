//! What the formats allow, in both byte orders.

use super::build::{Bytes, ORDERS};
use super::*;
use crate::capture::bytes::Order;

const MICROS: u32 = 0xa1b2_c3d4;

#[test]
fn pcap_in_microseconds_and_nanoseconds() {
    for order in ORDERS {
        for (magic, unit) in [(MICROS, 1000), (0xa1b2_3c4d, 1)] {
            let file = Bytes::new(order).pcap_header(magic, (2, 4), 100, 113);
            let outcome = read(&file.record(5, 7, 60, b"abc").record(6, 8, 2, b"de").1);
            assert_eq!(outcome.error(), "");
            assert_eq!(outcome.times(), [5_000_000_000 + 7 * unit, 6_000_000_000 + 8 * unit]);
            assert_eq!(outcome.packets[0].bytes, b"abc");
            assert_eq!(outcome.packets[0].original_len, 60);
            assert_eq!((outcome.packets[1].number, outcome.packets[1].offset), (2, 24 + 16 + 3));
            assert_eq!(outcome.interfaces[0].link_type, LinkType::LINUX_SLL);
            assert_eq!((outcome.interfaces[0].snaplen, outcome.interfaces[0].fcs_len), (100, None));
            assert_eq!(outcome.sections.len(), 1);
        }
    }
}

#[test]
fn pcap_link_type_with_fcs_length() {
    for order in ORDERS {
        let outcome = read(&Bytes::new(order).pcap_header(MICROS, (2, 4), 0, 0x2400_0001).1);
        assert_eq!((outcome.interfaces[0].link_type, outcome.interfaces[0].fcs_len), (LinkType::ETHERNET, Some(4)));
    }
}

#[test]
fn pcap_lengths_and_fractions_that_make_no_sense_are_delivered() {
    for order in ORDERS {
        let file = Bytes::new(order).pcap_header(MICROS, (2, 4), 4, 1).record(1, 0, 3, b"abc");
        // Captured more than the snapshot length, more than there was, nothing; 2.5 seconds of microseconds.
        let file = file.record(1, 0, 6, b"abcdef").record(1, 0, 2, b"abc").record(1, 0, 0, b"abc").record(0, 0, 0, b"");
        let outcome = read(&file.record(1, 2_500_000, 1, b"x").1);
        assert_eq!(outcome.error(), "");
        let lens: Vec<_> = outcome.packets.iter().map(|p| (p.bytes.len(), p.original_len)).collect();
        assert_eq!(lens, [(3, 3), (6, 6), (3, 2), (3, 0), (0, 0), (1, 1)]);
        assert_eq!(outcome.packets[5].time, 3_500_000_000);
    }
}

#[test]
fn pcap_dialects() {
    for order in ORDERS {
        let long = |magic: u32, extra: usize| {
            let file = Bytes::new(order).pcap_header(magic, (2, 4), 65535, 1);
            let record = |file: Bytes, i: u32| file.u32(i).u32(i).u32(3).u32(60).raw(&vec![0xee; extra]).raw(b"abc");
            (1..5).fold(file, record).1
        };
        // Kuznetsov's two patches, each with a magic of its own; Red Hat 6.1 and Nokia without.
        for (magic, extra) in [(0xa1b2_cd34, 8), (0xa1b2_cd34, 12), (MICROS, 8), (MICROS, 4)] {
            let outcome = read(&long(magic, extra));
            assert_eq!((outcome.packets.len(), outcome.error()), (4, String::new()), "{magic:x} {extra}");
            assert!(outcome.packets.iter().all(|p| p.bytes == b"abc"));
        }
        let ixia = Bytes::new(order).pcap_header(0x1c00_01ac, (2, 4), 65535, 1).u32(19).record(1, 9, 3, b"abc");
        assert_eq!(read(&ixia.1).times(), [1_000_000_009]);
        let aix = Bytes::new(order).pcap_header(MICROS, (2, 2), 65535, 6).u32(1).u32(9).u32(60).u32(3).raw(b"abc");
        let outcome = read(&aix.1);
        assert_eq!((outcome.times(), outcome.interfaces[0].link_type), (vec![1_000_000_009], LinkType::ETHERNET));
        // Version 2.3 was written with the lengths both ways round.
        let both = Bytes::new(order).pcap_header(MICROS, (2, 3), 65535, 1).record(1, 0, 60, b"abc");
        let outcome = read(&both.u32(1).u32(0).u32(60).u32(3).raw(b"abc").1);
        assert!(outcome.packets.iter().all(|p| p.bytes == b"abc" && p.original_len == 60));
        assert_eq!(outcome.packets.len(), 2);
    }
}

#[test]
fn pcapng_packets_with_options() {
    for order in ORDERS {
        let options = Bytes::new(order).option(1, b"hi").option(2, &Bytes::new(order).u32(5).1).u32(0).1;
        let file = Bytes::new(order).section(&[]).interface(276, 0, &[]);
        let file = file.packet(0, 3, 60, b"abcde", &options).packet(0, 4, 4, b"abcd", &[]);
        let outcome = read(&file.packet(0, 5, 0, b"", &options).1);
        assert_eq!(outcome.error(), "");
        assert_eq!(outcome.times(), [3000, 4000, 5000]);
        assert_eq!(outcome.packets[0].bytes, b"abcde");
        assert_eq!(outcome.packets[0].options, b"\x01\0\x02\0hi\0\0\x02\0\x04\0\x05\0\0\0");
        assert_eq!(outcome.packets[1].options, b"");
        assert_eq!(outcome.packets[2].options, outcome.packets[0].options);
        assert_eq!(outcome.packets[0].offset, 48);
    }
}

#[test]
fn options_of_impossible_length_leave_the_packet_readable() {
    for order in ORDERS {
        let good = Bytes::new(order).option(1, b"hi").1;
        for bad in [b"\xff\xff\xff\xff", b"\x01\x01\x01\x01"] {
            let file = Bytes::new(order).section(bad).interface(1, 0, bad);
            let outcome =
                read(&file.packet(0, 3, 5, b"abcde", &[&good[..], bad].concat()).packet(0, 4, 1, b"x", bad).1);
            assert_eq!(outcome.error(), "");
            assert_eq!(outcome.packets[0].options, b"\x01\0\x02\0hi\0\0");
            assert_eq!(outcome.packets[1].options, b"");
        }
    }
}

#[test]
fn simple_packets_have_the_time_before_and_the_length_of_the_interface() {
    for order in ORDERS {
        let simple = |original, data: &[u8]| Bytes::new(order).u32(original).raw(data).1;
        let file = Bytes::new(order).section(&[]).interface(1, 4, &[]).block(3, simple(3, b"abc"));
        let outcome = read(&file.packet(0, 7, 9, b"x", &[]).block(3, simple(9, b"abcd")).1);
        assert_eq!(outcome.error(), "");
        assert_eq!(outcome.times(), [0, 7000, 7000]);
        assert_eq!((&outcome.packets[0].bytes[..], outcome.packets[0].original_len), (&b"abc"[..], 3));
        assert_eq!((&outcome.packets[2].bytes[..], outcome.packets[2].original_len), (&b"abcd"[..], 9));
    }
}

#[test]
fn obsolete_packets_and_their_drops() {
    for order in ORDERS {
        let old = |drops, options: &[u8]| {
            let body = Bytes::new(order).u16(0).u16(drops).u32(0).u32(7).u32(3).u32(60).raw(b"abc").pad();
            body.raw(options).1
        };
        let own = Bytes::new(order).option(4, &Bytes::new(order).u64(9).1).1;
        let file = Bytes::new(order).section(&[]).interface(1, 0, &[]);
        let outcome = read(&file.block(2, old(5, &[])).block(2, old(0xffff, &[])).block(2, old(5, &own)).1);
        assert_eq!(outcome.error(), "");
        assert_eq!(outcome.times(), [7000; 3]);
        let options: Vec<_> = outcome.packets.iter().map(|p| &p.options[..]).collect();
        let dropcount = |n| [b"\x04\0\x08\0".as_slice(), &u64::to_le_bytes(n)].concat();
        assert_eq!(options, [&dropcount(5)[..], &[], &dropcount(9)]);
    }
}

#[test]
fn interfaces_number_on_across_sections_of_both_orders() {
    let mut file = Vec::new();
    for order in [Order::Little, Order::Big] {
        let offset = Bytes::new(order).u64(10).1;
        let speed = Bytes::new(order).u64(1000).1;
        let options = Bytes::new(order).option(9, &[9]).option(14, &offset).option(2, b"eth\xff").option(8, &speed);
        let options = options.option(13, &[32]).option(11, b"").u32(0).1;
        let part = Bytes::new(order).section(&Bytes::new(order).option(4, b"me").1);
        let part = part.interface(1, 0, &[]).interface(101, 9, &options);
        file.extend(part.packet(0, 1, 1, b"a", &[]).packet(1, 2, 1, b"b", &[]).1);
    }
    let outcome = read(&file);
    assert_eq!(outcome.error(), "");
    assert_eq!(outcome.packets.iter().map(|p| p.interface).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(outcome.times(), [1000, 10_000_000_002, 1000, 10_000_000_002]);
    assert_eq!(outcome.sections.len(), 2);
    for section in [0, 1] {
        let interface = &outcome.interfaces[2 * section + 1];
        assert_eq!((interface.link_type, interface.snaplen, interface.section), (LinkType::RAW, 9, section));
        assert_eq!((interface.name.as_deref(), interface.fcs_len), (Some("eth\u{fffd}"), Some(4)));
        // No if_name, if_tsresol, if_tsoffset; no if_filter either, as an empty one cannot be.
        assert_eq!(interface.options, b"\x08\0\x08\0\xe8\x03\0\0\0\0\0\0\x0d\0\x01\0\x20\0\0\0");
        assert_eq!(outcome.sections[section].options, b"\x04\0\x02\0me\0\0");
    }
}

#[test]
fn resolutions_that_are_wrong_or_rare() {
    for (value, nanos) in [(&[12][..], 2), (&[0x80 | 32], 0), (&[3, 0], 2_000_000), (&[0], u64::MAX)] {
        let options = Bytes::new(Order::Little).option(9, value).1;
        let file = Bytes::new(Order::Little).section(&[]).interface(1, 0, &options);
        let outcome = read(&file.packet(0, 2000, 1, b"a", &[]).packet(0, u64::MAX, 1, b"a", &[]).1);
        let expected = if value == [0] { 2_000_000_000_000 } else { nanos };
        assert_eq!(outcome.times()[0], if value == [0x80 | 32] { 465 } else { expected });
    }
}

#[test]
fn other_blocks_and_their_interface() {
    for order in ORDERS {
        let statistics = |id| Bytes::new(order).u32(id).u32(0).u32(2).1;
        let file = Bytes::new(order).section(&[]).interface(1, 0, &[]).section(&[]).interface(1, 0, &[]);
        let file = file
            .block(5, statistics(0))
            .block(5, statistics(7))
            .block(0xbad, Bytes::new(order).u32(9).raw(b"x").pad().1);
        let outcome = read(&file.block(77, b"asis".to_vec()).packet(0, 1, 1, b"a", &[]).1);
        assert_eq!(outcome.error(), "");
        let expected: [(u32, Option<u32>, &[u8]); 4] = [
            (5, Some(1), b"\0\0\0\0\0\0\0\0\xd0\x07\0\0"),
            (5, None, b"\x07\0\0\0\0\0\0\0\x02\0\0\0"),
            (0xbad, None, b"\x09\0\0\0x\0\0\0"),
            (77, None, b"asis"),
        ];
        let blocks: Vec<_> = outcome.blocks.iter().map(|(t, i, b)| (*t, *i, &b[..])).collect();
        assert_eq!(blocks, expected);
        // tshark shows a custom block as a frame.
        assert_eq!((outcome.packets[0].number, outcome.packets[0].interface), (2, 1));
    }
}

#[test]
fn block_lengths_without_padding() {
    // The length does not count the padding of the packet, which is there.
    for order in ORDERS {
        let mut file = Bytes::new(order).section(&[]).interface(1, 0, &[]).packet(0, 1, 1, b"a", &[]);
        let start = file.1.len() - 36;
        let shorter = Bytes::new(order).u32(33).1;
        file.1[start + 4..start + 8].copy_from_slice(&shorter);
        file.1[start + 32..].copy_from_slice(&shorter);
        let outcome = read(&file.packet(0, 2, 1, b"b", &[]).1);
        assert_eq!((outcome.error(), outcome.packets.len()), (String::new(), 2));
    }
}

#[test]
fn packets_larger_than_the_buffer() {
    let data = vec![7; 3 << 20];
    for order in ORDERS {
        // D-Bus has such packets; Ethernet does not.
        let file = Bytes::new(order).section(&[]).interface(231, 0, &[]).packet(0, 1, 1, &data, &[]);
        let outcome = read(&file.packet(0, 2, 1, b"b", &[]).1);
        assert_eq!((outcome.error(), outcome.packets.len()), (String::new(), 2));
        assert!(outcome.packets[0].bytes == data);
    }
}

#[test]
fn agrees_with_pcap_file() {
    let bytes = build::pcapng(Order::Big);
    let mut reader = pcap_file::pcapng::PcapNgReader::new(&bytes[..]).unwrap();
    let mut theirs = Vec::new();
    while let Some(block) = reader.next_block() {
        if let (pcap_file::pcapng::Block::EnhancedPacket(packet), _) = block.unwrap() {
            theirs.push((packet.data.to_vec(), packet.original_len));
        }
    }
    let ours: Vec<_> = read(&bytes).packets.into_iter().map(|p| (p.bytes, p.original_len)).collect();
    assert_eq!(ours, theirs);
}

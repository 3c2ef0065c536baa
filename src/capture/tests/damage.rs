//! What is not whole, or cannot be: the kind of error, its words, and that what came before is delivered.

use super::build::{Bytes, ORDERS};
use super::*;
use crate::capture::bytes::Order;

#[test]
fn cut_anywhere() {
    for order in ORDERS {
        for whole in [build::pcap(order), build::pcapng(order)] {
            let all = read(&whole).packets;
            assert_eq!(all.len(), 100);
            for len in 0..whole.len() {
                let outcome = read(&whole[..len]);
                assert!(outcome.packets == all[..outcome.packets.len()], "{len}");
                match &outcome.error {
                    Some(Error::Empty { .. }) => assert_eq!(len, 0),
                    Some(Error::NotACapture { .. }) => assert!(len < 4),
                    Some(Error::CutShort { place, .. }) => {
                        let next = all.get(outcome.packets.len());
                        assert!(next.is_none_or(|next| place.offset <= next.offset), "{len}: {place}");
                    }
                    None => assert!(len >= 24),
                    Some(other) => panic!("{len}: {other}"),
                }
            }
        }
    }
}

#[test]
fn says_where_and_what() {
    let whole = build::pcap(Order::Little);
    for (bytes, message) in [
        (&whole[..24 + 16 + 10], "x.pcap: cut short in frame 1 at byte 24: the record promises 40 bytes, 10 follow"),
        (&whole[..24 + 56 + 9], "x.pcap: cut short in frame 2 at byte 80: a record header has 16 bytes, 9 follow"),
        (&whole[..10], "x.pcap: cut short before the first frame at byte 0: a pcap header has 24 bytes, here are 10"),
        (&[], "x.pcap: empty"),
        (b"12:00 IP 10.0.0.1\n", "x.pcap: not a pcap or pcapng capture: it is text"),
    ] {
        let error = read(bytes).error();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_pcap_record_larger_than_any() {
    for order in ORDERS {
        let file = Bytes::new(order).pcap_header(0xa1b2_c3d4, (2, 4), 65535, 1);
        let file = (0..4).fold(file, |file, i| file.record(i, 1, 1, b"a"));
        let outcome = read(&file.u32(2).u32(2).u32(u32::MAX).u32(60).raw(&[0; 100]).1);
        assert_eq!(outcome.packets.len(), 4);
        assert!(matches!(outcome.error, Some(Error::Corrupt { place: Place { frame: 5, .. }, .. })));
        assert!(outcome.error.unwrap().is_damage());
    }
}

#[test]
fn pcapng_lengths_that_contradict() {
    for order in ORDERS {
        let start = || Bytes::new(order).section(&[]).interface(1, 0, &[]).packet(0, 1, 1, b"a", &[]);
        let broken = |at_end_minus: usize, value: u32| {
            let mut file = start().packet(0, 2, 1, b"b", &[]);
            let at = file.1.len() - at_end_minus;
            file.1[at..at + 4].copy_from_slice(&Bytes::new(order).u32(value).1);
            file.1.extend([0; 64]);
            file.1
        };
        for (bytes, what) in [
            (broken(4, 40), "the block has 36 bytes at its start, 40 at its end"),
            (broken(36 - 4, 40), "at its start"),
            (broken(36 - 4, 8), "the block has 8 bytes, the shortest has 12"),
            (broken(36 - 4, 24), "its type needs 32"),
            (broken(36 - 4, 0xffff_fff0), "promises 4294967280 bytes"),
            (broken(36 - 8, 1), "is of interface 1, the section describes 1"),
            (broken(36 - 20, 5), "the packet promises 5 bytes in a block of 36"),
            (broken(36 - 20, 0x7fff_ffff), "the largest of this kind"),
            (start().section(&[]).packet(0, 1, 1, b"a", &[]).1, "the section describes 0"),
            (start().block(0x0a0d_0d0a, vec![0; 16]).1, "byte-order magic 0x00000000"),
            (start().block(5, vec![0; 8]).1, "an Interface Statistics Block holds 8"),
            (start().block(1, vec![0; 4]).1, "its type needs 20"),
            (start().block(3, vec![]).1, "its type needs 16"),
        ] {
            let outcome = read(&bytes);
            assert!(matches!(outcome.error, Some(Error::Corrupt { .. })), "{}", outcome.error());
            assert!(outcome.error().contains(what), "{} has not {what}", outcome.error());
            assert_eq!(outcome.packets.len(), 1);
        }
    }
}

#[test]
fn very_many_interfaces() {
    for order in ORDERS {
        let file = Bytes::new(order).section(&[]).interface(1, 0, &[]).packet(0, 1, 1, b"a", &[]);
        let many = |count| read(&(0..count).fold(Bytes(order, file.1.clone()), |file, _| file.interface(1, 0, &[])).1);
        assert!(many(50_000).error.is_none());
        let outcome = many(1_000_000);
        assert!(outcome.error().contains("more interfaces and sections than a capture has"), "{}", outcome.error());
        assert_eq!(outcome.packets.len(), 1);
    }
}

#[test]
fn versions() {
    for order in ORDERS {
        let pcap = read(&Bytes::new(order).pcap_header(0xa1b2_c3d4, (1, 4), 65535, 1).1);
        assert!(pcap.error().starts_with("x.pcap: not supported: pcap version 1.4"));
        let mut file = Bytes::new(order).section(&[]).1;
        let version = Bytes::new(order).u16(2).1;
        file[12..14].copy_from_slice(&version);
        let pcapng = read(&file);
        assert!(pcapng.error().starts_with("x.pcap: not supported: pcapng version 2.0"));
        assert!(!pcapng.error.unwrap().is_damage());
        // Later on, what came before can be used.
        assert!(read(&[Bytes::new(order).section(&[]).1, file].concat()).error.unwrap().is_damage());
    }
}

#[test]
fn missing_files_and_directories() {
    let open = |path: &str| Capture::open(&Source::Path(path.into()), 0, Arc::default()).err().unwrap();
    let missing = open("/nonexistent/lo.pcap");
    assert!(missing.to_string().starts_with("/nonexistent/lo.pcap: No such file"));
    assert!(!missing.is_damage());
    assert!(matches!(open("/"), Error::Io { .. }));
}

#[test]
fn read_errors_come_after_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let outcome = read_from(Cursor::new(build::pcap(Order::Little)).chain(Failing));
    assert_eq!(outcome.packets.len(), 100);
    assert_eq!(outcome.error(), "x.pcap: the disk is gone");
}

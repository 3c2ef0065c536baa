//! TCP, UDP, and ICMP errors.

use super::*;

#[test]
fn tcp_fields() {
    let frame = ethernet(0x0800, &v4(6, &tcp(&[], b"data")));
    let tcp = tcp_of(&decode(LinkType::ETHERNET, &frame, frame.len()));
    assert_eq!((tcp.source, tcp.destination, tcp.seq, tcp.ack), (1000, 2000, 0x0102_0304, 0x0506_0708));
    assert_eq!((tcp.flags, tcp.window, tcp.data_len), (0x18, 0x2000, 4));
    // Every flag, and none of the reserved bits beside the data offset.
    for flag in 0..=255 {
        let mut packet = v4(6, &super::tcp(&[], b"data"));
        packet[32] |= 0x0f;
        packet[33] = flag;
        assert_eq!(tcp_of(&raw(&packet)).flags, flag);
    }
}

#[test]
fn tcp_timestamps() {
    const STAMP: [u8; 10] = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let with = |before: &[u8], after: &[u8]| [before, &STAMP, after].concat();
    for (options, expected) in [
        (with(&[1, 1], &[]), Some((1, 2))),
        (with(&[], &[]), Some((1, 2))),
        (with(&[2, 4, 5, 0xb4, 4, 2], &[1, 3, 3, 7]), Some((1, 2))),
        (with(&[1], &[0]), Some((1, 2))),
        (with(&[254, 6, 0, 0, 0, 0], &[]), Some((1, 2))),
        (vec![], None),
        // Behind the End of Option List; a length of 0; of 1.
        (with(&[0, 0], &[]), None),
        (with(&[5, 0], &[]), None),
        (with(&[5, 1], &[]), None),
        // Lengths that a Timestamps option cannot have.
        (vec![8, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], None),
        (vec![8, 0, 0, 0], None),
        // Beyond the header, alone and as usual.
        (vec![1, 8, 10, 0], None),
        (vec![1, 1, 8, 10], None),
        (vec![1, 1, 8, 10, 0, 0, 0, 1], None),
        (vec![1, 1, 1, 8], None),
        (vec![5, 255, 0, 0], None),
    ] {
        // The data would do as the rest of an option.
        let tcp = tcp_of(&raw(&v4(6, &tcp(&options, &[9; 40]))));
        assert_eq!((tcp.timestamps(), tcp.data_len), (expected, 40), "{options:?}");
    }
}

#[test]
fn tcp_options_that_were_cut() {
    let packet = v6(6, &tcp(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"data"));
    let view = raw(&packet[..71]);
    let tcp = tcp_of(&view);
    assert_eq!((tcp.timestamps(), view.data(&packet[..71]), tcp.data_len, view.stop), (None, &[][..], 4, None));
    assert_eq!(tcp_of(&raw(&packet[..72])).timestamps(), Some((1, 2)));
}

#[test]
fn headers_with_ports_only() {
    let segment = |offset: u8| {
        let mut segment = tcp(&[], b"data");
        segment[12] = offset << 4;
        segment
    };
    for (what, protocol, payload, ports, stop) in [
        ("Data Offset below 5", 6, segment(4), true, Some(Stop::Malformed)),
        ("Data Offset 0", 6, segment(0), true, Some(Stop::Malformed)),
        ("Data Offset beyond the segment", 6, segment(7), true, Some(Stop::Malformed)),
        ("Data Offset to the end of the segment", 6, segment(6), true, None),
        ("TCP in 19 octets", 6, segment(5)[..19].to_vec(), true, Some(Stop::Malformed)),
        ("TCP in 4 octets", 6, segment(5)[..4].to_vec(), true, Some(Stop::Malformed)),
        ("TCP in 3 octets", 6, segment(5)[..3].to_vec(), false, Some(Stop::Malformed)),
        ("UDP in 7 octets", 17, udp(b"")[..7].to_vec(), true, Some(Stop::Malformed)),
        ("UDP in no octets", 17, vec![], false, Some(Stop::Malformed)),
        ("SCTP", 132, udp(b""), false, None),
        ("an IPv4 tunnel", 4, v4(17, &udp(b"")), false, None),
    ] {
        let view = raw(&v4(protocol, &payload));
        assert_eq!((view.transport.ports().is_some(), view.stop), (ports, stop), "{what}");
        let whole = matches!(view.transport, Transport::Tcp(_) | Transport::Udp(_));
        assert_eq!(whole, ports && stop.is_none(), "{what}");
    }
}

#[test]
fn a_udp_length_that_lies_is_not_looked_at() {
    for length in [0_u16, 7, 9, 65535] {
        let mut datagram = udp(b"data");
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        let packet = v4(17, &datagram);
        let view = raw(&packet);
        let Transport::Udp(udp) = view.transport else { panic!("{view:?}") };
        assert_eq!((udp.source, udp.destination, view.data(&packet), view.stop), (1000, 53, &b"data"[..], None));
    }
}

#[test]
fn icmp_errors_quote() {
    let tcp = tcp(&[], b"data");
    let udp = udp(b"data");
    let quote = |packet: &[u8]| match raw(packet).transport {
        Transport::IcmpError(quote) => Some((
            quote.offset(),
            quote.protocol,
            quote.transport(),
            quote.ends(packet).expect("its ends").0.to_string(),
            quote.ends(packet).expect("its ends").1.to_string(),
        )),
        _ => None,
    };
    let v4_quote =
        |protocol, port: u16| Some((28, protocol, 48, "10.0.0.1:1000".to_owned(), format!("10.0.0.2:{port}")));
    let v6_quote = |protocol, port: u16, transport| {
        Some((48, protocol, transport, "[fd00::1]:1000".to_owned(), format!("[fd00::2]:{port}")))
    };
    for icmp_type in 0..=255 {
        let is_error = matches!(icmp_type, 3 | 4 | 5 | 11 | 12);
        assert_eq!(quote(&v4(1, &icmp(icmp_type, &v4(6, &tcp)))), v4_quote(6, 2000).filter(|_| is_error));
        let is_error = matches!(icmp_type, 1..=4);
        assert_eq!(quote(&v6(58, &icmp(icmp_type, &v6(17, &udp)))), v6_quote(17, 53, 88).filter(|_| is_error));
    }
    assert_eq!(quote(&v4(1, &icmp(3, &v4(17, &udp)[..28]))), v4_quote(17, 53), "RFC 792: 8 octets of the datagram");
    assert_eq!(quote(&v4(1, &icmp(3, &v4(17, &udp)[..24]))), v4_quote(17, 53), "the ports");
    assert_eq!(quote(&v4(1, &icmp(3, &v4(17, &udp)[..23]))), None);
    assert_eq!(quote(&v6(58, &icmp(2, &v6(6, &tcp)))), v6_quote(6, 2000, 88));
    let behind = v6(60, &[&extension(6, 1)[..], &tcp].concat());
    assert_eq!(quote(&v6(58, &icmp(1, &behind))), v6_quote(6, 2000, 96), "behind an extension header");
    assert_eq!(quote(&v4(1, &icmp(3, &v4_with(6, 0x2000, &[], &tcp)))), v4_quote(6, 2000), "a first fragment");

    let none = [
        ("a later fragment", v4(1, &icmp(3, &v4_with(6, 0x0003, &[], &tcp)))),
        ("about ICMP", v4(1, &icmp(3, &v4(1, &icmp(3, &v4(6, &tcp)))))),
        ("about another version", v4(1, &icmp(3, &v6(6, &tcp)))),
        ("ICMPv6 in IPv4", v4(58, &icmp(1, &v6(6, &tcp)))),
        ("ICMP in IPv6", v6(1, &icmp(3, &v4(6, &tcp)))),
        ("nothing", v4(1, &icmp(3, &[]))),
        ("no message", v4(1, &[])),
    ];
    for (what, packet) in none {
        assert_eq!(quote(&packet), None, "{what}");
    }
}

/// Types 3 and 4 are errors in both ICMPs, and were taken for those of IPv4 only.
#[test]
fn icmpv6_time_exceeded_and_parameter_problem_quote() {
    for icmp_type in [3, 4] {
        let view = raw(&v6(58, &icmp(icmp_type, &v6(6, &tcp(&[], b"data")))));
        assert!(matches!(view.transport, Transport::IcmpError(_)), "type {icmp_type}");
    }
}

/// RFC 4884: an extension is no part of the datagram, however long that claims to be.
#[test]
fn icmp_extensions_are_not_quoted() {
    let end = |packet: &[u8]| match raw(packet).transport {
        Transport::IcmpError(quote) => Some(quote.end()),
        _ => None,
    };
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0];
    let quoted = v4(17, &udp(&[7; 112]))[..128].to_vec();
    let mut message = icmp(11, &[&quoted[..], &extension].concat());
    assert_eq!(end(&v4(1, &message)), Some(168));
    message[5] = 32;
    assert_eq!(end(&v4(1, &message)), Some(156));
    message[5] = 255;
    assert_eq!(end(&v4(1, &message)), Some(168), "longer than the message");
    message[5] = 6;
    assert_eq!(end(&v4(1, &message)), Some(52), "the ports");
    message[5] = 4;
    assert_eq!(end(&v4(1, &message)), None, "less than a header");
    message[..6].copy_from_slice(&[5, 1, 0, 0, 10, 6]);
    assert_eq!(end(&v4(1, &message)), Some(168), "a redirect has an address there");

    let quoted = v6(17, &udp(&[7; 112]))[..128].to_vec();
    let mut message = icmp(3, &[&quoted[..], &extension].concat());
    message[4] = 16;
    assert_eq!(end(&v6(58, &message)), Some(176));
    message[0] = 2;
    assert_eq!(end(&v6(58, &message)), Some(188), "Packet Too Big has its MTU there");
}

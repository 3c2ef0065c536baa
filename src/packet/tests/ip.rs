//! IPv4 and IPv6 headers.

use super::*;

/// Offset, end, claimed length and protocol of what an IP header carries.
fn extent(packet: &[u8], original_len: usize) -> (usize, usize, usize, u8) {
    let view = decode(LinkType::RAW, packet, original_len);
    assert_contract(&view, packet);
    let ip = ip_of(&view);
    (ip.payload(), ip.end(), ip.payload_len(), ip.protocol)
}

#[test]
fn v4_addresses() {
    let ip = ip_of(&raw(&v4(17, &udp(b"x"))));
    assert_eq!((ip.source.to_string(), ip.destination.to_string()), ("10.0.0.1".into(), "10.0.0.2".into()));
    let ip = ip_of(&raw(&v6(17, &udp(b"x"))));
    assert_eq!((ip.source.to_string(), ip.destination.to_string()), ("fd00::1".into(), "fd00::2".into()));
}

#[test]
fn v4_lengths() {
    let datagram = udp(b"abcd");
    let plain = v4(17, &datagram);
    assert_eq!(extent(&plain, 32), (20, 32, 12, 17));

    let options = v4_with(17, 0, &[1; 40], &datagram);
    assert_eq!(extent(&options, 72), (60, 72, 12, 17));

    let padded = [&plain[..], &[0; 14]].concat();
    assert_eq!(extent(&padded, 46), (20, 32, 12, 17), "padding of the link layer");

    assert_eq!(extent(&plain[..25], 32), (20, 25, 12, 17), "cut");

    // What Total Length says counts, also where it lies: the wire had less than it claims.
    let mut long = plain.clone();
    long[2..4].copy_from_slice(&1500_u16.to_be_bytes());
    assert_eq!(extent(&long, 32), (20, 32, 1480, 17));
    assert!(!ip_of(&raw(&long)).is_whole());
}

#[test]
fn v4_total_length_zero() {
    // Segmentation offload and BIG TCP: the frame says how long it is.
    let mut packet = v4(6, &tcp(&[], &[7; 1000]));
    packet[2..4].fill(0);
    assert_eq!(extent(&packet, packet.len()), (20, 1040, 1020, 6));
    assert_eq!(extent(&packet[..60], 200_000), (20, 60, 199_980, 6));
    assert_eq!(tcp_of(&decode(LinkType::RAW, &packet[..60], 200_000)).data_len, 199_960);
    // Behind a link layer, its octets do not count; a length on the wire below what was captured is not believed.
    let frame = ethernet(0x0800, &packet);
    assert_eq!(ip_of(&decode(LinkType::ETHERNET, &frame, frame.len())).payload_len(), 1020);
    assert_eq!(ip_of(&decode(LinkType::ETHERNET, &frame, 5)).payload_len(), 1020);
}

#[test]
fn v4_that_contradicts_itself() {
    let whole = v4(17, &udp(b"abcd"));
    let changed = |at: usize, value: u8| {
        let mut packet = whole.clone();
        packet[at] = value;
        let view = decode(LinkType::IPV4, &packet, packet.len());
        assert_contract(&view, &packet);
        (view.ip.is_some(), view.stop)
    };
    assert_eq!(changed(0, 0x65), (false, Some(Stop::Malformed)), "version 6");
    assert_eq!(changed(0, 0x44), (false, Some(Stop::Malformed)), "a header of 16 octets");
    assert_eq!(changed(3, 19), (false, Some(Stop::Malformed)), "Total Length within the header");
    assert_eq!(changed(3, 20), (true, Some(Stop::Malformed)), "no room for a UDP header");
    assert_eq!(changed(0, 0x4f), (false, Some(Stop::Malformed)), "a header longer than Total Length");
}

#[test]
fn v4_fragments() {
    let datagram = udp(&[7; 24]);
    for (word, expected, has_ports) in [
        (0x0000, None, true),
        (0x4000, None, true),
        (0x8000, None, true),
        (0x2000, Some((0x1234, true)), true),
        (0x2004, Some((0x1234, false)), false),
        (0x0004, Some((0x1234, false)), false),
        (0x1fff, Some((0x1234, false)), false),
    ] {
        let view = raw(&v4_with(17, word, &[], &datagram));
        let fragment = ip_of(&view).fragment.map(|fragment| (fragment.identification, fragment.is_first()));
        assert_eq!((fragment, view.transport.ports().is_some()), (expected, has_ports), "{word:#06x}");
        assert_eq!(view.stop, None);
    }
    // A TCP header that goes on in the next fragment.
    let packet = v4_with(6, 0x2000, &[], &tcp(&[1; 20], b"")[..24]);
    let view = raw(&packet);
    assert_eq!((tcp_of(&view).data_len, view.data(&packet)), (0, &[][..]));
    let view = raw(&v4_with(6, 0x2000, &[], &tcp(&[], b"")[..16]));
    assert_eq!((view.transport.ports(), view.stop), (Some((1000, 2000)), Some(Stop::Truncated)));
}

#[test]
fn v6_lengths() {
    let packet = v6(17, &udp(b"abcd"));
    assert_eq!(extent(&packet, 52), (40, 52, 12, 17));
    assert_eq!(extent(&[&packet[..], &[0; 9]].concat(), 61), (40, 52, 12, 17));
    assert_eq!(extent(&packet[..45], 52), (40, 45, 12, 17));
    // Payload Length 0 of segmentation offload.
    let mut open = v6(6, &tcp(&[], &[7; 1000]));
    open[4..6].fill(0);
    assert_eq!(extent(&open, open.len()), (40, 1060, 1020, 6));
    assert_eq!(extent(&open[..100], 100_000), (40, 100, 99_960, 6));
    // It is a length where no header follows.
    assert_eq!(extent(&[&v6(59, &[])[..], &[0; 6]].concat(), 46), (40, 40, 0, 59));
}

#[test]
fn v6_extension_headers() {
    let datagram = udp(b"abcd");
    let with = |headers: &[Vec<u8>], first: u8| v6(first, &[&headers.concat()[..], &datagram].concat());
    for (what, packet, payload, protocol, stop) in [
        ("Hop-by-Hop Options", with(&[extension(17, 1)], 0), 48, 17, None),
        ("Destination Options", with(&[extension(17, 3)], 60), 64, 17, None),
        ("Routing, at the last stop", with(&[extension(17, 3)], 43), 64, 17, None),
        ("Mobility, HIP, Shim6", with(&[extension(139, 1), extension(140, 1), extension(17, 1)], 135), 64, 17, None),
        ("the longest", with(&[extension(17, 255)], 60), 40 + 2040, 17, None),
        ("several", with(&[extension(60, 1), extension(43, 1), extension(60, 1), extension(17, 2)], 0), 80, 17, None),
        ("sixteen", with(&[vec![extension(60, 1); 15].concat(), extension(17, 1)], 60), 168, 17, None),
        ("seventeen", with(&[vec![extension(60, 1); 16].concat(), extension(17, 1)], 60), 168, 60, Some(Stop::TooDeep)),
        ("AH is not passed", with(&[extension(17, 3)], 51), 40, 51, None),
        ("ESP", with(&[], 50), 40, 50, None),
        ("no next header", with(&[extension(59, 1)], 60), 48, 59, None),
        ("beyond the payload", v6(60, &extension(17, 3)[..16]), 40, 60, Some(Stop::Malformed)),
        ("less than one", v6(60, &[17, 0, 0]), 40, 60, Some(Stop::Malformed)),
    ] {
        let view = raw(&packet);
        let ip = ip_of(&view);
        assert_eq!((ip.payload(), ip.protocol, view.stop), (payload, protocol, stop), "{what}");
        assert_eq!(view.transport.ports().is_some(), protocol == 17, "{what}");
        assert!(ip.is_whole(), "{what}");
        assert_eq!(ip.payload_len(), packet.len() - payload, "{what}");
    }
}

#[test]
fn v6_routing_header_with_segments_left() {
    // The destination in the header is not the one that the checksum is made for.
    let mut routing = extension(17, 3);
    routing[3] = 1;
    let view = raw(&v6(43, &[&routing[..], &udp(b"x")].concat()));
    assert_eq!((ip_of(&view).protocol, ip_of(&view).payload(), view.stop), (43, 40, None));
    assert!(view.transport.ports().is_none());
}

#[test]
fn v6_fragments() {
    for (offset, more, expected) in
        [(0, true, Some(true)), (8, true, Some(false)), (1448, false, Some(false)), (0, false, None)]
    {
        let view = raw(&v6(44, &[&fragment(17, offset, more)[..], &udp(&[7; 24])].concat()));
        let ip = ip_of(&view);
        assert_eq!(ip.fragment.map(|f| (f.identification, f.is_first())), expected.map(|first| (0xaabb_ccdd, first)));
        assert_eq!((ip.payload(), ip.protocol, ip.payload_len()), (48, 17, 32));
        assert_eq!(view.transport.ports().is_some(), expected != Some(false));
    }
    // What follows the header of a later fragment is data, though it looks like a header.
    let view = raw(&v6(44, &[&fragment(60, 8, false)[..], &extension(17, 1), &udp(b"x")].concat()));
    assert_eq!((ip_of(&view).payload(), ip_of(&view).protocol), (48, 60));
}

#[test]
fn v6_jumbograms() {
    // RFC 2675, section 2: the option counts the Hop-by-Hop Options header.
    let jumbo = |options: [u8; 6]| [&[6, 0][..], &options, &tcp(&[], &[7; 100])].concat();
    let mut packet = v6(0, &jumbo([0xc2, 4, 0, 1, 0x11, 0x70]));
    packet[4..6].fill(0);
    assert_eq!(extent(&packet, 70_040), (48, 168, 69_992, 6));
    assert_eq!(tcp_of(&decode(LinkType::RAW, &packet, 70_040)).data_len, 69_972);
    // Behind other options.
    let mut second = v6(0, &[&[6, 1, 1, 4, 0, 0, 0, 0, 0, 0xc2, 4, 0, 1, 0x11, 0x70, 0][..], &tcp(&[], b"x")].concat());
    second[4..6].fill(0);
    assert_eq!(extent(&second, 70_040).2, 70_000 - 16);
    // One that says less than its own header has.
    let mut short = v6(0, &jumbo([0xc2, 4, 0, 0, 0, 4]));
    short[4..6].fill(0);
    assert_eq!(raw(&short).stop, Some(Stop::Malformed));
    // Options that cannot be walked: all that is left of the frame.
    for options in [[0xc2, 3, 0, 1, 0, 0], [5, 255, 0, 0, 0, 0], [5, 3, 0, 0, 0, 0xc2]] {
        let mut packet = v6(0, &jumbo(options));
        packet[4..6].fill(0);
        assert_eq!(extent(&packet, packet.len()), (48, 168, 120, 6), "{options:?}");
    }
}

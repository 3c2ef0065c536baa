//! Byte tables for every header that is read, the contract of the offsets, and etherparse as an oracle.

pub(crate) mod build;
mod ip;
mod link;
mod oracle;
mod transport;

use proptest::prelude::*;

use super::*;
use build::*;

fn raw(packet: &[u8]) -> View {
    let view = decode(LinkType::RAW, packet, packet.len());
    assert_contract(&view, packet);
    view
}

fn ip_of(view: &View) -> Ip {
    view.ip.expect("an IP header")
}

fn tcp_of(view: &View) -> Tcp {
    match view.transport {
        Transport::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

/// What [`decode`] promises about its offsets, whatever the bytes.
fn assert_contract(view: &View, bytes: &[u8]) {
    let len = bytes.len();
    assert!(view.link.network <= len, "{view:?}");
    let Some(ip) = view.ip else {
        assert!(matches!(view.transport, Transport::Other), "{view:?}");
        return;
    };
    assert_eq!(ip.offset, view.link.network);
    assert!(ip.offset <= ip.payload && ip.payload <= ip.end && ip.end <= len, "{view:?}");
    assert!(ip.end - ip.payload <= ip.payload_len, "{view:?}");
    assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
    match view.transport {
        Transport::Tcp(tcp) => {
            assert!(ip.payload + 20 <= tcp.data && tcp.data <= ip.end, "{view:?}");
            assert!(tcp.data_len as usize <= ip.payload_len, "{view:?}");
        }
        Transport::Udp(udp) => assert!(ip.payload + 8 == udp.data && udp.data <= ip.end, "{view:?}"),
        Transport::IcmpError(quote) => {
            assert!(ip.payload + 8 == quote.offset && quote.offset + 20 <= quote.transport, "{view:?}");
            assert!(quote.transport + 4 <= quote.end && quote.end <= ip.end, "{view:?}");
        }
        Transport::Ports(_) => assert!(ip.payload + 4 <= ip.end && view.stop.is_some(), "{view:?}"),
        Transport::Other => {}
    }
    if ip.fragment.is_some_and(|fragment| !fragment.first) {
        assert!(matches!(view.transport, Transport::Other), "{view:?}");
    }
}

/// One of each kind, with the offset of what comes behind the headers that are read.
fn specimens() -> Vec<(LinkType, Vec<u8>)> {
    let segment = tcp(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"data");
    let datagram = udp(b"data");
    let v4_tcp = v4(6, &segment);
    let v6_tcp = v6(6, &segment);
    let chain = [extension(60, 1), extension(43, 2), fragment(17, 0, true), datagram.clone()].concat();
    vec![
        (LinkType::ETHERNET, ethernet(0x0800, &v4_tcp)),
        (LinkType::ETHERNET, ethernet(0x88a8, &[&tag(0x8100)[..], &tag(0x86dd), &v6_tcp].concat())),
        (LinkType::LINUX_SLL, sll(4, 1, 0x0800, &v4_with(6, 0, &[7, 7, 4, 0, 0, 0, 0, 0], &segment))),
        (LinkType::LINUX_SLL2, sll2(3, 0, 772, 0x86dd, &v6(0, &chain))),
        (LinkType::RAW, v4(1, &icmp(3, &v4(17, &datagram)))),
        (LinkType::RAW, v6(58, &icmp(1, &v6(60, &[extension(6, 1), segment.clone()].concat())))),
        (LinkType::NULL, [&[2, 0, 0, 0], &v4(17, &datagram)[..]].concat()),
        (LinkType::LOOP, [&[0, 0, 0, 24], &v6_tcp[..]].concat()),
        (LinkType::IPV4, v4_tcp),
        (LinkType::IPV6, v6_tcp),
        (LinkType(147), datagram),
    ]
}

#[test]
fn cut_at_every_octet() {
    for (link_type, frame) in specimens() {
        let whole = decode(link_type, &frame, frame.len());
        assert_contract(&whole, &frame);
        for len in 0..frame.len() {
            let cut = decode(link_type, &frame[..len], frame.len());
            assert_contract(&cut, &frame[..len]);
            // A cut frame tells nothing else than the whole one, only less.
            if let (Some(cut), Some(whole)) = (cut.ip, whole.ip) {
                assert_eq!((cut.source, cut.destination, cut.offset), (whole.source, whole.destination, whole.offset));
                assert!(!cut.is_whole() || cut.payload < whole.payload, "{link_type:?} cut to {len}");
            }
            if let Some(ports) = cut.transport.ports() {
                assert_eq!(Some(ports), whole.transport.ports(), "{link_type:?} cut to {len}");
            }
            assert!(matches!(cut.stop, None | Some(Stop::Truncated | Stop::LinkType)), "{:?} cut to {len}", cut.stop);
        }
    }
}

fn any_link_type() -> impl Strategy<Value = LinkType> {
    prop::sample::select(vec![0, 1, 101, 108, 113, 228, 229, 276, 147]).prop_map(LinkType)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_contract_holds_for_arbitrary_bytes(
        link_type in any_link_type(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        original_len in 0..400_usize,
    ) {
        assert_contract(&decode(link_type, &bytes, original_len), &bytes);
    }

    #[test]
    fn the_contract_holds_for_mutated_packets(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        original_len in 0..400_usize,
    ) {
        let (link_type, mut frame) = which.get(&specimens()).clone();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.truncate(1 + cut.index(2 * frame.len()));
        assert_contract(&decode(link_type, &frame, original_len), &frame);
    }
}

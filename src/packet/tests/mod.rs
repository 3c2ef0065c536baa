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
    assert!(view.link.network() <= len, "{view:?}");
    let Some(ip) = view.ip else {
        assert!(matches!(view.transport, Transport::Other), "{view:?}");
        return;
    };
    let (payload, end) = (ip.payload(), ip.end());
    assert!(view.link.network() <= payload && payload <= end && end <= len, "{view:?}");
    assert!(end - payload <= ip.payload_len(), "{view:?}");
    assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
    match view.transport {
        Transport::Tcp(tcp) => {
            assert!(view.data(bytes).len() + 20 <= end - payload, "{view:?}");
            assert!(tcp.data_len as usize <= ip.payload_len(), "{view:?}");
        }
        Transport::Udp(_) => assert_eq!(view.data(bytes).len() + 8, end - payload, "{view:?}"),
        Transport::IcmpError(quote) => {
            assert!(payload + 8 == quote.offset() && quote.offset() + 20 <= quote.transport(), "{view:?}");
            assert!(quote.transport() + 4 <= quote.end() && quote.end() <= end, "{view:?}");
            assert!(quote.ends(bytes).is_some(), "{view:?}");
        }
        Transport::Ports(_) => assert!(payload + 4 <= end && view.stop.is_some(), "{view:?}"),
        Transport::Other => {}
    }
    if ip.is_later_fragment() {
        assert!(matches!(view.transport, Transport::Other), "{view:?}");
    }
}

/// Views are kept by the thousand on their way from one thread to another.
#[test]
fn a_view_is_small() {
    assert!(size_of::<View>() <= 96 && size_of::<Link>() <= 10, "{} {}", size_of::<View>(), size_of::<Link>());
    assert!(size_of::<Ip>() <= 56 && size_of::<Transport>() <= 28, "{} {}", size_of::<Ip>(), size_of::<Transport>());
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
        (LinkType::ETHERNET, ethernet(0x86dd, &v6(17, &datagram))),
        (LinkType::LINUX_SLL, sll(0, 772, 0x86dd, &v6_tcp)),
        (LinkType::LINUX_SLL2, sll2(2, 4, 1, 0x0800, &v4(6, &tcp(&[], b"data")))),
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
                assert_eq!((cut.source, cut.destination), (whole.source, whole.destination));
                assert!(!cut.is_whole() || cut.payload() < whole.payload(), "{link_type:?} cut to {len}");
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

    /// However a frame is read, the view is the same.
    #[test]
    fn usual_frames_are_read_as_step_by_step(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        (cut, longer) in (0..20_usize, 0..20_usize),
    ) {
        let (link_type, mut frame) = which.get(&specimens()).clone();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.truncate(frame.len().saturating_sub(cut));
        frame.resize(frame.len() + longer, 7);
        let views = [decode(link_type, &frame, frame.len()), super::stepwise(link_type, &frame, frame.len())];
        let [usual, stepwise] = views.map(|view| format!("{view:?}"));
        prop_assert_eq!(usual, stepwise);
    }
}

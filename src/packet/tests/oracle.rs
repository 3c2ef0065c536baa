//! etherparse reads the same packets: where both read a field, they agree.
//!
//! They differ by intent: etherparse gives no transport header of a first fragment and none that is cut, follows three
//! VLAN tags, takes a Payload Length of 0 for all of the frame, and puts all of the frame in the place of a Total Length that is too
//! short, which is [`Stop::Malformed`] here. It goes on behind an Authentication header and behind a Routing header with segments left,
//! and stops at Mobility, HIP and Shim6, and at
//! TCP options that it does not know.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, LaxNetSlice,
    LaxSlicedPacket, PacketBuilder, TcpHeader, TcpOptionElement, TransportSlice, VlanId,
};

use super::*;

/// What both say of a packet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    tcp: Option<(u16, u16, u32, u32, u8, u16)>,
    timestamps: Option<(u32, u32)>,
    data: Option<(usize, usize)>,
    udp: Option<(u16, u16)>,
}

fn ours(view: &View, bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    match view.transport {
        Transport::Tcp(tcp) => {
            fields.tcp = Some((tcp.source, tcp.destination, tcp.seq, tcp.ack, tcp.flags, tcp.window));
            fields.timestamps = tcp.timestamps();
            let data = view.data(bytes);
            fields.data = Some((offset_in(bytes, data), data.len()));
        }
        Transport::Udp(udp) => fields.udp = Some((udp.source, udp.destination)),
        _ => {}
    }
    fields
}

fn theirs(packet: &LaxSlicedPacket, bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let numbers = (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.header_slice()[13]);
            fields.tcp =
                Some((tcp.source_port(), tcp.destination_port(), numbers.0, numbers.1, numbers.2, tcp.window_size()));
            fields.timestamps = tcp.options_iterator().map_while(Result::ok).find_map(|option| match option {
                TcpOptionElement::Timestamp(value, echo) => Some((value, echo)),
                _ => None,
            });
            fields.data = Some((offset_in(bytes, tcp.payload()), tcp.payload().len()));
        }
        Some(TransportSlice::Udp(udp)) => fields.udp = Some((udp.source_port(), udp.destination_port())),
        _ => {}
    }
    fields
}

fn offset_in(bytes: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - bytes.as_ptr().addr()
}

/// The IP header of an Ethernet frame, as both see it; the transport header, where both see one.
fn assert_agreement(bytes: &[u8]) {
    let view = decode(LinkType::ETHERNET, bytes, bytes.len());
    assert_contract(&view, bytes);
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        assert_eq!(view.stop, Some(Stop::Truncated));
        return;
    };
    let (Some(ip), Some(net)) = (view.ip, &packet.net) else {
        // Only these stand in the way of one where the other has an IP header.
        let same = view.ip.is_some() == matches!(packet.net, Some(LaxNetSlice::Ipv4(_) | LaxNetSlice::Ipv6(_)));
        let cut_options = view.ip.is_some_and(|ip| ip.payload() == ip.end()) && view.stop == Some(Stop::Truncated);
        let tags = packet.link_exts.len() == LaxSlicedPacket::LINK_EXTS_CAP;
        assert!(same || cut_options || tags || view.stop == Some(Stop::Malformed), "{view:?} {packet:?}");
        return;
    };
    let (source, destination): (IpAddr, IpAddr) = match net {
        LaxNetSlice::Ipv4(v4) => (v4.header().source_addr().into(), v4.header().destination_addr().into()),
        LaxNetSlice::Ipv6(v6) => (v6.header().source_addr().into(), v6.header().destination_addr().into()),
        LaxNetSlice::Arp(_) => panic!("ARP is IP: {view:?}"),
    };
    assert_eq!((ip.source, ip.destination), (source, destination));

    // Where one of the two goes further.
    let stands = matches!(ip.protocol, 43 | 51);
    let is_open = match net {
        LaxNetSlice::Ipv6(v6) => v6.header().payload_length() == 0,
        _ => false,
    };
    let payload = packet.ip_payload().expect("IP has a payload");
    let both_done = view.stop.is_none() && packet.stop_err.is_none() && !super::super::ip::is_extension(ip.protocol);
    if both_done && payload.ip_number.0 == ip.protocol {
        assert_eq!(offset_in(bytes, payload.payload), ip.payload(), "{view:?}");
        assert!(is_open || payload.payload.len() == ip.end() - ip.payload(), "{view:?} {packet:?}");
        assert_eq!(payload.fragmented, ip.fragment.is_some());
    }
    let (ours, mut theirs) = (ours(&view, bytes), theirs(&packet, bytes));
    if let Some(TransportSlice::Tcp(tcp)) = &packet.transport
        && tcp.options_iterator().any(|option| option.is_err())
    {
        theirs.timestamps = ours.timestamps;
    }
    let both_tcp = ours.tcp.is_some() && theirs.tcp.is_some();
    let both_udp = ours.udp.is_some() && theirs.udp.is_some();
    if (both_tcp || both_udp) && !is_open {
        assert_eq!(ours, theirs, "{view:?}");
    }
    // Nothing that it reads stays unread here.
    let read = theirs.tcp.is_none() && theirs.udp.is_none() || both_tcp || both_udp;
    assert!(read || stands || view.stop == Some(Stop::Malformed), "{view:?} {packet:?}");
}

#[derive(Clone, Debug)]
struct Plan {
    vlan: u8,
    v6: bool,
    tcp: bool,
    ports: (u16, u16),
    numbers: (u32, u32),
    flags: u8,
    window: u16,
    options: Vec<TcpOptionElement>,
    ip_options: u8,
    addresses: [u8; 32],
    data: Vec<u8>,
}

fn option() -> impl Strategy<Value = TcpOptionElement> {
    prop_oneof![
        Just(TcpOptionElement::Noop),
        any::<u16>().prop_map(TcpOptionElement::MaximumSegmentSize),
        any::<u8>().prop_map(TcpOptionElement::WindowScale),
        Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
        any::<(u32, u32)>().prop_map(|pair| TcpOptionElement::SelectiveAcknowledgement(pair, [None; 3])),
        any::<(u32, u32)>().prop_map(|(value, echo)| TcpOptionElement::Timestamp(value, echo)),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let shape = (0..3_u8, any::<bool>(), any::<bool>(), prop::collection::vec(option(), 0..4), 0..=10_u8);
    let values = (any::<(u16, u16)>(), any::<(u32, u32)>(), any::<u8>(), any::<u16>(), any::<[u8; 32]>());
    (shape, values, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(shape, values, data)| {
        let (vlan, v6, tcp, options, ip_options) = shape;
        let (ports, numbers, flags, window, addresses) = values;
        Plan { vlan, v6, tcp, ports, numbers, flags, window, options, ip_options, addresses, data }
    })
}

/// The frame, and where its data start.
fn build(plan: &Plan) -> (Vec<u8>, usize) {
    let (first, second) = plan.addresses.split_at(16);
    let four = |a: &[u8]| [a[0], a[1], a[2], a[3]];
    let sixteen = |a: &[u8]| -> [u8; 16] { a.try_into().expect("16 octets") };
    let ip = if plan.v6 {
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: 0,
            next_header: IpNumber(0),
            hop_limit: 64,
            source: sixteen(first),
            destination: sixteen(second),
        };
        IpHeaders::Ipv6(header, Default::default())
    } else {
        let options = vec![1; usize::from(plan.ip_options) * 4];
        let header = Ipv4Header {
            source: four(first),
            destination: four(second),
            time_to_live: 64,
            fragment_offset: IpFragOffset::ZERO,
            options: Ipv4Options::try_from(&options[..]).expect("at most 40 octets"),
            ..Ipv4Header::default()
        };
        IpHeaders::Ipv4(header, Default::default())
    };
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let id = VlanId::try_new(5).expect("12 bits");
    let builder = match plan.vlan {
        0 => link.ip(ip),
        1 => link.single_vlan(id).ip(ip),
        _ => link.double_vlan(id, id).ip(ip),
    };
    let mut frame = Vec::new();
    let data = &plan.data;
    if plan.tcp {
        let flag = |bit: u8| plan.flags & 1 << bit != 0;
        let mut header = TcpHeader::new(plan.ports.0, plan.ports.1, plan.numbers.0, plan.window);
        header.acknowledgment_number = plan.numbers.1;
        [header.fin, header.syn, header.rst, header.psh] = [flag(0), flag(1), flag(2), flag(3)];
        [header.ack, header.urg, header.ece, header.cwr] = [flag(4), flag(5), flag(6), flag(7)];
        // Those that do not fit are left out.
        let _ = header.set_options(&plan.options);
        builder.tcp_header(header).write(&mut frame, data).expect("a packet");
    } else {
        builder.udp(plan.ports.0, plan.ports.1).write(&mut frame, data).expect("a packet");
    }
    let start = frame.len() - data.len();
    (frame, start)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_it_builds_is_read_back(plan in plan()) {
        let (frame, start) = build(&plan);
        let view = decode(LinkType::ETHERNET, &frame, frame.len());
        prop_assert_eq!(view.stop, None);
        let ip = ip_of(&view);
        prop_assert_eq!((ip.source.is_ipv6(), ip.end(), ip.is_whole()), (plan.v6, frame.len(), true));
        prop_assert_eq!(view.transport.ports(), Some(plan.ports));
        match view.transport {
            Transport::Tcp(tcp) => {
                prop_assert!(plan.tcp);
                prop_assert_eq!((tcp.seq, tcp.ack), plan.numbers);
                prop_assert_eq!((tcp.flags, tcp.window), (plan.flags, plan.window));
                prop_assert_eq!((offset_in(&frame, view.data(&frame)), tcp.data_len as usize), (start, plan.data.len()));
            }
            Transport::Udp(_) => prop_assert_eq!((plan.tcp, offset_in(&frame, view.data(&frame))), (false, start)),
            other => prop_assert!(false, "{:?}", other),
        }
        assert_agreement(&frame);
    }

    #[test]
    fn what_is_left_of_it_is_read_alike(
        plan in plan(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut frame, start) = build(&plan);
        for (at, value) in changes {
            // In the headers, where it counts.
            let at = 12 + at.index(start - 12);
            frame[at] = value;
        }
        frame.truncate(1 + cut.index(2 * frame.len()));
        assert_agreement(&frame);
    }

    #[test]
    fn extension_headers_are_read_alike(
        chain in prop::collection::vec((prop::sample::select(vec![0_u8, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140]), 0..3_u8, any::<[u8; 6]>()), 1..6),
        last in prop::sample::select(vec![6_u8, 17, 59]),
        is_first in any::<bool>(),
    ) {
        let mut payload = Vec::new();
        for (at, (_, units, rest)) in chain.iter().enumerate() {
            let next = chain.get(at + 1).map_or(last, |(kind, ..)| *kind);
            payload.extend([next, *units]);
            // Segments Left and Fragment Offset are 0 more often than chance would have it.
            payload.extend(if is_first { [0; 6] } else { *rest });
            payload.extend(vec![0; usize::from(*units) * 8]);
        }
        payload.extend(if last == 17 { udp(b"data") } else { tcp(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"data") });
        assert_agreement(&ethernet(0x86dd, &v6(chain[0].0, &payload)));
    }
}

/// Why the headers are read by hand: docs/decisions/0002-own-header-decoder.md.
#[test]
fn what_it_does_not_read() {
    let theirs = |frame: &[u8]| LaxSlicedPacket::from_ethernet(frame).is_ok_and(|packet| packet.transport.is_some());
    let ours = |frame: &[u8]| decode(LinkType::ETHERNET, frame, frame.len()).transport.ports().is_some();
    let segment = tcp(&[], &[7; 40]);
    for (what, frame) in [
        ("a first fragment", ethernet(0x0800, &v4_with(6, 0x2000, &[], &segment))),
        ("a first IPv6 fragment", ethernet(0x86dd, &v6(44, &[&fragment(6, 0, true)[..], &segment].concat()))),
        ("a TCP header cut behind the ports", ethernet(0x0800, &v4(6, &segment))[..42].to_vec()),
        ("TCP options that were cut", ethernet(0x0800, &v4(6, &tcp(&[1; 20], b"")))[..62].to_vec()),
        ("four VLAN tags", ethernet(0x8100, &[tag(0x8100).repeat(3), tag(0x0800).to_vec(), v4(6, &segment)].concat())),
    ] {
        assert_eq!((theirs(&frame), ours(&frame)), (false, true), "{what}");
    }
    // A jumbogram behind which the link layer padded.
    let mut packet = v6(0, &[&[6, 0, 0xc2, 4, 0, 0, 0, 68][..], &segment, &[0; 6]].concat());
    packet[4..6].fill(0);
    let frame = ethernet(0x86dd, &packet);
    let padded = LaxSlicedPacket::from_ethernet(&frame).expect("a packet");
    assert_eq!(padded.ip_payload().map(|payload| payload.payload.len()), Some(66));
    assert_eq!(tcp_of(&decode(LinkType::ETHERNET, &frame, frame.len())).data_len, 40);
}

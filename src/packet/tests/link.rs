//! Link layers.

use super::*;

/// Link type, frame without payload; where the network header is, its EtherType, the origin, why it stopped.
type Row<'a> = (&'a str, LinkType, Vec<u8>, usize, u16, Origin, Option<Stop>);

#[test]
fn link_layers() {
    use Origin::{Loopback, Network, Unknown};
    let (v4, v6) = (v4(17, &udp(b"x")), v6(17, &udp(b"x")));
    let zero = |ethertype: u16| [&[0; 12], &ethertype.to_be_bytes()[..], &v4].concat();
    let family = |octets: [u8; 4], packet: &[u8]| [&octets, packet].concat();
    let stack = |tags: usize| {
        let mut payload = tag(0x8100).repeat(tags - 1);
        payload.extend(tag(0x0800));
        ethernet(0x8100, &[&payload, &v4[..]].concat())
    };
    let rows: Vec<Row> = vec![
        ("Ethernet", LinkType::ETHERNET, ethernet(0x0800, &v4), 14, 0x0800, Network, None),
        ("Ethernet, IPv6", LinkType::ETHERNET, ethernet(0x86dd, &v6), 14, 0x86dd, Network, None),
        ("Ethernet on lo", LinkType::ETHERNET, zero(0x0800), 14, 0x0800, Loopback, None),
        ("VLAN", LinkType::ETHERNET, stack(1), 18, 0x0800, Network, None),
        (
            "QinQ",
            LinkType::ETHERNET,
            ethernet(0x88a8, &[&tag(0x8100)[..], &tag(0x86dd), &v6].concat()),
            22,
            0x86dd,
            Network,
            None,
        ),
        (
            "QinQ of before 802.1ad",
            LinkType::ETHERNET,
            ethernet(0x9100, &[&tag(0x9100)[..], &tag(0x8100), &tag(0x0800), &v4].concat()),
            26,
            0x0800,
            Network,
            None,
        ),
        ("eight tags", LinkType::ETHERNET, stack(8), 46, 0x0800, Network, None),
        ("nine tags", LinkType::ETHERNET, stack(9), 46, 0x8100, Network, Some(Stop::TooDeep)),
        ("a thousand tags", LinkType::ETHERNET, stack(1000), 46, 0x8100, Network, Some(Stop::TooDeep)),
        ("ARP", LinkType::ETHERNET, ethernet(0x0806, &[0; 28]), 14, 0x0806, Network, Some(Stop::NotIp)),
        ("ARP in a VLAN", LinkType::ETHERNET, ethernet(0x8100, &tag(0x0806)), 18, 0x0806, Network, Some(Stop::NotIp)),
        ("LLC", LinkType::ETHERNET, ethernet(38, &[0x42; 38]), 14, 38, Network, Some(Stop::NotIp)),
        ("SLL", LinkType::LINUX_SLL, sll(0, 1, 0x0800, &v4), 16, 0x0800, Network, None),
        ("SLL on lo", LinkType::LINUX_SLL, sll(0, 772, 0x86dd, &v6), 16, 0x86dd, Loopback, None),
        (
            "SLL, VLAN",
            LinkType::LINUX_SLL,
            sll(0, 1, 0x8100, &[&tag(0x0800)[..], &v4].concat()),
            20,
            0x0800,
            Network,
            None,
        ),
        ("SLL, netlink", LinkType::LINUX_SLL, sll(0, 824, 0x0800, &v4), 16, 0, Network, Some(Stop::NotIp)),
        ("SLL, 802.2", LinkType::LINUX_SLL, sll(0, 1, 4, &v4), 16, 4, Network, Some(Stop::NotIp)),
        ("SLL2", LinkType::LINUX_SLL2, sll2(7, 0, 1, 0x0800, &v4), 20, 0x0800, Network, None),
        ("SLL2 on lo", LinkType::LINUX_SLL2, sll2(1, 0, 772, 0x0800, &v4), 20, 0x0800, Loopback, None),
        ("SLL2, tun", LinkType::LINUX_SLL2, sll2(1, 0, 65534, 0x86dd, &v6), 20, 0x86dd, Network, None),
        ("SLL2, radiotap", LinkType::LINUX_SLL2, sll2(1, 0, 803, 0x0800, &v4), 20, 0, Network, Some(Stop::NotIp)),
        ("RAW", LinkType::RAW, v4.clone(), 0, 0x0800, Unknown, None),
        ("RAW, IPv6", LinkType::RAW, v6.clone(), 0, 0x86dd, Unknown, None),
        ("RAW, neither", LinkType::RAW, vec![0x50; 40], 0, 0, Unknown, Some(Stop::Malformed)),
        ("IPV4", LinkType::IPV4, v4.clone(), 0, 0x0800, Unknown, None),
        ("IPV4, another version", LinkType::IPV4, v6.clone(), 0, 0x0800, Unknown, Some(Stop::Malformed)),
        ("IPV6", LinkType::IPV6, v6.clone(), 0, 0x86dd, Unknown, None),
        ("NULL, little-endian", LinkType::NULL, family([2, 0, 0, 0], &v4), 4, 0x0800, Loopback, None),
        ("NULL, big-endian", LinkType::NULL, family([0, 0, 0, 2], &v4), 4, 0x0800, Loopback, None),
        ("NULL, Linux", LinkType::NULL, family([10, 0, 0, 0], &v6), 4, 0x86dd, Loopback, None),
        ("NULL, NetBSD", LinkType::NULL, family([24, 0, 0, 0], &v6), 4, 0x86dd, Loopback, None),
        ("NULL, FreeBSD", LinkType::NULL, family([0, 0, 0, 28], &v6), 4, 0x86dd, Loopback, None),
        ("NULL, Darwin", LinkType::NULL, family([30, 0, 0, 0], &v6), 4, 0x86dd, Loopback, None),
        ("NULL, OSI", LinkType::NULL, family([7, 0, 0, 0], &v4), 4, 0, Loopback, Some(Stop::NotIp)),
        ("LOOP", LinkType::LOOP, family([0, 0, 0, 2], &v4), 4, 0x0800, Loopback, None),
        ("LOOP has one byte order", LinkType::LOOP, family([2, 0, 0, 0], &v4), 4, 0, Loopback, Some(Stop::NotIp)),
        ("PPP", LinkType(9), vec![0xff; 40], 0, 0, Unknown, Some(Stop::LinkType)),
    ];
    for (what, link_type, frame, network, ethertype, origin, stop) in rows {
        let view = decode(link_type, &frame, frame.len());
        assert_contract(&view, &frame);
        let link = view.link;
        assert_eq!((link.link_type, link.network(), link.ethertype), (link_type, network, ethertype), "{what}");
        assert_eq!((link.origin, view.stop), (origin, stop), "{what}");
        assert_eq!(view.ip.is_some(), stop.is_none(), "{what}");
    }
}

#[test]
fn only_the_second_cooked_header_tells_the_interface() {
    let packet = v4(17, &udp(b"x"));
    let link = |link_type, frame: &[u8]| decode(link_type, frame, frame.len()).link;
    assert_eq!(link(LinkType::LINUX_SLL, &sll(4, 1, 0x0800, &packet)).ifindex(), None);
    assert_eq!(link(LinkType::LINUX_SLL2, &sll2(0x0102_0304, 4, 1, 0x0800, &packet)).ifindex(), Some(0x0102_0304));
    assert_eq!(link(LinkType::ETHERNET, &ethernet(0x0800, &packet)).ifindex(), None);
}

//! Link layers in, interfaces out: their names, what is said of them, and Ethernet for all.

use crate::common::file::{Order, Section};
use crate::common::read::Interface;
use crate::common::{Job, Leg, Link, Outcome, Shot, merge, pcapng};

fn leg() -> Leg {
    Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole()
}

fn leg6() -> Leg {
    Leg::outbound("[fd00:21::5]:40000", "[fd00:96::10]:80").whole()
}

#[test]
fn every_link_layer() {
    for link in [
        Link::Lo,
        Link::Tagged(1),
        Link::Tagged(2),
        Link::Sll { lo: true },
        Link::Sll2 { index: 1, lo: true },
        Link::Null,
        Link::Loop,
        Link::Raw,
        Link::Ipv4,
        Link::Ipv6,
    ] {
        for leg in [leg(), leg6()] {
            if link == if leg.client.is_ipv4() { Link::Ipv6 } else { Link::Ipv4 } {
                continue;
            }
            let shots = leg.shots(link);
            let outcome = merge(link, &shots);
            assert_eq!(outcome.output.interfaces.len(), 1);
            assert_eq!(outcome.output.interfaces[0].link_type, link.number());
            assert_eq!(outcome.output.ends(), leg.repaired(), "{link:?}");
            outcome.output.assert_sums();
            for (packet, shot) in outcome.output.packets.iter().zip(&shots) {
                let head = Link::header_len(link.number(), &shot.bytes);
                assert_eq!(packet.bytes[..head], shot.bytes[..head], "the link layer stays, {link:?}");
            }
        }
    }
}

#[test]
fn on_the_wire_nothing_is_redirected() {
    for link in [Link::Eth, Link::Sll { lo: false }, Link::Sll2 { index: 2, lo: false }] {
        let outcome = merge(link, &leg().shots(link));
        assert_eq!(outcome.output.ends(), leg().as_captured(), "{link:?}");
    }
}

#[test]
fn one_capture_of_all_interfaces() {
    let wire = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(5_000).whole();
    let (lo, eth0) = (Link::Sll2 { index: 1, lo: true }, Link::Sll2 { index: 7, lo: false });
    let mut shots: Vec<Shot> = [leg().shots(lo), wire.shots(eth0)].concat();
    shots.sort_by_key(|shot| shot.time);
    let outcome = merge(lo, &shots);
    assert_eq!(outcome.output.interface_names(), ["lo", "if7"]);
    assert_eq!(
        told(&outcome.output.interfaces),
        [
            "loopback; input 1, interface 0, index 1; name inferred from its packets",
            "network; input 1, interface 0, index 7; name inferred from its packets"
        ]
    );
    let of = |id| outcome.output.packets.iter().filter(move |p| p.interface == id).map(|p| p.ends());
    assert_eq!(of(0).collect::<Vec<_>>(), leg().repaired());
    assert_eq!(of(1).collect::<Vec<_>>(), wire.repaired());
}

fn told(interfaces: &[Interface]) -> Vec<String> {
    interfaces.iter().map(|i| i.texts(3).join("|")).collect()
}

#[test]
fn names() {
    let shots = |link| leg().shots(link);
    let run = |job: Job| -> Outcome { job.run() };
    let plain = |link: Link| Job::new().shots(link, &shots(link));
    for (job, names, description) in [
        (plain(Link::Lo), ["lo"], "loopback; input 1, interface 0; name inferred from its packets"),
        (plain(Link::Eth), ["eth0"], "network; input 1, interface 0; name inferred from its packets"),
        (plain(Link::Raw), [""], "interface; input 1, interface 0"),
        (plain(Link::Sll { lo: true }), ["lo"], "loopback; input 1, interface 0; name inferred from its packets"),
        (plain(Link::Eth).named(0, None, "net1"), ["net1"], "network; input 1, interface 0; name given"),
        (
            Job::new().input(&pcapng(Link::Eth, "ens5", &shots(Link::Eth))),
            ["ens5"],
            "network; input 1, interface 0; name from the capture",
        ),
        (
            Job::new().input(&pcapng(Link::Eth, "ens5", &shots(Link::Eth))).named(0, Some(0), "eth9"),
            ["eth9"],
            "network; input 1, interface 0; name given",
        ),
        (
            plain(Link::Sll2 { index: 4, lo: false }).named(0, Some(4), "eth0").named(0, Some(5), "other"),
            ["eth0"],
            "network; input 1, interface 0, index 4; name given",
        ),
    ] {
        let outcome = run(job);
        assert_eq!(outcome.output.interface_names(), names, "{description}");
        assert_eq!(told(&outcome.output.interfaces), [description]);
    }
}

#[test]
fn a_name_tells_where_redirected_legs_are() {
    // Raw IP does not tell; a name does, and the user's counts for most.
    for (job, repaired) in [
        (Job::new().shots(Link::Raw, &leg().shots(Link::Raw)), true),
        (Job::new().shots(Link::Raw, &leg().shots(Link::Raw)).named(0, None, "eth0"), false),
        (Job::new().shots(Link::Raw, &leg().shots(Link::Raw)).named(0, None, "lo"), true),
        (Job::new().input(&pcapng(Link::Raw, "lo", &leg().shots(Link::Raw))), true),
        (Job::new().input(&pcapng(Link::Raw, "eth0", &leg().shots(Link::Raw))), false),
        (Job::new().input(&pcapng(Link::Raw, "any", &leg().shots(Link::Raw))), true),
    ] {
        let outcome = job.run();
        let expected = if repaired { leg().repaired() } else { leg().as_captured() };
        assert_eq!(outcome.output.ends(), expected);
    }
}

#[test]
fn snaplens_are_equal_and_said() {
    let mut file = crate::common::pcap(Link::Lo, &leg().shots(Link::Lo));
    file[16..20].copy_from_slice(&96_u32.to_le_bytes());
    let outcome = Job::new().input(&file).shots(Link::Eth, &leg().shots(Link::Eth)).run();
    assert!(told(&outcome.output.interfaces)[0].ends_with("; snaplen 96"), "{:?}", told(&outcome.output.interfaces));
    // tcpdump refuses a file whose interfaces differ in it: both stand in the blocks as one value.
    let snaplens: Vec<&[u8]> = blocks(&outcome.bytes, 1).into_iter().map(|body| &body[4..8]).collect();
    assert_eq!(snaplens[0], snaplens[1]);
}

#[test]
fn the_length_of_the_frame_check_sequence_is_kept() {
    let mut file = crate::common::pcap(Link::Eth, &[crate::common::shot(1, vec![9; 64])]);
    assert_eq!(Job::new().input(&file).run().output.interfaces[0].options(13).len(), 0);
    // Bit 26 of the link type says that bits 28 to 31 hold it, in units of 16 bits.
    file[23] |= 0x24;
    let output = Job::new().input(&file).run().output;
    assert_eq!(output.interfaces[0].link_type, 1);
    assert_eq!(output.interfaces[0].options(13), [[4]]);
    // pcapng says it itself.
    let section = Section::new(Order::Little).interface(Link::Eth, &[(13, &[4])]);
    assert_eq!(Job::new().input(&section.bytes).run().output.interfaces[0].options(13), [[4]]);
}

/// The bodies of the blocks of a type.
fn blocks(mut rest: &[u8], wanted: u32) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four octets"));
        let (block_type, length) = (word(0), word(4) as usize);
        if block_type == wanted {
            found.push(&rest[8..length - 4]);
        }
        rest = &rest[length..];
    }
    found
}

#[test]
fn ethernet_for_all() {
    for link in [
        Link::Lo,
        Link::Tagged(2),
        Link::Sll { lo: true },
        Link::Sll2 { index: 1, lo: true },
        Link::Null,
        Link::Loop,
        Link::Raw,
        Link::Ipv4,
    ] {
        let outcome = Job::new().shots(link, &leg().shots(link)).ethernet().run();
        assert_eq!(outcome.done.link_types.len(), 1);
        assert_eq!(outcome.output.ends(), leg().repaired(), "{link:?}");
        outcome.output.assert_sums();
        for (packet, shot) in outcome.output.packets.iter().zip(leg().shots(link)) {
            assert_eq!(packet.link_type, 1);
            assert_eq!(packet.length as usize, packet.bytes.len());
            let datagram = shot.bytes.len() - Link::header_len(link.number(), &shot.bytes);
            assert_eq!(packet.datagram().len(), datagram);
        }
    }
    // The sender's address stays where there is one.
    let wire = Link::Sll2 { index: 2, lo: false };
    let outcome = Job::new().shots(wire, &leg().shots(wire)).ethernet().run();
    assert_eq!(outcome.output.packets[0].bytes[..14], [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0]);
}

#[test]
fn what_cannot_be_ethernet_stays_and_is_counted() {
    let mut file = crate::common::pcap(Link::Null, &[crate::common::shot(1, vec![9; 40])]);
    file[20] = 105;
    let outcome = Job::new().input(&file).shots(Link::Lo, &leg().shots(Link::Lo)).ethernet().run();
    assert_eq!(outcome.done.link_types.len(), 2);
    assert!(outcome.summary().ends_with("1 packet could not be written as Ethernet\n"), "{}", outcome.summary());
    assert_eq!(outcome.output.packets[0].bytes, [9; 40]);
}

#[test]
fn an_input_that_is_empty_keeps_its_number() {
    // What the comments and the report say of inputs is their place on the command line.
    let job = Job::new().input(b"").shots(Link::Raw, &leg().shots(Link::Raw)).named(1, None, "lo");
    let outcome = job.run();
    assert_eq!(outcome.output.ends(), leg().repaired());
    assert_eq!(told(&outcome.output.interfaces), ["interface; input 2, interface 0; name given"]);
    assert!(outcome.output.comments()[0].ends_with("in frame 2 of input 2"), "{:?}", outcome.output.comments());
    assert_eq!(outcome.legs[0]["evidence_reply"], "2:2");
    assert_eq!(outcome.done.damage.len(), 1);
}

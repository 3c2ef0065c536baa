//! Rewritten frames against the same frames built anew, their checksums summed in full.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::packet::Origin;
use crate::packet::tests::build;

/// What stands in a checksum field before the rewriting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Right,
    Partial,
    /// This much more than the right one.
    Wrong(u16),
    /// UDP's "none"; for IPv4, never filled in.
    Zero,
}

/// A packet to be built, with one pair of addresses or another.
#[derive(Clone, Debug)]
struct Plan {
    v6: bool,
    udp: bool,
    /// IPv4 options, or an IPv6 extension header.
    long_header: bool,
    data: Vec<u8>,
    transport: State,
    header: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Plan {
    fn protocol(&self) -> u8 {
        if self.udp { protocol::UDP } else { protocol::TCP }
    }

    /// Where the transport header starts behind [`LINK`] octets.
    fn transport_at(&self) -> usize {
        LINK + if self.v6 { 40 } else { 20 } + if self.long_header { 8 } else { 0 }
    }

    fn checksum_at(&self) -> usize {
        self.transport_at() + if self.udp { 6 } else { 16 }
    }

    /// An Ethernet frame.
    fn build(&self, ends: Ends) -> Vec<u8> {
        let datagram = self.datagram(ends);
        let ethertype = if self.v6 { 0x86dd } else { 0x0800 };
        build::ethernet(ethertype, &self.header(ends, self.protocol(), self.long_header, &datagram))
    }

    fn header(&self, ends: Ends, protocol: u8, long: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = match (self.v6, long) {
            (false, false) => build::v4(protocol, payload),
            (false, true) => build::v4_with(protocol, 0, &[7, 7, 4, 1, 2, 3, 4, 0], payload),
            (true, false) => build::v6(protocol, payload),
            (true, true) => build::v6(60, &[&build::extension(protocol, 1), payload].concat()),
        };
        self.address(&mut packet, ends);
        packet
    }

    /// Writes the addresses and, for IPv4, the header checksum.
    fn address(&self, packet: &mut [u8], ends: Ends) {
        let addresses = address_octets(ends);
        let at = if self.v6 { 8 } else { 12 };
        packet[at..at + addresses.len()].copy_from_slice(&addresses);
        if !self.v6 {
            packet[10..12].fill(0);
            let right = build::internet_checksum(&packet[..usize::from(packet[0] & 0xf) * 4]);
            let stored = self.header.stored(right, 0);
            packet[10..12].copy_from_slice(&stored.to_be_bytes());
        }
    }

    fn datagram(&self, ends: Ends) -> Vec<u8> {
        let mut datagram = if self.udp { build::udp(&self.data) } else { build::tcp(&[1, 1, 1, 0], &self.data) };
        datagram[..2].copy_from_slice(&ends.source.port().to_be_bytes());
        datagram[2..4].copy_from_slice(&ends.destination.port().to_be_bytes());
        let (right, partial) = sums(ends, self.protocol(), &datagram);
        let right = if self.udp && right == 0 { 0xffff } else { right };
        let at = if self.udp { 6 } else { 16 };
        datagram[at..at + 2].copy_from_slice(&self.transport.stored(right, partial).to_be_bytes());
        datagram
    }
}

impl State {
    fn stored(self, right: u16, partial: u16) -> u16 {
        match self {
            State::Right => right,
            State::Partial => partial,
            State::Wrong(by) => right.wrapping_add(by),
            State::Zero => 0,
        }
    }
}

/// Octets before the IP header in [`Plan::build`].
const LINK: usize = 14;

fn address_octets(ends: Ends) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    [octets(ends.source.ip()), octets(ends.destination.ip())].concat()
}

/// A datagram's checksum and, not complemented, the sum of its pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).
/// In the datagram itself, the field counts as it stands.
fn sums(ends: Ends, protocol: u8, datagram: &[u8]) -> (u16, u16) {
    let mut pseudo = address_octets(ends);
    pseudo.extend((datagram.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    let partial = !build::internet_checksum(&pseudo);
    (build::internet_checksum(&[&pseudo, datagram].concat()), partial)
}

/// By how much a checksum is off: 0 for a right one.
fn residue(checksum: u16) -> u16 {
    // Two representations of zero.
    if checksum == 0xffff { 0 } else { checksum }
}

fn view_of(frame: &[u8], original_len: usize) -> View {
    decode(LinkType::ETHERNET, frame, original_len)
}

/// Translates and checks that the view followed.
fn translated(frame: &[u8], original_len: usize, to: Ends) -> (Vec<u8>, Checksum) {
    let mut out = frame.to_vec();
    let mut view = view_of(frame, original_len);
    let found = translate(&mut out, &mut view, to.source, to.destination);
    assert_eq!(format!("{view:?}"), format!("{:?}", view_of(&out, original_len)));
    (out, found)
}

/// Words near the edges of one's-complement arithmetic are as frequent as others.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(1), Just(0xfffe), Just(0xffff), any::<u16>(), any::<u16>(), any::<u16>()]
}

fn socket(v6: bool) -> BoxedStrategy<SocketAddr> {
    (prop::array::uniform8(word()), word())
        .prop_map(move |(words, port)| {
            let [a, b, c, d, e, f, g, h] = words;
            let address = match v6 {
                true => IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)),
                false => IpAddr::V4(Ipv4Addr::from(u32::from(a) << 16 | u32::from(b))),
            };
            SocketAddr::new(address, port)
        })
        .boxed()
}

fn plan() -> BoxedStrategy<(Plan, Ends, Ends)> {
    let wrong = || (1..0xffff_u16).prop_map(State::Wrong);
    let data = prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..90);
    let shape = (any::<bool>(), any::<bool>(), any::<bool>());
    let transport = prop_oneof![Just(State::Right), Just(State::Partial), wrong(), Just(State::Zero)];
    let header = prop_oneof![Just(State::Right), wrong(), Just(State::Zero)];
    (shape, data, transport, header)
        .prop_flat_map(|((v6, udp, long_header), data, transport, header)| {
            let plan = Plan { v6, udp, long_header, data, transport, header };
            let ends = || (socket(v6), socket(v6)).prop_map(|(source, destination)| Ends { source, destination });
            (Just(plan), ends(), ends())
        })
        .boxed()
}

/// What the frame has to be after the rewriting: the same plan, built with other addresses. `len` octets were captured.
fn expected(plan: &Plan, to: Ends, len: usize) -> Vec<u8> {
    let mut plan = plan.clone();
    if plan.transport == State::Partial && len == plan.build(to).len() {
        plan.transport = State::Right;
    }
    plan.build(to)[..len].to_vec()
}

/// Compares the frames: equal octet by octet where a checksum is right, partial or none; where it is wrong, equal beside the
/// checksum, which is wrong by the same amount.
fn assert_rewritten(plan: &Plan, before: (&[u8], Ends), after: (&[u8], Ends)) {
    let mut wanted = expected(plan, after.1, after.0.len());
    let is_udp_none = plan.udp && plan.transport == State::Zero;
    if matches!(plan.transport, State::Wrong(_) | State::Zero) && !is_udp_none {
        let at = plan.checksum_at();
        if let Some(field) = after.0.get(at..at + 2) {
            let whole = |frame: &[u8], ends: Ends| {
                // What the snaplen cut off comes back from the plan.
                let rest = &plan.build(ends)[frame.len()..];
                let frame = [frame, rest].concat();
                residue(sums(ends, plan.protocol(), &frame[plan.transport_at()..]).0)
            };
            assert_eq!(whole(before.0, before.1), whole(after.0, after.1));
            wanted[at..at + 2].copy_from_slice(field);
        }
    }
    if !plan.v6 && plan.header != State::Right {
        let header = |frame: &[u8]| residue(build::internet_checksum(&frame[LINK..plan.transport_at()]));
        assert_eq!(header(before.0), header(after.0));
        wanted[LINK + 10..LINK + 12].copy_from_slice(&after.0[LINK + 10..LINK + 12]);
    }
    if after.0.len() == plan.checksum_at() + 1 {
        // Half of a checksum cannot follow.
        wanted[plan.checksum_at()] = before.0[plan.checksum_at()];
    }
    assert_eq!(after.0, wanted);
}

/// Two in 65536: a checksum that looks partial and is not, or like none.
fn is_ambiguous(plan: &Plan, ends: Ends) -> bool {
    let datagram = plan.datagram(ends);
    let at = if plan.udp { 6 } else { 16 };
    let stored = u16::from_be_bytes([datagram[at], datagram[at + 1]]);
    let is_partial = plan.transport != State::Partial && stored == sums(ends, plan.protocol(), &datagram).1;
    is_partial || plan.udp && plan.transport != State::Zero && stored == 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_those_of_the_rfc(bytes in prop::collection::vec(prop_oneof![Just(0xff), any::<u8>()], 0..300), at in 0..8_usize) {
        let bytes = bytes.get(at..).unwrap_or_default();
        prop_assert_eq!(checksum::sum(bytes), !build::internet_checksum(bytes));
    }

    #[test]
    fn whole_packets((plan, from, to) in plan(), padding in 0..7_usize) {
        prop_assume!(!is_ambiguous(&plan, from));
        let frame = plan.build(from);
        let (out, found) = translated(&frame, frame.len(), to);
        assert_rewritten(&plan, (&frame, from), (&out, to));
        let expected = match plan.transport {
            State::Partial => Checksum::Completed,
            State::Zero if plan.udp => Checksum::None,
            _ => Checksum::NotPartial,
        };
        prop_assert_eq!(found, expected);
        // What the link layer pads does not count.
        let padded = [&frame[..], &vec![0xee; padding]].concat();
        let (padded_out, _) = translated(&padded, padded.len(), to);
        prop_assert_eq!(&padded_out[..out.len()], out);
        prop_assert!(padded_out[frame.len()..].iter().all(|&octet| octet == 0xee));
    }

    #[test]
    fn packets_cut_by_the_snaplen((plan, from, to) in plan(), cut in any::<prop::sample::Index>()) {
        prop_assume!(!is_ambiguous(&plan, from));
        let whole = plan.build(from);
        // From the first octet of the transport header on.
        let start = plan.transport_at();
        let len = start + cut.index(whole.len() - start);
        let frame = &whole[..len];
        let (out, found) = translated(frame, whole.len(), to);
        prop_assert!(matches!(found, Checksum::NotWhole | Checksum::None), "{found:?}");
        if len >= start + 4 {
            assert_rewritten(&plan, (frame, from), (&out, to));
        } else {
            // No ports: they cannot be changed, and half of one is not.
            prop_assert_eq!(&out[start..], &frame[start..]);
        }
    }

    #[test]
    fn addresses_that_stay((plan, ends, _) in plan(), cut in any::<Option<prop::sample::Index>>()) {
        prop_assume!(!is_ambiguous(&plan, ends));
        let whole = plan.build(ends);
        let len = cut.map_or(whole.len(), |cut| cut.index(whole.len()));
        let mut out = whole[..len].to_vec();
        let view = view_of(&out, whole.len());
        let found = complete_checksum(&mut out, &view);
        if plan.transport == State::Partial && len == whole.len() {
            prop_assert_eq!(found, Checksum::Completed);
            prop_assert_eq!(&out, &expected(&plan, ends, len));
            prop_assert_eq!(complete_checksum(&mut out, &view) == Checksum::Completed, is_ambiguous(&Plan { transport: State::Right, ..plan.clone() }, ends));
            prop_assert_eq!(&out, &expected(&plan, ends, len), "and once more");
        } else {
            prop_assert_ne!(found, Checksum::Completed);
            prop_assert_eq!(&out, &whole[..len]);
        }
        // To be translated to the addresses that it has is the same.
        if whole.len() == len {
            prop_assert_eq!(translated(&whole, len, ends).0, out);
        }
    }

    #[test]
    fn there_and_back((plan, from, to) in plan()) {
        let plan = Plan { transport: State::Right, header: State::Right, ..plan };
        prop_assume!(!is_ambiguous(&plan, from) && !is_ambiguous(&plan, to));
        let frame = plan.build(from);
        let (out, _) = translated(&frame, frame.len(), to);
        prop_assert_eq!(translated(&out, out.len(), from).0, frame);
    }

    #[test]
    fn fragments((plan, from, to) in plan(), at in any::<prop::sample::Index>()) {
        // A card completes a partial checksum before it fragments.
        let transport = if plan.transport == State::Partial { State::Right } else { plan.transport };
        let plan = Plan { long_header: false, transport, ..plan };
        prop_assume!(!is_ambiguous(&plan, from) && !is_ambiguous(&plan, to));
        let datagram = plan.datagram(from);
        // In units of 8 octets, the TCP header in the first.
        let offset = (24 + at.index(datagram.len().max(25) - 24)) / 8 * 8;
        prop_assume!(offset < datagram.len());
        let (first, rest) = datagram.split_at(offset);
        let packet = |offset: u16, more: bool, part: &[u8]| {
            let mut packet = match plan.v6 {
                true => build::v6(44, &[&build::fragment(plan.protocol(), offset, more)[..], part].concat()),
                false => build::v4_with(plan.protocol(), (offset / 8) | u16::from(more) << 13, &[], part),
            };
            plan.address(&mut packet, from);
            build::ethernet(if plan.v6 { 0x86dd } else { 0x0800 }, &packet)
        };
        let parts = [packet(0, true, first), packet(offset as u16, false, rest)];
        let outs = parts.each_ref().map(|part| translated(part, part.len(), to));
        let start = LINK + if plan.v6 { 48 } else { 20 };
        prop_assert!(outs[0].1 != Checksum::Completed && outs[1].1 == Checksum::None);
        prop_assert_eq!(&outs[1].0[start..], rest);
        let whole = [&outs[0].0[start..], rest].concat();
        let wanted = plan.datagram(to);
        if plan.transport == State::Right || plan.udp && plan.transport == State::Zero {
            prop_assert_eq!(whole, wanted);
        } else {
            let off = |ends: Ends, datagram: &[u8]| residue(sums(ends, plan.protocol(), datagram).0);
            prop_assert_eq!(off(to, &whole), off(from, &datagram));
        }
    }

    #[test]
    fn quotes((plan, from, to) in plan(), outer in socket(true), cut in any::<prop::sample::Index>(), partly in any::<bool>()) {
        prop_assume!(!is_ambiguous(&plan, from));
        let header_len = plan.transport_at() - LINK;
        let whole = plan.build(from).split_off(LINK);
        // RFC 792: the header and 8 octets at least.
        let len = if partly { header_len + 8 + cut.index(whole.len() - header_len - 7) } else { whole.len() };
        let outer = |quoted: &[u8]| {
            let v4 = Ends { source: "10.9.8.7:0".parse().expect("an address"), destination: "10.9.8.6:0".parse().expect("an address") };
            let ends = if plan.v6 { Ends { source: outer, destination: from.source } } else { v4 };
            let mut message = build::icmp(3, quoted);
            let checksum = if plan.v6 { sums(ends, protocol::ICMPV6, &message).0 } else { build::internet_checksum(&message) };
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
            let protocol = if plan.v6 { protocol::ICMPV6 } else { protocol::ICMP };
            let outer = Plan { header: State::Right, ..plan.clone() };
            build::ethernet(if plan.v6 { 0x86dd } else { 0x0800 }, &outer.header(ends, protocol, false, &message))
        };
        let frame = outer(&whole[..len]);
        let mut out = frame.clone();
        let view = view_of(&frame, frame.len());
        translate_quote(&mut out, &view, to.source, to.destination);
        prop_assert_eq!(format!("{view:?}"), format!("{:?}", view_of(&out, out.len())));
        let at = LINK + if plan.v6 { 48 } else { 28 };
        let pad = &frame[..LINK];
        assert_rewritten(&plan, (&[pad, &whole[..len]].concat(), from), (&[pad, &out[at..]].concat(), to));
        // The outer checksum is right for whatever is quoted now.
        let mut rebuilt = outer(&out[at..]);
        let message = at - 8;
        if [&out[message + 2..message + 4], &rebuilt[message + 2..message + 4]] == [&[0xff; 2][..], &[0; 2][..]] {
            rebuilt[message + 2..message + 4].fill(0xff);
        }
        prop_assert_eq!(out, rebuilt);
    }

    /// Nothing but addresses, ports and checksums changes, whatever the packet is.
    #[test]
    fn nothing_else_changes(
        (plan, from, to) in plan(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = plan.build(from);
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.truncate(1 + cut.index(frame.len()));
        let mut view = view_of(&frame, frame.len());
        let Some(ip) = view.ip.filter(|ip| ip.source.is_ipv6() == plan.v6) else { return Ok(()) };
        let mut allowed: Vec<usize> = if plan.v6 { (8..40).collect() } else { (10..20).collect() };
        allowed.iter_mut().for_each(|at| *at += view.link.network());
        if view.transport.ports().is_some() {
            allowed.extend(ip.payload()..ip.payload() + 4);
        }
        if !ip.is_later_fragment() {
            let at = match ip.protocol { protocol::TCP => 16, protocol::UDP => 6, protocol::ICMPV6 if plan.v6 => 2, _ => usize::MAX / 2 };
            allowed.extend([ip.payload() + at, ip.payload() + at + 1]);
        }
        let mut out = frame.clone();
        translate(&mut out, &mut view, to.source, to.destination);
        prop_assert_eq!(out.len(), frame.len());
        for at in 0..frame.len() {
            prop_assert!(out[at] == frame[at] || allowed.contains(&at), "octet {} of {:?}", at, view);
        }
        translate_quote(&mut out, &view, to.source, to.destination);
        complete_checksum(&mut out, &view);
    }
}

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().expect("an address"), destination: destination.parse().expect("an address") }
}

const TO: (&str, &str) = ("10.96.0.10:80", "172.21.206.227:25463");

/// The observed case: what lo shows of a redirected segment, as the network would have.
#[test]
fn a_redirected_segment_on_lo() {
    let from = ends("172.21.206.227:22654", "127.0.0.1:15001");
    let to = ends("172.21.206.227:22654", "10.96.0.10:80");
    let plan = |transport| Plan {
        v6: false,
        udp: false,
        long_header: false,
        data: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        transport,
        header: State::Right,
    };
    let frame = plan(State::Partial).build(from);
    assert_eq!(translated(&frame, frame.len(), to), (plan(State::Right).build(to), Checksum::Completed));
    let cut = &frame[..60];
    assert_eq!(translated(cut, frame.len(), to), (plan(State::Partial).build(to)[..60].to_vec(), Checksum::NotWhole));
}

/// A checksum whose sum comes out as 0 is sent as all ones by UDP (RFC 768), as 0 by TCP.
#[test]
fn computed_zero() {
    let to = ends(TO.0, TO.1);
    for (udp, expected) in [(true, 0xffff), (false, 0)] {
        let mut plan = Plan {
            v6: false,
            udp,
            long_header: false,
            data: vec![0, 0],
            transport: State::Right,
            header: State::Right,
        };
        // Two octets of data that bring the sum to all ones.
        let frame = plan.build(to);
        let at = plan.checksum_at();
        plan.data.copy_from_slice(&frame[at..at + 2]);
        for state in [State::Right, State::Partial] {
            plan.transport = state;
            let from = ends("172.21.206.227:1", "127.0.0.1:15053");
            let frame = plan.build(from);
            let (out, _) = translated(&frame, frame.len(), to);
            assert_eq!(be16(&out, at), Some(expected), "{state:?}");
            let mut same = plan.build(to);
            let view = view_of(&same, same.len());
            complete_checksum(&mut same, &view);
            assert_eq!(be16(&same, at), Some(expected), "{state:?}");
        }
    }
}

/// BIG TCP: a length of 17 bits in the pseudo header, as Linux sums it.
#[test]
fn segments_over_64_kib() {
    let (from, to) = (ends("172.21.206.227:1000", "127.0.0.1:15001"), ends("172.21.206.227:1000", "10.96.0.10:80"));
    let plan = |transport| Plan {
        v6: false,
        udp: false,
        long_header: false,
        data: vec![0xa5; 100_001],
        transport,
        header: State::Right,
    };
    let build = |transport, ends| {
        let mut frame = plan(transport).build(ends);
        frame[16..18].fill(0);
        frame[24..26].fill(0);
        let checksum = build::internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    };
    let frame = build(State::Partial, from);
    assert_eq!(translated(&frame, frame.len(), to), (build(State::Right, to), Checksum::Completed));
    let (right, wanted) = (build(State::Right, from), build(State::Right, to));
    assert_eq!(translated(&right, right.len(), to), (wanted, Checksum::NotPartial));
    let (cut, _) = translated(&frame[..96], frame.len(), to);
    assert_eq!(cut, build(State::Partial, to)[..96]);
}

#[test]
fn udp_lengths_that_lie() {
    let (from, to) = (ends("10.0.0.1:1000", "127.0.0.1:15053"), ends("10.0.0.1:1000", "10.96.0.53:53"));
    let plan = Plan {
        v6: false,
        udp: true,
        long_header: false,
        data: b"abcdef".to_vec(),
        transport: State::Partial,
        header: State::Right,
    };
    let at = plan.transport_at();
    let with = |length: u16| {
        let mut frame = plan.build(from);
        let partial = !build::internet_checksum(
            &[&address_octets(from)[..], &[0, protocol::UDP], &length.to_be_bytes()].concat(),
        );
        frame[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        frame[at + 6..at + 8].copy_from_slice(&partial.to_be_bytes());
        frame
    };
    // Shorter than the datagram: it covers what it says.
    let (out, found) = translated(&with(12), 56, to);
    assert_eq!(found, Checksum::Completed);
    assert_eq!(residue(sums(to, protocol::UDP, &out[at..at + 12]).0), 0);
    // Longer, or without its own header: nothing could be summed.
    for length in [1, 7, 15, 9000] {
        assert_eq!(translated(&with(length), 56, to).1, Checksum::NotWhole, "{length}");
    }
    let mut frame = with(7);
    let view = view_of(&frame, frame.len());
    assert_eq!(complete_checksum(&mut frame, &view), Checksum::NotWhole);
    assert_eq!(frame, with(7));
}

#[test]
fn what_is_left_alone() {
    let to = ends(TO.0, TO.1);
    let zero = build::ethernet(0x0806, &[0; 28]);
    assert_eq!(translated(&zero, zero.len(), to), (zero.clone(), Checksum::None));
    // A protocol without a checksum over addresses: the addresses change, the header checksum follows.
    let icmp = build::ethernet(0x0800, &build::v4(1, &build::icmp(8, &[7; 8])));
    let (out, found) = translated(&icmp, icmp.len(), to);
    assert_eq!((found, &out[34..]), (Checksum::None, &icmp[34..]));
    assert_eq!(build::internet_checksum(&out[14..34]), 0);
    // Nothing is quoted.
    let mut same = icmp.clone();
    let view = view_of(&icmp, icmp.len());
    assert_eq!(translate_quote(&mut same, &view, to.source, to.destination), Checksum::None);
    assert_eq!(same, icmp);
}

/// ICMPv6 sums a pseudo header, too (RFC 4443, section 2.3).
#[test]
fn icmpv6_follows_its_addresses() {
    let to = ends("[fd00:96::10]:0", "[fd00:21::227]:0");
    let from = ends("[fd00::1]:0", "[fd00::2]:0");
    let mut message = build::icmp(1, &build::v6(6, &build::tcp(&[], b"odd")));
    let checksum = sums(from, protocol::ICMPV6, &message).0;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let frame = build::ethernet(0x86dd, &build::v6(58, &message));
    let (out, found) = translated(&frame, frame.len(), to);
    assert_eq!((found, sums(to, protocol::ICMPV6, &out[54..]).0), (Checksum::None, 0));
    assert_eq!(out[58..], frame[58..]);
}

/// Link type and frame; source, EtherType and payload of the Ethernet frame, if there is one.
type Row<'a> = (&'a str, LinkType, Vec<u8>, Option<([u8; 6], u16, &'a [u8])>);

#[test]
fn frames_as_ethernet() {
    let packet = build::v4(17, &build::udp(b"x"));
    let v6 = build::v6(17, &build::udp(b"x"));
    let (sender, none) = ([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 0]);
    let tagged = [&build::tag(0x0800)[..], &packet].concat();
    let family = |octets: [u8; 4], packet: &[u8]| [&octets, packet].concat();
    let mut short_address = build::sll2(3, 0, 512, 0x0800, &packet);
    short_address[11] = 4;
    let rows: Vec<Row> = vec![
        ("SLL", LinkType::LINUX_SLL, build::sll(0, 1, 0x0800, &packet), Some((sender, 0x0800, &packet))),
        ("SLL on lo", LinkType::LINUX_SLL, build::sll(0, 772, 0x86dd, &v6), Some(([0; 6], 0x86dd, &v6))),
        ("SLL, ARP", LinkType::LINUX_SLL, build::sll(0, 1, 0x0806, &packet), Some((sender, 0x0806, &packet))),
        ("SLL, VLAN", LinkType::LINUX_SLL, build::sll(0, 1, 0x8100, &tagged), Some((sender, 0x8100, &tagged))),
        ("SLL, 802.2", LinkType::LINUX_SLL, build::sll(0, 1, 4, &packet), None),
        ("SLL, netlink", LinkType::LINUX_SLL, build::sll(0, 824, 0x0800, &packet), None),
        ("SLL, cut", LinkType::LINUX_SLL, build::sll(0, 1, 0x0800, &packet)[..15].to_vec(), None),
        ("SLL2", LinkType::LINUX_SLL2, build::sll2(3, 4, 1, 0x86dd, &v6), Some((sender, 0x86dd, &v6))),
        ("SLL2 on lo", LinkType::LINUX_SLL2, build::sll2(1, 0, 772, 0x0800, &packet), Some(([0; 6], 0x0800, &packet))),
        ("SLL2, PPP", LinkType::LINUX_SLL2, short_address, Some((none, 0x0800, &packet))),
        ("SLL2, VLAN", LinkType::LINUX_SLL2, build::sll2(3, 4, 1, 0x8100, &tagged), Some((sender, 0x8100, &tagged))),
        ("SLL2, cut", LinkType::LINUX_SLL2, build::sll2(3, 4, 1, 0x86dd, &v6)[..19].to_vec(), None),
        ("RAW", LinkType::RAW, packet.clone(), Some((none, 0x0800, &packet))),
        ("RAW, IPv6", LinkType::RAW, v6.clone(), Some((none, 0x86dd, &v6))),
        ("RAW, neither", LinkType::RAW, vec![0x50; 30], None),
        ("RAW, nothing", LinkType::RAW, vec![], None),
        ("IPV4", LinkType::IPV4, packet.clone(), Some((none, 0x0800, &packet))),
        ("IPV6", LinkType::IPV6, v6.clone(), Some((none, 0x86dd, &v6))),
        ("NULL", LinkType::NULL, family([30, 0, 0, 0], &v6), Some(([0; 6], 0x86dd, &v6))),
        ("NULL, OSI", LinkType::NULL, family([7, 0, 0, 0], &packet), None),
        ("LOOP", LinkType::LOOP, family([0, 0, 0, 2], &packet), Some(([0; 6], 0x0800, &packet))),
        ("Ethernet", LinkType::ETHERNET, build::ethernet(0x0800, &packet), None),
        ("PPP", LinkType(9), packet.clone(), None),
    ];
    for (what, link_type, frame, expected) in rows {
        let view = decode(link_type, &frame, frame.len());
        let mut out = b"what was there before".to_vec();
        let done = to_ethernet(&view, &frame, &mut out);
        // Of PPP nothing is read.
        assert_eq!(can_be_ethernet(link_type), link_type != LinkType::ETHERNET && link_type != LinkType(9), "{what}");
        let wanted = expected
            .map(|(source, ethertype, payload)| [&[0; 6][..], &source, &ethertype.to_be_bytes(), payload].concat());
        assert_eq!((done, &out), (wanted.is_some(), &wanted.clone().unwrap_or_default()), "{what}");
        if done {
            let converted = decode(LinkType::ETHERNET, &out, out.len());
            assert_eq!(converted.link.ethertype, view.link.ethertype, "{what}");
            let is_loopback = |view: &View| view.link.origin == Origin::Loopback;
            assert_eq!(is_loopback(&converted), is_loopback(&view), "{what}");
            assert_eq!(converted.transport.ports(), view.transport.ports(), "{what}");
        }
    }
}

/// An error on lo quotes what was there: the checksum that no network card has completed, which tshark calls bad.
#[test]
fn quoted_checksums_are_completed() {
    let from = ends("10.96.0.10:80", "172.21.206.227:22654");
    let plan = |transport| Plan {
        v6: false,
        udp: false,
        long_header: false,
        data: b"hello".to_vec(),
        transport,
        header: State::Right,
    };
    let error = |quoted: &[u8]| {
        let mut message = build::icmp(3, quoted);
        let checksum = build::internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        build::ethernet(0x0800, &build::v4(1, &message))
    };
    let (partial, right) = (plan(State::Partial).build(from), plan(State::Right).build(from));
    let mut frame = error(&partial[LINK..]);
    let view = view_of(&frame, frame.len());
    assert_eq!(complete_checksum(&mut frame, &view), Checksum::Completed);
    assert_eq!(frame, error(&right[LINK..]));
    assert_eq!(complete_checksum(&mut frame, &view), Checksum::NotPartial);
    assert_eq!(frame, error(&right[LINK..]));
    // What is quoted in part cannot be summed.
    let mut cut = error(&partial[LINK..][..40]);
    let view = view_of(&cut, cut.len());
    assert_eq!(complete_checksum(&mut cut, &view), Checksum::NotWhole);
    assert_eq!(cut, error(&partial[LINK..][..40]));
}

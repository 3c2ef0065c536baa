//! Packets put together octet by octet, for the tests of this stage and of those behind it.

/// The complement of the one's-complement sum of `octets` (RFC 1071), word by word as the RFC describes it.
pub(crate) fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An Ethernet frame; the addresses are not zero.
pub(crate) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &ethertype.to_be_bytes()[..], payload].concat()
}

/// A VLAN tag's TCI with the EtherType behind it.
pub(crate) fn tag(ethertype: u16) -> [u8; 4] {
    let [high, low] = ethertype.to_be_bytes();
    [0x60, 0x7b, high, low]
}

/// LINKTYPE_LINUX_SLL.
pub(crate) fn sll(packet_type: u8, arphrd: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let head = [0, packet_type, (arphrd >> 8) as u8, arphrd as u8, 0, 6, 2, 0, 0, 0, 0, 9, 0xff, 0xff];
    [&head[..], &protocol.to_be_bytes(), payload].concat()
}

/// LINKTYPE_LINUX_SLL2.
pub(crate) fn sll2(ifindex: u32, packet_type: u8, arphrd: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = protocol.to_be_bytes().to_vec();
    frame.extend([0, 0]);
    frame.extend(ifindex.to_be_bytes());
    frame.extend(arphrd.to_be_bytes());
    frame.extend([packet_type, 6, 2, 0, 0, 0, 0, 9, 0xff, 0xff]);
    frame.extend(payload);
    frame
}

/// 10.0.0.1 > 10.0.0.2 with a right header checksum. `fragment` is the word of flags and offset.
pub(crate) fn v4_with(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = ((header_len + payload.len()) as u16).to_be_bytes();
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0, total[0], total[1], 0x12, 0x34];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(options);
    let checksum = internet_checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&checksum);
    packet.extend(payload);
    packet
}

/// 10.0.0.1 > 10.0.0.2, Don't Fragment.
pub(crate) fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(protocol, 0x4000, &[], payload)
}

/// fd00::1 > fd00::2.
pub(crate) fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

/// An IPv6 extension header of `units` times 8 octets, filled with Pad1.
pub(crate) fn extension(next_header: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0; usize::from(units) * 8];
    header[..2].copy_from_slice(&[next_header, units - 1]);
    header
}

/// An IPv6 Fragment header; `offset` is in octets.
pub(crate) fn fragment(next_header: u8, offset: u16, more: bool) -> Vec<u8> {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    vec![next_header, 0, high, low, 0xaa, 0xbb, 0xcc, 0xdd]
}

/// Port 1000 to 2000, sequence number 0x01020304, acknowledging 0x05060708, ACK and PSH; the checksum is zero.
pub(crate) fn tcp(options: &[u8], data: &[u8]) -> Vec<u8> {
    let words = 5 + options.len().div_ceil(4);
    let mut segment =
        vec![0x03, 0xe8, 0x07, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8, (words << 4) as u8, 0x18, 0x20, 0, 0, 0, 0, 0];
    segment.extend(options);
    segment.resize(words * 4, 0);
    segment.extend(data);
    segment
}

/// Port 1000 to 53; the checksum is zero.
pub(crate) fn udp(data: &[u8]) -> Vec<u8> {
    let [high, low] = ((8 + data.len()) as u16).to_be_bytes();
    [&[0x03, 0xe8, 0, 53, high, low, 0, 0], data].concat()
}

/// An ICMP or ICMPv6 message about a datagram; the checksum is zero.
pub(crate) fn icmp(icmp_type: u8, quoted: &[u8]) -> Vec<u8> {
    [&[icmp_type, 1, 0, 0, 0, 0, 0, 0], quoted].concat()
}

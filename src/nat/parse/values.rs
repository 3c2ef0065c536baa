//! Values as rules write them: protocols, addresses, ports, numbers, marks.

use std::net::{IpAddr, Ipv6Addr};

use crate::nat::numbers::Numbers;
use crate::nat::ruleset::{Addresses, Family, States, Target, Test, bits};

/// The number of a protocol, by the names of /etc/protocols; 0 is all of them.
pub(super) fn protocol(name: &str) -> Option<u32> {
    Some(match name.to_ascii_lowercase().as_str() {
        "all" => 0,
        "icmp" => 1,
        "igmp" => 2,
        "ggp" => 3,
        "ipencap" => 4,
        "tcp" => 6,
        "egp" => 8,
        "igp" => 9,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" | "ipv6-crypt" => 50,
        "ah" | "ipv6-auth" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "eigrp" => 88,
        "ospf" | "ospfigp" => 89,
        "ipip" => 94,
        "etherip" => 97,
        "encap" => 98,
        "pim" => 103,
        "ipcomp" => 108,
        "vrrp" => 112,
        "l2tp" => 115,
        "isis" => 124,
        "sctp" => 132,
        "fc" => 133,
        "mh" | "ipv6-mh" | "mobility-header" => 135,
        "udplite" => 136,
        "mpls-in-ip" => 137,
        "hip" => 139,
        "shim6" => 140,
        number => number.parse::<u8>().ok()?.into(),
    })
}

/// The name of an interface, or the beginning of one behind which `wildcard` stands.
pub(super) fn interface(name: &str, wildcard: char, test: fn(String, bool) -> Test) -> Test {
    match name.strip_suffix(wildcard) {
        Some(prefix) => test(prefix.to_owned(), true),
        None => test(name.to_owned(), false),
    }
}

/// A comma list of addresses with prefix lengths or masks.
pub(super) fn addresses(text: &str, family: &mut Option<Family>) -> Result<Addresses, String> {
    let one = |part: &str| -> Result<(IpAddr, IpAddr, u128), String> {
        let wrong = || format!("`{part}` is no address");
        let (address, mask) = part.split_once('/').map_or((part, None), |(a, m)| (a, Some(m)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let full = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        let mask = match mask.map(|m| (m.parse::<u32>(), m.parse::<IpAddr>())) {
            None => full,
            Some((Ok(length), _)) if length <= width => full & !full.checked_shr(length).unwrap_or(0),
            Some((_, Ok(mask))) if mask.is_ipv4() == address.is_ipv4() => bits(mask),
            Some(_) => return Err(wrong()),
        };
        Ok((address, address, mask))
    };
    let list: Vec<_> = text.split(',').map(one).collect::<Result<_, _>>()?;
    *family = family.or_else(|| list.first().map(|a| Family::of(a.0)));
    Ok(Addresses(list))
}

/// `first-last`.
pub(super) fn range(text: &str, family: &mut Option<Family>) -> Result<Addresses, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
        (Ok(first), Ok(last)) if first.is_ipv4() == last.is_ipv4() => {
            *family = family.or(Some(Family::of(first)));
            Ok(Addresses(vec![(first, last, u128::MAX)]))
        }
        _ => Err(format!("`{text}` is no range of addresses")),
    }
}

/// A comma list of ports and ranges with a colon.
pub(super) fn ports(text: &str) -> Result<Numbers, String> {
    let one = |part: &str| -> Result<(u32, u32), String> {
        let port = |p: &str, open: u16| if p.is_empty() { Ok(open) } else { p.parse::<u16>() };
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        match (port(first, 0), port(last, u16::MAX)) {
            (Ok(first), Ok(last)) if first <= last && !part.is_empty() => Ok((first.into(), last.into())),
            _ => Err(format!("`{part}` is no port")),
        }
    };
    Ok(Numbers::from_ranges(text.split(',').map(one).collect::<Result<_, _>>()?))
}

/// A uid, a gid, or a range with a dash.
pub(super) fn ids(text: &str) -> Result<Numbers, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Numbers::from_ranges(vec![(first, last)])),
        _ => Err(format!("`{text}` is no number of a user or group")),
    }
}

/// A number in decimal, hexadecimal or octal.
pub(super) fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no number"))
}

/// `value/mask`; without a mask, all bits.
pub(super) fn masked(text: &str) -> Result<(u32, u32), String> {
    match text.split_once('/') {
        Some((value, mask)) => Ok((number(value)?, number(mask)?)),
        None => Ok((number(text)?, u32::MAX)),
    }
}

pub(super) fn states(text: &str) -> Result<States, String> {
    text.split(',').try_fold(States::default(), |all, name| match States::from_name(name) {
        Some(state) => Ok(States(all.0 | state.0)),
        None => Err(format!("`{name}` is no state")),
    })
}

/// A comma list of TCP flags as their bits in the header (RFC 9293, 3.1).
pub(super) fn tcp_flags(text: &str) -> Result<u8, String> {
    text.split(',').try_fold(0, |all, name| {
        Ok(all
            | match name.to_ascii_uppercase().as_str() {
                "FIN" => 0x01,
                "SYN" => 0x02,
                "RST" => 0x04,
                "PSH" => 0x08,
                "ACK" => 0x10,
                "URG" => 0x20,
                "ECN" | "ECE" => 0x40,
                "CWR" => 0x80,
                "ALL" => 0x3f,
                "NONE" => 0,
                _ => return Err(format!("`{name}` is no TCP flag")),
            })
    })
}

/// `port` or `first-last`.
pub(super) fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is no port")),
    }
}

/// `address`, `address:port`, `[address]:port`, `:port`; none if it is a range of addresses or of shifted ports.
pub(super) fn endpoint(text: &str) -> Result<Option<Target>, String> {
    let wrong = |_| format!("`{text}` is no address");
    let (address, ports) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| format!("`{text}` has no closing bracket"))?;
        (address, rest.strip_prefix(':'))
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(address, ports)| (address, Some(ports)))
    };
    if ports.is_some_and(|ports| ports.contains('/')) {
        return Ok(None);
    }
    let ports = ports.map(port_range).transpose()?;
    if address.is_empty() {
        return Ok(Some(Target { ports, ..Target::default() }));
    }
    if let Some((first, last)) = address.split_once('-') {
        first.parse::<IpAddr>().map_err(wrong)?;
        last.parse::<IpAddr>().map_err(wrong)?;
        return Ok(None);
    }
    Ok(Some(Target { address: Some(address.parse::<IpAddr>().map_err(wrong)?), ports, random: false }))
}

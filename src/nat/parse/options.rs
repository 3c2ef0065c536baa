//! Matches and targets of iptables, as `iptables-save` prints them.
//!
//! Names and meanings are those of iptables-extensions(8). Modules and options that are not here become
//! [`Test::Unknown`] and [`Action::Unknown`]; values that make no sense are errors.

use std::net::{IpAddr, Ipv6Addr};

use super::numbers::Numbers;
use super::tokens::Tokens;
use crate::nat::ruleset::{Action, Addresses, Change, Family, Match, Register, States, Step, Target, Test, bits};

/// A rule before its target is known to be a chain.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) steps: Vec<Step>,
    /// The name after `-j` or `-g`, and whether it was `-g`.
    pub(super) target: Option<(String, bool)>,
    /// The options of the target, read as if it were iptables' own.
    pub(super) action: Option<Action>,
    /// What is not understood.
    pub(super) unknown: Vec<String>,
    /// The family that an address shows.
    pub(super) family: Option<Family>,
}

/// Reads what follows the chain's name.
pub(super) fn rule(tokens: &mut Tokens) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut module = String::new();
    loop {
        let mut negated = tokens.negation();
        let Some(token) = tokens.next() else {
            return if negated { Err("an exclamation mark at the end".to_owned()) } else { Ok(parsed) };
        };
        let option = token.text;
        match option.as_str() {
            "-m" | "--match" => {
                module = tokens.argument("-m", &mut false)?;
                if let Some(test) = start_module(&module, tokens, &mut parsed)? {
                    parsed.steps.push(Step::Match(test));
                }
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                let name = tokens.argument(&option, &mut false)?;
                parsed.action = target(&name, tokens, &mut parsed.family)?;
                parsed.target = Some((name, option.starts_with("-g") || option == "--goto"));
                return Ok(parsed);
            }
            "-4" => parsed.family = Some(Family::V4),
            "-6" => parsed.family = Some(Family::V6),
            "-c" | "--set-counters" => {
                tokens.argument("-c", &mut false)?;
                tokens.argument("-c", &mut false)?;
            }
            _ => {
                let mut text = option.clone();
                let test = test(&option, &module, tokens, &mut negated, &mut text, &mut parsed)?;
                let sign = if negated { "! " } else { "" };
                if let Some(test) = test {
                    parsed.steps.push(Step::Match(Match { negated, test, text: format!("{sign}{text}") }));
                }
            }
        }
    }
}

/// What `-m NAME` means by itself; takes all options of a module that is not known.
fn start_module(module: &str, tokens: &mut Tokens, parsed: &mut Parsed) -> Result<Option<Match>, String> {
    const KNOWN: [&str; 12] = [
        "tcp",
        "udp",
        "multiport",
        "owner",
        "comment",
        "mark",
        "connmark",
        "conntrack",
        "state",
        "addrtype",
        "iprange",
        "",
    ];
    if KNOWN.contains(&module) {
        return Ok(None);
    }
    let mut text = format!("-m {module}");
    while !tokens.at_module() {
        let word = tokens.next().map(|t| t.text).unwrap_or_default();
        text.push(' ');
        text.push_str(&word);
    }
    let test = match text.as_str() {
        "-m socket" => Test::Socket,
        _ => {
            parsed.unknown.push(format!("match `{text}`"));
            Test::Unknown(text.clone())
        }
    };
    Ok(Some(Match { negated: false, test, text }))
}

/// The test of one option. What it takes from `tokens` it adds to `text`.
fn test(
    option: &str,
    module: &str,
    tokens: &mut Tokens,
    negated: &mut bool,
    text: &mut String,
    parsed: &mut Parsed,
) -> Result<Option<Test>, String> {
    let mut argument = |text: &mut String| -> Result<String, String> {
        let argument = tokens.argument(option, negated)?;
        text.push(' ');
        text.push_str(&argument);
        Ok(argument)
    };
    Ok(Some(match (option, module) {
        ("-p" | "--protocol" | "--proto", _) => {
            let name = argument(text)?;
            match protocol(&name) {
                Some(0) => return Ok(None),
                Some(number) => Test::Protocol(Numbers::one(number)),
                None => return Err(format!("`{name}` is no protocol")),
            }
        }
        ("-s" | "--source" | "--src", _) => Test::Source(addresses(&argument(text)?, &mut parsed.family)?),
        ("-d" | "--destination" | "--dst", _) => Test::Destination(addresses(&argument(text)?, &mut parsed.family)?),
        ("-i" | "--in-interface", _) => interface(&argument(text)?, Test::In),
        ("-o" | "--out-interface", _) => interface(&argument(text)?, Test::Out),
        ("--sport" | "--source-port", _) => Test::SourcePort(ports(&argument(text)?)?),
        ("--dport" | "--destination-port", _) => Test::DestinationPort(ports(&argument(text)?)?),
        ("--sports" | "--source-ports", "multiport") => Test::SourcePort(ports(&argument(text)?)?),
        ("--dports" | "--destination-ports", "multiport") => Test::DestinationPort(ports(&argument(text)?)?),
        ("--ports", "multiport") => Test::EitherPort(ports(&argument(text)?)?),
        ("--tcp-flags", _) => {
            let mask = tcp_flags(&argument(text)?)?;
            Test::TcpFlags(mask, tcp_flags(&argument(text)?)?)
        }
        ("--syn", _) => Test::TcpFlags(0x17, 0x02),
        ("--uid-owner", "owner") => Test::Uid(ids(&argument(text)?)?),
        ("--gid-owner", "owner") => Test::Gid(ids(&argument(text)?)?),
        ("--socket-exists", "owner") => Test::HasSocket,
        ("--comment", "comment") => {
            argument(text)?;
            return Ok(None);
        }
        ("--mark", "mark" | "connmark") => {
            let (value, mask) = masked(&argument(text)?)?;
            let register = if module == "mark" { Register::Packet } else { Register::Connection };
            *text = format!("-m {module} {text}");
            Test::Mark(register, value, mask)
        }
        ("--ctstate", "conntrack") | ("--state", "state") => Test::State(states(&argument(text)?)?),
        ("--dst-type", "addrtype") | ("--src-type", "addrtype") => {
            let kind = argument(text)?;
            match kind.as_str() {
                "LOCAL" => Test::Local(option == "--src-type"),
                _ => unknown(text, parsed),
            }
        }
        ("--src-range", "iprange") => Test::Source(range(&argument(text)?, &mut parsed.family)?),
        ("--dst-range", "iprange") => Test::Destination(range(&argument(text)?, &mut parsed.family)?),
        _ if option.starts_with('-') => {
            while !tokens.at_option() {
                let word = tokens.next().map(|t| t.text).unwrap_or_default();
                text.push(' ');
                text.push_str(&word);
            }
            unknown(text, parsed)
        }
        _ => return Err(format!("`{option}` is no option")),
    }))
}

fn unknown(text: &str, parsed: &mut Parsed) -> Test {
    parsed.unknown.push(format!("match `{text}`"));
    Test::Unknown(text.to_owned())
}

fn interface(name: &str, test: fn(String, bool) -> Test) -> Test {
    match name.strip_suffix('+') {
        Some(prefix) => test(prefix.to_owned(), true),
        None => test(name.to_owned(), false),
    }
}

/// The number of a protocol; 0 is all of them.
pub(super) fn protocol(name: &str) -> Option<u32> {
    Some(match name.to_ascii_lowercase().as_str() {
        "all" => 0,
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "gre" => 47,
        "esp" | "ipv6-crypt" => 50,
        "ah" | "ipv6-auth" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        "mh" | "ipv6-mh" => 135,
        "udplite" => 136,
        number => number.parse::<u8>().ok()?.into(),
    })
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
fn range(text: &str, family: &mut Option<Family>) -> Result<Addresses, String> {
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
fn ports(text: &str) -> Result<Numbers, String> {
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
fn ids(text: &str) -> Result<Numbers, String> {
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
fn masked(text: &str) -> Result<(u32, u32), String> {
    match text.split_once('/') {
        Some((value, mask)) => Ok((number(value)?, number(mask)?)),
        None => Ok((number(text)?, u32::MAX)),
    }
}

fn states(text: &str) -> Result<States, String> {
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

/// The options of a target that is iptables' own; none if it is not.
fn target(name: &str, tokens: &mut Tokens, family: &mut Option<Family>) -> Result<Option<Action>, String> {
    let mut options = Vec::new();
    let mut stray = None;
    while let Some(token) = tokens.next() {
        if token.quoted || !token.text.starts_with('-') || token.text.parse::<i64>().is_ok() {
            match options.last_mut() {
                Some((_, value @ None)) => *value = Some(token.text),
                _ => stray = Some(token.text),
            }
        } else {
            options.push((token.text, None));
        }
    }
    let given =
        |names: &[&str]| options.iter().find(|(o, _)| names.contains(&o.as_str())).map(|(o, v)| (o, v.as_deref()));
    let value = |names: &[&str]| match given(names) {
        Some((option, None)) => Err(format!("{option} has no argument")),
        Some((_, value)) => Ok(value),
        None => Ok(None),
    };
    let only = |names: &[&str]| options.iter().all(|(option, _)| names.contains(&option.as_str()));
    let port_options = ["--to-ports", "--to-port", "--random", "--random-fully", "--persistent"];
    let action = match name {
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "RETURN" => Action::Return,
        "REJECT" => {
            if value(&["--reject-with"])?.is_some_and(|with| with.starts_with("icmp6")) {
                *family = Some(Family::V6);
            }
            Action::Reject
        }
        "REDIRECT" | "MASQUERADE" if only(&port_options) => {
            let ports = value(&["--to-ports", "--to-port"])?.map(port_range).transpose()?;
            let to =
                Target { address: None, ports: randomised(ports, given(&["--random", "--random-fully"]).is_some()) };
            if name == "REDIRECT" { Action::Redirect(to) } else { Action::Masquerade(to) }
        }
        "DNAT" | "SNAT" => {
            let Some(to) = value(&["--to-destination", "--to-source"])? else {
                return Err(format!("{name} without an address"));
            };
            match endpoint(to)? {
                Some(mut to) => {
                    *family = family.or(to.address.map(Family::of));
                    to.ports = randomised(to.ports, given(&["--random", "--random-fully"]).is_some());
                    if name == "DNAT" { Action::Dnat(to) } else { Action::Snat(to) }
                }
                None => Action::Unknown(format!("{name} to {to}")),
            }
        }
        "TPROXY" => {
            let port = value(&["--on-port"])?.map(port_range).transpose()?;
            let address = value(&["--on-ip"])?.map(str::parse::<IpAddr>).transpose();
            let address = address.map_err(|_| "--on-ip is no address".to_owned())?;
            *family = family.or(address.map(Family::of));
            let (flip, mask) = value(&["--tproxy-mark"])?.map(masked).transpose()?.unwrap_or((0, 0));
            let to = Target { address: address.filter(|a| !a.is_unspecified()), ports: port };
            let change = Change { register: Register::Packet, keep: !mask, other: None, flip };
            Action::Tproxy { family: None, to, change: Some(change), ends: true }
        }
        "MARK" | "CONNMARK" => {
            let register = if name == "MARK" { Register::Packet } else { Register::Connection };
            let other = if name == "MARK" { Register::Connection } else { Register::Packet };
            let mask = |option: &str| value(&[option]).and_then(|v| v.map(number).transpose());
            let both = mask("--mask")?.unwrap_or(u32::MAX);
            let (nf, ct) = (mask("--nfmask")?.unwrap_or(both), mask("--ctmask")?.unwrap_or(both));
            let set = |keep, flip| Action::Mark(Change { register, keep, other: None, flip });
            if let Some(v) = value(&["--set-xmark"])? {
                let (flip, mask) = masked(v)?;
                set(!mask, flip)
            } else if let Some(v) = value(&["--set-mark"])? {
                let (flip, mask) = masked(v)?;
                set(!(mask | flip), flip)
            } else if let Some(v) = value(&["--and-mark"])? {
                set(number(v)?, 0)
            } else if let Some(v) = value(&["--or-mark"])? {
                set(!number(v)?, number(v)?)
            } else if let Some(v) = value(&["--xor-mark"])? {
                set(u32::MAX, number(v)?)
            } else if given(&["--save-mark"]).is_some() && name == "CONNMARK" {
                Action::Mark(Change { register, keep: !ct, other: Some((other, nf)), flip: 0 })
            } else if given(&["--restore-mark"]).is_some() && name == "CONNMARK" {
                Action::Mark(Change { register: other, keep: !nf, other: Some((register, ct)), flip: 0 })
            } else {
                return Err(format!("{name} says not what to do"));
            }
        }
        "CT" if only(&["--notrack"]) && !options.is_empty() => Action::Notrack,
        "CT" if only(&["--zone"]) => match value(&["--zone"])? {
            Some(zone) => Action::Zone(u16::try_from(number(zone)?).map_err(|_| format!("`{zone}` is no zone"))?),
            None => Action::Nothing,
        },
        "NOTRACK" => Action::Notrack,
        "LOG" | "NFLOG" | "ULOG" | "TRACE" | "AUDIT" | "TCPMSS" | "TTL" | "HL" | "DSCP" | "TOS" | "CHECKSUM"
        | "CLASSIFY" => Action::Nothing,
        _ => return Ok(None),
    };
    match stray {
        Some(word) => Err(format!("`{word}` is out of place")),
        None => Ok(Some(action)),
    }
}

/// Ports after a translation that picks them at random.
fn randomised(ports: Option<(u16, u16)>, random: bool) -> Option<(u16, u16)> {
    if random { ports.or(Some((1, u16::MAX))) } else { ports }
}

/// `port` or `first-last`.
fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is no port")),
    }
}

/// `address`, `address:port`, `[address]:port`, `:port`; none if it is a range of addresses.
fn endpoint(text: &str) -> Result<Option<Target>, String> {
    let wrong = |_| format!("`{text}` is no address");
    let (address, ports) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| format!("`{text}` has no closing bracket"))?;
        (address, rest.strip_prefix(':'))
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(address, ports)| (address, Some(ports)))
    };
    let ports = ports.map(port_range).transpose()?;
    if address.is_empty() {
        return Ok(Some(Target { address: None, ports }));
    }
    if let Some((first, last)) = address.split_once('-') {
        first.parse::<IpAddr>().map_err(wrong)?;
        last.parse::<IpAddr>().map_err(wrong)?;
        return Ok(None);
    }
    Ok(Some(Target { address: Some(address.parse::<IpAddr>().map_err(wrong)?), ports }))
}

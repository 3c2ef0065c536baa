//! The matches of iptables.

use super::parsed::Parsed;
use super::tokens::Tokens;
use crate::nat::numbers::Numbers;
use crate::nat::parse::values::{addresses, ids, interface, masked, ports, protocol, range, states, tcp_flags};
use crate::nat::ruleset::{Match, Register, Step, Test};

/// What `-m NAME` means by itself; takes all options of a module that is not known.
pub(super) fn start_module(module: &str, tokens: &mut Tokens, parsed: &mut Parsed) -> Result<Option<Match>, String> {
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
pub(super) fn test(
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
        ("-i" | "--in-interface", _) => interface(&argument(text)?, '+', Test::In),
        ("-o" | "--out-interface", _) => interface(&argument(text)?, '+', Test::Out),
        ("--sport" | "--source-port", _) | ("--sports" | "--source-ports", "multiport") => {
            Test::SourcePort(ports(&argument(text)?)?)
        }
        ("--dport" | "--destination-port", _) | ("--dports" | "--destination-ports", "multiport") => {
            Test::DestinationPort(ports(&argument(text)?)?)
        }
        ("--ports", "multiport") => Test::EitherPort(ports(&argument(text)?)?),
        ("--tcp-flags", _) => {
            let mask = tcp_flags(&argument(text)?)?;
            Test::TcpFlags(mask, tcp_flags(&argument(text)?)?)
        }
        ("--syn", _) => Test::TcpFlags(0x17, 0x02),
        ("--uid-owner", "owner") => Test::Uid(ids(&argument(text)?)?),
        ("--gid-owner", "owner") => Test::Gid(ids(&argument(text)?)?),
        ("--socket-exists", "owner") => Test::HasSocket,
        ("--suppl-groups", "owner") => {
            // The group before it may be any of the user's groups, which nobody tells.
            if let Some(Step::Match(before)) = parsed.steps.last_mut().filter(|step| is_gid(step)) {
                before.text.push_str(" --suppl-groups");
                before.test = unknown(&before.text.clone(), &mut parsed.unknown);
            }
            return Ok(None);
        }
        ("--comment", "comment") => {
            argument(text)?;
            return Ok(None);
        }
        ("--mark", "mark" | "connmark") => {
            let (value, mask) = masked(&argument(text)?)?;
            let register = if module == "mark" { Register::Packet } else { Register::Connection };
            *text = format!("-m {module} {text}");
            if register == Register::Connection {
                parsed.steps.push(Step::Match(Match { negated: false, test: Test::Tracked, text: text.clone() }));
            }
            Test::Mark(register, value, mask)
        }
        ("--ctstate", "conntrack") | ("--state", "state") => Test::State(states(&argument(text)?)?),
        ("--dst-type", "addrtype") | ("--src-type", "addrtype") => {
            let kind = argument(text)?;
            match kind.as_str() {
                "LOCAL" => Test::Local(option == "--src-type"),
                _ => unknown(text, &mut parsed.unknown),
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
            unknown(text, &mut parsed.unknown)
        }
        _ => return Err(format!("`{option}` is no option")),
    }))
}

fn is_gid(step: &Step) -> bool {
    matches!(step, Step::Match(Match { test: Test::Gid(_), .. }))
}

fn unknown(text: &str, all: &mut Vec<String>) -> Test {
    all.push(format!("match `{text}`"));
    Test::Unknown(text.to_owned())
}

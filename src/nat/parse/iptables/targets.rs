//! The targets of iptables.

use std::net::IpAddr;

use super::tokens::Tokens;
use crate::nat::parse::values::{endpoint, masked, number, port_range};
use crate::nat::ruleset::{Action, Change, Family, Register, Target};

/// What MARK and CONNMARK can be told; newer ones, which shift, change the meaning of these.
const MARK_OPTIONS: [&str; 10] = [
    "--set-xmark",
    "--set-mark",
    "--and-mark",
    "--or-mark",
    "--xor-mark",
    "--save-mark",
    "--restore-mark",
    "--nfmask",
    "--ctmask",
    "--mask",
];

/// The options of a target that is iptables' own; none if it is not.
pub(super) fn target(name: &str, tokens: &mut Tokens, family: &mut Option<Family>) -> Result<Option<Action>, String> {
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
    let random = given(&["--random", "--random-fully"]).is_some();
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
        "REDIRECT" | "MASQUERADE" if only(&["--to-ports", "--to-port", "--random", "--random-fully"]) => {
            let ports = value(&["--to-ports", "--to-port"])?.map(port_range).transpose()?;
            let to = Target { address: None, ports, random };
            if name == "REDIRECT" { Action::Redirect(to) } else { Action::Masquerade(to) }
        }
        "DNAT" | "SNAT" if only(&["--to-destination", "--to-source", "--random", "--random-fully", "--persistent"]) => {
            let Some(to) = value(&["--to-destination", "--to-source"])? else {
                return Err(format!("{name} without an address"));
            };
            match endpoint(to)? {
                Some(to) => {
                    *family = family.or(to.address.map(Family::of));
                    let to = Target { random, ..to };
                    if name == "DNAT" { Action::Dnat(to) } else { Action::Snat(to) }
                }
                None => Action::Unknown(format!("{name} to {to}")),
            }
        }
        "TPROXY" if only(&["--on-port", "--on-ip", "--tproxy-mark"]) => {
            let port = value(&["--on-port"])?.map(port_range).transpose()?;
            let address = value(&["--on-ip"])?.map(str::parse::<IpAddr>).transpose();
            let address = address.map_err(|_| "--on-ip is no address".to_owned())?;
            *family = family.or(address.map(Family::of));
            let (flip, mask) = value(&["--tproxy-mark"])?.map(masked).transpose()?.unwrap_or((0, 0));
            let to = Target { address: address.filter(|a| !a.is_unspecified()), ports: port, random: false };
            let change = Change { register: Register::Packet, keep: !mask, other: None, flip };
            Action::Tproxy { family: None, to, change: Some(change), ends: true }
        }
        "MARK" | "CONNMARK" if only(&MARK_OPTIONS) => {
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
            Some("mark") => Action::Unknown("CT --zone mark".to_owned()),
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

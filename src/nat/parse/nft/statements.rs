//! What nft's rules do.

use serde_json::Value;

use super::matches::implied;
use super::text::only;
use super::{Context, number, register};
use crate::nat::ruleset::{Action, Change, Family, Register, Step, Target, Test};

impl Context<'_> {
    /// The steps of a statement; none if it is not understood.
    pub(super) fn statement(
        &self,
        statement: &Value,
        shown: &str,
        chains: &dyn Fn(&str) -> Option<usize>,
        steps: &mut Vec<Step>,
    ) -> Option<()> {
        let (name, body) = only(statement)?;
        let action = match name {
            "match" => return self.matching(body, shown, steps),
            "counter" | "log" | "comment" => return Some(()),
            "accept" => Action::Accept,
            "drop" => Action::Drop,
            "reject" => Action::Reject,
            "return" => Action::Return,
            "continue" => return Some(()),
            "jump" => Action::Jump(chains(body.get("target")?.as_str()?)?),
            "goto" => Action::Goto(chains(body.get("target")?.as_str()?)?),
            "redirect" => Action::Redirect(target(body)?),
            "masquerade" => Action::Masquerade(target(body)?),
            "dnat" | "snat" => {
                if let Some(family) = family(body) {
                    steps.push(implied(Test::Family(family), shown));
                }
                if name == "dnat" { Action::Dnat(target(body)?) } else { Action::Snat(target(body)?) }
            }
            "tproxy" => Action::Tproxy { family: family(body), to: target(body)?, change: None, ends: false },
            "notrack" => Action::Notrack,
            "mangle" => {
                let (key, value) = (body.get("key")?, body.get("value")?);
                match (register(key), only(key)?) {
                    (Some(register), _) => {
                        let change = change(register, value)?;
                        if change.other.is_some_and(|(from, _)| from == Register::Connection) {
                            steps.push(implied(Test::Tracked, shown));
                        }
                        Action::Mark(change)
                    }
                    // With a direction, the other one stays in zone 0.
                    (None, ("ct", ct)) if ct["key"] == "zone" && ct.get("dir").is_none() => {
                        Action::Zone(u16::try_from(value.as_u64()?).ok()?)
                    }
                    // What is changed here no rule asks for.
                    (None, ("meta", meta)) if meta["key"] == "nftrace" || meta["key"] == "priority" => Action::Nothing,
                    (None, ("tcp option", _)) => Action::Nothing,
                    _ => return None,
                }
            }
            _ => return None,
        };
        steps.push(Step::Do(action));
        Some(())
    }
}

/// `mark set VALUE`, where the value is a number, a mark, or a mark with numbers under `&`, `|` and `^`.
fn change(target: Register, value: &Value) -> Option<Change> {
    if let Some(flip) = number(value) {
        return Some(Change { register: target, keep: 0, other: None, flip });
    }
    // The source's bits that stay, and the bits that are flipped after that.
    let mut operations = Vec::new();
    let mut inner = value;
    let source = loop {
        if let Some(source) = register(inner) {
            break source;
        }
        let (op, operands) = only(inner).filter(|_| operations.len() < 16)?;
        operations.push((op, number(&operands[1])?));
        inner = &operands[0];
    };
    let (mut mask, mut flip) = (u32::MAX, 0);
    for (op, operand) in operations.into_iter().rev() {
        match op {
            "&" => (mask, flip) = (mask & operand, flip & operand),
            "|" => (mask, flip) = (mask & !operand, flip & !operand | operand),
            "^" => flip ^= operand,
            _ => return None,
        }
    }
    Some(if source == target {
        Change { register: target, keep: mask, other: None, flip }
    } else {
        Change { register: target, keep: 0, other: Some((source, mask)), flip }
    })
}

fn family(body: &Value) -> Option<Family> {
    match body.get("family").and_then(Value::as_str) {
        Some("ip") => Some(Family::V4),
        Some("ip6") => Some(Family::V6),
        _ => None,
    }
}

/// Address and port of a translation.
fn target(body: &Value) -> Option<Target> {
    let address = match body.get("addr") {
        Some(address) => Some(address.as_str()?.parse().ok()?),
        None => None,
    };
    let port = |value: &Value| number(value).and_then(|n| u16::try_from(n).ok());
    let ports = match body.get("port") {
        None => None,
        Some(value) => match value.get("range") {
            Some(range) => Some((port(&range[0])?, port(&range[1])?)),
            None => port(value).map(|p| (p, p)).map(Some)?,
        },
    };
    let has = |flag: &str, flags: &Value| {
        flags == flag || flags.as_array().is_some_and(|list| list.iter().any(|f| f == flag))
    };
    let random = body.get("flags").is_some_and(|flags| has("random", flags) || has("fully-random", flags));
    Some(Target { address, ports, random })
}

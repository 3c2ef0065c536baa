//! The expressions of `nft -j` in nft's own syntax, so that a rule can be shown to people.

use serde_json::Value;

/// A rule's expressions as `nft list ruleset` would print them, as far as they are known; others as JSON.
pub(super) fn rule(expressions: &[Value]) -> String {
    let parts = expressions.iter().filter(|e| e.get("counter").is_none());
    parts.map(|e| statement(e).unwrap_or_else(|| e.to_string())).collect::<Vec<_>>().join(" ")
}

/// One statement, for what is printed beside it.
pub(super) fn statement(statement: &Value) -> Option<String> {
    let (name, body) = only(statement)?;
    Some(match name {
        "match" => {
            let right = expression(body.get("right")?)?;
            let left = expression(body.get("left")?)?;
            match body.get("op")?.as_str()? {
                "==" | "in" => format!("{left} {right}"),
                op => format!("{left} {op} {right}"),
            }
        }
        "accept" | "drop" | "return" | "continue" | "notrack" => name.to_owned(),
        "jump" | "goto" => format!("{name} {}", body.get("target")?.as_str()?),
        "redirect" | "masquerade" | "dnat" | "snat" | "tproxy" => {
            let part = |key: &str| body.get(key).and_then(expression);
            let address = match (part("addr"), part("family")) {
                (Some(address), Some(family)) if family == "ip6" => format!("[{address}]"),
                (address, _) => address.unwrap_or_default(),
            };
            let port = part("port").map(|p| format!(":{p}")).unwrap_or_default();
            let family = part("family").map(|f| format!(" {f}")).unwrap_or_default();
            let to = if address.is_empty() && port.is_empty() { String::new() } else { format!(" to {address}{port}") };
            format!("{name}{family}{to}")
        }
        "mangle" => format!("{} set {}", expression(body.get("key")?)?, expression(body.get("value")?)?),
        "reject" | "log" => name.to_owned(),
        _ => return None,
    })
}

fn expression(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => return Some(text.clone()),
        Value::Number(number) => return Some(number.to_string()),
        Value::Array(list) => return Some(list.iter().map(expression).collect::<Option<Vec<_>>>()?.join(",")),
        _ => {}
    }
    let (name, body) = only(value)?;
    Some(match name {
        "payload" => format!("{} {}", body.get("protocol")?.as_str()?, body.get("field")?.as_str()?),
        "meta" | "ct" => match body.get("key")?.as_str()? {
            key @ ("l4proto" | "nfproto" | "mark" | "skuid" | "skgid") if name == "meta" => format!("meta {key}"),
            key if name == "meta" => key.to_owned(),
            key => format!("ct {key}"),
        },
        "fib" => format!("fib {} {}", expression(body.get("flags")?)?, body.get("result")?.as_str()?),
        "prefix" => format!("{}/{}", body.get("addr")?.as_str()?, body.get("len")?),
        "range" => body.as_array()?.iter().map(expression).collect::<Option<Vec<_>>>()?.join("-"),
        "set" => format!("{{ {} }}", expression(body)?),
        "&" | "|" | "^" => {
            body.as_array()?.iter().map(expression).collect::<Option<Vec<_>>>()?.join(&format!(" {name} "))
        }
        _ => return None,
    })
}

/// Key and value of an object that has one of each.
pub(super) fn only(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object()?;
    object.iter().next().filter(|_| object.len() == 1).map(|(key, value)| (key.as_str(), value))
}

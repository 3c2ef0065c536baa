//! Format strings as Envoy's configuration has them, compiled to patterns.

use super::json::{self, Keys};
use super::operator::{Operator, Shape};
use super::pattern::{Mismatch, Part, Pattern};
use super::{Values, is_other_log};

/// Operators that one format may have.
const OPERATORS: usize = 128;

/// Istio's default text format.
pub(super) const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% \
    %ROUTE_NAME%";

/// What is used of Istio's JSON encoding of the same values.
const ISTIO_JSON: &str = r#"{
    "start_time": "%START_TIME%",
    "response_flags": "%RESPONSE_FLAGS%",
    "duration": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%"
}"#;

/// How the lines of an access log are written.
#[derive(Clone, Debug)]
pub struct Format(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Text(Pattern),
    Json(Keys),
    /// Either of Istio's: a line that starts with `{` is JSON.
    Istio(Pattern, Keys),
}

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access log format: {0}")]
pub struct FormatError(pub(super) String);

impl Format {
    /// Istio's: its text format and its JSON encoding, line by line.
    pub fn istio() -> Result<Format, FormatError> {
        Ok(Format(Kind::Istio(text(ISTIO)?, Keys::new(ISTIO_JSON)?)))
    }

    /// A format as Envoy's `text_format` or, if it starts with `{`, `json_format` has it.
    pub fn new(format: &str) -> Result<Format, FormatError> {
        let format = format.trim_end_matches(['\n', '\r']);
        let kind = match format.trim_start().starts_with('{') {
            true => Kind::Json(Keys::new(format)?),
            false => Kind::Text(text(format)?),
        };
        Ok(Format(kind))
    }

    /// Where the values of a line stand: in itself, or decoded in `values`.
    pub(super) fn read(&self, line: &[u8], values: &mut Vec<u8>) -> Result<Values, Mismatch> {
        match &self.0 {
            Kind::Text(pattern) | Kind::Istio(pattern, _) if !self.is_json(line) => {
                pattern.spans(line).map(Values::InLine)
            }
            Kind::Json(keys) | Kind::Istio(_, keys) if line.starts_with(b"{") => {
                json::spans(keys, line, values).map(Values::Decoded)
            }
            _ if is_other_log(line) => Err(Mismatch::Other),
            _ => Err(Mismatch::NotJson),
        }
    }

    fn is_json(&self, line: &[u8]) -> bool {
        match &self.0 {
            Kind::Text(_) => false,
            Kind::Json(_) => true,
            Kind::Istio(..) => line.starts_with(b"{"),
        }
    }
}

/// Compiles a format string.
pub(super) fn text(format: &str) -> Result<Pattern, FormatError> {
    if format.contains('\n') {
        return Err(FormatError("one record takes several lines; only one line for each can be read".to_owned()));
    }
    let mut literal = Vec::new();
    let mut head = None;
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        literal.extend_from_slice(before.as_bytes());
        if let Some(after) = after.strip_prefix('%') {
            literal.push(b'%');
            rest = after;
            continue;
        }
        let (name, arguments, after) = operator(after)?;
        let operator = Operator::new(name, arguments)
            .map_err(|what| FormatError(format!("%{name}({})%: {what}", arguments.unwrap_or_default())))?;
        let stretches = |shape: &Shape| matches!(shape, Shape::Text | Shape::Word | Shape::Address);
        let literal = std::mem::take(&mut literal).into_boxed_slice();
        match parts.last_mut() {
            None => head = Some(literal),
            Some(last) if literal.is_empty() && stretches(&last.operator.shape) => {
                let what = "nothing stands between it and the operator before: their values cannot be told apart";
                return Err(FormatError(format!("%{name}%: {what}")));
            }
            Some(last) => last.then = literal,
        }
        parts.push(Part { operator, then: Box::default() });
        if parts.len() > OPERATORS {
            return Err(FormatError(format!("more than {OPERATORS} operators")));
        }
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    let (Some(head), Some(last)) = (head, parts.last_mut()) else {
        return Err(FormatError("it has no operator such as %START_TIME%".to_owned()));
    };
    last.then = literal.into_boxed_slice();
    Ok(Pattern { head, parts })
}

/// Name, arguments, and what comes behind an operator whose first `%` is gone: `NAME(arguments):length%`.
fn operator(text: &str) -> Result<(&str, Option<&str>, &str), FormatError> {
    let wrong = |what: &str| FormatError(format!("`%{}`: {what}", text.chars().take(40).collect::<String>()));
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return Err(wrong("no name of an operator behind %; a percent sign is written %%"));
    }
    let (arguments, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inside) => {
            // Arguments may hold % and parentheses: the end is what an end can be.
            let ends = inside.match_indices(')').map(|(at, _)| at);
            let end = ends.into_iter().find(|&at| {
                let after = &inside[at + 1..];
                after.starts_with('%') || after.starts_with(':')
            });
            let end = end.ok_or_else(|| wrong("the parenthesis has no end"))?;
            (Some(&inside[..end]), &inside[end + 1..])
        }
    };
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    let rest = rest.strip_prefix('%').ok_or_else(|| wrong("the operator has no % at its end"))?;
    Ok((name, arguments, rest))
}

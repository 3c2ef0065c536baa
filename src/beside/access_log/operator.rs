//! Envoy's command operators: which field of a record each is, and what its values look like.

use super::time::TimeFormat;

/// The values that a record takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Duration,
    ResponseFlags,
    RequestId,
    UpstreamHost,
    UpstreamRemote,
    UpstreamRemoteIp,
    UpstreamRemotePort,
    UpstreamLocal,
    UpstreamLocalIp,
    UpstreamLocalPort,
    DownstreamLocal,
    DownstreamLocalIp,
    DownstreamLocalPort,
    DownstreamRemote,
    DownstreamRemoteIp,
    DownstreamRemotePort,
    DirectRemote,
    DirectRemoteIp,
    DirectRemotePort,
}

/// How many fields there are.
pub(super) const FIELDS: usize = Field::DirectRemotePort as usize + 1;

/// What values of an operator look like; each may also be `-` or empty, for none.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Digits.
    Number,
    /// `10.0.0.1:80`, `[::1]:80`, or a name without spaces.
    Address,
    /// Anything without spaces.
    Word,
    /// Anything.
    Text,
    /// A time in this format; `true`: it is the record's start.
    Time(TimeFormat, bool),
}

/// An operator of a format string: `%NAME(arguments):length%`.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// The value of the record that it is, if any.
    pub field: Option<Field>,
    /// What its values look like.
    pub shape: Shape,
}

impl Operator {
    /// The operator of this name. One that is not known is skipped, whatever its value.
    pub fn new(name: &str, arguments: Option<&str>) -> Result<Operator, String> {
        let known = |field, shape| Ok(Operator { field: Some(field), shape });
        let skipped = |shape| Ok(Operator { field: None, shape });
        match name {
            "START_TIME" | "START_TIME_LOCAL" | "EMIT_TIME" | "EMIT_TIME_LOCAL" => {
                let format = TimeFormat::new(arguments, name.ends_with("_LOCAL"))?;
                skipped(Shape::Time(format, name.starts_with("START")))
            }
            "REQ" => Ok(header(arguments.unwrap_or_default())),
            "RESP" if arguments.is_some_and(|name| name.eq_ignore_ascii_case("X-ENVOY-UPSTREAM-SERVICE-TIME")) => {
                skipped(Shape::Word)
            }
            "DURATION" => known(Field::Duration, Shape::Number),
            "RESPONSE_FLAGS" => known(Field::ResponseFlags, Shape::Word),
            "UPSTREAM_HOST" => known(Field::UpstreamHost, Shape::Address),
            _ => address(name).map_or_else(|| skipped(shape_of_others(name)), |(field, shape)| known(field, shape)),
        }
    }
}

/// The operators of addresses: whole, without port, and the port alone.
fn address(name: &str) -> Option<(Field, Shape)> {
    let ends = [
        ("UPSTREAM_REMOTE", [Field::UpstreamRemote, Field::UpstreamRemoteIp, Field::UpstreamRemotePort]),
        ("UPSTREAM_LOCAL", [Field::UpstreamLocal, Field::UpstreamLocalIp, Field::UpstreamLocalPort]),
        ("DOWNSTREAM_LOCAL", [Field::DownstreamLocal, Field::DownstreamLocalIp, Field::DownstreamLocalPort]),
        ("DOWNSTREAM_REMOTE", [Field::DownstreamRemote, Field::DownstreamRemoteIp, Field::DownstreamRemotePort]),
        ("DOWNSTREAM_DIRECT_REMOTE", [Field::DirectRemote, Field::DirectRemoteIp, Field::DirectRemotePort]),
    ];
    let (rest, fields) = ends.iter().find_map(|(end, fields)| Some((name.strip_prefix(end)?, fields)))?;
    match rest {
        "_ADDRESS" => Some((fields[0], Shape::Address)),
        "_ADDRESS_WITHOUT_PORT" => Some((fields[1], Shape::Word)),
        "_PORT" => Some((fields[2], Shape::Number)),
        _ => None,
    }
}

/// `%REQ(X?Y)%`: X, or Y where there is none.
fn header(names: &str) -> Operator {
    // The field of a header whose values have no spaces; none if they may have some.
    let word = |name: &str| match name.trim().to_ascii_lowercase().as_str() {
        "x-request-id" => Some(Some(Field::RequestId)),
        ":method"
        | ":path"
        | "x-envoy-original-path"
        | ":authority"
        | "host"
        | ":scheme"
        | "x-forwarded-proto"
        | "traceparent" => Some(None),
        _ => None,
    };
    let mut words = names.split('?').map(word);
    match (words.next().flatten(), words.next()) {
        (Some(field), None) => Operator { field, shape: Shape::Word },
        (Some(field), Some(other)) if other == Some(field) => Operator { field, shape: Shape::Word },
        _ => Operator { field: None, shape: Shape::Text },
    }
}

/// The shape of operators whose value is not taken: without spaces where Envoy writes none.
fn shape_of_others(name: &str) -> Shape {
    let numbers = ["BYTES_RECEIVED", "BYTES_SENT", "RESPONSE_CODE", "CONNECTION_ID"];
    let words = [
        "HOSTNAME",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_FLAGS_LONG",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
    ];
    let ends = ["DURATION", "_BYTES_SENT", "_BYTES_RECEIVED", "_PORT", "_ID", "_COUNT", "_TLS_VERSION"];
    match name {
        _ if numbers.contains(&name) => Shape::Number,
        _ if words.contains(&name) || ends.iter().any(|end| name.ends_with(end)) => Shape::Word,
        _ => Shape::Text,
    }
}

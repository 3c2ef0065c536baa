//! Format strings as Envoy's configuration has them, compiled to patterns.

use super::json::{self, Keys};
use super::pattern::{FormatError, Mismatch, Pattern};
use super::{Values, is_other_log};

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

impl Format {
    /// Istio's: its text format and its JSON encoding, line by line.
    pub fn istio() -> Result<Format, FormatError> {
        Ok(Format(Kind::Istio(Pattern::new(ISTIO)?, Keys::new(ISTIO_JSON)?)))
    }

    /// A format as Envoy's `text_format` or, if it starts with `{`, `json_format` has it.
    pub fn new(format: &str) -> Result<Format, FormatError> {
        let format = format.trim_end_matches(['\n', '\r']);
        let kind = match format.trim_start().starts_with('{') {
            true => Kind::Json(Keys::new(format)?),
            false => Kind::Text(Pattern::new(format)?),
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

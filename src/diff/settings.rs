//! What does not count between two recordings.

use std::collections::BTreeSet;

use super::addresses::Addresses;

/// Header fields that differ each time, and say nothing of the scenario.
pub const VOLATILE: [&str; 32] = [
    "age",
    "b3",
    "date",
    "expires",
    "grpc-trace-bin",
    "request-id",
    "sec-websocket-accept",
    "sec-websocket-key",
    "server-timing",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-trace-id",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-upstream-service-time",
    "x-forwarded-client-cert",
    "x-ot-span-context",
    "x-request-id",
    "x-runtime",
];

/// What does not count, beside what never does.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Names of HTTP header fields, in small letters.
    pub ignored_headers: BTreeSet<String>,
    /// Addresses that are others in this recording.
    pub addresses: Addresses,
}

impl Settings {
    /// Whether a header field does not count.
    pub fn is_ignored(&self, name: &str) -> bool {
        VOLATILE.binary_search(&name).is_ok() || self.ignored_headers.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_they_are_looked_up() {
        assert!(VOLATILE.is_sorted());
    }
}

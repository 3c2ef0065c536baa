//! The codes of findings: what each means, how it is detected, what causes it, and where it was fought in public.

use std::fmt;

use serde::Serialize;

use Severity::{Error, Note, Warning};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; healthy captures have such.
    Note,
    /// Something is wrong, or the capture does not show enough.
    Warning,
    /// Connections fail, or go where they must not.
    Error,
}

impl Severity {
    /// The name, as SARIF's levels have it.
    pub fn name(self) -> &'static str {
        match self {
            Note => "note",
            Warning => "warning",
            Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A code, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name; it never changes.
    pub name: &'static str,
    /// How bad its findings are.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How it is detected.
    pub detection: &'static str,
    /// What causes it.
    pub causes: &'static str,
    /// Public threads or documents about it.
    pub threads: &'static [&'static str],
}

/// The code of this name.
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}): {}\n", self.name, self.severity, self.title)?;
        writeln!(f, "{}\n", self.meaning)?;
        writeln!(f, "Detected: {}\n", self.detection)?;
        writeln!(f, "Causes: {}", self.causes)?;
        for (place, thread) in self.threads.iter().enumerate() {
            let word = if place == 0 { "\nSee: " } else { "     " };
            writeln!(f, "{word}{thread}")?;
        }
        Ok(())
    }
}

/// All codes, by family.
pub const CODES: &[Code] = &[
    Code {
        name: "port-collision",
        severity: Error,
        title: "a SYN met another connection of the same source port",
        meaning: "A client may use one source port for several destinations at once. Behind REDIRECT all of them are \
                  one address and port of the proxy, so that the second connection meets the socket of the first: it is \
                  answered by an ACK (a challenge ACK, RFC 5961) where a SYN-ACK is due, and comes about a second later, \
                  or never.",
        detection: "A SYN, within 5 ms a bare ACK to its source address and port that does not acknowledge it, from \
                    the address of another connection with earlier packets; and no SYN-ACK before the SYN is sent again, or for 500 ms.",
        causes: "Source ports that are bound (SO_REUSEADDR, SO_REUSEPORT), few ephemeral ports and many connections, a \
                 gateway or node that connects to several ports of one pod. Newer kernels give the second connection \
                 another port (see nf_nat's handling of clashes), where the rules leave it one.",
        threads: &[
            "https://github.com/istio/istio/issues/38982",
            "https://github.com/envoyproxy/envoy/issues/15305",
            "https://github.com/linkerd/linkerd2/issues/15505",
        ],
    },
    Code {
        name: "half-closed-connection",
        severity: Error,
        title: "a SYN met an old connection that one end still holds",
        meaning: "The proxy still has a socket for an earlier connection of the same client port, in FIN-WAIT-2 or \
                  CLOSE-WAIT, while conntrack has forgotten it (60 s after a FIN) and the client's kernel has given the \
                  port away again. The new SYN is answered by an ACK of the old connection, and the application sees a \
                  connection time out.",
        detection: "A SYN, within 5 ms a bare ACK to its source address and port that does not acknowledge it, from the \
                    very address that was asked, or the capture port itself, and no SYN-ACK before the SYN is sent again, or for 500 ms.",
        causes: "An application that closes long after its peer did, a TCP proxy without an idle timeout, a connection \
                 that one end lost (a crash, a lost RST).",
        threads: &["https://github.com/istio/istio/issues/43301", "https://github.com/istio/istio/issues/43297"],
    },
    Code {
        name: "unanswered-syn",
        severity: Warning,
        title: "a handshake that nobody answered",
        meaning: "SYNs were sent and nothing came back: the next hop is not there, does not accept, or what it answers \
                  does not arrive.",
        detection: "A SYN that was sent again, or a second before the end of the capture, no packet from the server, and \
                    nothing that the client acknowledged (then the capture lacks the answer: one-direction).",
        causes: "A network policy or firewall that drops, an address that no pod has any more, a full listener queue, a \
                 proxy that does not run.",
        threads: &["https://istio.io/latest/docs/ops/common-problems/network-issues/"],
    },
    Code {
        name: "connection-refused",
        severity: Note,
        title: "a handshake that was refused",
        meaning: "The SYN was answered by a reset: the host is there, nothing listens at the port.",
        detection: "The first packet of the server is a RST that acknowledges the SYN.",
        causes: "An application that has not started yet or listens on another address, a wrong targetPort.",
        threads: &["https://istio.io/latest/docs/ops/common-problems/network-issues/"],
    },
    Code {
        name: "invalid-packet-reset",
        severity: Error,
        title: "a packet that conntrack called INVALID was reset by the application's port",
        meaning: "conntrack takes a packet outside the window it expects for INVALID, and nat does not touch INVALID \
                  packets. Such a packet of a redirected connection arrives at the application's own port, where no socket \
                  knows the connection, and the kernel answers with a reset: the client loses a connection that the proxy \
                  still holds.",
        detection: "A RST without ACK whose sequence number is what the packet before it acknowledged (so no socket \
                    was found for that packet), on an open connection whose server had not closed; certain if the \
                    proxy's socket sends on afterwards, likely if that packet was out of order. On lo: a packet with the \
                    capture port's own address, and the reset of the client for it.",
        causes: "Packets out of order on a busy network, large uploads, conntrack's strict window tracking.",
        threads: &[
            "https://github.com/istio/istio/issues/36489",
            "https://github.com/istio/istio/pull/36566",
            "https://kubernetes.io/blog/2019/03/29/kube-proxy-subtleties-debugging-an-intermittent-connection-reset/",
        ],
    },
    Code {
        name: "reset-unanswered",
        severity: Warning,
        title: "a reset instead of a response",
        meaning: "A request was on its way, and the side that should answer reset the connection. The finding names who \
                  did so first on the legs of the call, and what the proxy's access log says of it.",
        detection: "A RST of the server after data of the client that no data of the server follows, before the client closes; on tied legs, the \
                    earliest RST or FIN within a second before it; else the one connection that the proxy was refused \
                    meanwhile (likely).",
        causes: "A crash or restart, a port where no application listens (the proxy accepts, and learns of it later), an \
                 idle timeout of the server that is shorter than the proxy's (a race on reused connections), plaintext to \
                 a port that requires TLS.",
        threads: &[
            "https://github.com/istio/istio/issues/55138",
            "https://github.com/istio/istio/issues/45261",
            "https://www.envoyproxy.io/docs/envoy/latest/faq/debugging/why_is_envoy_sending_internal_responses",
        ],
    },
    Code {
        name: "connection-reset",
        severity: Note,
        title: "a connection that ended with a reset",
        meaning: "Who reset first, across the legs of the call. Many programs end connections so that had done their work.",
        detection: "A RST on a connection that both ends had not closed before.",
        causes: "SO_LINGER 0, unread data at close, a client that cancels, a pool that is torn down.",
        threads: &["https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage"],
    },
    Code {
        name: "no-response",
        severity: Note,
        title: "a request without a response",
        meaning: "The client asked, the server acknowledged and said nothing until one of them gave up, or the capture \
                  ended.",
        detection: "Data of the client, none of the server in at least a second, on a connection whose SYN was captured.",
        causes: "A slow server, a deadlock, a protocol in which only the client speaks.",
        threads: &["https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts"],
    },
    Code {
        name: "one-direction",
        severity: Warning,
        title: "the capture lacks one direction",
        meaning: "Connections that worked show only what one end sent. Replies of redirected connections bear the \
                  service's own address and port, so a filter on the proxy's port keeps every request and loses every reply.",
        detection: "One end acknowledges data or closes, and no packet of the other is in the capture.",
        causes: "A capture filter such as `port 15001`, a capture on the wrong interface, asymmetric routes.",
        threads: &["https://www.tcpdump.org/manpages/pcap-filter.7.html"],
    },
    Code {
        name: "packets-dropped",
        severity: Warning,
        title: "packets were dropped while capturing",
        meaning: "The capturing program says that it lost packets: what is missing may not be missing on the wire.",
        detection: "isb_ifdrop and isb_osdrop of Interface Statistics Blocks, epb_dropcount of packets (pcapng only).",
        causes: "A small capture buffer, a slow disk, a CPU limit of the capturing container.",
        threads: &["https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html"],
    },
    Code {
        name: "capture-gap",
        severity: Warning,
        title: "data that arrived is not in the capture",
        meaning: "The other end acknowledged octets that no packet of the capture carries: they were sent and arrived, \
                  the capture lost them. A stream with such a gap cannot be followed.",
        detection: "A step in sequence numbers that is never filled and that the other end acknowledges.",
        causes: "A small capture buffer, a slow disk, a filter on packet length, files of a ring buffer that are missing.",
        threads: &["https://www.tcpdump.org/faq.html"],
    },
    Code {
        name: "snaplen",
        severity: Note,
        title: "packets were cut",
        meaning: "Only the start of packets was captured: connections can be repaired, what they carried cannot be read.",
        detection: "Packets whose captured length is less than their length.",
        causes: "tcpdump -s, dumpcap -s.",
        threads: &["https://www.tcpdump.org/manpages/tcpdump.1.html"],
    },
    Code {
        name: "bypass",
        severity: Error,
        title: "a connection went past the proxy",
        meaning: "By the rules given it should have been redirected, and it was not: no mTLS, no policy, no telemetry.",
        detection: "The connection is held against the rules (--rules, --mesh): they redirect it whoever opened it, or \
                    nobody had asked the proxy for anything (likely: one of several requests on a connection may have \
                    waited). Inbound: answered, and the proxy opened no connection to \
                    that port on lo (likely: a proxy that refuses a request answers it as well). Likely only, too, where lo \
                    shows no packet from before to after it was opened: perhaps it was captured for a shorter time.",
        causes: "The application started before the rules were there, rules that were flushed, a process with the proxy's \
                 uid, an init container, hostNetwork.",
        threads: &[
            "https://github.com/istio/istio/issues/15519",
            "https://istio.io/latest/docs/setup/additional-setup/cni/",
        ],
    },
    Code {
        name: "stale-rules",
        severity: Warning,
        title: "a connection was redirected against the rules given",
        meaning: "The packets prove a redirection that the rules cannot do: the dump is stale, or another pod's.",
        detection: "The redirection is proven by the handshake; the rules, evaluated for it, never lead there.",
        causes: "Rules dumped before an upgrade or a change of annotations, a dump of another pod or of the host.",
        threads: &["https://istio.io/latest/docs/reference/config/annotations/"],
    },
    Code {
        name: "plaintext-out",
        severity: Warning,
        title: "plaintext to a peer among mTLS",
        meaning: "The proxy spoke plaintext where its other connections to the same port are TLS.",
        detection: "The first data of the client is no TLS record, on a connection whose SYN was captured; other connections \
                    to the same port begin with one. Certain if one of them went to the same address.",
        causes: "A replica without a sidecar, a DestinationRule that turns TLS off, an endpoint that the control plane \
                 does not know.",
        threads: &["https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/"],
    },
    Code {
        name: "plaintext-passthrough",
        severity: Note,
        title: "plaintext to a pod that was called by its address",
        meaning: "The application called a pod by its own address and port. The proxy knows no service there and passes the \
                  connection on as it is, in plaintext (Istio: PassthroughCluster), while calls of the service are mTLS.",
        detection: "As plaintext-out, and the application asked for that very address.",
        causes: "Clients that look up the pods themselves (headless services, Kafka, databases), addresses in configuration.",
        threads: &["https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing/"],
    },
    Code {
        name: "plaintext-refused",
        severity: Warning,
        title: "plaintext that the proxy refused, among mTLS",
        meaning: "A peer spoke plaintext to a port that others reach by TLS, and the proxy ended the connection without a word: \
                  strict mTLS.",
        detection: "As plaintext-in; the server sent nothing but a FIN or a RST, before the client closed, and answered no \
                    plaintext at that port.",
        causes: "A caller without a sidecar, a call to the pod's own address, a probe that was not rewritten.",
        threads: &["https://istio.io/latest/docs/tasks/security/authentication/mtls-migration/"],
    },
    Code {
        name: "plaintext-in",
        severity: Note,
        title: "plaintext to the pod among mTLS",
        meaning: "A peer spoke plaintext to a port that others reach by TLS, and was answered (Istio: PERMISSIVE). Strict mTLS \
                  would refuse it.",
        detection: "The first data of the client is no TLS record, on a connection whose SYN was captured; other \
                    connections to the same port begin with one.",
        causes: "A caller without a sidecar, a call to the pod's own address that the caller's mesh does not know.",
        threads: &["https://istio.io/latest/docs/tasks/security/authentication/mtls-migration/"],
    },
    Code {
        name: "loopback-retransmission",
        severity: Warning,
        title: "data sent again inside the pod",
        meaning: "Loopback loses nothing. What is sent again there was dropped by a rule, or by a receiver that had no room.",
        detection: "On lo: data up to a known sequence number again, not acknowledged and at least 150 ms after the last (a \
                    retransmission timeout, no probe); or a SYN that was sent again before its answer.",
        causes: "A listener's queue that overflows, INVALID packets that are dropped, a receiver that is stopped.",
        threads: &["https://github.com/istio/istio/issues/36489"],
    },
    Code {
        name: "retransmission",
        severity: Note,
        title: "data sent again on the wire",
        meaning: "Packets were lost on the way, or acknowledged late.",
        detection: "Data up to a known sequence number again, at least 3 ms after the last; or a SYN that was sent again \
                    before its answer.",
        causes: "Loss on the network, a receiver that is slow to acknowledge.",
        threads: &["https://www.rfc-editor.org/rfc/rfc6298"],
    },
    Code {
        name: "zero-window",
        severity: Warning,
        title: "a receiver that did not read",
        meaning: "One end announced that it has no room, and the other had to wait: the one with the closed window is slow.",
        detection: "A window of 0 for at least 200 ms.",
        causes: "An application that is busy, a proxy that waits for its other side (then its other leg shows the same).",
        threads: &["https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6"],
    },
    Code {
        name: "capture-port-reached",
        severity: Error,
        title: "a port to which only nat rules should lead was reached from outside",
        meaning: "The proxy's listeners for redirected connections ask the kernel where a connection was meant to go. One \
                  that came there directly was meant for the listener itself: the proxy can connect to itself in a loop.",
        detection: "A connection from outside to such a port of the table of ports, answered by a SYN-ACK.",
        causes: "A port scan, a Service or a client with a wrong port, a missing network policy.",
        threads: &["https://istio.io/latest/docs/ops/deployment/application-requirements/"],
    },
    Code {
        name: "admin-port-reached",
        severity: Error,
        title: "a port for the pod alone was reached from outside",
        meaning: "Administration and debugging ports tell the configuration and secrets' names, and take commands.",
        detection: "A connection from outside to a port that the table of ports has for this pod only, answered with data.",
        causes: "An admin interface bound to 0.0.0.0, a missing network policy.",
        threads: &["https://www.envoyproxy.io/docs/envoy/latest/operations/admin"],
    },
    Code {
        name: "telemetry-port-reached",
        severity: Note,
        title: "metrics or health of the proxy were read from outside",
        meaning: "What the ports of the mesh are for, and who calls them.",
        detection: "A connection from outside to a port for metrics or probes, answered with data.",
        causes: "A collector of metrics, the kubelet.",
        threads: &["https://istio.io/latest/docs/ops/deployment/application-requirements/"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_fit_for_command_lines() {
        for (place, one) in CODES.iter().enumerate() {
            assert!(CODES[..place].iter().all(|other| other.name != one.name), "{}", one.name);
            assert!(one.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", one.name);
            assert!(!one.threads.is_empty() && one.threads.iter().all(|thread| thread.starts_with("https://")));
            assert_eq!(code(one.name), Some(one));
        }
        assert_eq!(code("no-such-code"), None);
    }
}

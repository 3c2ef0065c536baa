//! The live test: pods of real parts (namespaces, iptables, Envoy, tcpdump) are captured afresh, repaired, and judged by
//! what the applications' sockets saw. See tests/rig/live.py.

#[path = "common/mod.rs"]
mod common;

#[test]
fn live() {
    common::rig::judged("live.py", "the live test", &["--jobs", "2"]);
}

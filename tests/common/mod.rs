//! What the integration tests share: captures built packet by packet, the command run over them, and a reader of
//! its output that knows nothing of the code under test.
//!
//! ```text
//! packet   addresses, numbers, data -> IP datagram   and the link layers in front of it
//! leg      a connection as the two sides of a redirection show it
//! file     frames -> pcap or pcapng bytes
//! run      bytes -> meshpcap -> what came out
//! read     pcapng bytes -> packets, checksums summed afresh
//! rig      a script of tests/rig, where what it needs is there
//! ```

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

pub mod file;
pub mod leg;
pub mod packet;
pub mod read;
pub mod rig;
pub mod run;

use std::process::{Command, Stdio};

pub use file::{pcap, pcapng};
pub use leg::Leg;
pub use packet::{Link, Shot, Sum, Tcp, Udp, addr, icmp_error, shot};
pub use read::{Output, Packet};
pub use run::{Job, Outcome, merge};

/// Whether an external tool is there. If not, the test that asks says what it leaves out, and fails where nothing may
/// be left out (`MESHPCAP_REQUIRE_ALL`).
pub fn require(tool: &str, test: &str) -> bool {
    let version =
        Command::new(tool).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok() || leave_out(test, tool)
}

/// Says what is left out and why; false.
pub fn leave_out(test: &str, needed: &str) -> bool {
    assert!(std::env::var_os("MESHPCAP_REQUIRE_ALL").is_none(), "{test} needs {needed}");
    name_left_out(test, needed);
    false
}

/// Says what is left out of the checks that are extra.
pub fn name_left_out(test: &str, needed: &str) {
    // Straight to the descriptor: the harness swallows what a passing test prints.
    let line = format!("left out: {test} (needs {needed})\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

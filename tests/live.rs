//! The live test: pods of real parts (namespaces, iptables, Envoy, tcpdump) are captured afresh, repaired, and judged by
//! what the applications' sockets saw. See tests/rig/live.py.

#[path = "common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

#[test]
fn live() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/live.py");
    let rig = |arguments: &[&str]| Command::new("python3").arg(&script).args(arguments).output();
    match rig(&["--check"]) {
        Ok(check) if check.status.success() => {}
        Ok(check) => {
            let told = String::from_utf8_lossy(&check.stderr);
            common::leave_out("the live test", told.lines().last().unwrap_or_default());
            return;
        }
        Err(_) => {
            common::leave_out("the live test", "python3");
            return;
        }
    }
    let judged = rig(&[env!("CARGO_BIN_EXE_meshpcap"), "--jobs", "2"]).expect("python3 runs");
    let told = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{told}{}", String::from_utf8_lossy(&judged.stderr));
}

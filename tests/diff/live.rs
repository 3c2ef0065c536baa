//! The live test: one scenario recorded twice, and with one change each, in pods of real parts. See tests/rig/diffed.py.

use std::path::Path;
use std::process::Command;

use crate::common;

#[test]
fn live() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/diffed.py");
    let rig = |arguments: &[&str]| Command::new("python3").arg(&script).args(arguments).output();
    match rig(&["--check"]) {
        Ok(check) if check.status.success() => {}
        Ok(check) => {
            let told = String::from_utf8_lossy(&check.stderr);
            common::leave_out("the live test of diff", told.lines().last().unwrap_or_default());
            return;
        }
        Err(_) => {
            common::leave_out("the live test of diff", "python3");
            return;
        }
    }
    let judged = rig(&[env!("CARGO_BIN_EXE_meshpcap")]).expect("python3 runs");
    let told = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{told}{}", String::from_utf8_lossy(&judged.stderr));
}

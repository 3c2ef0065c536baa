//! The scripts of tests/rig: pods of real parts, captured afresh, repaired and judged.

use std::path::Path;
use std::process::{Command, Output};

use super::leave_out;

/// Runs a script of the rig with the meshpcap under test, and asserts what it judged; left out where the script says that
/// something it needs is not there.
pub fn judged(script: &str, test: &str, arguments: &[&str]) {
    if can_run(script, test) {
        assert_good(script, &[&[env!("CARGO_BIN_EXE_meshpcap")], arguments].concat());
    }
}

/// Whether all that the script needs is there; says what is not.
pub fn can_run(script: &str, test: &str) -> bool {
    match run(script, &["--check"]) {
        Ok(check) if check.status.success() => true,
        Ok(check) => leave_out(test, String::from_utf8_lossy(&check.stderr).lines().last().unwrap_or_default()),
        Err(_) => leave_out(test, "python3"),
    }
}

/// Runs the script, which must succeed.
pub fn assert_good(script: &str, arguments: &[&str]) {
    let output = run(script, arguments).expect("python3 runs");
    let [told, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{told}{errors}");
}

fn run(script: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(script);
    Command::new("python3").arg(script).args(arguments).output()
}

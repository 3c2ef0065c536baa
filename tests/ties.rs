//! The live test of ties: a pod that serves many clients at once, and calls through two pods, recorded afresh and judged by
//! the tokens that clients and applications exchanged. See tests/rig/ties.py.

#[path = "common/mod.rs"]
mod common;

use std::process::Command;

/// The judge itself can pass and fail.
#[test]
fn the_judge_of_ties() {
    if common::require("python3", "the test of the judge of ties") {
        common::rig::assert_good("tie_judge_test.py", &[]);
    }
}

#[test]
fn live() {
    let test = "the live test of ties";
    let h2 = Command::new("python3").args(["-c", "import h2"]).output();
    let has_h2 = || h2.is_ok_and(|h2| h2.status.success()) || common::leave_out(test, "h2 of python3");
    if !common::rig::can_run("live.py", test) || !has_h2() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for scenario in ["many-clients", "two-pods"] {
        common::rig::assert_good("ties.py", &["record", &path(""), "--seeds", "1", "--scenario", scenario]);
    }
    let meshpcap = env!("CARGO_BIN_EXE_meshpcap");
    common::rig::assert_good("ties.py", &["judge", meshpcap, &path("many-clients-1"), &path("two-pods-1")]);
}

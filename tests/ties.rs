//! The live test of ties: a pod that serves many clients at once, and calls through two pods, recorded afresh and judged by
//! the tokens that clients and applications exchanged. See tests/rig/ties.py.

#[path = "common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Output};

fn rig(script: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(script);
    Command::new("python3").arg(script).args(arguments).output()
}

fn told(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

/// The judge itself can pass and fail.
#[test]
fn the_judge_of_ties() {
    match rig("tie_judge_test.py", &[]) {
        Ok(judged) => assert!(judged.status.success(), "{}", told(&judged)),
        Err(_) => {
            common::leave_out("the test of the judge of ties", "python3");
        }
    }
}

#[test]
fn live() {
    let needs = rig("live.py", &["--check"]);
    let h2 = Command::new("python3").args(["-c", "import h2"]).output();
    let missing = match (&needs, &h2) {
        (Ok(check), _) if !check.status.success() => {
            String::from_utf8_lossy(&check.stderr).lines().last().unwrap_or_default().to_owned()
        }
        (Ok(_), Ok(h2)) if h2.status.success() => String::new(),
        (Ok(_), _) => "h2 of python3".to_owned(),
        (Err(_), _) => "python3".to_owned(),
    };
    if !missing.is_empty() {
        common::leave_out("the live test of ties", &missing);
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for scenario in ["many-clients", "two-pods"] {
        let arguments = ["record", &path(""), "--seeds", "1", "--scenario", scenario];
        let recorded = rig("ties.py", &arguments).expect("python3 runs");
        assert!(recorded.status.success(), "{}", told(&recorded));
    }
    let meshpcap = env!("CARGO_BIN_EXE_meshpcap");
    let judged = rig("ties.py", &["judge", meshpcap, &path("many-clients-1"), &path("two-pods-1")]);
    let judged = judged.expect("python3 runs");
    assert!(judged.status.success(), "{}", told(&judged));
}

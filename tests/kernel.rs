//! Holds the model of netfilter against the kernel, by `kernel/agree.py`, and what it says of tcpdump against tcpdump, by
//! `kernel/views.py`: a sample, on the rules of the presets, on a rule for each match and target, and, if they are at
//! hand, on those of real meshes. Needs root, since it makes network namespaces.

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether namespaces can be made, and what else is needed is there.
fn can_run(test: &str, more: &[&str]) -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let tools = [&["ip", "conntrack", "iptables-restore", "ip6tables-restore", "nft", "python3"], more].concat();
    let is_there = |tool: &&str| Command::new(tool).arg("--version").output().is_ok();
    is_root && tools.iter().all(is_there) || common::leave_out(test, &format!("root, {}", tools.join(", ")))
}

#[test]
fn model_and_kernel_agree_on_a_sample() {
    if !can_run("model and kernel", &[]) {
        return;
    }
    let root = root();
    let mut places = vec![root.join("src/nat/presets")];
    let real = std::env::var_os("MESHPCAP_NATRULES").map_or_else(|| root.join("../shared/natrules"), Into::into);
    if real.is_dir() {
        places.push(real);
    }
    hold("agree.py", "40", &places);
    // A port for each match and target that meshes use: it takes more probes to find them.
    hold("agree.py", "300", &[root.join("tests/kernel/rules")]);
}

#[test]
fn tcpdump_shows_what_explain_says() {
    if can_run("explain and tcpdump", &["tcpdump"]) {
        hold("views.py", "40", &[root().join("src/nat/presets"), root().join("tests/kernel/rules")]);
    }
}

fn hold(script: &str, probes: &str, places: &[PathBuf]) {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/kernel").join(script)).arg(env!("CARGO_BIN_EXE_meshpcap"));
    let output = command.args(["--probes", probes]).args(places).output().expect("python3 runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "model and kernel disagree");
}

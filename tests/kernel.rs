//! Holds the model of netfilter against the kernel, by `kernel/agree.py`: a sample, on the rules of the presets, on a rule
//! for each match and target, and, if they are at hand, on those of real meshes. Needs root, since it makes network namespaces.

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn model_and_kernel_agree_on_a_sample() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let tools = ["ip", "conntrack", "iptables-restore", "ip6tables-restore", "nft", "python3"];
    let missing: Vec<&str> =
        tools.into_iter().filter(|tool| Command::new(tool).arg("--version").output().is_err()).collect();
    if !is_root || !missing.is_empty() {
        common::leave_out("model and kernel", &format!("root, {}", tools.join(", ")));
        return;
    }
    let mut places = vec![root.join("src/nat/presets")];
    let real = std::env::var_os("MESHPCAP_NATRULES").map_or_else(|| root.join("../shared/natrules"), Into::into);
    if real.is_dir() {
        places.push(real);
    }
    agree(root, "40", &places);
    // A port for each match and target that meshes use: it takes more probes to find them.
    agree(root, "300", &[root.join("tests/kernel/rules")]);
}

fn agree(root: &Path, probes: &str, places: &[PathBuf]) {
    let mut command = Command::new("python3");
    command.arg(root.join("tests/kernel/agree.py")).arg(env!("CARGO_BIN_EXE_meshpcap"));
    let output = command.args(["--probes", probes]).args(places).output().expect("python3 runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "model and kernel disagree");
}

//! Holds the model of netfilter against the kernel, by `kernel/agree.py`: a sample, on the rules of the presets and, if
//! they are at hand, of real meshes. Needs root, since it makes network namespaces.

#[path = "common/mod.rs"]
mod common;

use std::path::Path;
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
    let mut command = Command::new("python3");
    command.arg(root.join("tests/kernel/agree.py")).arg(env!("CARGO_BIN_EXE_meshpcap"));
    command.args(["--probes", "40"]).arg(root.join("src/nat/presets"));
    let real = std::env::var_os("MESHPCAP_NATRULES").map_or_else(|| root.join("../shared/natrules"), Into::into);
    if real.is_dir() {
        command.arg(real);
    }
    let output = command.output().expect("python3 runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "model and kernel disagree");
}

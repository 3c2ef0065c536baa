//! Reads the rules that real meshes write, where a folder of them is at hand: `MESHPCAP_NATRULES`, else
//! `../shared/natrules`. They are other projects' data and not kept here.

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use meshpcap::nat::{Error, Host, Model, Probe, Ruleset, evaluate};

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("MESHPCAP_NATRULES").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/natrules"));
    if folder.is_dir() {
        return Some(folder);
    }
    common::name_left_out("the rules of real meshes", "a folder of them in MESHPCAP_NATRULES");
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rules" || e == "json" || e == "nft") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_rule_set_is_read_or_refused_with_a_word() {
    let Some(folder) = folder() else { return };
    let (mut read, mut refused) = (0, 0);
    for path in files(&folder) {
        let name = path.display().to_string();
        let content = std::fs::read(&path).expect("the file can be read");
        match Ruleset::read(&name, &content, None) {
            Ok(ruleset) => {
                assert!(!name.contains(".xt.") && !name.ends_with(".nft"), "{name} is opaque, but was read");
                let expected =
                    name.contains("foreign/") || name.contains("hostprobe-HOST-netns") && name.ends_with(".rules");
                let unknown = ruleset.notes.iter().any(|note| note.what.contains("not understood"));
                assert_eq!(unknown, expected, "{name}: {:?}", ruleset.notes);
                every_verdict_has_a_reason(&name, &ruleset);
                read += 1;
            }
            Err(Error::Opaque { .. }) => {
                assert!(name.contains(".xt."), "{name} was refused");
                refused += 1;
            }
            Err(Error::NotRules { what, .. }) if name.ends_with(".nft") => {
                // Not every rule of iptables shows as one in nft's text.
                let opaque = name.contains(".xt.") && what.contains("iptables-save");
                assert!(opaque || what.contains("nft -j list ruleset"), "{name}: {what}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{read} rule sets read, {refused} refused");
    assert!(read >= 94, "only {read} rule sets were read");
}

fn every_verdict_has_a_reason(name: &str, ruleset: &Ruleset) {
    let model = Model::from_rules(ruleset);
    let text = "tcp 10.244.1.7:40000 -> 10.96.0.10:80";
    let mut probe: Probe = text.parse().expect("a probe");
    for input in [None, Some("eth0".to_owned())] {
        probe.input = input;
        let verdict = evaluate(ruleset, &Host::of(&probe), &probe);
        assert!(!verdict.incomplete, "{name}");
        for outcome in &verdict.outcomes {
            if outcome.is_translated(&probe) {
                assert!(outcome.rule.is_some(), "{name}: {outcome:?}");
            }
            // Where an application's connection ends on lo, the merge has to know the port.
            if probe.input.is_none() && outcome.destination.ip().is_loopback() {
                let known = model.listeners.iter().any(|l| l.port == Some(outcome.destination.port()));
                assert!(known, "{name}: {} is not in {:?}", outcome.destination, model.listeners);
            }
        }
    }
}

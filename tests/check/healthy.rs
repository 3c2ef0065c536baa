//! Captures of testdata, which were made of real parts: no alarm but where something was done on purpose.

use std::path::{Path, PathBuf};

use meshpcap::capture::Source;

use crate::common::Job;
use crate::job::{alarms, check, codes};

/// Captures whose point is what a check has to find.
const BROKEN: [(&str, &[&str]); 2] =
    [("one-direction", &["one-direction"]), ("forgotten", &["half-closed-connection", "connection-reset"])];

#[test]
fn no_alarm_in_healthy_captures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let folders = std::fs::read_dir(root).expect("testdata").map(|entry| entry.expect("an entry").path());
    let mut checked = 0;
    for folder in folders.filter(|path| path.is_dir()) {
        let mut captures: Vec<PathBuf> =
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        captures.retain(|path| path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng"));
        captures.sort();
        let mut job = Job::new();
        job.merge.inputs.extend(captures.into_iter().map(Source::Path));
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let findings = check(&job);
        match BROKEN.iter().find(|(broken, _)| *broken == name) {
            Some((_, expected)) => assert_eq!(codes(&findings), *expected, "{name}"),
            None => assert!(alarms(&findings).is_empty(), "{name}: {findings:#?}"),
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

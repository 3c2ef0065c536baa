//! Runs of the library over captures in a folder of their own.

use std::path::PathBuf;
use std::sync::Arc;

use meshpcap::audit::Rules;
use meshpcap::beside::Files;
use meshpcap::capture::Source;
use meshpcap::nat::{Preset, Ruleset};
use meshpcap::output::{Destination, GivenName};
use meshpcap::pipeline::{self, Done, LookAhead, Merge};
use serde_json::Value;
use tempfile::TempDir;

use super::file::pcap;
use super::packet::{Link, Shot};
use super::read::Output;

/// A merge to be.
pub struct Job {
    pub folder: TempDir,
    pub merge: Merge,
}

/// What came of it.
pub struct Outcome {
    pub output: Output,
    pub bytes: Vec<u8>,
    pub legs: Vec<Value>,
    pub done: Done,
}

impl Job {
    pub fn new() -> Job {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Destination::Path(folder.path().join("out.pcapng"));
        let report = Some(folder.path().join("legs.json"));
        let merge = Merge { report, ..Merge::new(Vec::new(), output) };
        Job { folder, merge }
    }

    /// One more input, with these bytes.
    pub fn input(mut self, bytes: &[u8]) -> Job {
        let path = self.folder.path().join(format!("in{}", self.merge.inputs.len()));
        std::fs::write(&path, bytes).expect("an input is written");
        self.merge.inputs.push(Source::Path(path));
        self
    }

    /// One more input: a pcap file of these frames.
    pub fn shots(self, link: Link, shots: &[Shot]) -> Job {
        self.input(&pcap(link, shots))
    }

    pub fn named(mut self, input: usize, index: Option<u32>, name: &str) -> Job {
        self.merge.names.push(GivenName { input, index, name: name.to_owned() });
        self
    }

    pub fn ethernet(mut self) -> Job {
        self.merge.ethernet = true;
        self
    }

    pub fn keep_duplicates(mut self) -> Job {
        self.merge.keep_duplicates = true;
        self
    }

    /// These rules, as iptables-save prints them.
    pub fn rules(mut self, text: &str) -> Job {
        let rules = Ruleset::read("rules", text.as_bytes(), None).expect("rules of the test");
        self.merge.rules = Rules::Read(rules);
        self
    }

    pub fn mesh(mut self, name: &str) -> Job {
        self.merge.rules = Rules::Mesh(Preset::named(name).expect("a mesh of the test"));
        self
    }

    /// A file of names beside the inputs.
    pub fn names(mut self, text: &str) -> Job {
        let path = self.beside(text);
        self.merge.beside.names.push(path);
        self
    }

    /// A key log beside the inputs.
    pub fn keys(mut self, text: &str) -> Job {
        let path = self.beside(text);
        self.merge.beside.keys.push(path);
        self
    }

    fn beside(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join(format!("beside{}", self.merge.beside.paths().count()));
        std::fs::write(&path, text).expect("a file beside the inputs");
        path
    }

    /// A file beside the captures: its path is for the caller to put where it belongs.
    pub fn side_file(mut self, text: &str, put: fn(&mut Files, PathBuf)) -> Job {
        let path = self.beside(text);
        put(&mut self.merge.beside, path);
        self
    }

    pub fn keep_proxy_address(mut self) -> Job {
        self.merge.keep_proxy_address = true;
        self
    }

    pub fn without_report(mut self) -> Job {
        self.merge.report = None;
        self
    }

    pub fn look_ahead(mut self, time: u64, bytes: u64) -> Job {
        self.merge.look_ahead = Some(LookAhead { time, bytes });
        self
    }

    pub fn run(self) -> Outcome {
        let done = pipeline::merge(&self.merge, &Arc::default(), &mut |_, _| ()).expect("the merge succeeds");
        let read = |path: PathBuf| std::fs::read(path).expect("what was written");
        let bytes = read(self.folder.path().join("out.pcapng"));
        let legs = match self.merge.report {
            Some(path) => serde_json::from_slice(&read(path)).expect("a JSON array"),
            None => Vec::new(),
        };
        Outcome { output: Output::read(&bytes), bytes, legs, done }
    }
}

/// Merges one capture.
pub fn merge(link: Link, shots: &[Shot]) -> Outcome {
    Job::new().shots(link, shots).run()
}

impl Outcome {
    /// One line a leg: role, status, reason or evidence, ends.
    pub fn told(&self) -> Vec<String> {
        let line = |leg: &Value| {
            let text = |key: &str| leg[key].as_str().unwrap_or_default().to_owned();
            let why = [text("reason"), text("evidence")].concat();
            let words = [text("role"), text("status"), why, text("client"), text("server")];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        self.legs.iter().map(line).collect()
    }

    pub fn summary(&self) -> String {
        self.done.summary.to_string()
    }
}

//! What was typed where captures are expected: files, and folders with all that belongs to a capture.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use meshpcap::beside::{self, Files};
use meshpcap::capture::Source;
use meshpcap::cli::CaptureArgs;
use meshpcap::folder::{self, Folder};
use meshpcap::nat::{self, RulesFile};
use meshpcap::output::{GivenName, is_repaired};

use super::{Failure, complain};

/// The captures, and what lies beside them in folders.
pub struct Found {
    /// The captures, in the order typed; of a folder by name, without those that merge wrote.
    pub inputs: Vec<Source>,
    /// Captures that merge wrote, and that were typed.
    pub repaired: Vec<PathBuf>,
    /// Names of interfaces, after the files in a folder.
    pub names: Vec<GivenName>,
    /// The pod's rules, those that can be read.
    pub rules: Vec<RulesFile>,
    /// Names, secrets, logs and lists of conntrack, those that can be read.
    pub beside: Files,
    /// The folders: what an archive was unpacked to is gone with them.
    _folders: Vec<Folder>,
}

impl Found {
    /// Puts what is in a folder, or in an archive of one, in its place.
    pub fn at(paths: &[PathBuf], interrupted: &AtomicBool) -> Result<Found, Failure> {
        let mut found = Found {
            inputs: Vec::new(),
            repaired: Vec::new(),
            names: Vec::new(),
            rules: Vec::new(),
            beside: Files::default(),
            _folders: Vec::new(),
        };
        for path in paths {
            if path.as_os_str() == "-" || !Folder::is_one(path) {
                found.inputs.push(Source::from_arg(path.as_os_str()));
                found.repaired.extend(Some(path).filter(|path| is_repaired(path)).cloned());
                continue;
            }
            let folder = Folder::open(path, interrupted).map_err(|error| match error {
                folder::Error::Interrupted => Failure::Interrupted,
                error => error.to_string().into(),
            })?;
            let before = found.inputs.len();
            for capture in &folder.captures {
                if is_repaired(&capture.path) {
                    complain(&format!("not used: {}: meshpcap wrote it", capture.path.display()));
                    continue;
                }
                let input = found.inputs.len();
                found.names.extend(capture.interface.clone().map(|name| GivenName { input, index: None, name }));
                found.inputs.push(Source::Path(capture.path.clone()));
            }
            if found.inputs.len() == before {
                let told =
                    format!("{}: meshpcap wrote what is in it; name the captures that it was made of", path.display());
                return Err(told.into());
            }
            let rules = folder.rules.iter().map(|path| RulesFile { family: None, path: path.clone() });
            found.rules.extend(rules.filter(|file| usable(nat::load(std::slice::from_ref(file)))));
            found.beside.access_logs.extend_from_slice(&folder.access_logs);
            found.beside.conntrack.extend_from_slice(&folder.conntrack);
            let names = folder.names.iter().map(|path| Files { names: vec![path.clone()], ..Files::default() });
            let keys = folder.keys.iter().map(|path| Files { keys: vec![path.clone()], ..Files::default() });
            for one in names.chain(keys).filter(|one| usable(beside::load(one))) {
                found.beside.names.extend(one.names);
                found.beside.keys.extend(one.keys);
            }
            found._folders.push(folder);
        }
        Ok(found)
    }

    /// Refuses captures that merge wrote: how a leg was captured, by which it is told what it is, is not in them.
    pub fn refuse_repaired(&self) -> Result<(), String> {
        self.repaired.first().map_or(Ok(()), |path| {
            Err(format!("{}: meshpcap wrote it; name the captures that it was made of", path.display()))
        })
    }

    /// The files beside the captures; what was typed of a kind takes the place of what was found of it.
    pub fn beside(&self, args: &CaptureArgs, names: &[PathBuf], keys: &[PathBuf]) -> Files {
        Files {
            names: either(names, &self.beside.names),
            keys: either(keys, &self.beside.keys),
            access_logs: either(&args.access_logs, &self.beside.access_logs),
            format: args.access_log_format.clone(),
            conntrack: either(&args.conntrack, &self.beside.conntrack),
        }
    }
}

/// What of a kind was typed, else what was found of it.
fn either<T: Clone>(typed: &[T], found: &[T]) -> Vec<T> {
    if typed.is_empty() { found.to_vec() } else { typed.to_vec() }
}

/// Whether a file that nobody named can be read; says why not.
fn usable<T, E: std::fmt::Display>(read: Result<T, E>) -> bool {
    if let Err(error) = &read {
        complain(&format!("not used: {error}"));
    }
    read.is_ok()
}

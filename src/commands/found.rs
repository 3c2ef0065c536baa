//! What was typed where captures are expected: files, and folders with all that belongs to a capture.

use std::path::PathBuf;

use meshpcap::capture::Source;
use meshpcap::folder::Folder;
use meshpcap::nat::{self, RulesFile};
use meshpcap::output::GivenName;

use super::complain;

/// The captures, and what lies beside them in folders.
pub struct Found {
    /// The captures, in the order typed; of a folder by name.
    pub inputs: Vec<Source>,
    /// Names of interfaces, after the files in a folder.
    pub names: Vec<GivenName>,
    /// The pod's rules, those that can be read.
    pub rules: Vec<RulesFile>,
    /// The folders: what an archive was unpacked to is gone with them.
    _folders: Vec<Folder>,
}

impl Found {
    /// Puts what is in a folder, or in an archive of one, in its place.
    pub fn at(paths: &[PathBuf]) -> Result<Found, String> {
        let mut found = Found { inputs: Vec::new(), names: Vec::new(), rules: Vec::new(), _folders: Vec::new() };
        for path in paths {
            if path.as_os_str() == "-" || !Folder::is_one(path) {
                found.inputs.push(Source::from_arg(path.as_os_str()));
                continue;
            }
            let folder = Folder::open(path).map_err(|error| error.to_string())?;
            for capture in &folder.captures {
                let input = found.inputs.len();
                found.names.extend(capture.interface.clone().map(|name| GivenName { input, index: None, name }));
                found.inputs.push(Source::Path(capture.path.clone()));
            }
            let rules = folder.rules.iter().map(|path| RulesFile { family: None, path: path.clone() });
            found.rules.extend(rules.filter(usable));
            found._folders.push(folder);
        }
        Ok(found)
    }
}

/// Whether rules that nobody named can be read; says why not.
fn usable(file: &RulesFile) -> bool {
    let read = nat::load(std::slice::from_ref(file));
    if let Err(error) = &read {
        complain(&format!("not used: {error}"));
    }
    read.is_ok()
}

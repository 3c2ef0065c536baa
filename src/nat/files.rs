//! Rules files on disk; the one place of this stage that opens files.

use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use super::ruleset::{Family, Ruleset};

/// A rules file as typed: a path, perhaps behind `ip:` or `ip6:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesFile {
    /// The family that was typed.
    pub family: Option<Family>,
    /// The path; `-` is standard input.
    pub path: PathBuf,
}

impl FromStr for RulesFile {
    type Err = String;

    fn from_str(typed: &str) -> Result<RulesFile, String> {
        let (family, path) = match typed.split_once(':') {
            Some(("ip", path)) => (Some(Family::V4), path),
            Some(("ip6", path)) => (Some(Family::V6), path),
            _ => (None, typed),
        };
        if path.is_empty() {
            return Err("there is no path".to_owned());
        }
        Ok(RulesFile { family, path: path.into() })
    }
}

/// Reads rules files into one ruleset. The error has a paragraph for each file that cannot be used.
pub fn load(files: &[RulesFile]) -> Result<Ruleset, String> {
    let mut ruleset = Ruleset::default();
    let mut errors = Vec::new();
    for file in files {
        let name = file.path.display().to_string();
        let mut content = Vec::new();
        // One octet more than is read is enough to see that a file is too large.
        let limit = super::parse::LARGEST as u64 + 1;
        let read = if file.path.as_os_str() == "-" {
            std::io::stdin().lock().take(limit).read_to_end(&mut content)
        } else {
            std::fs::File::open(&file.path).and_then(|opened| opened.take(limit).read_to_end(&mut content))
        };
        match read {
            Err(error) => errors.push(format!("{name}: {error}")),
            Ok(_) => match Ruleset::read(&name, &content, file.family) {
                Err(error) => errors.push(error.to_string()),
                Ok(one) => ruleset.append(one),
            },
        }
    }
    if errors.is_empty() { Ok(ruleset) } else { Err(errors.join("\n")) }
}

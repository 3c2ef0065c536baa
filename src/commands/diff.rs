//! `meshpcap diff`: recordings are repaired if they are not yet, read, and compared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use meshpcap::audit::Rules;
use meshpcap::cli::DiffArgs;
use meshpcap::diff::{self, Addresses, Diff, Expectation, ExpectationError, Limits, Settings, Trace};
use meshpcap::output::Destination;
use meshpcap::pipeline::{self, Merge};

use super::found::Found;
use super::given::{rules_of, watch_signals};
use super::{DAMAGED, INTERRUPTED, complain, fail, print};

/// Why there is no answer.
enum Failure {
    Told(String),
    Interrupted,
}

impl From<String> for Failure {
    fn from(told: String) -> Failure {
        Failure::Told(told)
    }
}

/// Compares, and says what differs.
pub fn run(args: &DiffArgs) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = watch_signals(&interrupted) {
        return fail(&format!("signals cannot be handled: {error}"));
    }
    let result = match (args.expect.as_slice(), args.bless.as_slice()) {
        ([], []) => two(args, &interrupted),
        ([], folders) => bless(args, folders, &interrupted),
        (folders, _) => expect(args, folders, &interrupted),
    };
    match result {
        Ok(status) => status,
        Err(Failure::Told(message)) => fail(&message),
        Err(Failure::Interrupted) => {
            complain("interrupted");
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// Two recordings.
fn two(args: &DiffArgs, interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    let (old, new) = match (args.recordings.as_slice(), args.to.as_slice()) {
        ([old, new], []) => (std::slice::from_ref(old), std::slice::from_ref(new)),
        (_, []) => {
            let number = args.recordings.len();
            let told = format!(
                "diff takes two recordings, and {number} were given: meshpcap diff OLD NEW, \
                 or, of several captures, meshpcap diff OLD... --to NEW..."
            );
            return Err(told.into());
        }
        (old, new) => (old, new),
    };
    if [old, new].concat().iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err("standard input (-) can be read only once".to_owned().into());
    }
    let new_settings = settings(args)?;
    let old_settings = Settings { addresses: Addresses::default(), ..new_settings.clone() };
    let old = trace(old, &old_settings, interrupted)?;
    let new = trace(new, &new_settings, interrupted)?;
    let diff = diff::compare(&old, &new);
    let printed = match args.json {
        true => print(format!("{}\n", json(&diff, &old, &new, None)?).as_bytes()),
        false => print(diff::text(&diff, &old, &new).as_bytes()),
    };
    Ok(if diff.is_empty() { printed } else { ExitCode::from(DAMAGED) })
}

/// Regression traces.
fn expect(args: &DiffArgs, folders: &[PathBuf], interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    let (mut text, mut differ) = (String::new(), false);
    for folder in folders {
        let (expected, found, diff) = held(args, folder, interrupted)?;
        differ |= !diff.is_empty();
        if args.json {
            all.push(json(&diff, &expected, &found, Some(folder))?);
        } else if !diff.is_empty() {
            text.push_str(&format!("{}:\n{}", folder.display(), diff::text(&diff, &expected, &found)));
        }
    }
    let printed = match args.json {
        true => print(format!("[\n{}\n]\n", all.join(",\n")).as_bytes()),
        false => print(text.as_bytes()),
    };
    Ok(if differ { ExitCode::from(DAMAGED) } else { printed })
}

/// What is expected of a folder, what is there, and how these differ.
fn held(args: &DiffArgs, folder: &Path, interrupted: &Arc<AtomicBool>) -> Result<(Trace, Trace, Diff), Failure> {
    let mut settings = settings(args)?;
    let expectation = Expectation::read(folder).map_err(|error| error.to_string())?;
    settings.ignored_headers.extend(expectation.ignored_headers.iter().cloned());
    let mut expected = expectation.trace();
    expected.ignore(&|name| settings.is_ignored(name));
    let found = trace(&[folder.to_owned()], &settings, interrupted)?;
    let diff = diff::compare(&expected, &found);
    Ok((expected, found, diff))
}

/// Notes what is expected from now on, where it is something else.
fn bless(args: &DiffArgs, folders: &[PathBuf], interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    for folder in folders {
        if !folder.is_dir() {
            return Err(
                format!("{}: is no folder: expect.json stands in one, with its captures", folder.display()).into()
            );
        }
        let settings = settings(args)?;
        let found = trace(&[folder.to_owned()], &settings, interrupted)?;
        let expectation = Expectation::of(&found, &settings);
        let told = match Expectation::read(folder) {
            Ok(old) if old.ignored_headers == expectation.ignored_headers => {
                let diff = old.hold(&found);
                if diff.is_empty() && !expectation.knows_more(&old) {
                    continue;
                }
                match diff.is_empty() {
                    true => "more is known of the same conversations\n".to_owned(),
                    false => diff::text(&diff, &old.trace(), &found),
                }
            }
            // A new one, one of another version, or one that somebody spoiled.
            Ok(_)
            | Err(ExpectationError::Missing(_) | ExpectationError::Version { .. } | ExpectationError::Other { .. }) => {
                format!("{} conversations\n", found.conversations.len())
            }
            Err(error) => return Err(error.to_string().into()),
        };
        expectation.write(folder).map_err(|error| error.to_string())?;
        print(format!("{}: expect.json written:\n{told}", folder.display()).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

fn json(diff: &Diff, old: &Trace, new: &Trace, folder: Option<&Path>) -> Result<String, String> {
    let folder = folder.map(|folder| folder.display().to_string());
    diff::json(diff, old, new, folder.as_deref()).map_err(|error| format!("JSON: {error}"))
}

fn settings(args: &DiffArgs) -> Result<Settings, String> {
    let ignored_headers = args.ignored_headers.iter().cloned().collect();
    Ok(Settings { ignored_headers, addresses: Addresses::new(args.map.clone())? })
}

/// The conversations of a recording. What merge did not write is merged first, into a temporary file.
fn trace(paths: &[PathBuf], settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Trace, Failure> {
    let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    if let [path] = paths
        && diff::is_repaired(path)
    {
        return read(path, &name, settings, interrupted);
    }
    let temporary = |error| format!("temporary file: cannot be written: {error} (set TMPDIR to a folder with room)");
    let folder = TempDir::with_prefix("meshpcap-").map_err(temporary)?;
    let repaired = folder.path().join("repaired.pcapng");
    let found = Found::at(paths)?;
    let merge = Merge {
        inputs: found.inputs.clone(),
        output: Destination::Path(repaired.clone()),
        report: None,
        names: found.names.clone(),
        ethernet: false,
        keep_duplicates: false,
        rules: if found.rules.is_empty() { Rules::Unknown } else { rules_of(&found.rules)? },
        gateway: None,
        keep_proxy_address: false,
        look_ahead: None,
        // Names and secrets do not matter here.
        beside: meshpcap::beside::Files { names: Vec::new(), keys: Vec::new(), ..found.beside.clone() },
    };
    let done = pipeline::merge(&merge, interrupted, &mut |_, _| ()).map_err(|error| match error {
        pipeline::Error::Interrupted => Failure::Interrupted,
        pipeline::Error::Output { source, .. } => temporary(source).into(),
        error => error.to_string().into(),
    })?;
    done.damage.iter().for_each(|damage| complain(&damage.to_string()));
    done.unused.iter().for_each(|unused| complain(&unused.to_string()));
    if done.interrupted {
        return Err(Failure::Interrupted);
    }
    read(&repaired, &name, settings, interrupted)
}

fn read(path: &Path, name: &str, settings: &Settings, interrupted: &Arc<AtomicBool>) -> Result<Trace, Failure> {
    let read = diff::read(path, name, settings, Limits::default(), interrupted).map_err(|error| match error {
        diff::Error::Interrupted => Failure::Interrupted,
        error => error.to_string().into(),
    })?;
    if let Some(damage) = read.damage {
        complain(&damage.to_string());
    }
    Ok(read.trace)
}

//! `meshpcap check --expect` and `--bless`: regression traces, each a folder with its expectation.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use meshpcap::cli::{CheckArgs, FormatArg};
use meshpcap::diff::Settings;
use meshpcap::expect::{self, Error, Expectation, Shown};
use meshpcap::pipeline;

use super::found::Found;
use super::recording::{merged, settings};
use super::{DAMAGED, FAILED, Failure, complain_of_limits, given, print};

/// Holds the captures in each folder against its expectation, or writes that.
pub fn run(args: &CheckArgs, interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    for folder in &args.captures.inputs {
        if !folder.is_dir() {
            return Err(
                format!("{}: is no folder: expect.json stands in one, with its captures", folder.display()).into()
            );
        }
    }
    if args.bless { bless(args, interrupted) } else { hold(args, interrupted) }
}

fn hold(args: &CheckArgs, interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    let is_json = match args.format {
        FormatArg::Text => false,
        FormatArg::Json => true,
        _ => return Err("--expect tells what differs as text or json".to_owned().into()),
    };
    let (mut text, mut all, mut differs, mut is_damaged) = (String::new(), Vec::new(), false, false);
    for folder in &args.captures.inputs {
        let mut settings = settings(&args.same)?;
        let mut expectation = Expectation::read(folder).map_err(|error| error.to_string())?;
        settings.ignored_headers.extend(expectation.ignored_headers.iter().cloned());
        expectation.findings.retain(|noted| args.wants(&noted.code));
        let mut expected = expectation.trace();
        expected.ignore(&|name| settings.is_ignored(name));
        let (shown, damaged) = shown(args, folder, &settings, interrupted)?;
        is_damaged |= damaged;
        let held = expectation.hold(&expected, &shown, &settings);
        differs |= !held.is_empty();
        let name = folder.display().to_string();
        if is_json {
            all.push(expect::json(&held, &expected, &shown, &name).map_err(|error| format!("JSON: {error}"))?);
        } else if !held.is_empty() {
            text.push_str(&format!("{name}:\n{}", expect::text(&held, &expected, &shown)));
        }
    }
    let printed = match is_json {
        true => print(format!("[\n{}\n]\n", all.join(",\n")).as_bytes()),
        false => print(text.as_bytes()),
    };
    // What is missing may be as expected, or not.
    Ok(match (is_damaged, differs) {
        (true, _) => ExitCode::from(FAILED),
        (false, true) => ExitCode::from(DAMAGED),
        (false, false) => printed,
    })
}

/// Notes what is expected from now on, where it is something else.
fn bless(args: &CheckArgs, interrupted: &Arc<AtomicBool>) -> Result<ExitCode, Failure> {
    for folder in &args.captures.inputs {
        let settings = settings(&args.same)?;
        let (shown, is_damaged) = shown(args, folder, &settings, interrupted)?;
        if is_damaged {
            return Err(format!(
                "{}: nothing is expected of damaged captures; editcap writes what can be read of them anew",
                folder.display()
            )
            .into());
        }
        let expectation = Expectation::of(&shown, &settings);
        let told = match Expectation::read(folder) {
            Ok(old) if old.ignored_headers == expectation.ignored_headers => {
                let held = old.hold(&old.trace(), &shown, &settings);
                if held.is_empty() && !expectation.knows_more(&old) {
                    continue;
                }
                match held.is_empty() {
                    true => "more is known of the same conversations\n".to_owned(),
                    false => expect::text(&held, &old.trace(), &shown),
                }
            }
            // A new one, one of another version, or one that somebody spoiled.
            Ok(_) | Err(Error::Missing(_) | Error::Version { .. } | Error::Other { .. }) => {
                let findings: usize = expectation.findings.iter().map(|noted| noted.times).sum();
                let word = if findings == 1 { "finding" } else { "findings" };
                let conversations = match expectation.conversations.len() {
                    1 => "1 conversation".to_owned(),
                    many => format!("{many} conversations"),
                };
                format!("{findings} {word}, {conversations}\n")
            }
            Err(error) => return Err(error.to_string().into()),
        };
        expectation.write(folder).map_err(|error| error.to_string())?;
        print(format!("{}: expect.json written:\n{told}", folder.display()).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// What the captures in a folder show: what is wrong, of the codes that are wanted, and the conversations; and whether a
/// part of the captures could not be read.
fn shown(
    args: &CheckArgs,
    folder: &Path,
    settings: &Settings,
    interrupted: &Arc<AtomicBool>,
) -> Result<(Shown, bool), Failure> {
    let found = Found::at(&[folder.to_owned()], interrupted)?;
    let merge = given::merge(&args.captures, &found, found.beside(&args.captures, &[], &[]))?;
    let mut checked = pipeline::check(&merge, interrupted, &mut |_, _| ())?;
    complain_of_limits(&checked);
    checked.findings.retain(|finding| args.wants(finding.code));
    // What is damaged or unused is told by the merge.
    let recorded = merged(merge, &folder.display().to_string(), settings, interrupted)?;
    Ok((Shown { findings: checked.findings, trace: recorded.trace }, recorded.is_damaged))
}

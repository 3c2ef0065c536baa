//! What is written is valid in the schemas that are published: JUnit's as Jenkins reads it, SARIF 2.1.0. See schemas.py.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use meshpcap::check::format::Format;

use crate::common::leave_out;
use crate::formats::{findings, told};

fn validate(arguments: &[&Path]) -> std::io::Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/schemas.py");
    Command::new("python3").arg(script).args(arguments).output()
}

/// Where .ci/install puts the schemas.
fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemas")
}

fn can_validate() -> bool {
    let test = "validation in the schemas of JUnit and SARIF";
    match validate(&[Path::new("--check"), &schemas()]) {
        Ok(check) if check.status.success() => true,
        Ok(check) => leave_out(test, String::from_utf8_lossy(&check.stderr).lines().last().unwrap_or_default()),
        Err(_) => leave_out(test, "python3"),
    }
}

/// Violations in files of these names and contents.
fn violations(files: &[(String, Vec<u8>)]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
    for (path, (_, bytes)) in paths.iter().zip(files) {
        std::fs::write(path, bytes).expect("a file");
    }
    let schemas = schemas();
    let arguments: Vec<&Path> = [schemas.as_path()].into_iter().chain(paths.iter().map(PathBuf::as_path)).collect();
    let output = validate(&arguments).expect("python3 runs");
    let [told, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.code().is_some_and(|status| status < 2) && errors.is_empty(), "{told}{errors}");
    assert_eq!(output.status.code(), Some(i32::from(!told.is_empty())), "{told}");
    told
}

#[test]
fn what_is_written_is_valid() {
    if !can_validate() {
        return;
    }
    let mut files = Vec::new();
    for (name, found) in [("some", &findings()[..]), ("none", &[])] {
        files.push((format!("{name}.xml"), told(Format::Junit, found).into_bytes()));
        files.push((format!("{name}.sarif"), told(Format::Sarif, found).into_bytes()));
    }
    // Every capture of testdata: all codes but one.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(root.join("testdata")).expect("testdata") {
        let folder = entry.expect("an entry").path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        for (format, ending) in [("junit", "xml"), ("sarif", "sarif")] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
            let run = command.arg("check").arg(&folder).args(["--format", format]).output().expect("it runs");
            assert!(!run.stdout.is_empty(), "{name}");
            files.push((format!("{name}.{ending}"), run.stdout));
        }
    }
    assert!(files.len() > 80, "{}", files.len());
    assert_eq!(violations(&files), "");
}

/// The validation can fail.
#[test]
fn what_is_not_valid_is_found() {
    if !can_validate() {
        return;
    }
    for (format, ending, from, to) in [
        (Format::Junit, "xml", " tests=", " text="),
        (Format::Junit, "xml", "system-out", "system-oops"),
        (Format::Sarif, "sarif", "\"level\": \"error\"", "\"level\": \"fatal\""),
        (Format::Sarif, "sarif", "\"runs\"", "\"run\""),
        (Format::Sarif, "sarif", "dir%20a", "dir a"),
        (Format::Sarif, "sarif", "\"startLine\": 1", "\"startLine\": 0"),
    ] {
        let good = told(format, &findings());
        let spoiled = good.replace(from, to);
        assert_ne!(good, spoiled, "{from}");
        let found = violations(&[(format!("spoiled.{ending}"), spoiled.into_bytes())]);
        assert!(!found.is_empty(), "{from} > {to}");
    }
}

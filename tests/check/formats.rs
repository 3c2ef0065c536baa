//! The formats, held against what they are documented to be.

use meshpcap::check::format::{About, Format, write};
use meshpcap::check::{CODES, Finding, Severity, Subject};
use roxmltree::{Document, Node};
use serde_json::Value;

pub fn findings() -> Vec<Finding> {
    let finding = |code: &'static str, severity, what: &str| Finding {
        code,
        severity,
        certain: severity == Severity::Error,
        legs: vec![Subject {
            role: "outbound-app",
            client: "10.1.0.5:40000".to_owned(),
            server: "[fd00::1]:80".to_owned(),
            tcp_stream: Some(7),
        }],
        frames: vec![3, 5],
        what: what.to_owned(),
        todo: "look, then\nlook again".to_owned(),
    };
    vec![
        finding("port-collision", Severity::Error, "50% of <it> & \"that\":\r\n\u{1}done"),
        finding("capture-gap", Severity::Warning, "a gap"),
        finding("snaplen", Severity::Note, "cut"),
    ]
}

pub fn told(format: Format, findings: &[Finding]) -> String {
    let inputs = ["dir a/lo,1:2.pcap".to_owned(), "/tmp/b.pcap".to_owned()];
    write(format, findings, About { inputs: &inputs, legs: 12 })
}

#[test]
fn text_is_for_people() {
    assert_eq!(told(Format::Text, &[]), "", "quiet when clean");
    let expected = "warning[capture-gap]: a gap (likely)\n  at: outbound-app 10.1.0.5:40000 > [fd00::1]:80, tcp.stream 7; \
                    frames 3, 5\n  do: look, then\nlook again\n";
    assert_eq!(told(Format::Text, &findings()[1..2]), expected);
}

#[test]
fn json_is_frozen() {
    let document: Value = serde_json::from_str(&told(Format::Json, &findings()[..1])).expect("JSON");
    let expected = serde_json::json!({
        "version": 1,
        "inputs": ["dir a/lo,1:2.pcap", "/tmp/b.pcap"],
        "legs": 12,
        "findings": [{
            "code": "port-collision",
            "severity": "error",
            "certain": true,
            "legs": [{"role": "outbound-app", "client": "10.1.0.5:40000", "server": "[fd00::1]:80", "tcp_stream": 7}],
            "frames": [3, 5],
            "what": "50% of <it> & \"that\":\r\n\u{1}done",
            "todo": "look, then\nlook again",
        }],
    });
    assert_eq!(document, expected);
}

#[test]
fn junit_has_a_case_for_each_code() {
    for found in [&findings()[..], &[]] {
        let text = told(Format::Junit, found);
        let document = Document::parse(&text).expect("well-formed");
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        let all = |name: &str| -> Vec<Node> { document.descendants().filter(|node| node.has_tag_name(name)).collect() };
        assert_eq!(all("testcase").len(), CODES.len());
        let failures = all("failure");
        for suite in [root, all("testsuite")[0]] {
            let number = |name: &str| suite.attribute(name).and_then(|value| value.parse().ok());
            assert_eq!((number("tests"), number("failures")), (Some(CODES.len()), Some(failures.len())));
        }
        if found.is_empty() {
            assert!(failures.is_empty() && all("system-out").is_empty());
            continue;
        }
        assert_eq!(failures.len(), 2, "notes do not fail");
        assert_eq!(failures[0].attribute("message"), Some("50% of <it> & \"that\":\r\n\u{fffd}done"));
        assert_eq!(all("system-out")[0].parent().and_then(|case| case.attribute("name")), Some("snaplen"));
    }
}

/// What the schema does not say of it.
#[test]
fn sarif_names_rules_and_says_that_nothing_was_found() {
    for found in [&findings()[..], &[]] {
        let document: Value = serde_json::from_str(&told(Format::Sarif, found)).expect("JSON");
        let run = &document["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().expect("an array");
        assert_eq!(rules.len(), CODES.len());
        // Section 3.14.23: an empty array says that nothing was found; none, that nothing was looked for.
        let results = run["results"].as_array().expect("an array");
        assert_eq!(results.len(), found.len());
        for (result, finding) in results.iter().zip(found) {
            let index = result["ruleIndex"].as_u64().expect("a number") as usize;
            assert_eq!(
                (&result["ruleId"], &rules[index]["id"]),
                (&Value::from(finding.code), &Value::from(finding.code))
            );
            // Section 3.27.9: a level is for what failed.
            assert_eq!(
                (&result["kind"], &result["level"]),
                (&Value::from("fail"), &Value::from(finding.severity.name()))
            );
            assert!(result["partialFingerprints"].as_object().is_some_and(|prints| !prints.is_empty()));
        }
    }
}

#[test]
fn sarif_names_files_by_uri() {
    let document: Value = serde_json::from_str(&told(Format::Sarif, &[])).expect("JSON");
    let uris: Vec<_> = document["runs"][0]["artifacts"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| &file["location"]["uri"])
        .collect();
    assert_eq!(uris, ["dir%20a/lo%2C1%3A2.pcap", "file:///tmp/b.pcap"]);
}

#[test]
fn sarif_names_a_place_once() {
    let mut found = findings();
    let leg = found[0].legs[0].clone();
    found[0].legs.push(leg);
    let input = "a.pcap".to_owned();
    let inputs = [input.clone(), input];
    let text = write(Format::Sarif, &found[..1], About { inputs: &inputs, legs: 2 });
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let run = &document["runs"][0];
    assert_eq!(run["artifacts"].as_array().map(Vec::len), Some(1));
    assert_eq!(run["results"][0]["locations"][0]["logicalLocations"].as_array().map(Vec::len), Some(1));
}

/// A command of a workflow, read as GitHub's runner reads it: a name, properties, a message, each unescaped.
fn command(line: &str) -> (String, Vec<(String, String)>, String) {
    let (head, message) = line.strip_prefix("::").and_then(|line| line.split_once("::")).expect("a command");
    let (name, properties) = head.split_once(' ').expect("properties");
    let plain = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    let property = |text: &str| {
        let (key, value) = text.split_once('=').expect("a property");
        (key.to_owned(), plain(&value.replace("%3A", ":").replace("%2C", ",")))
    };
    (name.to_owned(), properties.split(',').map(property).collect(), plain(message))
}

/// GitHub Docs, "Workflow commands for GitHub Actions": a command a line, what would end it or a property escaped.
#[test]
fn annotations_are_one_line_each() {
    assert_eq!(told(Format::Github, &[]), "");
    let text = told(Format::Github, &findings());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        "::error file=dir a/lo%2C1%3A2.pcap,title=meshpcap%3A port-collision::50%25 of <it> & \"that\":%0D%0A\u{1}done%0A\
         outbound-app 10.1.0.5:40000 > [fd00::1]:80, tcp.stream 7; frames 3, 5%0Alook, then%0Alook again"
    );
    assert!(lines[1].starts_with("::warning ") && lines[2].starts_with("::notice "), "{text}");
    let (name, properties, message) = command(lines[0]);
    assert_eq!(name, "error");
    let expected = [("file", "dir a/lo,1:2.pcap"), ("title", "meshpcap: port-collision")];
    assert_eq!(properties, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let finding = &findings()[0];
    assert!(message.starts_with(&finding.what) && message.ends_with(&finding.todo), "{message}");
}

//! The formats, held against what they are documented to be.

use meshpcap::check::format::{About, Format, write};
use meshpcap::check::{CODES, Finding, Severity, Subject};
use roxmltree::{Document, Node};
use serde_json::Value;

fn findings() -> Vec<Finding> {
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

fn told(format: Format, findings: &[Finding]) -> String {
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

/// What the schema that Jenkins and others publish for JUnit's XML allows: elements, where they stand, their attributes.
fn is_junit(node: Node<'_, '_>) {
    let (children, required, optional): (&[&str], &[&str], &[&str]) = match node.tag_name().name() {
        "testsuites" => (&["testsuite"], &[], &["name", "time", "tests", "failures", "errors"]),
        "testsuite" => (&["testcase"], &["name", "tests"], &["failures", "errors", "skipped", "time"]),
        "testcase" => (&["failure", "system-out"], &["name"], &["classname", "time"]),
        "failure" => (&[], &[], &["message", "type"]),
        "system-out" => (&[], &[], &[]),
        other => panic!("no element {other} in JUnit's XML"),
    };
    assert!(required.iter().all(|name| node.has_attribute(*name)), "{node:?}");
    let known = |name: &str| required.contains(&name) || optional.contains(&name);
    assert!(node.attributes().all(|attribute| known(attribute.name())), "{node:?}");
    for child in node.children().filter(Node::is_element) {
        assert!(children.contains(&child.tag_name().name()), "{child:?} in {node:?}");
        is_junit(child);
    }
}

#[test]
fn junit_has_a_case_for_each_code() {
    for found in [&findings()[..], &[]] {
        let text = told(Format::Junit, found);
        let document = Document::parse(&text).expect("well-formed");
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        is_junit(root);
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

/// A property that has to be there, of an object of SARIF.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or_else(|| panic!("{name} is missing in {object}"))
}

/// The properties that SARIF 2.1.0 has for an object; others are not allowed.
fn is_object(object: &Value, allowed: &[&str]) {
    let object = object.as_object().expect("an object");
    let unknown: Vec<_> = object.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

fn is_message(message: &Value) {
    is_object(message, &["text", "markdown", "id", "arguments", "properties"]);
    assert!(field(message, "text").as_str().is_some_and(|text| !text.is_empty()));
}

fn is_uri(location: &Value) {
    is_object(location, &["uri", "uriBaseId", "index", "description", "properties"]);
    let uri = field(location, "uri").as_str().expect("a string");
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
    assert!(uri.chars().all(is_allowed), "RFC 3986: {uri}");
}

/// SARIF 2.1.0, sections 3.13 to 3.52, as far as it is used.
#[test]
fn sarif_is_what_the_specification_asks_for() {
    for found in [&findings()[..], &[]] {
        let document: Value = serde_json::from_str(&told(Format::Sarif, found)).expect("JSON");
        is_object(&document, &["$schema", "version", "runs", "inlineExternalProperties", "properties"]);
        assert_eq!(field(&document, "version"), "2.1.0");
        let runs = field(&document, "runs").as_array().expect("an array");
        assert_eq!(runs.len(), 1);
        is_object(&runs[0], &["tool", "artifacts", "columnKind", "results"]);
        assert!(
            ["utf16CodeUnits", "unicodeCodePoints"].contains(&field(&runs[0], "columnKind").as_str().expect("text"))
        );
        let driver = field(field(&runs[0], "tool"), "driver");
        is_object(driver, &["name", "version", "semanticVersion", "informationUri", "rules"]);
        assert_eq!(field(driver, "name"), "meshpcap");
        let rules = field(driver, "rules").as_array().expect("an array");
        assert_eq!(rules.len(), CODES.len());
        for rule in rules {
            is_object(
                rule,
                &["id", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration", "properties"],
            );
            field(rule, "id");
            for text in ["shortDescription", "fullDescription", "help"] {
                is_object(field(rule, text), &["text", "markdown", "properties"]);
                assert!(field(field(rule, text), "text").is_string());
            }
            assert!(field(rule, "helpUri").as_str().is_some_and(|uri| uri.starts_with("https://")));
            is_level(field(field(rule, "defaultConfiguration"), "level"));
        }
        for artifact in field(&runs[0], "artifacts").as_array().expect("an array") {
            is_object(artifact, &["location"]);
            is_uri(field(artifact, "location"));
        }
        // Section 3.14.23: an empty array says that nothing was found; none, that nothing was looked for.
        let results = field(&runs[0], "results").as_array().expect("an array");
        assert_eq!(results.len(), found.len());
        for result in results {
            is_result(result, rules);
        }
    }
}

fn is_level(level: &Value) {
    assert!(["none", "note", "warning", "error"].contains(&level.as_str().expect("a string")));
}

fn is_result(result: &Value, rules: &[Value]) {
    is_object(
        result,
        &["ruleId", "ruleIndex", "level", "kind", "message", "locations", "partialFingerprints", "properties"],
    );
    let index = field(result, "ruleIndex").as_u64().expect("a number") as usize;
    assert_eq!(field(result, "ruleId"), field(&rules[index], "id"));
    is_level(field(result, "level"));
    // Section 3.27.9: a level is for what failed.
    assert_eq!(field(result, "kind"), "fail");
    is_message(field(result, "message"));
    for location in field(result, "locations").as_array().expect("an array") {
        is_object(location, &["id", "physicalLocation", "logicalLocations", "message", "properties"]);
        let physical = field(location, "physicalLocation");
        is_object(physical, &["artifactLocation", "region", "contextRegion", "address", "properties"]);
        is_uri(field(physical, "artifactLocation"));
        assert!(field(field(physical, "region"), "startLine").as_u64().is_some_and(|line| line >= 1));
        for logical in field(location, "logicalLocations").as_array().expect("an array") {
            is_object(logical, &["name", "index", "fullyQualifiedName", "decoratedName", "parentIndex", "kind"]);
        }
    }
    let fingerprints = field(result, "partialFingerprints").as_object().expect("an object");
    assert!(!fingerprints.is_empty() && fingerprints.values().all(Value::is_string));
    assert!(field(result, "properties").is_object());
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
}

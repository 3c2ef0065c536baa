//! `meshpcap explain` as docs/explain.md describes it: the commands on the page print what it shows, and its table has
//! each field of the JSON with its types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/explain.md")).expect("the page is there")
}

/// Runs a line of the page as a shell does, where the page says, with this build of meshpcap.
fn run(line: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_meshpcap")).parent().expect("a folder");
    let others = std::env::var_os("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = std::iter::once(binary.to_owned()).chain(std::env::split_paths(&others)).collect();
    let path = std::env::join_paths(paths).expect("folders without a colon");
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(root().join("docs/explain")).env("PATH", path).stdin(Stdio::null());
    String::from_utf8(shell.output().expect("a shell").stdout).expect("UTF-8")
}

#[test]
fn the_page_shows_what_its_commands_print() {
    let page = page();
    let blocks: Vec<&str> =
        page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert_eq!(blocks.len(), 5);
    // `UPDATE_PAGE=1 cargo test --test explain` writes what is printed into the page.
    let mut updated = page.clone();
    for block in blocks {
        let (line, shown) = block.split_once('\n').expect("a command and what it prints");
        let line = line.strip_prefix("$ ").expect("a prompt");
        let printed = run(line);
        assert!(!printed.is_empty(), "{line} prints nothing");
        if std::env::var_os("UPDATE_PAGE").is_some() {
            updated = updated.replace(block, &format!("$ {line}\n{printed}"));
        } else {
            assert_eq!(shown, printed, "{line}");
        }
    }
    if updated != page {
        std::fs::write(root().join("docs/explain.md"), updated).expect("the page is written");
    }
}

/// Rules and probes that show each field with each type that it can have.
const CASES: [(&str, &str); 10] = [
    ("--mesh istio", "tcp 10.0.0.1:4000 -> 10.0.0.2:80"),
    ("--mesh istio --uid 1 --gid 2 --mark 3", "tcp 10.0.0.1:4000 -> 10.0.0.2:80"),
    ("--mesh istio-ambient", "tcp 10.0.0.1:4000 -> 10.0.0.2:80"),
    ("--mesh istio-tproxy --in eth0", "tcp 10.0.0.2:4000 -> 10.0.0.1:80"),
    ("--rules ip:mixed.rules --uid 1 --out eth1", "tcp 10.0.0.1:4000 -> 10.0.0.2:80"),
    ("--rules ip:mixed.rules --in eth0", "tcp 10.0.0.2:4000 -> 10.0.0.1:80"),
    ("--rules ip:mixed.rules --in eth0", "tcp 10.0.0.2:4000 -> 10.0.0.1:81"),
    ("--rules ip:mixed.rules --in eth0", "tcp 10.0.0.2:4000 -> 10.0.0.1:82"),
    ("--rules ip:mixed.rules --in eth0", "tcp 10.0.0.2:4000 -> 10.0.0.1:83"),
    ("--rules native.json", "tcp 10.0.0.1:4000 -> 10.0.0.2:80"),
];

const MIXED: &str = "\
*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 81 -j TPROXY --on-port 9 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1
-A PREROUTING -p tcp -m tcp --dport 82 -j NFQUEUE
-A OUTPUT -p tcp -j CONNMARK --save-mark
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p tcp -m connmark --mark 0x0 -j DNAT --to-destination 10.0.0.3:80
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -p tcp -m tcp --dport 81 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 83 -j REJECT
COMMIT
";

const NATIVE: &str = r#"{"nftables":[{"table":{"family":"ip","name":"t"}},
{"chain":{"family":"ip","table":"t","name":"c","type":"nat","hook":"output","prio":-100,"policy":"accept"}},
{"rule":{"family":"ip","table":"t","chain":"c","handle":4,"expr":[{"redirect":{"port":15001}}]}}]}"#;

/// Adds the types of a value and of what is in it to those of its path.
fn types(path: &str, value: &Value, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) => {
            assert!(number.is_u64(), "{path}: {number}");
            "number"
        }
        Value::String(word) => {
            if path.ends_with(".fate") || path.ends_with(".step") {
                found.entry(word.clone()).or_default().insert("word");
            }
            "string"
        }
        Value::Array(list) => {
            list.iter().for_each(|value| types(&format!("{path}[]"), value, found));
            "array"
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                types(&below, value, found);
            }
            "object"
        }
    };
    // The rule of a step is documented once; objects in lists have no row of their own.
    let has_no_row =
        path.is_empty() || path.starts_with("outcomes[].walk[].rule.") || name == "object" && path.ends_with("[]");
    if !has_no_row {
        found.entry(path.to_owned()).or_default().insert(name);
    }
}

#[test]
fn the_json_is_frozen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("mixed.rules"), MIXED).expect("a file of the test");
    std::fs::write(folder.path().join("native.json"), NATIVE).expect("a file of the test");
    let meshpcap = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_meshpcap"))
            .arg("explain")
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("meshpcap runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let mut found = BTreeMap::new();
    for (options, probe) in CASES {
        let options: Vec<&str> = options.split(' ').collect();
        let whole = meshpcap(&[options.as_slice(), &["--json", probe]].concat());
        types("", &whole, &mut found);
        // A line of `--probes` is the same without the walk.
        std::fs::write(folder.path().join("line"), format!("{{\"probe\":\"{probe}\"}}\n")).expect("a probe");
        let line = meshpcap(&[options.as_slice(), &["--probes", "line"]].concat());
        let mut without = whole;
        for outcome in without["outcomes"].as_array_mut().expect("outcomes") {
            outcome.as_object_mut().expect("an outcome").remove("walk").expect("a walk");
        }
        assert_eq!(line, without, "{options:?} {probe}");
    }
    std::fs::write(folder.path().join("line"), r#"{"probe":"tcp 10.0.0.1:1 -> 10.0.0.2:2","socket":false}"#)
        .expect("it");
    types("", &meshpcap(&["--mesh", "istio", "--probes", "line"]), &mut found);
    let words: Vec<String> = found.extract_if(.., |_, types| types.contains("word")).map(|(word, _)| word).collect();
    let fates = ["delivered", "dropped", "proxied", "rejected", "sent", "unknown"];
    let mut expected = [&fates[..], &["chain", "hook", "policy", "routed", "rule", "skipped", "translated"]].concat();
    expected.sort_unstable();
    assert_eq!(words, expected);
    let found: Vec<String> = found
        .into_iter()
        .map(|(path, types)| format!("{path}: {}", types.into_iter().collect::<Vec<_>>().join(" or ")))
        .collect();
    let page = page();
    let mut documented: Vec<String> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some(format!("{}: {}", cells.next()?.trim_end_matches('`'), cells.next()?))
        })
        .collect();
    documented.sort();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, documented);
}

#[test]
fn wrong_lines_of_probes() {
    let told = |line: &str, options: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("lines"), line).expect("a file of the test");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
        command.current_dir(folder.path()).args(["explain", "--mesh", "istio", "--probes", "lines"]);
        let output = command.args(options.split_whitespace()).output().expect("meshpcap runs");
        assert_eq!(output.status.code(), Some(2), "{line:.100}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let good = r#"{"probe":"tcp 10.0.0.1:1 -> 10.0.0.2:2"}"#;
    assert_eq!(told(&format!("{good}\n\n{{\"probe\"\n"), ""), "meshpcap: lines: line 3: EOF while parsing an object\n");
    assert_eq!(
        told("{\"probe\":\"\u{0}", ""),
        "meshpcap: lines: line 1: control character (\\u0000-\\u001F) found while parsing a string\n"
    );
    let both = r#"{"probe":"tcp 10.0.0.2:1 -> 10.0.0.1:2","in":"eth0","uid":5}"#;
    assert!(told(both, "").contains("line 1: `in` and `uid`"));
    assert!(told(&both.replace(",\"uid\":5", ""), "--uid 5").contains("line 1: `in` and `uid`"));
    assert!(told(&both.replace("eth0", "lo"), "").contains("`in` is lo"));
    assert!(told(&good.replace("}", ",\"user\":5}"), "").contains("unknown field `user`"));
    assert_eq!(told(&"x".repeat(100 << 20), ""), "meshpcap: lines: line 1: it is longer than 65536 octets\n");
}

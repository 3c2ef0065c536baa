//! JSON lines: the keys of a format, and the values that stand under them in a line.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde_json::Value;

use super::pattern::{FormatError, Mismatch, Pattern, Spans};
use crate::beside::tree::{Places, walk};

/// Keys that one format may have.
const KEYS: usize = 256;

/// The keys of a format, as a tree; the first node is the whole line.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<String, usize>,
    /// What the value looks like; none for an object.
    pattern: Option<Pattern>,
}

impl Keys {
    /// The keys of a `json_format`: an object whose values are format strings, or objects of such.
    pub fn new(format: &str) -> Result<Keys, FormatError> {
        let format: Value =
            serde_json::from_str(format).map_err(|error| FormatError(format!("no JSON object: {error}")))?;
        let mut keys = Keys { nodes: vec![Node::default()] };
        keys.add(0, &format)?;
        match keys.nodes.iter().any(|node| node.pattern.is_some()) {
            true => Ok(keys),
            false => Err(FormatError("it has no operator such as %START_TIME%".to_owned())),
        }
    }

    fn add(&mut self, at: usize, value: &Value) -> Result<(), FormatError> {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let child = self.nodes.len();
                    if child > KEYS {
                        return Err(FormatError(format!("more than {KEYS} keys")));
                    }
                    self.nodes.push(Node::default());
                    self.nodes[at].children.insert(key.clone(), child);
                    self.add(child, value)?;
                }
            }
            // Without an operator it is the same in every line.
            Value::String(format) if format.contains('%') => self.nodes[at].pattern = Some(Pattern::new(format)?),
            _ => {}
        }
        Ok(())
    }
}

/// Where the values of a line stand in `values`, which is written anew.
pub(super) fn spans(keys: &Keys, line: &[u8], values: &mut Vec<u8>) -> Result<Spans, Mismatch> {
    values.clear();
    let mut reading = Reading { keys, values, spans: Spans::default(), known: 0, wrong: None };
    let result = walk(&mut reading, 0, serde_json::Deserializer::from_slice(line));
    match (result, reading.wrong) {
        (Err(_), _) => Err(Mismatch::Damaged),
        // JSON of something else in the same container.
        (Ok(()), _) if reading.known == 0 => Err(Mismatch::Other),
        (Ok(()), Some(wrong)) => Err(wrong),
        (Ok(()), None) => Ok(reading.spans),
    }
}

struct Reading<'a> {
    keys: &'a Keys,
    values: &'a mut Vec<u8>,
    spans: Spans,
    /// Keys of the format that were there.
    known: usize,
    wrong: Option<Mismatch>,
}

impl Reading<'_> {
    fn value(&mut self, node: usize, value: fmt::Arguments<'_>) {
        let Some(pattern) = &self.keys.nodes[node].pattern else { return };
        self.known += 1;
        let start = self.values.len();
        // Writing to memory does not fail.
        let _ = Text(self.values).write_fmt(value);
        // No longer than the line: escapes are longer than what they stand for, and numbers as long as written.
        let (Ok(offset), Some(value)) = (u32::try_from(start), self.values.get(start..)) else { return };
        if matches!(value, b"" | b"-") {
            return;
        }
        match pattern.spans(value) {
            Ok(spans) => self.spans.add(&spans, offset),
            Err(Mismatch::Ambiguous) => self.wrong = Some(Mismatch::Ambiguous),
            Err(_) => self.wrong = Some(Mismatch::Value),
        }
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Places for Reading<'_> {
    /// A node of the format.
    type Place = usize;

    fn child(&self, object: usize, key: &str) -> Option<usize> {
        self.keys.nodes[object].children.get(key).copied()
    }

    fn text(&mut self, node: usize, text: &str) {
        self.value(node, format_args!("{text}"));
    }

    /// Envoy writes large numbers as doubles, and null for what is absent.
    fn other(&mut self, node: usize, value: Option<fmt::Arguments<'_>>) {
        self.value(node, value.unwrap_or(format_args!("-")));
    }
}

//! JSON lines: the keys of a format, and the values that stand under them in a line.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::FormatError;
use super::format::text;
use super::pattern::{Mismatch, Pattern, Spans};

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
            Value::String(format) if format.contains('%') => self.nodes[at].pattern = Some(text(format)?),
            _ => {}
        }
        Ok(())
    }
}

/// Where the values of a line stand in `values`, which is written anew.
pub(super) fn spans(keys: &Keys, line: &[u8], values: &mut Vec<u8>) -> Result<Spans, Mismatch> {
    values.clear();
    let mut reading = Reading { keys, values, spans: Spans::default(), known: 0, wrong: None };
    let mut json = serde_json::Deserializer::from_slice(line);
    let result = Walk { node: 0, reading: &mut reading }.deserialize(&mut json).and_then(|()| json.end());
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

/// Walks the value of a key of the format.
struct Walk<'a, 'b> {
    node: usize,
    reading: &'a mut Reading<'b>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let keys = self.reading.keys;
        while let Some(child) = map.next_key_seed(Key(&keys.nodes[self.node]))? {
            match child {
                Some(node) => map.next_value_seed(Walk { node, reading: &mut *self.reading })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.reading.value(self.node, format_args!("{text}"));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.reading.value(self.node, format_args!("{value}"));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.reading.value(self.node, format_args!("{value}"));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.reading.value(self.node, format_args!("{value}"));
        Ok(())
    }

    /// Envoy writes large numbers as doubles.
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.reading.value(self.node, format_args!("{value}"));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.reading.value(self.node, format_args!("-"));
        Ok(())
    }
}

/// A key, as the node that it leads to.
struct Key<'a>(&'a Node);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.children.get(key).copied())
    }
}

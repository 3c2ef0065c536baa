//! A compiled format string, and how a line is held against it.
//!
//! Values stand between literals, and a value may hold what looks like the next literal. So all ways are tried to read
//! the line, within a bound; the line is used if all of them give the same fields.

use memchr::memchr;

use super::operator::{FIELDS, Field, Operator, Shape};
use super::time::Time;

/// Places that are tried for one line; so many octets that are passed over count as one more.
const STEPS: usize = 1 << 16;
const PASSED_OVER: usize = 32;

/// Operators that one format may have.
const OPERATORS: usize = 128;

/// Literals with what stands between them.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub head: Box<[u8]>,
    pub parts: Vec<Part>,
}

/// An operator and the literal behind it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub operator: Operator,
    pub then: Box<[u8]>,
}

/// Where the fields stand in a text of less than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    fields: [Option<(u32, u32)>; FIELDS],
    pub start: Option<Time>,
}

/// What is wrong with a format string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access log format: {0}")]
pub struct FormatError(pub(super) String);

/// Why a line does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// A line of another kind, which means no harm.
    Other,
    NotThis,
    NotJson,
    Damaged,
    Value,
    Ambiguous,
    TooIntricate,
}

impl Mismatch {
    pub fn what(self) -> &'static str {
        match self {
            Mismatch::Other => "a line of another kind",
            Mismatch::NotThis => "does not fit the format (give it with --access-log-format)",
            Mismatch::NotJson => "no JSON object",
            Mismatch::Damaged => "damaged JSON",
            Mismatch::Value => "a value that does not fit the format of its key",
            Mismatch::Ambiguous => "fits the format in more than one way",
            Mismatch::TooIntricate => "too many ways to fit the format",
        }
    }
}

impl Spans {
    /// The value of a field in the text, unless it is absent.
    pub fn of<'a>(&self, field: Field, text: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.fields[field as usize]?;
        let value = text.get(start as usize..end as usize)?;
        (!value.is_empty() && value != b"-").then_some(value)
    }

    /// Takes over the fields of a value that stands at an offset of the text.
    pub fn add(&mut self, other: &Spans, offset: u32) {
        for (mine, theirs) in self.fields.iter_mut().zip(other.fields) {
            if let Some((start, end)) = theirs {
                *mine = Some((start + offset, end + offset));
            }
        }
        self.start = self.start.into_iter().chain(other.start).min_by_key(|time| time.resolution);
    }
}

impl Pattern {
    /// Compiles a format string.
    pub fn new(format: &str) -> Result<Pattern, FormatError> {
        if format.contains('\n') {
            return Err(FormatError("one record takes several lines; only one line for each can be read".to_owned()));
        }
        let mut literal = Vec::new();
        let mut head = None;
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            literal.extend_from_slice(before.as_bytes());
            if let Some(after) = after.strip_prefix('%') {
                literal.push(b'%');
                rest = after;
                continue;
            }
            let (name, arguments, after) = operator(after)?;
            let operator = Operator::new(name, arguments)
                .map_err(|what| FormatError(format!("%{name}({})%: {what}", arguments.unwrap_or_default())))?;
            let stretches = |shape: &Shape| matches!(shape, Shape::Text | Shape::Word | Shape::Address);
            let literal = std::mem::take(&mut literal).into_boxed_slice();
            match parts.last_mut() {
                None => head = Some(literal),
                Some(last) if literal.is_empty() && stretches(&last.operator.shape) => {
                    let what = "nothing stands between it and the operator before: their values cannot be told apart";
                    return Err(FormatError(format!("%{name}%: {what}")));
                }
                Some(last) => last.then = literal,
            }
            parts.push(Part { operator, then: Box::default() });
            if parts.len() > OPERATORS {
                return Err(FormatError(format!("more than {OPERATORS} operators")));
            }
            rest = after;
        }
        literal.extend_from_slice(rest.as_bytes());
        let (Some(head), Some(last)) = (head, parts.last_mut()) else {
            return Err(FormatError("it has no operator such as %START_TIME%".to_owned()));
        };
        last.then = literal.into_boxed_slice();
        Ok(Pattern { head, parts })
    }

    /// Where the fields of a line stand.
    pub fn spans(&self, line: &[u8]) -> Result<Spans, Mismatch> {
        if !line.starts_with(&self.head) {
            return Err(Mismatch::NotThis);
        }
        // Alone, a value may hold anything: it ends where the line does.
        let alone = self.head.is_empty() && matches!(&self.parts[..], [part] if part.then.is_empty());
        let mut search =
            Search { line, parts: &self.parts, alone, steps: STEPS, current: Spans::default(), found: None };
        search.go(0, self.head.len())?;
        search.found.ok_or(Mismatch::NotThis)
    }
}

/// Name, arguments, and what comes behind an operator whose first `%` is gone: `NAME(arguments):length%`.
fn operator(text: &str) -> Result<(&str, Option<&str>, &str), FormatError> {
    let wrong = |what: &str| FormatError(format!("`%{}`: {what}", text.chars().take(40).collect::<String>()));
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return Err(wrong("no name of an operator behind %; a percent sign is written %%"));
    }
    let (arguments, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(inside) => {
            // Arguments may hold % and parentheses: the end is what an end can be.
            let ends = inside.match_indices(')').map(|(at, _)| at);
            let end = ends.into_iter().find(|&at| {
                let after = &inside[at + 1..];
                after.starts_with('%') || after.starts_with(':')
            });
            let end = end.ok_or_else(|| wrong("the parenthesis has no end"))?;
            (Some(&inside[..end]), &inside[end + 1..])
        }
    };
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(length) => length.trim_start_matches(|c: char| c.is_ascii_digit()),
    };
    let rest = rest.strip_prefix('%').ok_or_else(|| wrong("the operator has no % at its end"))?;
    Ok((name, arguments, rest))
}

struct Search<'a> {
    line: &'a [u8],
    parts: &'a [Part],
    alone: bool,
    steps: usize,
    current: Spans,
    found: Option<Spans>,
}

impl Search<'_> {
    /// Tries all ways to read the rest of the line with the rest of the parts.
    fn go(&mut self, number: usize, at: usize) -> Result<(), Mismatch> {
        let Some(part) = self.parts.get(number) else {
            if at == self.line.len() {
                match self.found {
                    None => self.found = Some(self.current),
                    Some(found) if found != self.current => return Err(Mismatch::Ambiguous),
                    Some(_) => {}
                }
            }
            return Ok(());
        };
        let rest = &self.line[at..];
        let mut time = None;
        // Where the value may end: at one place, or at each of several.
        let (first, last) = match &part.operator.shape {
            Shape::Number => same(rest.iter().take_while(|c| c.is_ascii_digit()).count(), rest),
            Shape::Address if rest.first().is_some_and(|c| c.is_ascii_digit() || *c == b'[') => {
                let is_part = |c: &&u8| c.is_ascii_hexdigit() || b".:[]%".contains(c);
                same(rest.iter().take_while(is_part).count(), rest)
            }
            Shape::Word if self.alone => (0, rest.len()),
            Shape::Address | Shape::Word => (0, rest.iter().take_while(|c| !c.is_ascii_whitespace()).count()),
            Shape::Text => (0, rest.len()),
            Shape::Time(format, is_start) => match format.read(rest) {
                Some((len, read)) => {
                    time = read.filter(|_| *is_start);
                    (len, len)
                }
                None => same(0, rest),
            },
        };
        // The last value ends where what is behind it reaches the end of the line.
        let is_last = number + 1 == self.parts.len();
        let first = if is_last { first.max(rest.len().saturating_sub(part.then.len())) } else { first };
        let start_before = self.current.start;
        let mut next = first;
        while next <= last {
            // Only where the literal may start, if there is one.
            let places = rest.get(next..rest.len().min(last + 1)).unwrap_or_default();
            let skip = part.then.first().map_or(Some(0), |&start| memchr(start, places));
            let steps = 1 + skip.unwrap_or(places.len()) / PASSED_OVER;
            self.steps = self.steps.checked_sub(steps).ok_or(Mismatch::TooIntricate)?;
            let Some(skip) = skip else { break };
            let end = next + skip;
            next = end + 1;
            if !rest.get(end..).is_some_and(|after| after.starts_with(&part.then)) {
                continue;
            }
            if let Some(field) = part.operator.field {
                // Lines have at most 64 KiB.
                self.current.fields[field as usize] = Some((at as u32, (at + end) as u32));
            }
            // Of several, the most exact one.
            let exactness = |time: &Time| time.resolution;
            self.current.start = start_before.into_iter().chain(time).min_by_key(exactness);
            self.go(number + 1, at + end + part.then.len())?;
        }
        self.current.start = start_before;
        Ok(())
    }
}

/// A value that ends at one place; none at all is written `-`, or as nothing.
fn same(len: usize, rest: &[u8]) -> (usize, usize) {
    let len = if len == 0 { usize::from(rest.first() == Some(&b'-')) } else { len };
    (len, len)
}

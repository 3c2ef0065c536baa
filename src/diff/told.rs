//! A [`Diff`] for a reviewer, and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::compare::{Diff, Difference, Field, Kind};
use super::payload::Payload;
use super::trace::{Conversation, Trace};

/// Characters of a value that are shown.
const SHOWN: usize = 160;

/// One block of lines for each difference, and a last line that counts them; nothing if there are none. `sides` is what the
/// recordings are called, the old one first.
pub fn text(diff: &Diff, old: &Trace, new: &Trace, sides: [&str; 2]) -> String {
    let mut out = String::new();
    for difference in &diff.differences {
        block(&mut out, difference, old, new, sides);
    }
    if !diff.is_empty() {
        let counts = [Kind::Added, Kind::Removed, Kind::Changed, Kind::Moved].map(|kind| diff.count(kind));
        let [added, removed, changed, moved] = counts;
        // Writing to a string cannot fail.
        let _ =
            writeln!(out, "{added} added, {removed} removed, {changed} changed, {moved} moved; {} the same", diff.same);
    }
    out
}

fn block(out: &mut String, difference: &Difference, old: &Trace, new: &Trace, sides: [&str; 2]) {
    let a = difference.old.and_then(|index| old.conversations.get(index));
    let b = difference.new.and_then(|index| new.conversations.get(index));
    let Some(either) = b.or(a) else { return };
    let [old_side, new_side] = sides;
    let (sign, word) = match difference.kind {
        Kind::Added => ('+', format!("only in {new_side}")),
        Kind::Removed => ('-', format!("only in {old_side}")),
        Kind::Changed => ('~', "changed".to_owned()),
        Kind::Moved => ('>', "moved".to_owned()),
    };
    let places = [(old_side, a), (new_side, b)].map(|(name, one)| {
        let place = one?.place?;
        let stream = place.stream.map(|stream| format!("{}.stream {stream}", either.protocol));
        Some(format!("{} in {name}", stream.unwrap_or_else(|| format!("frame {}", place.frame))))
    });
    let places = places.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let places = if places.is_empty() { String::new() } else { format!(" ({places})") };
    let _ = writeln!(out, "{sign} {} {} > {}: {word}{places}", either.role, either.client, either.server);
    if difference.fields.is_empty() {
        let _ = writeln!(out, "    {}", plain(&summary(either)));
    }
    for Field { what, old, new } in &difference.fields {
        let value = |value: &Option<String>| value.as_deref().map_or("(none)".to_owned(), plain);
        let _ = writeln!(out, "    {}: {} -> {}", plain(what), value(old), value(new));
    }
    if difference.more > 0 {
        let _ = writeln!(out, "    and {} more", difference.more);
    }
}

/// A conversation in one line.
fn summary(conversation: &Conversation) -> String {
    let payload = |payload: &Payload| match payload.messages.as_slice() {
        [] => match payload.octets {
            Some(octets) => format!("{}, {octets} octets", payload.kind),
            None => payload.kind.clone(),
        },
        [only] => only.line.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.line, rest.len() as u64 + payload.more),
    };
    let mut parts = vec![format!("sent {}", payload(&conversation.sent))];
    parts.push(format!("received {}", payload(&conversation.received)));
    parts.extend(conversation.handshake.map(|handshake| handshake.told().to_owned()));
    parts.extend(conversation.ended.map(|ended| ended.told().to_owned()));
    parts.join("; ")
}

/// Text that a terminal can be given, and not too long.
fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| {
            let is_plain = !c.is_control();
            is_plain.then_some(c).into_iter().chain((!is_plain).then(|| c.escape_default()).into_iter().flatten())
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        plain.push('…');
    }
    plain
}

/// All of it, as docs/diff.md has it.
pub fn json(diff: &Diff, old: &Trace, new: &Trace) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&document(diff, old, new))
}

/// The same, to be part of more.
pub fn document<'a>(diff: &Diff, old: &'a Trace, new: &'a Trace) -> Document<'a> {
    let one = |difference: &Difference| -> One<'a> {
        let Difference { kind, old: a, new: b, more, .. } = *difference;
        One { kind, old: Numbered::of(old, a), new: Numbered::of(new, b), fields: difference.fields.clone(), more }
    };
    Document {
        version: 1,
        same: diff.is_empty(),
        conversations: Counts { old: old.conversations.len(), new: new.conversations.len(), same: diff.same },
        differences: diff.differences.iter().map(one).collect(),
    }
}

/// A [`Diff`] as it is written.
#[derive(Serialize)]
pub struct Document<'a> {
    version: u32,
    same: bool,
    conversations: Counts,
    differences: Vec<One<'a>>,
}

#[derive(Serialize)]
struct Counts {
    old: usize,
    new: usize,
    same: usize,
}

#[derive(Serialize)]
struct One<'a> {
    kind: Kind,
    old: Option<Numbered<'a>>,
    new: Option<Numbered<'a>>,
    fields: Vec<Field>,
    more: usize,
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: usize,
    frame: Option<u64>,
    stream: Option<u32>,
    #[serde(flatten)]
    conversation: &'a Conversation,
}

impl Numbered<'_> {
    fn of(trace: &Trace, index: Option<usize>) -> Option<Numbered<'_>> {
        let index = index?;
        let conversation = trace.conversations.get(index)?;
        let (frame, stream) = (conversation.place.map(|p| p.frame), conversation.place.and_then(|p| p.stream));
        Some(Numbered { number: index + 1, frame, stream, conversation })
    }
}

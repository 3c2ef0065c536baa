//! A [`Diff`] for a reviewer, and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::compare::{Diff, Difference, Field, Kind};
use super::payload::Payload;
use super::trace::{Conversation, Trace};

/// Characters of a value that are shown.
const SHOWN: usize = 160;

/// One block of lines for each difference, and a last line that counts them; nothing if there are none.
pub fn text(diff: &Diff, old: &Trace, new: &Trace) -> String {
    let mut out = String::new();
    for difference in &diff.differences {
        block(&mut out, difference, old, new);
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

fn block(out: &mut String, difference: &Difference, old: &Trace, new: &Trace) {
    let of = |trace: &'_ Trace, index: Option<usize>| index.and_then(|index| trace.conversations.get(index)).cloned();
    let (a, b) = (of(old, difference.old), of(new, difference.new));
    let Some(either) = b.as_ref().or(a.as_ref()) else { return };
    let (sign, word) = match difference.kind {
        Kind::Added => ('+', "only in NEW"),
        Kind::Removed => ('-', "only in OLD"),
        Kind::Changed => ('~', "changed"),
        Kind::Moved => ('>', "moved"),
    };
    let places = [("OLD", &a), ("NEW", &b)].map(|(name, one)| {
        let place = one.as_ref()?.place?;
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

/// All of it.
pub fn json(diff: &Diff, old: &Trace, new: &Trace) -> Value {
    let one = |trace: &Trace, index: Option<usize>| {
        let index = index?;
        let conversation = trace.conversations.get(index)?;
        let mut value = serde_json::to_value(conversation).ok()?;
        value["number"] = json!(index + 1);
        value["frame"] = json!(conversation.place.map(|place| place.frame));
        value["stream"] = json!(conversation.place.and_then(|place| place.stream));
        Some(value)
    };
    let differences: Vec<Value> = diff
        .differences
        .iter()
        .map(|difference| {
            json!({
                "kind": difference.kind,
                "old": one(old, difference.old),
                "new": one(new, difference.new),
                "fields": difference.fields,
                "more": difference.more,
            })
        })
        .collect();
    json!({
        "version": 1,
        "same": diff.is_empty(),
        "conversations": {"old": old.conversations.len(), "new": new.conversations.len(), "same": diff.same},
        "differences": differences,
    })
}

//! The smallest list of edits that makes one recording's conversations the other's.
//!
//! Conversations of one role to one server belong together. Of these, equal ones are paired first, in order; then those that
//! differ in one respect, in two, and so on; what is left over in one recording only was added or removed. So the number
//! of edits is the least possible, and the work grows with the number of conversations, not with its square.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use serde::Serialize;

use super::payload::{Message, Payload};
use super::trace::{Conversation, Trace};

/// Respects in which two conversations can differ.
const RESPECTS: usize = 6;

/// Differences that are told of one conversation.
const TOLD: usize = 50;

/// Differences that are told of all conversations; past that, one of each.
const TOLD_IN_ALL: usize = 100_000;

/// Octets of a value that are told.
const VALUE: usize = 1000;

/// What makes one recording the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order of the old recording; what was added, behind that.
    pub differences: Vec<Difference>,
    /// How many conversations are in both, and the same.
    pub same: usize,
}

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// The conversation in the old recording, as an index.
    pub old: Option<usize>,
    /// The conversation in the new recording, as an index.
    pub new: Option<usize>,
    /// What of it changed.
    pub fields: Vec<Field>,
    /// How many more changes there are in it.
    pub more: usize,
}

/// A kind of edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only the new recording has it.
    Added,
    /// Only the old recording has it.
    Removed,
    /// It is another one.
    Changed,
    /// It is the same, and comes at another time.
    Moved,
}

/// A value that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Of what.
    pub what: String,
    /// What it was, if it was there.
    pub old: Option<String>,
    /// What it is, if it is there.
    pub new: Option<String>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// How many edits of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.differences.iter().filter(|difference| difference.kind == kind).count()
    }
}

/// Compares two recordings.
pub fn compare(old: &Trace, new: &Trace) -> Diff {
    let pairs = pairs(&old.conversations, &new.conversations);
    let moved = moved(&pairs, old, new);
    let mut partners = vec![None; old.conversations.len()];
    let mut is_paired = vec![false; new.conversations.len()];
    for (&(o, n), is_moved) in pairs.iter().zip(moved) {
        partners[o] = Some((n, is_moved));
        is_paired[n] = true;
    }
    let mut diff = Diff::default();
    let mut told = 0;
    for (o, partner) in partners.into_iter().enumerate() {
        let Some((n, is_moved)) = partner else {
            let removed = Difference { kind: Kind::Removed, old: Some(o), new: None, fields: Vec::new(), more: 0 };
            diff.differences.push(removed);
            continue;
        };
        let (a, b) = (&old.conversations[o], &new.conversations[n]);
        let mut fields = Vec::new();
        conversation(a, b, &mut fields);
        let kind = if fields.is_empty() { Kind::Moved } else { Kind::Changed };
        if is_moved {
            let step = |conversation: &Conversation| format!("step {}", conversation.step);
            fields.push(Field::new("order", Some(step(a)), Some(step(b))));
        }
        if fields.is_empty() {
            diff.same += 1;
            continue;
        }
        let most = TOLD.min(TOLD_IN_ALL.saturating_sub(told)).max(1);
        let more = fields.len().saturating_sub(most);
        fields.truncate(most);
        told += fields.len();
        diff.differences.push(Difference { kind, old: Some(o), new: Some(n), fields, more });
    }
    let added = (0..is_paired.len()).filter(|&n| !is_paired[n]);
    diff.differences.extend(added.map(|n| Difference {
        kind: Kind::Added,
        old: None,
        new: Some(n),
        fields: Vec::new(),
        more: 0,
    }));
    diff
}

/// Those that belong together, in the order of the old recording.
fn pairs(old: &[Conversation], new: &[Conversation]) -> Vec<(usize, usize)> {
    let (old, new): (Vec<Keys>, Vec<Keys>) = (old.iter().map(Keys::of).collect(), new.iter().map(Keys::of).collect());
    let (mut old_left, mut new_left): (Vec<usize>, Vec<usize>) = ((0..old.len()).collect(), (0..new.len()).collect());
    let mut pairs = Vec::new();
    // Respects that are left out: none, then one, then two ...
    let mut masks: Vec<u32> = (0..1 << RESPECTS).collect();
    masks.sort_by_key(|mask| (mask.count_ones(), *mask));
    for mask in masks {
        if old_left.is_empty() || new_left.is_empty() {
            break;
        }
        let mut waiting: HashMap<(Group, [u64; RESPECTS]), VecDeque<usize>, FixedState> = HashMap::default();
        for &n in &new_left {
            waiting.entry(new[n].without(mask)).or_default().push_back(n);
        }
        let mut is_taken = vec![false; new.len()];
        old_left.retain(|&o| match waiting.get_mut(&old[o].without(mask)).and_then(VecDeque::pop_front) {
            Some(n) => {
                pairs.push((o, n));
                is_taken[n] = true;
                false
            }
            None => true,
        });
        new_left.retain(|&n| !is_taken[n]);
    }
    pairs.sort_unstable();
    pairs
}

/// What conversations have to have in common to be compared with each other.
type Group<'a> = (&'a str, &'a str, SocketAddr);

/// A conversation as it is looked up.
struct Keys<'a> {
    group: Group<'a>,
    /// What is left out first stands first.
    respects: [u64; RESPECTS],
}

impl Keys<'_> {
    fn of(conversation: &Conversation) -> Keys<'_> {
        let Conversation { protocol, role, client, server, handshake, ended, sent, received, tied, .. } = conversation;
        let hash = FixedState::default();
        let respects = [
            hash.hash_one(tied),
            hash.hash_one(ended),
            payload_key(received, &hash),
            payload_key(sent, &hash),
            hash.hash_one(handshake),
            hash.hash_one(client),
        ];
        Keys { group: (protocol, role, *server), respects }
    }

    fn without(&self, mask: u32) -> (Group<'_>, [u64; RESPECTS]) {
        let mut respects = self.respects;
        for (place, respect) in respects.iter_mut().enumerate() {
            if mask & 1 << place != 0 {
                *respect = 0;
            }
        }
        (self.group, respects)
    }
}

fn payload_key(payload: &Payload, hash: &FixedState) -> u64 {
    let Payload { kind, octets, hash: of_octets, messages, more, incomplete } = payload;
    let message = |m: &Message| hash.hash_one((&m.line, &m.headers, m.octets, &m.hash));
    let messages: Vec<u64> = messages.iter().map(message).collect();
    hash.hash_one((kind, octets, of_octets, messages, more, incomplete))
}

/// Which pairs come in another order, the fewest that explain it. Those of one step have none.
fn moved(pairs: &[(usize, usize)], old: &Trace, new: &Trace) -> Vec<bool> {
    let steps = |&(o, n): &(usize, usize)| (old.conversations[o].step, new.conversations[n].step);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&pair| steps(&pairs[pair]));
    // The longest run of pairs whose new steps do not fall: of each length, the one that ends lowest.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    for pair in order {
        let step = steps(&pairs[pair]).1;
        let length = ends.partition_point(|&end| steps(&pairs[end]).1 <= step);
        before[pair] = length.checked_sub(1).map(|length| ends[length]);
        if length == ends.len() { ends.push(pair) } else { ends[length] = pair }
    }
    let mut moved = vec![true; pairs.len()];
    let mut at = ends.last().copied();
    while let Some(pair) = at {
        moved[pair] = false;
        at = before[pair];
    }
    moved
}

impl Field {
    fn new(what: impl Into<String>, old: Option<String>, new: Option<String>) -> Field {
        Field { what: clipped(what.into()), old: old.map(clipped), new: new.map(clipped) }
    }
}

/// As much of a value as is told.
fn clipped(mut value: String) -> String {
    if value.len() > VALUE {
        value.truncate(value.floor_char_boundary(VALUE));
        value.push('…');
    }
    value
}

/// What of a conversation changed.
fn conversation(old: &Conversation, new: &Conversation, fields: &mut Vec<Field>) {
    let mut field = |what: &str, old: String, new: String| fields.push(Field::new(what, Some(old), Some(new)));
    if old.client != new.client {
        field("client", old.client.to_string(), new.client.to_string());
    }
    if let (Some(a), Some(b)) = (old.handshake, new.handshake)
        && a != b
    {
        field("handshake", a.told().to_owned(), b.told().to_owned());
    }
    payload("sent", &old.sent, &new.sent, fields);
    payload("received", &old.received, &new.received, fields);
    if let (Some(a), Some(b)) = (old.ended, new.ended)
        && a != b
    {
        fields.push(Field::new("end", Some(a.told().to_owned()), Some(b.told().to_owned())));
    }
    // A tie that could not be proven is no difference.
    let lacks = |a: &[String], b: &[String]| a.iter().any(|kind| !b.contains(kind));
    if lacks(&old.tied, &new.tied) && lacks(&new.tied, &old.tied) {
        fields.push(Field::new("tied to", Some(old.tied.join(", ")), Some(new.tied.join(", "))));
    }
}

/// What of a direction changed. What is not known of one is not compared.
fn payload(direction: &str, old: &Payload, new: &Payload, fields: &mut Vec<Field>) {
    if old.kind == "unknown" || new.kind == "unknown" {
        return;
    }
    let told = |payload: &Payload| {
        let mut text = payload.kind.clone();
        if let Some(octets) = payload.octets {
            text.push_str(&format!(", {octets} octets"));
        }
        if let Some(hash) = &payload.hash {
            text.push_str(&format!(", hash {hash}"));
        }
        text
    };
    // Of octets in pieces it is not sure that they are nothing else.
    let is_open = |payload: &Payload| payload.incomplete && payload.kind == "raw";
    if old.kind != new.kind && (is_open(old) || is_open(new)) {
        return;
    }
    if old.kind != new.kind {
        return fields.push(Field::new(direction, Some(told(old)), Some(told(new))));
    }
    let are_whole = !old.incomplete && !new.incomplete;
    let before = fields.len();
    if are_whole {
        messages(direction, &old.messages, &new.messages, fields);
    }
    let octets_differ = matches!((old.octets, new.octets), (Some(a), Some(b)) if a != b);
    let rest_differs = are_whole && (&old.hash, old.more) != (&new.hash, new.more);
    if fields.len() == before && (octets_differ || rest_differs) {
        let more = |payload: &Payload| match payload.more {
            0 => told(payload),
            more => format!("{}, {more} messages more", told(payload)),
        };
        fields.push(Field::new(direction, Some(more(old)), Some(more(new))));
    }
}

/// Which messages changed: what is alike at the start and at the end is left out.
fn messages(direction: &str, old: &[Message], new: &[Message], fields: &mut Vec<Field>) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    for n in 0..old.len().max(new.len()) {
        let what = format!("{direction}, message {}", start + n + 1);
        match (old.get(n), new.get(n)) {
            (Some(a), Some(b)) => message(&what, a, b, fields),
            (a, b) => fields.push(Field::new(what, a.map(|a| a.line.clone()), b.map(|b| b.line.clone()))),
        }
    }
}

fn message(what: &str, old: &Message, new: &Message, fields: &mut Vec<Field>) {
    if old.line != new.line {
        fields.push(Field::new(what, Some(old.line.clone()), Some(new.line.clone())));
    }
    let what = if old.line == new.line { format!("{what} ({})", new.line) } else { what.to_owned() };
    let names = old.headers.keys().chain(new.headers.keys().filter(|name| !old.headers.contains_key(*name)));
    for name in names {
        let (a, b) = (old.headers.get(name), new.headers.get(name));
        if a != b {
            let shown = |message: &Message, hash: Option<&String>| {
                let hash = hash?;
                let shown = message.shown.get(name).filter(|shown| !shown.contains('…'));
                Some(shown.map_or_else(|| format!("(hash {hash})"), Clone::clone))
            };
            fields.push(Field::new(format!("{what}, header {name}"), shown(old, a), shown(new, b)));
        }
    }
    if (old.octets, &old.hash) != (new.octets, &new.hash) {
        let body = |message: &Message| match &message.hash {
            Some(hash) => format!("{} octets, hash {hash}", message.octets),
            None => format!("{} octets", message.octets),
        };
        fields.push(Field::new(format!("{what}, body"), Some(body(old)), Some(body(new))));
    }
}

//! What one leg alone says of the leg that it may be tied to.

use super::Stage;
use super::shape::Shape;
use crate::capture::Timestamp;

/// What was captured in the last moments may not have been passed on: 1 s, in nanoseconds.
const ENDING: u64 = 1_000_000_000;

/// In what way the octets of a leg may differ from what the other side of the proxy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looseness {
    None,
    /// What came last may be missing on the other side.
    Tail,
    /// In any way.
    Any,
}

/// Whether the octets of a leg may differ from what the other side of the proxy has.
pub fn is_loose(shape: &Shape, end: Timestamp) -> bool {
    looseness(shape, end) != Looseness::None
}

pub fn looseness(shape: &Shape, end: Timestamp) -> Looseness {
    if !shape.is_sure || shape.up.syn().is_none() {
        return Looseness::Any;
    }
    let is_reset = shape.up.rst().is_some() || shape.down.rst().is_some();
    let last = shape.up.last_data().max(shape.down.last_data());
    let is_open = shape.up.ended().is_none() && shape.down.ended().is_none();
    let is_under_way = is_open && last.is_some_and(|last| last.0.saturating_add(ENDING) > end.0);
    if is_reset || is_under_way { Looseness::Tail } else { Looseness::None }
}

/// When a proxy could first connect onwards. A gateway need not wait for a ClientHello. Where the SYN was not captured, its
/// answer tells: there is no connection before.
pub fn can_open(stage: Stage, near: &Shape) -> Option<Timestamp> {
    let opened = if stage == Stage::Gateway { near.up.syn() } else { near.opened() };
    opened.or(near.down.syn())
}

/// When a near leg was answered, or was over without an answer: a far leg was opened before that.
pub fn answered(stage: Stage, near: &Shape) -> Option<Timestamp> {
    let answered = match stage {
        // A gateway need not connect before it has ended the client's handshake, either.
        Stage::Gateway => near.answered(),
        Stage::Inbound | Stage::Outbound => near.down.first_data(),
    };
    // A client that sends no more may wait for an answer. A proxy that closes has none.
    let is_over = near.down.ended().is_some() || near.up.rst().is_some();
    let over = near.seen().filter(|_| is_over).map(|(_, last)| last);
    answered.into_iter().chain(over).min()
}

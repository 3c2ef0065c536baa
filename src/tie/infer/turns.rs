//! What comes in is the two directions of a leg; what goes out is its turns: what the client sent until it was answered, and
//! the answer until the client sent more. With HTTP/1.1, but for pipelining, that is one exchange.

use super::units::Curve;
use crate::capture::Timestamp;

/// A request and its response, by their octets in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// When the first and the last part of the request was there.
    pub request: (Timestamp, Timestamp),
    /// When the first and the last part of the response was.
    pub response: Option<(Timestamp, Timestamp)>,
    /// Octets of the request.
    pub up: u64,
    /// Octets of the response.
    pub down: u64,
}

impl Turn {
    /// All turns as one, from the first request to the last response.
    pub fn all(turns: &[Turn]) -> Option<Turn> {
        let mut all = *turns.iter().find(|turn| turn.up > 0)?;
        for turn in turns {
            all.request.1 = all.request.1.max(turn.request.1);
            all.response = match (all.response, turn.response) {
                (Some((first, _)), Some((_, last))) => Some((first, last)),
                (one, other) => one.or(other),
            };
        }
        Some(all)
    }
}

/// The turns of a leg. An answer to what was not captured comes first, with a request of no octets at time 0.
pub fn turns(up: Curve<'_>, down: Curve<'_>) -> Vec<Turn> {
    // A record is there for the proxy when it is whole; it was sent when it began.
    let mut up = up.parts().map(|(octets, unit)| (octets, unit.last())).peekable();
    let mut down = down.parts().map(|(octets, unit)| (octets, unit.first)).peekable();
    let mut found: Vec<Turn> = Vec::new();
    loop {
        let is_request = match (up.peek(), down.peek()) {
            (Some((_, sent)), Some((_, answered))) => sent <= answered,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return found,
        };
        let Some((octets, time)) = (if is_request { up.next() } else { down.next() }) else { return found };
        if is_request {
            match found.last_mut() {
                Some(turn) if turn.response.is_none() => {
                    turn.request.1 = time;
                    turn.up += octets;
                }
                _ => found.push(Turn { request: (time, time), response: None, up: octets, down: 0 }),
            }
            continue;
        }
        if found.is_empty() {
            let unknown = (Timestamp(0), Timestamp(0));
            found.push(Turn { request: unknown, response: None, up: 0, down: 0 });
        }
        if let Some(turn) = found.last_mut() {
            let (_, last) = turn.response.get_or_insert((time, time));
            *last = time;
            turn.down += octets;
        }
    }
}

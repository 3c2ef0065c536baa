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

    /// A turn that begins with a part of a request, or with a part of an answer to one that was not captured.
    fn begin(is_request: bool, time: Timestamp, octets: u64) -> Turn {
        let at = (time, time);
        match is_request {
            true => Turn { request: at, response: None, up: octets, down: 0 },
            false => Turn { request: (Timestamp(0), Timestamp(0)), response: Some(at), up: 0, down: octets },
        }
    }
}

/// The turns of a leg. An answer to what was not captured comes first, with a request of no octets at time 0.
pub fn turns(up: Curve<'_>, down: Curve<'_>) -> impl Iterator<Item = Turn> {
    // A record is there for the proxy when it is whole; it was sent when it began.
    let mut up = up.parts().map(|(octets, unit)| (octets, unit.last())).peekable();
    let mut down = down.parts().map(|(octets, unit)| (octets, unit.first)).peekable();
    // The turn that is under way.
    let mut current: Option<Turn> = None;
    std::iter::from_fn(move || {
        loop {
            let is_request = match (up.peek(), down.peek()) {
                (Some((_, sent)), Some((_, answered))) => sent <= answered,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return current.take(),
            };
            let Some((octets, time)) = (if is_request { up.next() } else { down.next() }) else {
                return current.take();
            };
            match &mut current {
                Some(turn) if !is_request => {
                    let (_, last) = turn.response.get_or_insert((time, time));
                    *last = time;
                    turn.down += octets;
                }
                Some(turn) if turn.response.is_none() => {
                    turn.request.1 = time;
                    turn.up += octets;
                }
                current => {
                    let before = current.replace(Turn::begin(is_request, time, octets));
                    if before.is_some() {
                        return before;
                    }
                }
            }
        }
    })
}

/// How many exchanges went over two legs that carry the same: one for each turn where both have the same turns, else one.
pub fn exchanged(mut near: impl Iterator<Item = Turn>, mut far: impl Iterator<Item = Turn>) -> u32 {
    let (mut answered, mut are_alike) = (0, true);
    // Of each leg: whether anything was asked, and answered.
    let mut has = [(false, false); 2];
    loop {
        let turns = [near.next(), far.next()];
        for (turn, has) in turns.iter().zip(&mut has) {
            if let Some(turn) = turn {
                *has = (has.0 || turn.up > 0, has.1 || turn.response.is_some());
            }
        }
        match turns {
            [None, None] if are_alike => return answered,
            [None, None] => return u32::from(has == [(true, true); 2]),
            [Some(near), Some(far)] if near.up == far.up && near.down == far.down => {
                answered += u32::from(near.response.is_some() && far.response.is_some());
            }
            _ => are_alike = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::{Counts, PLAIN, Unit};
    use super::*;

    /// Turns of units, each its time and octets.
    fn of(up: &[(u64, u32)], down: &[(u64, u32)]) -> Vec<Turn> {
        let units = |all: &[(u64, u32)]| -> Vec<Unit> {
            all.iter().map(|&(time, len)| Unit::new(Timestamp(time), Timestamp(time), len, PLAIN)).collect()
        };
        let (up, down) = (units(up), units(down));
        let curve = |units| Curve { units, counts: Counts::Raw };
        turns(curve(&up), curve(&down)).collect()
    }

    fn turn(request: (u64, u64), response: Option<(u64, u64)>, up: u64, down: u64) -> Turn {
        let times = |(first, last)| (Timestamp(first), Timestamp(last));
        Turn { request: times(request), response: response.map(times), up, down }
    }

    #[test]
    fn a_turn_ends_where_more_is_asked() {
        assert_eq!(of(&[], &[]), []);
        let two = [turn((1, 2), Some((3, 4)), 30, 70), turn((5, 5), None, 1, 0)];
        assert_eq!(of(&[(1, 10), (2, 20), (5, 1)], &[(3, 30), (4, 40)]), two);
        let first = turn((0, 0), Some((1, 1)), 0, 9);
        assert_eq!(of(&[(2, 10)], &[(1, 9)]), [first, turn((2, 2), None, 10, 0)], "an answer to what is not there");
    }

    #[test]
    fn exchanges_are_counted_where_turns_are_alike() {
        let count = |near: &[Turn], far: &[Turn]| exchanged(near.iter().copied(), far.iter().copied());
        let answered = turn((1, 2), Some((3, 4)), 30, 70);
        let asked = turn((5, 5), None, 30, 70);
        assert_eq!(count(&[], &[]), 0);
        assert_eq!(count(&[answered; 3], &[answered; 3]), 3);
        assert_eq!(count(&[answered, asked], &[answered, answered]), 1, "alike, and one is not answered");
        assert_eq!(count(&[answered; 2], &[answered]), 1, "as one");
        assert_eq!(count(&[answered], &[asked]), 0);
        assert_eq!(count(&[asked], &[turn((1, 1), None, 1, 2)]), 0);
    }
}

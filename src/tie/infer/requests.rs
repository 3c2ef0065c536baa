//! HTTP requests in plain text, by their `x-request-id`: what comes in is the octets of a direction as they come, what goes
//! out is the id of each request whose head came in one piece.

use crate::capture::Timestamp;

/// Requests of one direction that are remembered.
const CAP: usize = 4096;

/// An id that is shorter may be anything.
const SHORTEST: usize = 16;

/// A head that is longer is not looked through.
const LONGEST: usize = 16 << 10;

const NAME: &[u8] = b"\r\nx-request-id:";

/// The ids of one direction, by when their requests began.
#[derive(Debug, Default)]
pub struct Requests {
    ids: Vec<(Timestamp, u64)>,
}

impl Requests {
    /// Takes in octets that may begin a request.
    pub fn read(&mut self, time: Timestamp, data: &[u8]) {
        if !data.first().is_some_and(u8::is_ascii_uppercase) || self.ids.len() == CAP {
            return;
        }
        if let Some(id) = id_of(&data[..data.len().min(LONGEST)]) {
            self.ids.push((time, id));
        }
    }

    /// The id of the request that began then.
    pub fn at(&self, time: Timestamp) -> Option<u64> {
        let at = self.ids.binary_search_by_key(&time, |(time, _)| *time).ok()?;
        Some(self.ids[at].1)
    }

    pub fn memory(&self) -> usize {
        self.ids.capacity() * size_of::<(Timestamp, u64)>()
    }
}

/// A hash of the id in the head of a request.
fn id_of(data: &[u8]) -> Option<u64> {
    let at = data.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))?;
    let head_ends = data.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(data.len());
    let value = data[at + NAME.len()..].split(|&octet| octet == b'\r').next()?.trim_ascii();
    // An id in a body is none, and one whose end is not there is not whole.
    if at > head_ends || value.len() < SHORTEST || at + NAME.len() + value.len() + 2 > data.len() {
        return None;
    }
    // FNV-1a (RFC 9923).
    Some(
        value
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3)),
    )
}

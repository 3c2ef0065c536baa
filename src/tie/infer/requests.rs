//! HTTP requests in plain text, by their `x-request-id`: what comes in is the octets of a direction as they come, what goes
//! out is the id of each request whose head came in one piece.

use memchr::{memchr_iter, memmem};

use crate::capture::Timestamp;
use crate::store::{Put, put};

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
    /// How many there are before them, in parts that were put away.
    before: u32,
}

impl Requests {
    /// Takes in octets that may begin a request.
    pub fn read(&mut self, time: Timestamp, data: &[u8]) {
        if !data.first().is_some_and(u8::is_ascii_uppercase) || self.ids.len() + self.before as usize >= CAP {
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

    /// Puts them away, for [`Requests::restore`].
    pub fn put(&self, octets: &mut Vec<u8>) {
        put(octets, u64::from(self.before));
        put(octets, self.ids.len() as u64);
        for (time, id) in &self.ids {
            put(octets, time.0);
            octets.extend_from_slice(&id.to_le_bytes());
        }
    }

    /// Reads what was put away, so that more can come. Unless they are wanted, the ids stay where they are.
    pub fn restore(put: &mut Put<'_>, is_wanted: bool) -> Requests {
        let mut requests = Requests::default();
        requests.before = requests.read_into(put);
        if !is_wanted {
            requests.before += requests.ids.len() as u32;
            requests.ids = Vec::new();
        }
        requests
    }

    /// Puts those that come behind these with them.
    pub fn append(&mut self, behind: Requests) {
        match self.ids.is_empty() {
            true => self.ids = behind.ids,
            false => self.ids.extend(behind.ids),
        }
    }

    /// Octets of those that are here.
    pub fn here(&self) -> usize {
        self.ids.len() * size_of::<(Timestamp, u64)>()
    }

    /// Reads those that were put away, behind what there is; returns how many there are before them.
    pub fn read_into(&mut self, put: &mut Put<'_>) -> u32 {
        let before = put.take() as u32;
        let len = put.take();
        self.ids.extend((0..len).map(|_| (Timestamp(put.take()), u64::from_le_bytes(put.array()))));
        before
    }

    /// Forgets all, but not the room for them.
    pub fn clear(&mut self) {
        self.ids.clear();
    }

    pub fn memory(&self) -> usize {
        self.ids.capacity() * size_of::<(Timestamp, u64)>()
    }
}

/// A hash of the id in the head of a request.
fn id_of(data: &[u8]) -> Option<u64> {
    // An id in a body is none, and one whose end is not there is not whole.
    let head = &data[..memmem::find(data, b"\r\n\r\n").map_or(data.len(), |end| end + 2)];
    let is_name = |at: &usize| head[*at..].get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    let at = memchr_iter(b'\r', head).find(is_name)?;
    let value = &head[at + NAME.len()..];
    let value = value[..memmem::find(value, b"\r\n")?].trim_ascii();
    if value.len() < SHORTEST {
        return None;
    }
    // FNV-1a (RFC 9923).
    Some(
        value
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_in_the_head_and_whole() {
        let of = |data: &str| id_of(data.as_bytes());
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id:  0123456789abcdef \r\nAccept: *\r\n\r\nbody";
        let id = of(request).expect("an id");
        assert_eq!(of(&request.to_lowercase()), Some(id), "names are in any case, white space around values is none");
        assert_ne!(of(&request.replace("cdef", "cdee")), Some(id));
        assert_eq!(of("POST / HTTP/1.1\r\n\r\n\r\nx-request-id: 0123456789abcdef\r\n"), None, "in the body");
        assert_eq!(of("GET / HTTP/1.1\r\nx-request-id: 0123456789abcdef"), None, "more of it may follow");
        assert_eq!(of("GET / HTTP/1.1\r\nx-request-id: 0123\r\n\r\n"), None, "it is short");
        assert_eq!(of("GET / HTTP/1.1\r\nax-request-id: 0123456789abcdef\r\n\r\n"), None, "another name");
        assert!(of("GET / HTTP/1.1\r\nx-request-id: 0123456789abcdef\r\n\r\n").is_some(), "the last field");
    }
}

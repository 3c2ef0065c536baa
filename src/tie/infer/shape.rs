//! What a leg passed on, in every way in which its bytes can be read.
//!
//! What comes in is the two directions of a leg; what goes out is its [`Reading`]s: the octets of TCP as they are, or the
//! plaintext behind TLS, whose length is that of the records. What of a TLS 1.3 leg is handshake, session ticket or
//! alert can only be told by place and length: where that leaves two answers, there are two readings.

use std::ops::Range;

use super::units::{self, APPLICATION_DATA, CHANGE_CIPHER_SPEC, Counts, Curve, HANDSHAKE, Unit};
use super::way::Way;
use crate::capture::Timestamp;

/// What an AEAD adds to a record of TLS 1.3: the inner content type and the tag (RFC 8446, section 5.2).
const OVERHEAD_1_3: u32 = 17;

/// A Finished of TLS 1.3: 4 octets of header and a hash of 32 or 48 (RFC 8446, section 4.4.4).
const FINISHED: [u64; 2] = [36, 52];

/// Records among the first that may be the client's Finished: Certificate, CertificateVerify and Finished, or all in one.
const CLIENT_FLIGHT: usize = 4;

/// Records that may be session tickets: servers send up to two, in one record or in two.
const TICKETS: usize = 2;

/// An alert (RFC 8446, section 6).
const ALERT: u64 = 2;

/// One way to read a leg.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub up: Curve<'a>,
    pub down: Curve<'a>,
    /// Octets of both.
    pub total: (u64, u64),
}

impl Reading<'_> {
    /// Whether it is the octets of TCP as they are.
    pub fn is_raw(&self) -> bool {
        self.up.counts == Counts::Raw
    }
}

/// A leg with all its readings. It is read into again and again: what it has room for stays.
#[derive(Debug, Default)]
pub struct Shape {
    /// What the client sent.
    pub up: Way,
    /// What the server sent.
    pub down: Way,
    /// Whether every octet of what was captured of it is known.
    pub is_whole: bool,
    /// Whether the records tell what is inside, or there are none.
    pub is_sure: bool,
    readings: Vec<Read>,
    /// Which version, if it is TLS.
    pub tls: Option<Version>,
}

/// A [`Reading`], by the places of its units.
#[derive(Clone, Debug)]
struct Read {
    up: Range<usize>,
    down: Range<usize>,
    counts: Counts,
    total: (u64, u64),
}

/// A version of TLS, as far as it shows in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// TLS 1.2, and what its AEAD adds to a record.
    Tls12 { overhead: u32 },
    /// TLS 1.3.
    Tls13,
}

impl Shape {
    /// Finds all ways to read the two directions that are there.
    pub fn look(&mut self) {
        self.readings.clear();
        self.tls = None;
        self.is_whole = self.up.is_whole(&self.down) && self.down.is_whole(&self.up);
        self.is_sure = self.is_whole;
        let (all_up, all_down) = (0..self.up.units().len(), 0..self.down.units().len());
        self.push(all_up.clone(), all_down.clone(), Counts::Raw);
        if !self.up.is_tls && !self.down.is_tls {
            return;
        }
        if self.up.syn().is_none() {
            // Without its handshake nothing tells what a record is.
            self.is_sure = false;
            return;
        }
        let down = self.down.units();
        if !down.iter().any(|unit| unit.kind == APPLICATION_DATA || unit.kind == CHANGE_CIPHER_SPEC) {
            return;
        }
        self.tls = version(down);
        match self.tls {
            Some(Version::Tls13) => self.read_1_3(),
            Some(Version::Tls12 { overhead }) => self.push(all_up, all_down, Counts::Protected { overhead }),
            None => self.is_sure = false,
        }
    }

    /// All ways to read it.
    pub fn readings(&self) -> impl Iterator<Item = Reading<'_>> + Clone {
        self.readings.iter().map(|read| {
            let Read { counts, total, .. } = *read;
            let (up, down) = (&self.up.units()[read.up.clone()], &self.down.units()[read.down.clone()]);
            Reading { up: Curve { units: up, counts }, down: Curve { units: down, counts }, total }
        })
    }

    /// When the first and the last segment was captured, either way.
    pub fn seen(&self) -> Option<(Timestamp, Timestamp)> {
        let seen = [self.up.seen(), self.down.seen()].into_iter().flatten();
        seen.reduce(|(first, last), other| (first.min(other.0), last.max(other.1)))
    }

    /// Octets in use.
    pub fn memory(&self) -> usize {
        let ways = self.up.memory() + self.down.memory();
        size_of::<Shape>() + ways + self.readings.capacity() * size_of::<Read>()
    }

    /// How many units it has.
    pub fn len(&self) -> usize {
        self.up.units().len() + self.down.units().len()
    }

    fn push(&mut self, up: Range<usize>, down: Range<usize>, counts: Counts) {
        let total = |way: &Way, range: &Range<usize>| Curve { units: &way.units()[range.clone()], counts }.total();
        if let (Some(u), Some(d)) = (total(&self.up, &up), total(&self.down, &down)) {
            let is_known = self.readings.iter().any(|reading| {
                reading.total == (u, d)
                    && reading.up.len() == up.len()
                    && (reading.counts == Counts::Raw) == (counts == Counts::Raw)
            });
            if !is_known {
                self.readings.push(Read { up, down, counts, total: (u, d) });
            }
        }
    }

    fn read_1_3(&mut self) {
        let counts = Counts::Protected { overhead: OVERHEAD_1_3 };
        let (up, down) = (self.up.units(), self.down.units());
        let Some(flight) = application_data(up).next() else { return };
        // The server's flight is what it sent before it had anything of the client's.
        let answered = application_data(down).skip_while(|&n| down[n].first < up[flight].first);
        // Behind each number of tickets; where there are no more records, nothing is left to be passed on.
        let begins: Few<{ TICKETS + 1 }> = answered.chain([down.len()]).collect();
        let finished = finished(up);
        let is_alert = |unit: Option<&Unit>| unit.is_some_and(|unit| unit.payload(OVERHEAD_1_3) == Some(ALERT));
        let (up_len, down_len) = (up.len(), down.len());
        let ends = [is_alert(up.last()), is_alert(down.last())];
        for &finished in finished.get() {
            let up = (finished + 1).min(up_len)..up_len;
            for &begin in begins.get() {
                let down = begin..down_len;
                for (up_alert, down_alert) in [(false, false), (true, false), (false, true), (true, true)] {
                    let has = |range: &Range<usize>, is_alert: bool| is_alert && !range.is_empty();
                    if up_alert && !has(&up, ends[0]) || down_alert && !has(&down, ends[1]) {
                        continue;
                    }
                    let up = up.start..up.end - usize::from(up_alert);
                    let down = down.start..down.end - usize::from(down_alert);
                    self.push(up, down, counts);
                }
            }
        }
    }

    /// When a proxy could first connect onwards, if the beginning was captured: a ClientHello is waited for.
    pub fn opened(&self) -> Option<Timestamp> {
        let syn = self.up.syn()?;
        Some(self.up.units().first().filter(|_| self.up.is_tls).map_or(syn, Unit::last))
    }

    /// When the server may have sent its first octet that is passed on, at the latest; none if it may have sent none.
    pub fn answered(&self) -> Option<Timestamp> {
        let first = |reading: Reading<'_>| reading.down.parts().next().map(|(_, unit)| unit.first);
        self.readings().map(first).reduce(|one, other| Some(one?.max(other?))).flatten()
    }

    /// When the client was done: it closed, or said so within TLS.
    pub fn left(&self) -> Option<Timestamp> {
        let is_alert = |unit: &&Unit| match unit.kind {
            units::ALERT => true,
            APPLICATION_DATA => unit.payload(OVERHEAD_1_3) == Some(ALERT),
            _ => false,
        };
        let alert = self.up.units().last().filter(is_alert).map(Unit::last);
        alert.into_iter().chain(self.up.ended()).min()
    }
}

/// Where units of Application Data are.
fn application_data(units: &[Unit]) -> impl Iterator<Item = usize> {
    (0..units.len()).filter(|&n| units[n].kind == APPLICATION_DATA)
}

/// The first places of some, with room for so many.
struct Few<const N: usize> {
    places: [usize; N],
    len: usize,
}

impl<const N: usize> FromIterator<usize> for Few<N> {
    fn from_iter<I: IntoIterator<Item = usize>>(all: I) -> Few<N> {
        let mut few = Few { places: [0; N], len: 0 };
        for (to, place) in few.places.iter_mut().zip(all) {
            *to = place;
            few.len += 1;
        }
        few
    }
}

impl<const N: usize> Few<N> {
    fn get(&self) -> &[usize] {
        &self.places[..self.len]
    }
}

/// Where the client's Finished may be, as an index of `units`.
///
/// It is in the first that is Application Data, alone or behind Certificate and CertificateVerify, or these have records of
/// their own. Then all are written at once: what stands in the segment of the one before it was not sent for a proxy to pass on.
fn finished(units: &[Unit]) -> Few<CLIENT_FLIGHT> {
    let is_finished = |at: usize| units[at].payload(OVERHEAD_1_3).is_some_and(|len| FINISHED.contains(&len));
    let sent: Few<CLIENT_FLIGHT> = application_data(units).collect();
    let sent = sent.get();
    if sent.first().is_some_and(|&first| is_finished(first)) {
        return sent[..1].iter().copied().collect();
    }
    let is_same_segment = |pair: &&[usize]| is_finished(pair[1]) && units[pair[0]].first == units[pair[1]].first;
    match sent.windows(2).find(is_same_segment) {
        Some(pair) => pair[1..].iter().copied().collect(),
        None => {
            sent.iter().copied().enumerate().filter(|&(n, at)| n == 0 || is_finished(at)).map(|(_, at)| at).collect()
        }
    }
}

/// The version that a server's records show. `None` if what a record holds can not be told by its length.
fn version(down: &[Unit]) -> Option<Version> {
    let changed = down.iter().position(|unit| unit.kind == CHANGE_CIPHER_SPEC);
    let finished = changed.and_then(|at| down[at + 1..].iter().find(|unit| unit.kind != CHANGE_CIPHER_SPEC));
    match finished.filter(|unit| unit.kind == HANDSHAKE) {
        // The verify_data of 12 octets and its header, protected: RFC 5246, section 7.4.9. AES-GCM adds an explicit nonce
        // of 8 octets and a tag of 16 (RFC 5288, section 3), ChaCha20-Poly1305 a tag of 16 (RFC 7905, section 2).
        Some(unit) if unit.len == 40 => Some(Version::Tls12 { overhead: 24 }),
        Some(unit) if unit.len == 32 => Some(Version::Tls12 { overhead: 16 }),
        // A padded cipher; a ServerHello behind a HelloRetryRequest is longer (RFC 8446, section 4.1.4).
        Some(unit) if unit.len < 100 => None,
        _ => Some(Version::Tls13),
    }
}

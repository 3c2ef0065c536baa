//! What a leg passed on, in every way in which its bytes can be read.
//!
//! What comes in is the two directions of a leg; what goes out is its [`Reading`]s: the octets of TCP as they are, or the
//! plaintext behind TLS, whose length is that of the records. What of a TLS 1.3 leg is handshake, session ticket or
//! alert can only be told by place and length: where that leaves two answers, there are two readings.

use super::records::{self, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE};
use super::stream::Stream;
use super::units::{Counts, Curve, Unit};
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

/// A leg with all its readings.
#[derive(Debug)]
pub struct Shape<'a> {
    /// What the client sent.
    pub up: &'a Stream,
    /// What the server sent.
    pub down: &'a Stream,
    /// Whether every octet of what was captured of it is known.
    pub is_whole: bool,
    /// Whether the records tell what is inside, or there are none.
    pub is_sure: bool,
    pub readings: Vec<Reading<'a>>,
    /// Which version, if it is TLS.
    pub tls: Option<Version>,
}

/// A version of TLS, as far as it shows in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// TLS 1.2, and what its AEAD adds to a record.
    Tls12 { overhead: u32 },
    /// TLS 1.3.
    Tls13,
}

impl<'a> Shape<'a> {
    /// Reads a leg.
    pub fn new(up: &'a Stream, down: &'a Stream) -> Shape<'a> {
        let is_whole = up.is_whole() && down.is_whole();
        let mut shape = Shape { up, down, is_whole, is_sure: is_whole, readings: Vec::new(), tls: None };
        shape
            .push(Curve { units: up.units(), counts: Counts::Raw }, Curve { units: down.units(), counts: Counts::Raw });
        if !up.is_tls() && !down.is_tls() {
            return shape;
        }
        if up.syn.is_none() {
            // Without its handshake nothing tells what a record is.
            shape.is_sure = false;
            return shape;
        }
        if !down.units().iter().any(|unit| unit.kind == APPLICATION_DATA || unit.kind == CHANGE_CIPHER_SPEC) {
            return shape;
        }
        match version(down.units()) {
            Some(version) => {
                shape.tls = Some(version);
                match version {
                    Version::Tls13 => shape.read_1_3(),
                    Version::Tls12 { overhead } => {
                        let counts = Counts::Protected { overhead };
                        shape.push(Curve { units: up.units(), counts }, Curve { units: down.units(), counts });
                    }
                }
            }
            None => shape.is_sure = false,
        }
        shape
    }

    /// How many units it has.
    pub fn len(&self) -> usize {
        self.up.units().len() + self.down.units().len()
    }

    fn push(&mut self, up: Curve<'a>, down: Curve<'a>) {
        if let (Some(u), Some(d)) = (up.total(), down.total()) {
            let is_known = self.readings.iter().any(|reading| {
                reading.total == (u, d)
                    && reading.up.units.len() == up.units.len()
                    && reading.is_raw() == (up.counts == Counts::Raw)
            });
            if !is_known {
                self.readings.push(Reading { up, down, total: (u, d) });
            }
        }
    }

    fn read_1_3(&mut self) {
        let counts = Counts::Protected { overhead: OVERHEAD_1_3 };
        let (up, down) = (self.up.units(), self.down.units());
        let at = |units: &[Unit]| -> Vec<usize> {
            (0..units.len()).filter(|&n| units[n].kind == APPLICATION_DATA).collect()
        };
        let (sent, answered) = (at(up), at(down));
        let Some(&flight) = sent.first() else { return };
        // The server's flight is what it sent before it had anything of the client's.
        let begin = answered.iter().take_while(|&&n| down[n].first < up[flight].first).count();
        let is_alert = |units: &[Unit]| units.last().is_some_and(|unit| unit.payload(OVERHEAD_1_3) == Some(ALERT));
        for finished in finished(up, &sent) {
            let up = up.get(finished + 1..).unwrap_or_default();
            for tickets in 0..=TICKETS {
                let down = match answered.get(begin + tickets) {
                    Some(&at) => &down[at..],
                    None if begin + tickets == answered.len() => &[],
                    None => continue,
                };
                for (up_alert, down_alert) in [(false, false), (true, false), (false, true), (true, true)] {
                    if up_alert && !is_alert(up) || down_alert && !is_alert(down) {
                        continue;
                    }
                    let up = &up[..up.len() - usize::from(up_alert)];
                    let down = &down[..down.len() - usize::from(down_alert)];
                    self.push(Curve { units: up, counts }, Curve { units: down, counts });
                }
            }
        }
    }

    /// When a proxy could first connect onwards, if the beginning was captured: a ClientHello is waited for.
    pub fn opened(&self) -> Option<Timestamp> {
        let syn = self.up.syn?;
        Some(self.up.units().first().filter(|_| self.up.is_tls()).map_or(syn, Unit::last))
    }

    /// When the server may have sent its first octet that is passed on, at the latest; none if it may have sent none.
    pub fn answered(&self) -> Option<Timestamp> {
        let first = |reading: &Reading<'_>| reading.down.parts().next().map(|(_, unit)| unit.first);
        let firsts: Option<Vec<Timestamp>> = self.readings.iter().map(first).collect();
        firsts?.into_iter().max()
    }

    /// When the client was done: it closed, or said so within TLS.
    pub fn left(&self) -> Option<Timestamp> {
        let is_alert = |unit: &&Unit| match unit.kind {
            records::ALERT => true,
            APPLICATION_DATA => unit.payload(OVERHEAD_1_3) == Some(ALERT),
            _ => false,
        };
        let alert = self.up.units().last().filter(is_alert).map(Unit::last);
        alert.into_iter().chain(self.up.ended()).min()
    }

    /// When the first segment was captured.
    pub fn first_seen(&self) -> Option<Timestamp> {
        [self.up, self.down].into_iter().filter_map(|stream| stream.seen).map(|(first, _)| first).min()
    }
}

/// Where the client's Finished may be, as an index of `units`; `sent` are those that are Application Data.
///
/// It is in the first of them, alone or behind Certificate and CertificateVerify, or these have records of their own. Then
/// all are written at once: what stands in the segment of the one before it was not sent for a proxy to pass on.
fn finished(units: &[Unit], sent: &[usize]) -> Vec<usize> {
    let is_finished = |at: usize| units[at].payload(OVERHEAD_1_3).is_some_and(|len| FINISHED.contains(&len));
    let Some(&first) = sent.first() else { return Vec::new() };
    let mut found = vec![first];
    if is_finished(first) {
        return found;
    }
    for (&before, &at) in sent.iter().zip(&sent[1..]).take(CLIENT_FLIGHT - 1) {
        if is_finished(at) {
            if units[before].first == units[at].first {
                return vec![at];
            }
            found.push(at);
        }
    }
    found
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

//! TLS records (RFC 8446, section 5.1; RFC 5246, section 6.2.1) by their headers, out of a stream in order.
//!
//! What comes in is octets, some of them not captured; what goes out is one unit per record. Nothing is decrypted.

use super::units::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, Unit, Units};
use crate::capture::Timestamp;
use crate::store::{Put, put};

/// The largest TLSCiphertext.length (RFC 5246, section 6.2.3).
const MAX_LEN: u16 = (1 << 14) + 2048;

/// Where the parser stands.
#[derive(Debug)]
pub struct Records {
    header: [u8; 5],
    have: u8,
    /// When the record began.
    first: Timestamp,
    /// Octets of the record that are still to come.
    left: u32,
    /// Whether any record header was read.
    pub began: bool,
}

/// Why no more records can be told.
#[derive(Debug)]
pub struct NoRecord;

impl Default for Records {
    fn default() -> Records {
        Records { header: [0; 5], have: 0, first: Timestamp(0), left: 0, began: false }
    }
}

impl Records {
    /// Takes in `data`, and behind it `unknown` octets that were not captured.
    pub fn read(
        &mut self,
        time: Timestamp,
        mut data: &[u8],
        mut unknown: u32,
        units: &mut Units,
    ) -> Result<(), NoRecord> {
        while !data.is_empty() || unknown > 0 {
            if self.have == 5 {
                let known = data.len().min(self.left as usize);
                data = &data[known..];
                self.left -= known as u32;
                let skipped = unknown.min(self.left);
                // What was not captured lies behind all that was.
                if data.is_empty() {
                    unknown -= skipped;
                    self.left -= skipped;
                }
                if self.left == 0 {
                    self.have = 0;
                    let len = u32::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                    units.push(Unit::new(self.first, time, len, self.header[0]));
                }
                continue;
            }
            if self.have == 0
                && let Some((header, rest)) = data.split_first_chunk()
            {
                // As it is most often: the header is there as a whole.
                (self.header, self.have, self.first) = (*header, 5, time);
                if !(1..=5).all(|have| self.is_possible(have)) {
                    return Err(NoRecord);
                }
                self.begin(time, units);
                data = rest;
                continue;
            }
            let Some((&octet, rest)) = data.split_first() else { return Err(NoRecord) };
            data = rest;
            if self.have == 0 {
                self.first = time;
            }
            self.header[usize::from(self.have)] = octet;
            self.have += 1;
            if !self.is_possible(self.have) {
                return Err(NoRecord);
            }
            if self.have == 5 {
                self.begin(time, units);
            }
        }
        Ok(())
    }

    /// The header is there.
    fn begin(&mut self, time: Timestamp, units: &mut Units) {
        self.began = true;
        self.left = u32::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        if self.left == 0 {
            self.have = 0;
            units.push(Unit::new(self.first, time, 0, self.header[0]));
        }
    }

    /// Whether the header can be one, by the last of so many octets.
    #[inline]
    fn is_possible(&self, have: u8) -> bool {
        let [kind, major, minor, high, low] = self.header;
        match have {
            1 => (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind),
            2 => major == 3,
            3 => minor <= 4,
            5 => u16::from_be_bytes([high, low]) <= MAX_LEN,
            _ => true,
        }
    }

    /// Whether the stream may end here.
    pub fn is_whole(&self) -> bool {
        self.have == 0
    }

    /// Octets of headers read so far, if none was whole yet.
    pub fn pending(&self) -> &[u8] {
        if self.began { &[] } else { self.begun() }
    }

    /// What is there of the header that comes.
    fn begun(&self) -> &[u8] {
        &self.header[..usize::from(self.have)]
    }

    /// Puts it away, for [`Records::restore`].
    pub fn put(&self, octets: &mut Vec<u8>) {
        octets.push(self.have << 1 | u8::from(self.began));
        if self.have > 0 {
            octets.extend_from_slice(self.begun());
            put(octets, self.first.0);
            put(octets, u64::from(self.left));
        }
    }

    pub fn restore(put: &mut Put<'_>) -> Records {
        let bits = put.octet();
        let mut records = Records { have: bits >> 1, began: bits & 1 != 0, ..Records::default() };
        if records.have > 0 {
            put.octets(records.have.into()).iter().zip(&mut records.header).for_each(|(octet, to)| *to = *octet);
            (records.first, records.left) = (Timestamp(put.take()), put.take() as u32);
        }
        records
    }
}

//! An input whose packets go back in time, put in order.
//!
//! An external merge sort: runs of [`RUN`] octets are sorted in memory and put into an unnamed temporary file;
//! reading merges them. Packets of one time, and the blocks between packets, keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::capture::{BlockRecord, Capture, Error, PacketRecord, Record, Timestamp};

/// Octets that are sorted in memory at once.
const RUN: usize = 16 << 20;

/// Octets that are read at once from a run.
const READ: usize = 64 << 10;

/// Octets that stand before options and bytes of a record.
const HEAD: usize = 42;

/// The records of a capture in the order of time.
pub(super) struct Sorted {
    file: File,
    runs: Vec<Run>,
    /// The runs that are not at their end, by the time of their next record.
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The run whose record is the current one.
    current: Option<usize>,
    /// What was wrong with the capture, once.
    damage: Option<Error>,
}

/// A part of the file that is in order.
struct Run {
    /// What is left of it in the file.
    position: u64,
    end: u64,
    /// What was read of it; the next record is at `start`.
    buffer: Vec<u8>,
    start: usize,
}

impl Sorted {
    /// Reads a capture to its end.
    ///
    /// Errors: the temporary file cannot be written.
    pub fn read(capture: &mut Capture) -> io::Result<Sorted> {
        let file = tempfile::tempfile()?;
        let mut sorted = Sorted { file, runs: Vec::new(), order: BinaryHeap::new(), current: None, damage: None };
        let mut records: Vec<u8> = Vec::with_capacity(RUN);
        let mut places: Vec<(Timestamp, usize)> = Vec::new();
        let mut time = Timestamp(0);
        loop {
            let record = match capture.advance() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    sorted.damage = Some(error);
                    break;
                }
            };
            // A block goes with the packet before it.
            if let Record::Packet(packet) = &record {
                time = packet.time;
            }
            if records.len() + capture.bytes().len() > RUN {
                sorted.store(&mut records, &mut places)?;
            }
            places.push((time, records.len()));
            encode(&mut records, time, &record, capture.options(), capture.bytes());
        }
        sorted.store(&mut records, &mut places)?;
        for run in 0..sorted.runs.len() {
            sorted.enlist(run)?;
        }
        Ok(sorted)
    }

    /// Moves to the next record; `None` is the end.
    ///
    /// Errors: the temporary file cannot be read. What was wrong with the capture comes at the end.
    pub fn advance(&mut self) -> Result<Option<Record>, Error> {
        let failed = |source| Error::Io { name: "temporary file".to_owned(), source };
        if let Some(run) = self.current.take() {
            let length = self.runs[run].next().map_or(0, <[u8]>::len);
            self.runs[run].start += length;
            self.enlist(run).map_err(failed)?;
        }
        let Some(Reverse((_, run))) = self.order.pop() else {
            return self.damage.take().map_or(Ok(None), Err);
        };
        self.current = Some(run);
        Ok(self.runs[run].next().and_then(decode))
    }

    /// The bytes of the current record.
    pub fn bytes(&self) -> &[u8] {
        self.parts().map_or(&[], |(_, bytes)| bytes)
    }

    /// The options of the current record.
    pub fn options(&self) -> &[u8] {
        self.parts().map_or(&[], |(options, _)| options)
    }

    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let record = self.runs[self.current?].next()?;
        let options = word(record, 34) as usize;
        record.get(HEAD..)?.split_at_checked(options)
    }

    /// Sorts what is there and appends it to the file as a run.
    fn store(&mut self, records: &mut Vec<u8>, places: &mut Vec<(Timestamp, usize)>) -> io::Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        places.sort_by_key(|&(time, _)| time);
        let position = self.file.stream_position()?;
        let mut writer = io::BufWriter::with_capacity(READ, &mut self.file);
        for &(_, start) in places.iter() {
            let record = &records[start..];
            writer.write_all(&record[..length(record)])?;
        }
        writer.flush()?;
        drop(writer);
        let end = position + records.len() as u64;
        self.runs.push(Run { position, end, buffer: Vec::new(), start: 0 });
        records.clear();
        places.clear();
        Ok(())
    }

    /// Sees to it that the next record of a run is in memory, and puts the run where it is due.
    fn enlist(&mut self, run: usize) -> io::Result<()> {
        let Sorted { file, runs, order, .. } = self;
        let next = &mut runs[run];
        while next.next().is_none() && next.position < next.end {
            next.buffer.drain(..next.start);
            next.start = 0;
            let kept = next.buffer.len();
            let more = READ.min((next.end - next.position) as usize);
            next.buffer.resize(kept + more, 0);
            file.seek(SeekFrom::Start(next.position))?;
            file.read_exact(&mut next.buffer[kept..])?;
            next.position += more as u64;
        }
        if let Some(record) = next.next() {
            order.push(Reverse((time_of(record), run)));
        }
        Ok(())
    }
}

impl Run {
    /// The next record, if it is all in memory.
    fn next(&self) -> Option<&[u8]> {
        let rest = self.buffer.get(self.start..).filter(|rest| rest.len() >= HEAD)?;
        rest.get(..length(rest))
    }
}

fn encode(to: &mut Vec<u8>, time: Timestamp, record: &Record, options: &[u8], bytes: &[u8]) {
    let (kind, interface, value, number, offset) = match record {
        Record::Packet(p) => (0, Some(p.interface), p.original_len, p.number, p.offset),
        Record::Block(b) => (1, b.interface, b.block_type, 0, b.offset),
    };
    to.extend_from_slice(&time.0.to_le_bytes());
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(&offset.to_le_bytes());
    to.extend_from_slice(&value.to_le_bytes());
    to.extend_from_slice(&interface.unwrap_or_default().to_le_bytes());
    to.extend_from_slice(&[kind, u8::from(interface.is_some())]);
    to.extend_from_slice(&(options.len() as u32).to_le_bytes());
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(options);
    to.extend_from_slice(bytes);
}

fn decode(record: &[u8]) -> Option<Record> {
    let (value, interface, number, offset) = (word(record, 24), word(record, 28), long(record, 8), long(record, 16));
    match record.get(32)? {
        0 => {
            Some(Record::Packet(PacketRecord { interface, time: time_of(record), original_len: value, number, offset }))
        }
        _ => {
            let interface = (record.get(33) == Some(&1)).then_some(interface);
            Some(Record::Block(BlockRecord { block_type: value, interface, offset }))
        }
    }
}

/// The length of an encoded record of which the head is there.
fn length(record: &[u8]) -> usize {
    HEAD + word(record, 34) as usize + word(record, 38) as usize
}

fn time_of(record: &[u8]) -> Timestamp {
    Timestamp(long(record, 0))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pcap file with one packet of two octets, its number, at each of these seconds.
    fn capture(seconds: &[u32]) -> Capture {
        let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0".to_vec();
        for (i, second) in seconds.iter().enumerate() {
            for field in [*second, 0, 2, 2] {
                file.extend_from_slice(&field.to_le_bytes());
            }
            file.extend_from_slice(&(i as u16).to_le_bytes());
        }
        Capture::from_reader("test".to_owned(), Box::new(io::Cursor::new(file))).expect("a capture")
    }

    #[test]
    fn packets_come_in_the_order_of_time_and_then_of_the_file() {
        let mut seconds: Vec<u32> = (0..5000).map(|i: u32| i.wrapping_mul(2_654_435_761) % 300).collect();
        let mut sorted = Sorted::read(&mut capture(&seconds)).expect("the temporary file can be written");
        let mut expected: Vec<(u32, u16)> = seconds.drain(..).zip(0..).collect();
        expected.sort_unstable();
        for (second, i) in expected {
            let Ok(Some(Record::Packet(packet))) = sorted.advance() else { panic!("a packet") };
            assert_eq!((packet.time.0 / 1_000_000_000, packet.number), (u64::from(second), u64::from(i) + 1));
            assert_eq!(sorted.bytes(), i.to_le_bytes());
            assert!(sorted.options().is_empty());
        }
        assert!(matches!(sorted.advance(), Ok(None)));
    }
}

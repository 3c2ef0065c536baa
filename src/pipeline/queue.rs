//! Frames that wait until it is known how they leave.
//!
//! First in, first out. Up to a bound they wait in memory, in chunks that are used again; what is more goes
//! to unnamed temporary files, in order, and comes back in order. They take little more room than what waits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Octets of a chunk, unless a frame is larger.
const CHUNK: usize = 256 * 1024;

/// Octets that wait in memory before a temporary file is used, unless another bound is given.
const IN_MEMORY: usize = 8 * 1024 * 1024;

/// Octets that a temporary file may have in any case.
const FILE: u64 = 64 << 20;

/// What stands before a frame in the queue: three lengths and whatever its owner keeps with it.
const HEADER: usize = 8;

/// A first-in-first-out queue of byte strings.
pub struct Queue {
    /// Octets that wait in memory before a temporary file is used.
    most: usize,
    /// The oldest chunks; the first one is read from at `read`.
    head: VecDeque<Vec<u8>>,
    read: usize,
    /// The chunks in files, oldest first.
    filed: VecDeque<Filed>,
    /// Octets in files.
    filed_bytes: u64,
    /// The newest chunks, if some are in files.
    tail: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    bytes: u64,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue::new(IN_MEMORY)
    }
}

impl Queue {
    /// Nothing waits. At most so many octets of what will are in memory, and a few chunks.
    pub fn new(most: usize) -> Queue {
        Queue {
            most,
            head: VecDeque::new(),
            read: 0,
            filed: VecDeque::new(),
            filed_bytes: 0,
            tail: VecDeque::new(),
            spare: Vec::new(),
            bytes: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Octets that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame in two parts: a description, which may come in two pieces, and data.
    pub fn push(&mut self, [start, rest]: [&[u8]; 2], data: &[u8]) -> io::Result<()> {
        let description = start.len() + rest.len();
        let length = HEADER + description + data.len();
        if self.last_mut().is_none_or(|chunk| chunk.len() + length > CHUNK) {
            self.make_chunk()?;
        }
        if let Some(chunk) = self.last_mut() {
            chunk.extend_from_slice(&(description as u32).to_le_bytes());
            chunk.extend_from_slice(&(data.len() as u32).to_le_bytes());
            chunk.extend_from_slice(start);
            chunk.extend_from_slice(rest);
            chunk.extend_from_slice(data);
            self.bytes += length as u64;
        }
        Ok(())
    }

    /// The frame that waits longest: description and data.
    pub fn front(&self) -> Option<(&[u8], &[u8])> {
        let rest = self.head.front()?.get(self.read..)?;
        let (lengths, rest) = rest.split_first_chunk::<HEADER>()?;
        let (description, data) = lengths.split_at(4);
        let length = |b: &[u8]| b.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let (description, data) = (length(description), length(data));
        Some((rest.get(..description)?, rest.get(description..description + data)?))
    }

    /// Takes out the frame that waits longest.
    pub fn pop(&mut self) -> io::Result<()> {
        let Some((description, data)) = self.front() else { return Ok(()) };
        let length = HEADER + description.len() + data.len();
        self.bytes -= length as u64;
        self.read += length;
        if self.head.front().is_some_and(|chunk| self.read >= chunk.len()) {
            self.read = 0;
            if let Some(chunk) = self.head.pop_front() {
                self.recycle(chunk);
            }
            if self.head.is_empty() {
                self.load()?;
            }
        }
        Ok(())
    }

    fn last_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self.filed.is_empty() && self.tail.is_empty() {
            true => self.head.back_mut(),
            false => self.tail.back_mut(),
        }
    }

    /// Starts a chunk; writes the older ones of the tail to a file if too much is in memory.
    fn make_chunk(&mut self) -> io::Result<()> {
        let chunk = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        let in_memory = (self.head.len() + self.tail.len()) * CHUNK;
        if self.filed.is_empty() && self.tail.is_empty() && in_memory < self.most {
            self.head.push_back(chunk);
            return Ok(());
        }
        if in_memory >= self.most && !self.tail.is_empty() && self.has_file()? {
            while let Some(full) = self.tail.pop_front() {
                self.store(&full)?;
                self.recycle(full);
            }
        }
        self.tail.push_back(chunk);
        Ok(())
    }

    /// Whether there is a file that more can be written to. One is made when it is needed; there is none where it cannot be made
    /// and [`IN_MEMORY`] octets may wait in memory.
    fn has_file(&mut self) -> io::Result<bool> {
        // Few files, and each little of what waits: what was read of one takes room until all of it was.
        let largest = FILE.max(self.filed_bytes / 4);
        if self.filed.back().is_some_and(|last| last.end < largest) {
            return Ok(true);
        }
        match tempfile::tempfile() {
            Ok(file) => {
                self.filed.push_back(Filed { file, chunks: VecDeque::new(), read: 0, end: 0 });
                Ok(true)
            }
            Err(_) if self.most < IN_MEMORY => {
                self.most = IN_MEMORY;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn store(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some(last) = self.filed.back_mut() else { return Ok(()) };
        last.store(chunk)?;
        self.filed_bytes += chunk.len() as u64;
        Ok(())
    }

    /// Brings the next chunk to the head: from a file if some are there, else from the tail.
    fn load(&mut self) -> io::Result<()> {
        let Some(first) = self.filed.front_mut() else {
            std::mem::swap(&mut self.head, &mut self.tail);
            return Ok(());
        };
        let mut chunk = self.spare.pop().unwrap_or_default();
        first.load(&mut chunk)?;
        self.filed_bytes -= chunk.len() as u64;
        if first.chunks.is_empty() {
            self.filed.pop_front();
        }
        self.head.push_back(chunk);
        Ok(())
    }

    fn recycle(&mut self, mut chunk: Vec<u8>) {
        if chunk.capacity() <= 2 * CHUNK && self.spare.len() < self.most / CHUNK {
            chunk.clear();
            self.spare.push(chunk);
        }
    }
}

/// Chunks in a temporary file.
struct Filed {
    file: File,
    /// Their lengths, oldest first.
    chunks: VecDeque<usize>,
    /// Where the first of them begins, and where the last one ends.
    read: u64,
    end: u64,
}

impl Filed {
    fn store(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(chunk)?;
        self.end += chunk.len() as u64;
        self.chunks.push_back(chunk.len());
        Ok(())
    }

    fn load(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        chunk.resize(self.chunks.pop_front().unwrap_or_default(), 0);
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_exact(chunk)?;
        self.read += chunk.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What waits, in the order in which it went in: the stupid model.
    fn drain(queue: &mut Queue, model: &mut VecDeque<(Vec<u8>, Vec<u8>)>, count: usize) {
        for _ in 0..count {
            let expected = model.pop_front();
            let front = queue.front().map(|(a, b)| (a.to_vec(), b.to_vec()));
            assert_eq!(front, expected);
            queue.pop().expect("the temporary file can be read");
            assert_eq!(queue.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn much_more_than_fits_in_memory_comes_back_in_order() {
        let mut queue = Queue::default();
        let mut model = VecDeque::new();
        for round in 0..4_u32 {
            for i in 0..400_u32 {
                let frame = (i.to_le_bytes().to_vec(), vec![(i + round) as u8; 100_000]);
                queue.push([&frame.0, &[]], &frame.1).expect("the temporary file can be written");
                model.push_back(frame);
            }
            drain(&mut queue, &mut model, 300);
        }
        let rest = model.len();
        drain(&mut queue, &mut model, rest);
        assert!(queue.front().is_none());
    }

    #[test]
    fn nothing_is_filed_that_is_not_there() {
        let mut queue = Queue::new(2 * CHUNK);
        let frame = vec![1; CHUNK - 100];
        // The head is full, and only one more chunk is begun.
        for number in 0..3 {
            queue.push([&[number], &[]], &frame).expect("no file is needed");
        }
        for number in 0..3 {
            assert_eq!(queue.front().map(|(description, _)| description), Some(&[number][..]));
            queue.pop().expect("no file is needed");
        }
        assert!(queue.is_empty() && queue.filed.is_empty());
    }

    #[test]
    fn files_take_little_more_room_than_what_waits() {
        let mut queue = Queue::new(CHUNK);
        let frame = vec![1; 1 << 20];
        for number in 0..600 {
            queue.push([&[], &[]], &frame).expect("the temporary file can be written");
            if number >= 50 {
                queue.pop().expect("the temporary file can be read");
            }
            let room: u64 = queue.filed.iter().map(|filed| filed.end).sum();
            assert!(room <= queue.bytes() + 2 * FILE, "{room} octets for {}", queue.bytes());
        }
        assert!(queue.filed.len() <= 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn as_a_plain_queue(steps in prop::collection::vec((0_usize..400_000, 0_usize..3), 1..120)) {
            let mut queue = Queue::default();
            let mut model = VecDeque::new();
            for (length, pops) in steps {
                let frame = (vec![7; length % 91], vec![length as u8; length]);
                queue.push([&frame.0, &[]], &frame.1).expect("the temporary file can be written");
                model.push_back(frame);
                drain(&mut queue, &mut model, pops);
            }
        }
    }
}

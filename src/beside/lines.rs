//! Lines, one by one: what comes in is any reader, what goes out is a line of at most 64 KiB, and its number.

use std::io::{self, BufRead};

/// A longer line is none that is read here; its rest is skipped.
pub(super) const LONGEST: usize = 64 << 10;

/// The lines of a reader. Holds one line, of at most [`LONGEST`] octets.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

/// What [`Lines::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole line, perhaps an empty one.
    Line,
    /// A line of more than [`LONGEST`] octets: only its beginning is there.
    TooLong,
    /// There are no more lines.
    End,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R) -> Lines<R> {
        Lines::after(0, reader)
    }

    /// The same, where so many lines of the file were read already.
    pub fn after(number: u64, reader: R) -> Lines<R> {
        Lines { reader, line: Vec::new(), number, ended: false }
    }

    /// Goes to the next line. After an error or the end, it is at its end for good.
    pub fn advance(&mut self) -> io::Result<Step> {
        self.line.clear();
        let (mut any, mut too_long) = (false, false);
        while !self.ended {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.ended = true;
                    self.line.clear();
                    return Err(error);
                }
                Ok(buffer) => buffer,
            };
            self.ended = buffer.is_empty();
            any |= !buffer.is_empty();
            let newline = buffer.iter().position(|&octet| octet == b'\n');
            let piece = &buffer[..newline.unwrap_or(buffer.len())];
            let kept = piece.len().min(LONGEST - self.line.len());
            self.line.extend_from_slice(&piece[..kept]);
            too_long |= kept < piece.len();
            let used = piece.len() + usize::from(newline.is_some());
            self.reader.consume(used);
            if newline.is_some() {
                break;
            }
        }
        if !any {
            return Ok(Step::End);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(if too_long { Step::TooLong } else { Step::Line })
    }

    /// The line, without its end.
    pub fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// Its number in the file, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], at_once: usize) -> Vec<(u64, Step, usize)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(at_once, text));
        let mut seen = Vec::new();
        loop {
            let step = lines.advance().expect("memory does not fail");
            if step == Step::End {
                assert_eq!(lines.advance().expect("for good"), Step::End);
                return seen;
            }
            seen.push((lines.number(), step, lines.bytes().len()));
        }
    }

    #[test]
    fn lines_as_they_end() {
        for at_once in [1, 2, 64] {
            assert_eq!(all(b"", at_once), []);
            assert_eq!(all(b"a\r\n\nbc", at_once), [(1, Step::Line, 1), (2, Step::Line, 0), (3, Step::Line, 2)]);
            assert_eq!(all(b"a\n", at_once), [(1, Step::Line, 1)]);
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_room() {
        let text = [vec![b'x'; LONGEST + 1], b"\nok\n".to_vec(), vec![b'y'; 3 * LONGEST]].concat();
        let expected = [(1, Step::TooLong, LONGEST), (2, Step::Line, 2), (3, Step::TooLong, LONGEST)];
        assert_eq!(all(&text, 4096), expected);
    }
}

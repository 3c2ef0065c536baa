//! Compressed captures: gzip, zstd and lz4 frames, also several one after the other.
//!
//! In comes compressed data, out goes what it holds; memory is bounded by the formats' windows and blocks.
//! Refuses zstd windows above 128 MiB. What decompressed before a cut or damage is delivered.

use std::io::{self, BufRead, BufReader, Read};

use super::error::Fault;

/// The largest zstd window that is accepted, as a power of two: 128 MiB, what `zstd -d` accepts too.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How the bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
    Lz4,
}

impl Coding {
    /// Recognises compressed data by its first bytes.
    pub fn of(magic: [u8; 4]) -> Option<Coding> {
        match magic {
            // RFC 1952, section 2.3.1; 8 is deflate.
            [0x1f, 0x8b, 8, _] => Some(Coding::Gzip),
            // RFC 8878, section 3.1: a frame, or a skippable frame as pzstd puts first.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Coding::Zstd),
            // The LZ4 frame format.
            [0x04, 0x22, 0x4d, 0x18] => Some(Coding::Lz4),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
            Coding::Lz4 => "lz4",
        }
    }

    /// A reader of what `reader` is the compressed form of.
    pub fn decoder(self, reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
        let reader = BufReader::with_capacity(128 << 10, Tail { reader, last: [1; 8] });
        Ok(match self {
            Coding::Gzip => {
                Box::new(Gunzip { decoder: flate2::bufread::MultiGzDecoder::new(reader), any_output: false })
            }
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Coding::Lz4 => Box::new(Unlz4(lz4_flex::frame::FrameDecoder::new(reader))),
        })
    }

    /// What an error of the decoder, not of the reader behind it, means.
    pub fn fault(self, error: &io::Error) -> Fault {
        let name = self.name();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Cut(format!("the {name} data ends in the middle")),
            _ => Fault::Corrupt(format!("the {name} data is damaged ({error})")),
        }
    }
}

/// Decompresses gzip members one after the other; other bytes after them (zeros from a tape, a signature) are
/// left alone, as `gzip -d` does.
struct Gunzip<R> {
    decoder: flate2::bufread::MultiGzDecoder<R>,
    any_output: bool,
}

impl<R: io::BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buffer) {
            Ok(n) => {
                self.any_output |= n > 0;
                Ok(n)
            }
            // flate2 has no kind of its own for this; damaged data has other messages.
            Err(error) if self.any_output && error.to_string() == "invalid gzip header" => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Decompresses lz4 frames one after the other, and tells a whole last frame from one that was cut between two
/// blocks, which the decoder takes for an end.
struct Unlz4<R: Read>(lz4_flex::frame::FrameDecoder<BufReader<Tail<R>>>);

impl<R: Read> Read for Unlz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.0.read(buffer)?;
            let input = self.0.get_mut();
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if input.fill_buf()?.is_empty() {
                let ended = input.get_ref().is_end_of_frame();
                return if ended { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            // The end of a frame that is not the last.
        }
    }
}

/// Remembers the last octets that went by.
struct Tail<R> {
    reader: R,
    last: [u8; 8],
}

impl<R> Tail<R> {
    /// The end mark of an lz4 frame is 4 zeros; the 4 octets of a checksum may follow.
    fn is_end_of_frame(&self) -> bool {
        self.last[4..] == [0; 4] || self.last[..4] == [0; 4]
    }
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?.min(buffer.len());
        let new = &buffer[n.saturating_sub(8)..n];
        self.last.rotate_left(new.len());
        self.last[8 - new.len()..].copy_from_slice(new);
        Ok(n)
    }
}

//! What can be wrong with a capture, said in one line each: file, frame, byte, what, and what to do.
//!
//! Parsers speak in [`Fault`]s, which know neither the file nor the place; [`super::Capture`] turns them into
//! [`Error`]s, which do.

use std::{fmt, io};

/// Why a capture cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system does not give the bytes: no such file, no permission, a failing disk.
    #[error("{name}: {source}{}", Hint(.source))]
    Io {
        /// The input as the user named it.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The input holds no bytes at all.
    #[error("{name}: empty, not even a capture header (was the capture started, did anything write to it?)")]
    Empty {
        /// The input as the user named it.
        name: String,
    },
    /// The input does not start like any capture that is read here.
    #[error("{name}: not a pcap or pcapng capture: {looks_like}")]
    NotACapture {
        /// The input as the user named it.
        name: String,
        /// What the first bytes look like, and what to do about it.
        looks_like: String,
    },
    /// The input ends in the middle of a record, or in the middle of its compressed data.
    #[error("{name}: cut short {place}: {what}; what came before was used (was it still being written or copied?)")]
    CutShort {
        /// The input as the user named it.
        name: String,
        /// The record that is not whole.
        place: Place,
        /// What was promised and what follows.
        what: String,
    },
    /// A length or a checksum contradicts the rest of the capture: where the next record starts is unknown.
    #[error(
        "{name}: damaged {place}: {what}; what came before was used (was it copied as text, as kubectl exec -t does, or written by two?)"
    )]
    Corrupt {
        /// The input as the user named it.
        name: String,
        /// The record that makes no sense.
        place: Place,
        /// Which field was believed, and what it contradicts.
        what: String,
    },
    /// A capture, but of a kind that is not read here.
    #[error("{name}: not supported: {what} (convert it with: editcap -F pcapng)")]
    Unsupported {
        /// The input as the user named it.
        name: String,
        /// What is not supported.
        what: String,
    },
}

impl Error {
    /// Whether the capture is damaged rather than unreadable: the records before are whole and can be used.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::CutShort { .. } | Error::Corrupt { .. } | Error::Empty { .. })
    }

    pub(super) fn from_fault(fault: Fault, name: &str, place: Place) -> Error {
        let name = name.to_owned();
        match fault {
            Fault::Cut(what) => Error::CutShort { name, place, what },
            Fault::Corrupt(what) => Error::Corrupt { name, place, what },
            Fault::Unsupported(what) => Error::Unsupported { name, what },
            Fault::Io(source) => Error::Io { name, source },
        }
    }
}

/// Where in a capture something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number that the packet there has or, if it is not a packet, that the next one would have had.
    pub frame: u64,
    /// Whether it is that packet, or something between it and the packet before.
    pub in_packet: bool,
    /// Where the record starts in the (decompressed) capture, in octets.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { frame, in_packet, offset } = *self;
        match (in_packet, frame) {
            (true, _) => write!(f, "in frame {frame} at byte {offset}"),
            (false, 0 | 1) => write!(f, "before the first frame at byte {offset}"),
            (false, _) => write!(f, "after frame {} at byte {offset}", frame - 1),
        }
    }
}

/// What a parser has found, before file and place are known.
#[derive(Debug)]
pub(super) enum Fault {
    Cut(String),
    Corrupt(String),
    Unsupported(String),
    Io(io::Error),
}

/// What to do about an error of the operating system, where there is something to say.
struct Hint<'a>(&'a io::Error);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.kind() {
            io::ErrorKind::NotFound => " (is the path right? \"-\" reads standard input)",
            io::ErrorKind::IsADirectory => " (name the captures in it)",
            io::ErrorKind::PermissionDenied => {
                " (captures taken as root stay root's: chown the file, or run with sudo)"
            }
            _ => "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_file_frame_and_byte() {
        let place = Place { frame: 1412, in_packet: true, offset: 183_002 };
        let what = "the record promises 1514 bytes, 230 follow".to_owned();
        let error = Error::from_fault(Fault::Cut(what), "lo.pcap", place);
        assert_eq!(
            error.to_string(),
            "lo.pcap: cut short in frame 1412 at byte 183002: the record promises 1514 bytes, 230 follow; \
             what came before was used (was it still being written or copied?)"
        );
        assert!(error.is_damage());
    }

    #[test]
    fn places_between_packets() {
        let place = Place { frame: 1, in_packet: false, offset: 24 };
        assert_eq!(place.to_string(), "before the first frame at byte 24");
        assert_eq!(Place { frame: 8, ..place }.to_string(), "after frame 7 at byte 24");
    }

    #[test]
    fn missing_files_are_fatal() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let place = Place { frame: 1, in_packet: false, offset: 0 };
        assert!(!Error::from_fault(Fault::Io(source), "x", place).is_damage());
    }
}

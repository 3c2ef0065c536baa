//! What decompressors made when captures were read first, kept for reading them again: in temporary files.
//!
//! Decompressing takes longer than all else that is done to a capture, and a file takes no more room than the output will.
//! What cannot be kept, whatever the reason, is decompressed again.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Octets that are kept of all inputs together: 4 GiB.
const ROOM: u64 = 4 << 30;

/// Where the octets of decompressed inputs are.
pub struct Unpacked {
    folder: PathBuf,
    /// Octets that may still be kept.
    room: AtomicU64,
    /// By the number of the input; none: it is not whole, or was not compressed.
    files: Vec<Mutex<Option<File>>>,
}

impl Unpacked {
    /// For so many inputs, in files without a name in this folder.
    pub fn new(folder: PathBuf, inputs: usize) -> Arc<Unpacked> {
        let files = (0..inputs).map(|_| Mutex::default()).collect();
        Arc::new(Unpacked { folder, room: AtomicU64::new(ROOM), files })
    }

    /// All octets of an input, from the first one on, and how many they are.
    pub(super) fn whole(&self, input: usize) -> Option<(File, u64)> {
        let files = self.files.get(input)?.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = files.as_ref()?.try_clone().ok()?;
        let size = file.seek(io::SeekFrom::End(0)).ok()?;
        file.rewind().ok()?;
        Some((file, size))
    }

    /// The same octets, which are kept on the way.
    pub(super) fn keep(self: Arc<Unpacked>, input: usize, reader: Box<dyn Read + Send>) -> Keeping {
        let file = tempfile::tempfile_in(&self.folder).ok();
        Keeping { reader, input, file, octets: 0, unpacked: self }
    }

    /// Whether there is room for so many more octets, which then are taken from it.
    fn take(&self, octets: u64) -> bool {
        let less = |room: u64| room.checked_sub(octets);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A reader whose octets are kept.
pub(super) struct Keeping {
    reader: Box<dyn Read + Send>,
    input: usize,
    /// None: they are not kept any more, or all of them are.
    file: Option<File>,
    octets: u64,
    unpacked: Arc<Unpacked>,
}

impl Keeping {
    /// There will be nothing to read again.
    #[cold]
    fn give_up(&mut self) {
        self.file = None;
        self.unpacked.room.fetch_add(std::mem::take(&mut self.octets), Ordering::Relaxed);
    }
}

impl Read for Keeping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        let (Some(file), false) = (&mut self.file, buffer.is_empty()) else { return read };
        match &read {
            Ok(0) => {
                if let Some(place) = self.unpacked.files.get(self.input) {
                    *place.lock().unwrap_or_else(PoisonError::into_inner) = self.file.take();
                }
            }
            Ok(n) => {
                // min(): a reader that claims more than it was given room for must not take us down.
                let octets = &buffer[..buffer.len().min(*n)];
                let has_room = self.unpacked.take(octets.len() as u64);
                self.octets += if has_room { octets.len() as u64 } else { 0 };
                if !has_room || file.write_all(octets).is_err() {
                    self.give_up();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.give_up(),
        }
        read
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // Of one that was not read to its end, what is there is of no use.
        if self.file.is_some() {
            self.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(room: u64) -> Arc<Unpacked> {
        let kept = Unpacked::new(std::env::temp_dir(), 2);
        kept.room.store(room, Ordering::Relaxed);
        kept
    }

    fn reader(octets: &[u8]) -> Box<dyn Read + Send> {
        Box::new(io::Cursor::new(octets.to_vec()))
    }

    fn read_again(kept: &Unpacked, input: usize) -> Option<(Vec<u8>, u64)> {
        let (mut file, size) = kept.whole(input)?;
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).expect("a file");
        Some((octets, size))
    }

    #[test]
    fn what_was_read_whole_is_there_again() {
        let kept = kept(10);
        let mut octets = Vec::new();
        Arc::clone(&kept).keep(1, reader(b"0123456789")).read_to_end(&mut octets).expect("octets");
        for _ in 0..2 {
            assert_eq!(read_again(&kept, 1), Some((octets.clone(), 10)));
        }
        assert!(kept.whole(0).is_none() && kept.whole(2).is_none());
    }

    #[test]
    fn what_has_no_room_or_is_not_whole_is_not_kept() {
        let kept = kept(9);
        let mut keeping = Arc::clone(&kept).keep(0, reader(b"0123456789"));
        keeping.read_exact(&mut [0; 5]).expect("octets");
        drop(keeping);
        assert!(kept.whole(0).is_none());
        let mut octets = Vec::new();
        Arc::clone(&kept).keep(0, reader(b"0123456789")).read_to_end(&mut octets).expect("octets");
        assert_eq!(octets, b"0123456789");
        assert!(kept.whole(0).is_none());
        assert_eq!(kept.room.load(Ordering::Relaxed), 9, "others have the room");
        Arc::clone(&kept).keep(0, reader(b"012345678")).read_to_end(&mut octets).expect("octets");
        assert!(kept.whole(0).is_some());
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let kept = Unpacked::new(PathBuf::from("/nowhere/at/all"), 1);
        let mut octets = Vec::new();
        Arc::clone(&kept).keep(0, reader(b"01")).read_to_end(&mut octets).expect("octets");
        assert!(octets == b"01" && kept.whole(0).is_none());
    }
}

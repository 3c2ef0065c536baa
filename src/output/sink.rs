//! Where the output goes: a file that appears whole or not at all, or a stream.
//!
//! A thread of its own writes, so that encoding and writing overlap.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::file::{self, NewFile};
use crate::handover::{Giver, handover};

/// Size of a buffer in octets. Writes of 1 MiB and more were two to five times slower.
pub(super) const BUFFER: usize = 256 * 1024;

/// Buffers on their way to the writer thread.
const QUEUE: usize = 3;

/// Where the output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A path: a regular file, which is replaced when the output is complete, or anything else, which is
    /// written to as it is.
    Path(PathBuf),
}

impl Destination {
    /// Whether it is a file that is put in its place when it is complete, so that until then nobody has seen it.
    pub fn is_file(&self) -> bool {
        match self {
            Destination::Stdout => false,
            Destination::Path(path) => std::fs::metadata(path).map_or(true, |metadata| metadata.is_file()),
        }
    }

    /// A folder that has room for a file as large as the output: its own, if it is a file.
    pub(crate) fn folder(&self) -> PathBuf {
        match self {
            Destination::Path(path) if self.is_file() => file::folder_behind_links(path),
            _ => std::env::temp_dir(),
        }
    }
}

/// The open output.
pub(super) struct Sink {
    to_write: Option<Giver<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    file: Option<NewFile>,
}

impl Sink {
    pub fn create(destination: &Destination, has_secrets: bool) -> io::Result<Sink> {
        match destination {
            Destination::Stdout => Sink::start(stdout(), None),
            Destination::Path(path) if !destination.is_file() => {
                let file = File::options().write(true).open(path)?;
                Sink::start(Box::new(file), None)
            }
            Destination::Path(path) => {
                let file = NewFile::create(path, has_secrets)?;
                Sink::start(Box::new(file.writer()?), Some(file))
            }
        }
    }

    fn start(mut writer: Box<dyn Write + Send>, file: Option<NewFile>) -> io::Result<Sink> {
        let (to_write, buffers) = handover::<Vec<u8>>(QUEUE);
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            while let Some(mut buffer) = buffers.take() {
                writer.write_all(&buffer)?;
                buffer.clear();
                buffers.give_back(buffer);
            }
            writer.flush()
        });
        Ok(Sink { to_write: Some(to_write), thread: Some(thread?), file })
    }

    /// Hands a buffer to the writer and returns an empty one.
    pub fn write(&mut self, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(to_write) = self.to_write.as_ref().filter(|to_write| to_write.give(buffer)) else {
            return Err(self.join().err().unwrap_or_else(|| io::Error::other("the writer has stopped")));
        };
        let mut next = to_write.next();
        next.reserve(BUFFER + BUFFER / 4);
        Ok(next)
    }

    /// Waits until everything is written, and puts the file in its place.
    pub fn finish(mut self) -> io::Result<()> {
        self.join()?;
        self.file.take().map_or(Ok(()), NewFile::finish)
    }

    fn join(&mut self) -> io::Result<()> {
        self.to_write = None;
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => Err(io::Error::other("the writer failed")),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Not finished: the temporary file goes with its handle. What the thread has to say is of no use now.
        let _ = self.join();
    }
}

/// Standard output without the line buffer that `std::io::Stdout` puts before it.
fn stdout() -> Box<dyn Write + Send> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        if let Ok(descriptor) = io::stdout().as_fd().try_clone_to_owned() {
            return Box::new(File::from(descriptor));
        }
    }
    Box::new(io::stdout())
}

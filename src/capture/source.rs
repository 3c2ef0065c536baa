//! Where captures come from: files, pipes, standard input; plain, gzip, zstd or lz4.
//!
//! In comes what the user named; out goes an [`Input`] of plain capture bytes. Compression is recognised by the
//! first bytes, whatever the name. Regular files are read directly. Pipes are read ahead in a thread each, so
//! that the writer of one is not stopped while we wait for another, and decompression has a thread each, so
//! that two inputs decompress at the same time. Refuses directories; seeks nowhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::coding::Coding;
use super::error::{Error, Fault};
use super::feed::{Delivery, Feed, Watch};
use super::unpacked::Unpacked;

/// What is read ahead of a pipe, in octets: a second of a busy sidecar.
const PIPE_AHEAD: usize = 4 << 20;
/// What is decompressed ahead, in octets.
const DECOMPRESSED_AHEAD: usize = 1 << 20;

/// An input as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or a FIFO.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// Whether it is a regular file, which can be read again.
    pub fn is_file(&self) -> bool {
        matches!(self, Source::Path(path) if path.is_file())
    }

    /// What a command line argument names: `-` is standard input, anything else a path.
    pub fn from_arg(arg: &OsStr) -> Source {
        if arg == "-" { Source::Stdin } else { Source::Path(arg.into()) }
    }

    /// The name for messages: the path as given, or "standard input".
    pub fn name(&self) -> String {
        match self {
            Source::Path(path) => path.display().to_string(),
            Source::Stdin => "standard input".to_owned(),
        }
    }
}

/// An input that is open, its pipe (if it is one) already being read ahead.
pub struct Input {
    pub(super) name: String,
    number: usize,
    reader: Box<dyn Read + Send>,
    pub(super) is_stream: bool,
    /// Of the thread that reads ahead, if there is one.
    pub(super) watch: Option<Watch>,
    pub(super) total: Option<u64>,
    pub(super) interrupted: Arc<AtomicBool>,
    /// Whether `reader` looks at `interrupted` itself and drains what it already holds.
    pub(super) ends_itself: bool,
    pub(super) meter: Meter,
    pub(super) coding: Option<Coding>,
    /// Where what is decompressed is kept.
    unpacked: Option<Arc<Unpacked>>,
    /// Whether decompressing may have a thread.
    threaded: bool,
}

/// What is known of the raw bytes from the other side of a decompressor, perhaps in another thread.
#[derive(Clone, Default)]
pub(super) struct Meter {
    pub octets: Arc<AtomicU64>,
    pub failed: Arc<AtomicBool>,
}

impl Input {
    /// Opens input number `number` (from 0). Returns at once even for a FIFO that nobody writes to yet: opening
    /// that is already part of reading ahead. Errors: no such file, no permission, a directory.
    pub fn start(source: &Source, number: usize, interrupted: Arc<AtomicBool>) -> Result<Input, Error> {
        let name = source.name();
        let open = match source {
            Source::Path(path) => open_path(path),
            Source::Stdin => open_stdin(),
        };
        let start = |opened: Opened| -> io::Result<Input> {
            let meter = Meter::default();
            let (total, watch, reader): (_, _, Box<dyn Read + Send>) = match opened {
                Opened::Regular(file, size) => (Some(size), None, Box::new(Metered(file, meter.clone()))),
                Opened::Stream(open) => {
                    let meter = meter.clone();
                    let open = move || Ok(Box::new(Metered(open()?, meter)) as Box<dyn Read + Send>);
                    let thread_name = format!("read {number}");
                    let feed = Feed::start(thread_name, PIPE_AHEAD, Delivery::Prompt, Arc::clone(&interrupted), open)?;
                    (None, Some(feed.watch()), Box::new(feed))
                }
            };
            let name = name.clone();
            let interrupted = Arc::clone(&interrupted);
            let is_stream = watch.is_some();
            let ends_itself = is_stream;
            let coding = None;
            Ok(Input {
                name,
                number,
                reader,
                is_stream,
                watch,
                total,
                interrupted,
                ends_itself,
                meter,
                coding,
                unpacked: None,
                threaded: true,
            })
        };
        open.and_then(start).map_err(|source| Error::Io { name, source })
    }

    /// Keeps what it is decompressed to, or reads what was kept of it before.
    pub fn keeping(self, unpacked: &Arc<Unpacked>) -> Input {
        match unpacked.whole(self.number) {
            Some((file, size)) => {
                let meter = Meter::default();
                Input { reader: Box::new(Metered(file, meter.clone())), total: Some(size), meter, ..self }
            }
            None => Input { unpacked: Some(Arc::clone(unpacked)), ..self },
        }
    }

    /// Any reader, read and decompressed in the caller's thread.
    pub(super) fn from_reader(name: String, reader: Box<dyn Read + Send>) -> Input {
        let meter = Meter::default();
        Input {
            name,
            number: 0,
            reader: Box::new(Metered(reader, meter.clone())),
            is_stream: false,
            watch: None,
            total: None,
            interrupted: Arc::default(),
            ends_itself: false,
            meter,
            coding: None,
            unpacked: None,
            threaded: false,
        }
    }

    /// Looks at the first bytes and, if they are compressed, puts the decompressor in between.
    pub(super) fn decompressed(mut self) -> io::Result<Input> {
        let mut head = Vec::with_capacity(4);
        let start = (&mut self.reader).take(4).read_to_end(&mut head);
        // A reader that fails later would not be asked again for what it has failed at now.
        start?;
        self.coding = head.first_chunk().and_then(|magic| Coding::of(*magic));
        let reader: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(self.reader));
        self.reader = match self.coding {
            None => reader,
            Some(coding) if !self.threaded => coding.decoder(reader)?,
            Some(coding) => {
                let delivery = if self.is_stream { Delivery::Prompt } else { Delivery::Full };
                let thread_name = format!("{} {}", coding.name(), self.number);
                self.ends_itself = true;
                let interrupted = Arc::clone(&self.interrupted);
                let (unpacked, number) = (self.unpacked.take(), self.number);
                let open = move || {
                    let decoder = coding.decoder(reader)?;
                    Ok(match unpacked {
                        Some(unpacked) => Box::new(unpacked.keep(number, decoder)),
                        None => decoder,
                    })
                };
                let feed = Feed::start(thread_name, DECOMPRESSED_AHEAD, delivery, interrupted, open)?;
                self.watch = Some(feed.watch());
                Box::new(feed)
            }
        };
        Ok(self)
    }

    /// Reads as `Read` does, but says what an error means.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        loop {
            // min(): see that a reader's claim never leads outside the buffer.
            let error = match self.reader.read(buffer) {
                Ok(n) => return Ok(n.min(buffer.len())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return Err(match self.coding {
                Some(coding) if !self.meter.failed.load(Ordering::Relaxed) => coding.fault(&error),
                _ => Fault::Io(error),
            });
        }
    }
}

/// Counts the octets of a reader and remembers whether it failed, as opposed to a decompressor behind it.
struct Metered<R>(R, Meter);

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.0.read(buffer);
        match &result {
            Ok(n) => _ = self.1.octets.fetch_add(*n as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.1.failed.store(true, Ordering::Relaxed),
        }
        result
    }
}

type OpenStream = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

enum Opened {
    /// A regular file and its size.
    Regular(File, u64),
    /// Anything that may pause: how to open it.
    Stream(OpenStream),
}

fn open_path(path: &PathBuf) -> io::Result<Opened> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() {
        return Ok(Opened::Regular(File::open(path)?, metadata.len()));
    }
    let path = path.clone();
    Ok(Opened::Stream(Box::new(move || Ok(Box::new(File::open(path)?)))))
}

#[cfg(unix)]
fn open_stdin() -> io::Result<Opened> {
    use std::os::fd::AsFd;
    // As a file, not through Stdin: its buffer would only copy everything once more.
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() {
        return Ok(Opened::Regular(file, metadata.len()));
    }
    Ok(Opened::Stream(Box::new(move || Ok(Box::new(file)))))
}

#[cfg(not(unix))]
fn open_stdin() -> io::Result<Opened> {
    Ok(Opened::Stream(Box::new(|| Ok(Box::new(io::stdin())))))
}

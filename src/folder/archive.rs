//! Archives of a folder: tar, plain or with gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

/// The plain archive in a file, if it is one.
pub(super) fn plain(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut plain: Box<dyn BufRead> = match reader.fill_buf()? {
        // RFC 1952, section 2.3.1.
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(reader))),
        _ => Box::new(reader),
    };
    // POSIX.1-1988: the magic of a header is at 257. Less than that can be in the buffer only at the end of the file.
    let mut head = vec![0; 512];
    let mut filled = 0;
    while filled < head.len() {
        match plain.read(&mut head[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let is_archive = head[257..262] == *b"ustar";
    Ok(is_archive.then(|| Box::new(io::Cursor::new(head).chain(plain)) as Box<dyn Read>))
}

/// Unpacks the files of an archive. Links, devices and paths that lead out of it are left out. Fails soon after `interrupted`
/// is set; what was unpacked is gone then.
pub(super) fn unpack(path: &Path, interrupted: &AtomicBool) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("meshpcap-").tempdir()?;
    let Some(archive) = plain(path)? else { return Ok(folder) };
    let into = |archive| {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            if entry.header().entry_type().is_file() {
                entry.set_preserve_permissions(false);
                entry.unpack_in(folder.path())?;
            }
        }
        Ok(())
    };
    into(Watched { archive, interrupted }).map_err(cause)?;
    Ok(folder)
}

/// An archive that cannot be read on once the run was stopped.
struct Watched<'a> {
    archive: Box<dyn Read>,
    interrupted: &'a AtomicBool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(io::Error::other("interrupted")),
            false => self.archive.read(buffer),
        }
    }
}

/// What went wrong first, without the path of a temporary file.
fn cause(error: io::Error) -> io::Error {
    let mut first: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = first.source() {
        first = source;
    }
    io::Error::new(
        error.kind(),
        format!("the archive cannot be unpacked: {first} (is it whole? tar -tf lists what is in it)"),
    )
}

/// The folder in which an archive has its files: itself, or the only folder in it.
pub(super) fn root(path: &Path) -> io::Result<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    match &entries[..] {
        [only] if only.is_dir() => Ok(only.clone()),
        _ => Ok(path.to_owned()),
    }
}

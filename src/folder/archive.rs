//! Archives of a folder: tar, plain or with gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

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

/// Unpacks the files of an archive. Links, devices and paths that lead out of it are left out.
pub(super) fn unpack(path: &Path) -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let Some(archive) = plain(path)? else { return Ok(folder) };
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            entry.set_preserve_permissions(false);
            entry.unpack_in(folder.path())?;
        }
    }
    Ok(folder)
}

/// The folder in which an archive has its files: itself, or the only folder in it.
pub(super) fn root(path: &Path) -> io::Result<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    match &entries[..] {
        [only] if only.is_dir() => Ok(only.clone()),
        _ => Ok(path.to_owned()),
    }
}

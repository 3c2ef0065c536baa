//! A file that appears whole or not at all.
//!
//! In comes the path that the user named; out goes a temporary file beside it, which takes its place in the end. What can
//! be wrong with the path is said at the start, not after a long run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Symbolic links that are followed, as Linux has it (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A file that is being written, and the path that it will have.
pub(crate) struct NewFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl NewFile {
    /// Starts a file for this path. A link is followed, also one to a file that is not there yet: what it points to is
    /// replaced, not the link.
    ///
    /// Nobody else may read one that holds secrets.
    ///
    /// Errors: the path is a folder, or names one; a file cannot be written there.
    pub fn create(path: &Path, has_secrets: bool) -> io::Result<NewFile> {
        let path = behind_links(path)?;
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(NewFile { temporary: temporary_beside(&path, has_secrets)?, path })
    }

    /// The file, open.
    pub fn writer(&self) -> io::Result<File> {
        self.temporary.as_file().try_clone()
    }

    /// Puts the file in its place.
    pub fn finish(self) -> io::Result<()> {
        self.temporary.persist(self.path).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Whether two paths lead to one file, by whatever name, whether or not it is there yet.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        // Two may write to one device or pipe.
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Err(_), Err(_)) => match (in_real_folder(a), in_real_folder(b)) {
            (Some(real_a), Some(real_b)) => real_a == real_b,
            _ => a == b,
        },
        _ => false,
    }
}

/// The path of a file that is not there yet, its folder without links and dots.
fn in_real_folder(path: &Path) -> Option<PathBuf> {
    let path = behind_links(path).ok()?;
    Some(std::fs::canonicalize(folder(&path)).ok()?.join(path.file_name()?))
}

/// What a path that may be a link leads to, whether or not it is there.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links, one behind the other"))
}

/// The folder of what a path leads to.
pub(super) fn folder_behind_links(path: &Path) -> PathBuf {
    folder(&behind_links(path).unwrap_or_default()).to_owned()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file in the folder of `path`, with the permissions that a new file would have.
///
/// Errors: what the operating system says; the file's own name, which nobody chose, is not part of it.
fn temporary_beside(path: &Path, has_secrets: bool) -> io::Result<NamedTempFile> {
    // Opened here: tempfile would put its own path into the error.
    let mut said = None;
    let open = |temporary: &Path| {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
            let most = if has_secrets { 0o600 } else { 0o777 };
            options.mode(std::fs::metadata(path).map_or(0o666, |m| m.permissions().mode()) & most);
        }
        options.open(temporary).inspect_err(|error| said = error.raw_os_error())
    };
    let temporary = tempfile::Builder::new().prefix(".meshpcap-").suffix(".tmp").make_in(folder(path), open);
    temporary.map_err(|error| said.map_or(error, io::Error::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_two_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("sub")).expect("a folder");
        std::fs::write(path("there"), b"").expect("a file");
        for (link, target) in [("to-there", "there"), ("to-new", "sub/new"), ("to-link", "to-new")] {
            std::os::unix::fs::symlink(target, path(link)).expect("a link");
        }
        for (a, b) in [
            ("there", "sub/../there"),
            ("there", "to-there"),
            ("new", "./new"),
            ("sub/new", "to-new"),
            ("to-link", "sub/../sub/new"),
        ] {
            assert!(is_same_file(&path(a), &path(b)), "{a} {b}");
        }
        for (a, b) in [("there", "new"), ("new", "sub/new"), ("no/new", "no/other"), ("to-new", "new")] {
            assert!(!is_same_file(&path(a), &path(b)), "{a} {b}");
        }
        assert!(!is_same_file(Path::new("/dev/null"), Path::new("/dev/null")), "a device is no file");
    }
}

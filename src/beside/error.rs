//! Why a file beside the captures cannot be used.

use std::io;

/// Why a file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Io {
        /// The file as the user named it.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is too large, or of another kind.
    #[error("{file}: {what}")]
    Unusable {
        /// The file as the user named it.
        file: String,
        /// Why, and what to do.
        what: String,
    },
}

impl Error {
    pub(super) fn unusable(file: &str, what: impl Into<String>) -> Error {
        Error::Unusable { file: file.to_owned(), what: what.into() }
    }
}

//! What the user has beside the captures: access logs, conntrack's listings, names, secrets.
//!
//! What comes in is a file of text, whose lines are not trusted; what goes out is records, one by one
//! ([`AccessLog`], [`Conntrack`]), or a table to look things up in ([`Names`], [`Keys`]). A line that makes no sense
//! is counted with its place ([`Unused`]), and the rest is used. This stage knows no packets, and only `files` opens
//! files.
//!
//! ```text
//! access_log   Envoy's access log      -> Record    addresses, time, id and flags of a request
//! conntrack    conntrack -L, -E        -> Entry     original and reply tuple of a connection
//! names        hosts, kubectl -o json  -> Names     address -> names
//! keys         NSS key log             -> Keys      client random -> secrets
//! lines        bytes                   -> lines     of bounded length
//! tree         JSON                    -> values    at the places that matter
//! unused       bad lines               -> Unused    the first ones, and how many there were
//! ```

mod access_log;
mod conntrack;
mod error;
mod files;
mod keys;
mod lines;
mod names;
#[cfg(test)]
mod spoil;
mod tree;
mod unused;

pub use access_log::{AccessLog, Format, FormatError, Record};
pub use conntrack::{Conntrack, Entry, Event, Tuple};
pub use error::Error;
pub use files::{Files, Loaded, load, open};
pub use keys::{KeyLine, Keys, Random};
pub use names::{Names, is_name};
pub use unused::{BadLine, Unused};

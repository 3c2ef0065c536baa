//! What changed between two recordings of one scenario: conversations are compared, not packets.
//!
//! What comes in is repaired captures; what goes out is the smallest list of edits that
//! makes one recording's conversations the other's. Times, ephemeral ports, sequence numbers, segmentation and
//! retransmissions do not count. docs/diff.md tells what does.
//!
//! ```text
//! addresses     OLD=NEW                -> the old name of an address
//! order         segments               -> octets in order
//! content       octets in order        -> a Payload       http, tls, dns; all else is a hash
//! settings      what does not count
//! comment       a comment of merge     -> role, addresses, tie
//! read          a repaired capture     -> a Trace
//! trace         what is known of the conversations of a recording
//! compare       two traces             -> a Diff
//! told          a Diff                 -> text, JSON
//! ```
//!
//! Nothing here grows with the octets of a capture; [`Limits`] bounds the rest.

mod addresses;
mod comment;
mod compare;
mod content;
mod digest;
mod dns;
mod http;
mod order;
mod payload;
mod read;
mod settings;
mod tls;
mod told;
mod trace;

pub use addresses::{Addresses, Same};
pub use compare::{Diff, Difference, Field, Kind, compare};
pub use payload::{Message, Payload};
pub use read::{Error, Limits, Read, read};
pub use settings::{Settings, VOLATILE};
pub use told::{Document, document, json, text};
pub use trace::{Conversation, Ended, Handshake, Place, Trace};

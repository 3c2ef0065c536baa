//! Which leg belongs to which on the other side of the proxy.

pub mod infer;

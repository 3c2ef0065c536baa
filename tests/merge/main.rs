//! What a merge does to captures that are built here packet by packet: which legs it repairs and on what evidence, what
//! it leaves alone and why, and what else of the inputs comes out.
//!
//! Everything is judged on the output as others read it: see `common::read`.

#[path = "../common/mod.rs"]
mod common;

mod blocks;
mod bounds;
mod changing;
mod checksums;
mod clients;
mod clocks;
mod duplicates;
mod links;
mod midstream;
mod names;
mod pairing;
mod properties;
mod rules;
mod secrets;
mod sources;
mod ties;
mod time;
mod udp;
mod untouched;
mod wireshark;

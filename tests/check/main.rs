//! `meshpcap check`: every code has a capture that fires it and nothing worse, and a healthy twin that stays silent.

#[path = "../common/mod.rs"]
mod common;

mod codes;
mod formats;
mod frames;
mod job;
mod schemas;
mod table;
mod traces;

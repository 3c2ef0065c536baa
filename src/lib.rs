//! Repairs the captures of a sidecar pod.
//!
//! The pipeline, in the order in which a packet walks through it; a stage imports only from
//! stages above it.
//!
//! ```text
//! capture   bytes in         -> records        pcap, pcapng; gzip, zstd, lz4; files, pipes
//! packet    record bytes     -> view           link, IP and transport headers as offsets
//! nat       rules            -> model, verdicts  which ports the mesh redirects to; what rules do to a connection
//! flow      views            -> resolution     halves paired into legs, with the evidence
//! audit     legs, rules      -> findings       which mesh it is; where rules and packets contradict each other
//! rewrite   frame + addresses -> frame         addresses, ports, checksums; nothing else
//! merge     inputs           -> one order      time, input, frame number; duplicates
//! output    frames           -> pcapng         interfaces, comments, names, secrets
//! report    resolution       -> csv, json, text
//! explain   rules, a probe   -> text, json     what the rules do to a connection, without any capture
//! ```

pub mod audit;
pub mod capture;
pub mod flow;
pub mod merge;
pub mod nat;
pub mod output;
pub mod packet;
pub mod report;
pub mod rewrite;

pub mod explain;
pub mod pipeline;

pub mod cli;

//! Repairs the captures of a sidecar pod.
//!
//! The pipeline, in the order in which a packet walks through it. Data flows downwards, and a stage imports only from
//! stages above it. (`docs/architecture.md` has the same list; a test holds them together.)
//!
//! ```text
//! capture    bytes in           -> records          pcap, pcapng; gzip, zstd, lz4; files, pipes
//! packet     frame              -> view             link, IP and transport headers, as offsets
//! nat        rules              -> model, verdicts  which ports the mesh redirects to; what rules do to a connection
//! beside     text files         -> records          access logs, conntrack's listings, names, secrets
//! ports      mesh, port         -> rows             what listens where, what for
//! flow       views, one by one  -> marks and legs   halves paired into legs, with the evidence
//! audit      legs, rules        -> findings         which mesh it is; where rules and packets contradict each other
//! tie        legs, logs         -> ties             which legs are one call; whose the proxy's own are
//! rewrite    frame + addresses  -> frame            addresses, ports, checksums; nothing else
//! merge      captures           -> one order        time, input, frame number; duplicates
//! output     frames             -> pcapng           interfaces, comments, names, secrets
//! report     legs               -> CSV, JSON, text  one row a leg; the summary
//! explain    rules and a probe  -> JSON, text       what the rules do to a connection, without any capture
//! check      legs, conversations -> findings       what is wrong: codes with their explanations; text, JSON, JUnit, SARIF
//! folder     a folder           -> files            which file in it is what
//! plan       rules, legs        -> filters          what to capture in the first place: to read, as a script
//! pipeline   the stages of a merge, from reading to writing; what waits in between
//! diff       two recordings     -> edits            what changed between them, conversation by conversation
//! expect     findings, conversations <-> expect.json  what is expected of captures, and what differs
//! cli        what was typed
//! commands   how each subcommand runs; exit status (the binary)
//! ```

pub mod audit;
pub mod beside;
pub mod capture;
mod chunks;
pub mod flow;
mod handover;
pub mod merge;
pub mod nat;
pub mod output;
pub mod packet;
pub mod report;
pub mod rewrite;
mod store;
pub mod tie;

pub mod check;
pub mod diff;
pub mod expect;
pub mod explain;
pub mod folder;
pub mod pipeline;
pub mod plan;
pub mod ports;

pub mod cli;

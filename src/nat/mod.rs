//! What the pod's nat rules do to a connection.
//!
//! What comes in is a rules file (`iptables-save`, `nft -j list ruleset`) or the name of a mesh, and a [`Probe`]: the
//! first packet of a connection. What goes out is a [`Verdict`], which names the rule that decided. A capture has no
//! uid, gid or mark, so that a verdict can have several [`Outcome`]s, each under its conditions. [`Model`] is what
//! the merge needs of the same rules. This stage knows no packets, and only `files` opens
//! files.
//!
//! ```text
//! files     paths          -> Ruleset
//! parse     text           -> Ruleset    tables, chains, rules; what is not understood is kept and named
//! ruleset   the types
//! presets   name of a mesh -> Ruleset    the rules that its installer writes
//! probe     what was typed -> Probe
//! eval      Ruleset, Probe -> Verdict    the hooks of netfilter in their order
//! derive    Ruleset        -> Model      listeners, roles, addresses
//! model     the same, for the merge
//! numbers   sets of ports, uids, protocols
//! cidr      networks as typed            -> without host bits
//! gateway   a proxy that no rules lead to
//! ```

mod cidr;
mod derive;
mod eval;
mod files;
mod gateway;
mod model;
mod numbers;
mod parse;
mod presets;
mod probe;
mod ruleset;

pub use cidr::Cidr;
pub use eval::{Condition, Event, Fate, Outcome, Seen, Verdict, View, evaluate};
pub use files::{RulesFile, load};
pub use gateway::Gateway;
pub use model::{Inbound, Listener, Model, Protocol, Role, is_redirect_address};
pub use numbers::Numbers;
pub use parse::{BadLine, Error};
pub use presets::{Hop, PRESETS, Preset};
pub use probe::{Host, Interface, Probe};
pub use ruleset::{
    Action, Addresses, Base, Chain, Change, Family, Hook, Kind, Match, Note, Place, Policy, Register, Rule, RuleId,
    Ruleset, States, Step, Table, Target, Test,
};

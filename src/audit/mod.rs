//! Legs held against nat rules: which mesh's rules explain them, and where rules and packets contradict each other.
//!
//! What comes in is legs, once each, when nothing of them changes any more; what goes out is an [`Agreement`] for each,
//! and [`Findings`] about all. Rules never overrule what packets prove: they are the second witness, and a
//! contradiction is told with both sides. Costs nothing per packet, and for a connection at most two evaluations.

mod hold;
mod host;
mod recognise;

use std::fmt;

use crate::capture::Timestamp;
use crate::flow::Leg;
use crate::nat::{Model, Preset, Ruleset};

pub use hold::{Agreement, Contradiction};

use hold::Holder;
use recognise::Observed;

/// What [`Findings::lacks_loopback`] means.
pub const LACKS_LOOPBACK: &str =
    "no packet is from lo: redirected connections show there (capture with -i lo or -i any)";

/// How many contradictions are told one by one.
const EXAMPLES: usize = 10;

/// What is known of the pod's rules.
#[derive(Clone, Debug, Default)]
pub enum Rules {
    /// Nothing: a mesh is looked for whose rules explain the packets.
    #[default]
    Unknown,
    /// They were read from files.
    Read(Ruleset),
    /// They are those that a mesh installs by default.
    Mesh(Preset),
}

impl Rules {
    /// What a capture shows of them. Rules can be stale: the usual listeners stand behind those that they name.
    pub fn model(&self) -> Model {
        match self {
            Rules::Unknown => Model::usual(),
            Rules::Read(rules) => Model::from_rules(rules).or(Model::usual()),
            Rules::Mesh(preset) => Model::from_rules(&preset.ruleset()).or(Model::usual()),
        }
    }
}

/// Where the rules came from, as the summary tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Unknown,
    Files(Vec<String>),
    Mesh(&'static str),
}

/// Holds legs against rules, one after the other.
pub struct Audit {
    origin: Origin,
    holder: Option<Holder>,
    observed: Observed,
    agreeing: u64,
    contradicting: Tally,
    bypassing: Tally,
}

/// Contradictions of one kind.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    /// When the last of their connections was opened.
    opened: Timestamp,
    examples: Vec<Contradiction>,
}

impl Tally {
    fn add(&mut self, contradiction: Contradiction, opened: Timestamp) {
        self.count += 1;
        self.opened = self.opened.max(opened);
        if self.examples.len() < EXAMPLES {
            self.examples.push(contradiction);
        }
    }
}

impl Audit {
    /// Nothing held against these rules yet.
    pub fn new(rules: &Rules) -> Audit {
        let (origin, ruleset) = match rules {
            Rules::Unknown => (Origin::Unknown, None),
            Rules::Read(ruleset) => (Origin::Files(ruleset.files.clone()), Some(ruleset.clone())),
            Rules::Mesh(preset) => (Origin::Mesh(preset.name), Some(preset.ruleset())),
        };
        Audit {
            origin,
            holder: ruleset.map(Holder::new),
            observed: Observed::default(),
            agreeing: 0,
            contradicting: Tally::default(),
            bypassing: Tally::default(),
        }
    }

    /// Takes a leg, and says how it and the rules agree; nothing if no rules are given, or none of them is about it.
    pub fn leg(&mut self, leg: &Leg) -> Option<Agreement> {
        self.observed.leg(leg);
        let agreement = self.holder.as_mut()?.hold(leg)?;
        match &agreement {
            Agreement::Agrees => self.agreeing += 1,
            Agreement::Contradicts(told) => self.contradicting.add(told.clone(), leg.first_time),
            Agreement::Bypasses(told) => self.bypassing.add(told.clone(), leg.first_time),
            Agreement::Undecided => {}
        }
        Some(agreement)
    }

    /// The mesh that was given.
    pub fn given_mesh(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Mesh(mesh) => Some(mesh),
            Origin::Unknown | Origin::Files(_) => None,
        }
    }

    /// What came of all legs.
    pub fn finish(mut self) -> Findings {
        let past: Vec<Past> = self.holder.iter_mut().flat_map(|holder| holder.finish(&self.observed)).collect();
        for past in &past {
            self.bypassing.add(past.told.clone(), past.opened);
        }
        let meshes = self.observed.meshes();
        Findings {
            past,
            origin: self.origin,
            meshes,
            redirected: self.observed.redirected(),
            unproven: self.observed.unproven(),
            is_redirecting: self.holder.is_some_and(|holder| holder.redirects()),
            loopback_seen: self.observed.loopback_seen(),
            saw_wire: self.observed.saw_wire(),
            saw_gateway: self.observed.saw_gateway(),
            agreeing: self.agreeing,
            contradicting: self.contradicting,
            bypassing: self.bypassing,
        }
    }
}

/// What rules and legs say of each other.
#[derive(Debug)]
pub struct Findings {
    origin: Origin,
    /// Connections that came in and went past the proxy.
    past: Vec<Past>,
    /// The meshes whose default rules explain the packets, the likeliest first.
    meshes: Vec<&'static str>,
    redirected: bool,
    unproven: bool,
    is_redirecting: bool,
    loopback_seen: Option<(Timestamp, Timestamp)>,
    saw_wire: bool,
    saw_gateway: bool,
    agreeing: u64,
    contradicting: Tally,
    bypassing: Tally,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.meshes.as_slice()) {
            (Origin::Unknown, []) if !self.redirected && self.unproven => {
                writeln!(f, "nat rules: not known, no redirection is proven")?;
            }
            (Origin::Unknown, []) if !self.redirected && self.saw_gateway => {
                writeln!(f, "nat rules: nothing was redirected, as at a gateway")?;
            }
            (Origin::Unknown, []) if !self.redirected => {
                writeln!(f, "nat rules: nothing was redirected, a plain merge")?
            }
            (Origin::Unknown, []) => {
                writeln!(f, "nat rules: no mesh's default rules explain these redirections (see --rules)")?;
            }
            (Origin::Unknown, [mesh]) => writeln!(f, "nat rules: mesh {mesh}, found from the packets")?,
            (Origin::Unknown, [mesh, others @ ..]) => {
                let others = if others.len() > 3 { format!("{} others", others.len()) } else { others.join(", ") };
                writeln!(f, "nat rules: mesh {mesh}, found from the packets; {others} would fit as well")?;
            }
            (Origin::Files(files), _) => writeln!(f, "nat rules: {}; {}", files.join(", "), self.counts())?,
            (Origin::Mesh(mesh), _) => writeln!(f, "nat rules: mesh {mesh}; {}", self.counts())?,
        }
        if !self.redirected && self.saw_gateway {
            // Nothing is missing.
        } else if self.lacks_loopback() {
            writeln!(f, "  {LACKS_LOOPBACK}")?;
        } else if !self.redirected && self.is_redirecting {
            writeln!(f, "  the rules redirect, but no redirected connection is in the capture")?;
        }
        let stale = "against the rules (stale, or another pod's?)";
        let bypass = "not redirected, though the rules redirect it (past the sidecar, or the proxy's own?)";
        for (what, tally) in [(stale, &self.contradicting), (bypass, &self.bypassing)] {
            if tally.count > 0 {
                let word = if tally.count == 1 { "connection" } else { "connections" };
                writeln!(f, "{} {word} {what}:", tally.count)?;
            }
            for Contradiction { packets, rules, .. } in &tally.examples {
                writeln!(f, "  {packets}\n    the rules: {rules}")?;
            }
            let more = tally.count - tally.examples.len() as u64;
            if more > 0 {
                writeln!(f, "  and {more} more (--report lists them all)")?;
            }
        }
        if self.bypassing.count > 0 && self.loopback_seen.is_none_or(|(_, last)| last < self.bypassing.opened) {
            writeln!(f, "  lo shows nothing after the last of these was opened: was it captured until then?")?;
        }
        Ok(())
    }
}

/// A connection that came in and was answered without the proxy: the first to its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its number, as in [`Part`](crate::flow::Part).
    pub conversation: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// Both sides.
    pub told: Contradiction,
}

impl Findings {
    /// Connections that came in and went past the proxy.
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// The mesh that was named, or else the likeliest by the packets.
    pub fn mesh(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Mesh(mesh) => Some(mesh),
            Origin::Unknown | Origin::Files(_) => self.meshes.first().copied(),
        }
    }

    /// Whether lo shows packets from before a connection was opened to after that. If not, perhaps it was captured for a shorter
    /// time, and what shows there of the connection is not in the capture.
    pub fn covers(&self, leg: &Leg) -> bool {
        self.loopback_seen.is_some_and(|(first, last)| first <= leg.first_time && leg.first_time <= last)
    }

    /// Whether there are only packets from the wire, and nothing that explains why.
    pub fn lacks_loopback(&self) -> bool {
        !self.redirected && !self.saw_gateway && self.saw_wire && self.loopback_seen.is_none()
    }

    fn counts(&self) -> String {
        let word = |n: u64| if n == 1 { "connection" } else { "connections" };
        let agreeing = format!("{} {} redirected as they say", self.agreeing, word(self.agreeing));
        match (self.agreeing, self.contradicting.count + self.bypassing.count) {
            (0, 0) => "no connection to hold against them".to_owned(),
            (_, 0) => agreeing,
            (0, wrong) => format!("{wrong} {} not as they say", word(wrong)),
            (_, wrong) => format!("{agreeing}, {wrong} not"),
        }
    }
}

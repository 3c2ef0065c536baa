//! What is kept of a leg.

use std::net::SocketAddr;

use crate::audit::Agreement;
use crate::flow::Leg;
use crate::output::comment;
use crate::report::Told;
use crate::tie::Tied;

/// A leg, and what is known of it beside its packets and its call.
#[derive(Debug)]
pub(super) struct Kept {
    pub leg: Leg,
    pub agreement: Option<Agreement>,
    /// Client and server as captured, if it got others because of its client.
    pub captured: Option<(SocketAddr, SocketAddr)>,
}

impl Kept {
    /// The comment on its first packet.
    pub fn comment(&self, tied: &Tied) -> String {
        comment::of(&self.leg, self.captured, tied)
    }

    /// What the report tells of it.
    /// `mesh` is the mesh, if it is known.
    pub fn told<'a>(&'a self, tied: Option<&'a Tied>, mesh: Option<&'static str>) -> Told<'a> {
        Told { leg: &self.leg, agreement: self.agreement.as_ref(), captured: self.captured, tied, mesh }
    }
}

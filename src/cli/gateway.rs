//! A gateway as typed: what `plan` and `merge` have in common.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clap::Args;

use super::PortsArg;
use crate::nat::{Cidr, Gateway};

/// That there is a gateway, and who is inside.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// For a gateway: no redirection; its legs are downstream, of its clients, and upstream, to services
    #[arg(long, requires = "cluster_cidrs")]
    pub gateway: bool,

    /// The networks of the cluster's pods; inside, for a gateway
    #[arg(long = "cluster-cidr", value_name = "CIDR", value_delimiter = ',', requires = "gateway")]
    pub cluster_cidrs: Vec<Cidr>,

    /// The networks of the cluster's services; inside, too
    #[arg(long = "service-cidr", value_name = "CIDR", value_delimiter = ',', requires = "gateway")]
    pub service_cidrs: Vec<Cidr>,
}

impl GatewayArgs {
    /// The gateway, if there is one, with these addresses and ports.
    pub fn gateway(&self, addresses: &[IpAddr], ports: &[PortsArg]) -> Option<Gateway> {
        let inside = [&self.cluster_cidrs[..], &self.service_cidrs].concat();
        self.gateway.then(|| Gateway { addresses: addresses.to_vec(), ports: PortsArg::numbers(ports), inside })
    }

    /// What was typed and is used in another form, each once.
    pub fn notes(&self) -> BTreeSet<String> {
        self.cluster_cidrs.iter().chain(&self.service_cidrs).filter_map(Cidr::note).collect()
    }
}

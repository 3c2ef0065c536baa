//! `meshpcap ports` as typed.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::ports::MESHES;

/// Say what listens on a port of the mesh, what for, and who should reach it
///
/// Without a port all are listed. The table has each mesh's defaults; with --sockets, what really listens in the pod
/// stands beside them.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct PortsArgs {
    /// The port
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Only the ports of this mesh [default: all, with a port or --sockets; else istio]
    #[arg(long, value_name = "NAME", value_parser = meshes())]
    pub mesh: Option<String>,

    /// Read the pod's sockets, as `ss -tanp` prints them, and add their processes; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub sockets: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn meshes() -> PossibleValuesParser {
    PossibleValuesParser::new(MESHES.iter().map(|(name, about)| PossibleValue::new(*name).help(*about)))
}

const EXAMPLES: &str = "\
Examples:
  What is 15006?
      meshpcap ports 15006
  All ports of a mesh:
      meshpcap ports --mesh linkerd
  What listens in this pod, and what is it for?
      kubectl exec POD -c istio-proxy -- ss -tanp |
        meshpcap ports --mesh istio --sockets -

Exit status:
  0    printed
  1    no mesh is known to use the port
  2    a wrong argument, or a file that cannot be read";

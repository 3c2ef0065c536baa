//! Ports as typed, alone or as a range.

use std::str::FromStr;

use crate::nat::Numbers;

/// A port or a range of ports as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortsArg {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl FromStr for PortsArg {
    type Err = String;

    fn from_str(typed: &str) -> Result<PortsArg, String> {
        let (first, last) = typed.split_once('-').unwrap_or((typed, typed));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(PortsArg { first, last }),
            _ => Err(format!("`{typed}` is neither a port nor a range such as 9000-9010")),
        }
    }
}

impl PortsArg {
    /// The ports of these ranges.
    pub fn numbers(ports: &[PortsArg]) -> Numbers {
        Numbers::from_ranges(ports.iter().map(|ports| (ports.first.into(), ports.last.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!("80".parse(), Ok(PortsArg { first: 80, last: 80 }));
        assert_eq!("9000-9010".parse(), Ok(PortsArg { first: 9000, last: 9010 }));
        for wrong in ["", "0", "9-8", "-80", "65536", "http"] {
            assert!(wrong.parse::<PortsArg>().is_err(), "{wrong}");
        }
    }
}

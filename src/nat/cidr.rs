//! An IP network as typed, in the form that tcpdump and filters take.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP network: an address without host bits, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
    typed: IpAddr,
}

impl Cidr {
    /// The network, with all host bits 0: tcpdump refuses others ("non-network bits set").
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the prefix, in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// What was typed, if it had host bits.
    pub fn had_host_bits(&self) -> Option<IpAddr> {
        (self.typed != self.network).then_some(self.typed)
    }

    /// What to say where what was typed is not what is used: `192.168.0.0/12: host bits set, taken as 192.160.0.0/12`.
    pub fn note(&self) -> Option<String> {
        let typed = self.had_host_bits()?;
        Some(format!("{typed}/{}: host bits set, taken as {self}", self.prefix))
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.prefix) == self.network
    }

    /// An address in it: the tenth one, or the last of a smaller network; of 127.0.0.0/8, 127.0.0.1.
    pub(crate) fn sample(&self) -> IpAddr {
        let offset = |bits: u32| match bits {
            _ if self.network.is_loopback() => u32::from(bits > 0),
            0..4 => (1 << bits) - 1,
            _ => 10,
        };
        match self.network {
            IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() | offset(32 - u32::from(self.prefix))).into(),
            IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() | u128::from(offset(128 - u32::from(self.prefix)))).into(),
        }
    }
}

/// The address with only its first bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(a.to_bits() & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(a.to_bits() & mask).into()
        }
    }
}

impl From<IpAddr> for Cidr {
    /// The network of one address.
    fn from(address: IpAddr) -> Cidr {
        Cidr { network: address, prefix: if address.is_ipv4() { 32 } else { 128 }, typed: address }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("`{text}` is not of the form 10.96.0.0/12 or fd00:96::/112");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let typed: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if typed.is_ipv4() { 32 } else { 128 };
        let digits = |p: &str| p.bytes().all(|b| b.is_ascii_digit()).then(|| p.parse::<u8>().ok()).flatten();
        let prefix = match prefix {
            Some(prefix) => digits(prefix).ok_or_else(wrong)?,
            None => longest,
        };
        if prefix > longest {
            return Err(format!("`{text}`: the prefix is longer than the address, which has {longest} bits"));
        }
        Ok(Cidr { network: masked(typed, prefix), prefix, typed })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_go() {
        for (typed, network) in [
            ("192.168.0.0/12", "192.160.0.0/12"),
            ("10.96.0.0/12", "10.96.0.0/12"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("fd00:96::5/64", "fd00:96::/64"),
            ("::1/0", "::/0"),
        ] {
            let cidr: Cidr = typed.parse().expect("a network of the test");
            assert_eq!(cidr.to_string(), network);
            let address = typed.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
            assert_eq!(cidr.had_host_bits(), address.filter(|address| *address != cidr.network()), "{typed}");
            assert!(cidr.contains(cidr.sample()), "{typed}");
        }
        for wrong in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/+8", "a/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn an_address_is_in_its_own_network(bits in any::<u32>(), prefix in 0u8..=32, other in any::<u32>()) {
            let cidr: Cidr = format!("{}/{prefix}", Ipv4Addr::from_bits(bits)).parse().expect("a network");
            prop_assert!(cidr.contains(Ipv4Addr::from_bits(bits).into()));
            let same = (0..u32::from(prefix)).all(|bit| (bits ^ other) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(cidr.contains(Ipv4Addr::from_bits(other).into()), same);
        }
    }
}

//! Addresses that are others in the new recording, and mean the same.
//!
//! What comes in is `OLD=NEW`, of addresses or networks; what goes out is, of an address in the new recording, the old one.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::nat::Cidr;

/// An address or network, and what it is in the new recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Same {
    old: Cidr,
    new: Cidr,
}

impl FromStr for Same {
    type Err = String;

    fn from_str(typed: &str) -> Result<Same, String> {
        let wrong = || format!("`{typed}` is not of the form 10.1.0.5=10.1.0.9 or 10.1.0.0/24=10.2.0.0/24");
        let (old, new) = typed.split_once('=').ok_or_else(wrong)?;
        let (old, new): (Cidr, Cidr) = (old.parse()?, new.parse()?);
        if old.prefix() != new.prefix() || old.network().is_ipv4() != new.network().is_ipv4() {
            return Err(format!("`{typed}`: give two addresses, or two networks of one size"));
        }
        if let Some(typed) = old.had_host_bits().or(new.had_host_bits()) {
            return Err(format!("`{typed}` is an address in a network: give the network's own address"));
        }
        Ok(Same { old, new })
    }
}

/// All that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Vec<Same>);

impl Addresses {
    /// Errors: two new networks overlap, so it is open which old one is meant.
    pub fn new(given: Vec<Same>) -> Result<Addresses, String> {
        for (n, one) in given.iter().enumerate() {
            let overlaps =
                |other: &&Same| other.new.contains(one.new.network()) || one.new.contains(other.new.network());
            if let Some(other) = given[..n].iter().find(overlaps).filter(|other| **other != *one) {
                let (a, b) = (other.new.network(), one.new.network());
                return Err(format!("--map: {a} and {b} in NEW overlap, so it is open what they were in OLD"));
            }
        }
        Ok(Addresses(given))
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The old address of one in the new recording.
    pub fn old(&self, new: IpAddr) -> IpAddr {
        let Some(same) = self.0.iter().find(|same| same.new.contains(new)) else { return new };
        match (same.old.network(), new) {
            (IpAddr::V4(network), IpAddr::V4(new)) => {
                let host = u32::MAX.checked_shr(u32::from(same.old.prefix())).unwrap_or(0);
                Ipv4Addr::from_bits(network.to_bits() | new.to_bits() & host).into()
            }
            (IpAddr::V6(network), IpAddr::V6(new)) => {
                let host = u128::MAX.checked_shr(u32::from(same.old.prefix())).unwrap_or(0);
                Ipv6Addr::from_bits(network.to_bits() | new.to_bits() & host).into()
            }
            _ => new,
        }
    }

    /// The same of an address with a port.
    pub fn old_end(&self, new: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.old(new.ip()), new.port())
    }

    /// A text with the old addresses in the place of new ones.
    pub fn old_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return text.into();
        }
        let may_be = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(may_be) {
            let end = rest[start..].find(|c| !may_be(c)).map_or(rest.len(), |len| start + len);
            let word = &rest[start..end];
            out.push_str(&rest[..start]);
            match (word.parse::<IpAddr>(), word.parse::<SocketAddr>()) {
                (Ok(address), _) => out.push_str(&self.old(address).to_string()),
                (_, Ok(end)) => out.push_str(&self.old_end(end).to_string()),
                _ => out.push_str(word),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(given: &[&str]) -> Result<Addresses, String> {
        Addresses::new(given.iter().map(|one| one.parse()).collect::<Result<_, _>>()?)
    }

    #[test]
    fn a_new_address_becomes_the_old_one() {
        let given = addresses(&["10.1.0.0/24=10.2.0.0/24", "fd00::5=fd00::9"]).expect("addresses");
        let old = |text: &str| given.old(text.parse().expect("an address")).to_string();
        assert_eq!(old("10.2.0.77"), "10.1.0.77");
        assert_eq!(old("10.2.1.77"), "10.2.1.77");
        assert_eq!(old("fd00::9"), "fd00::5");
        assert_eq!(
            given.old_text("for=10.2.0.7:80, 10.2.0.8;by=[fd00::9]:1"),
            "for=10.1.0.7:80, 10.1.0.8;by=[fd00::5]:1"
        );
        assert_eq!(addresses(&["0.0.0.0/0=0.0.0.0/0"]).expect("all").old([1, 2, 3, 4].into()).to_string(), "1.2.3.4");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (given, part) in [
            (&["10.1.0.5"][..], "is not of the form"),
            (&["10.1.0.0/24=10.2.0.0/16"], "of one size"),
            (&["10.1.0.5=fd00::1"], "of one size"),
            (&["10.1.0.5/24=10.2.0.0/24"], "the network's own address"),
            (&["10.1.0.0/24=10.2.0.0/24", "10.1.9.9=10.2.0.9"], "overlap"),
        ] {
            let error = addresses(given).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}

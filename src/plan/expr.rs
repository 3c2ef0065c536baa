//! Expressions of pcap-filter(7).
//!
//! `and` and `or` have one precedence there, from left to right, and `host a or b` is short for something else than it
//! seems in the company of `not`. So every primitive is written in full, and every group has parentheses.

use std::fmt;
use std::net::IpAddr;

use crate::nat::{Numbers, Protocol};

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// A primitive: no `and`, no `or`, which would not stay together among others.
    Is(String),
    /// It does not hold.
    Not(Box<Expr>),
    /// All of them hold; without any it is true.
    All(Vec<Expr>),
    /// One of them holds; without any it is false.
    Any(Vec<Expr>),
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            End::Source => "src",
            End::Destination => "dst",
        }
    }
}

impl Expr {
    pub fn is(primitive: impl Into<String>) -> Expr {
        let primitive = primitive.into();
        debug_assert!(![" and ", " or ", "not "].iter().any(|word| primitive.contains(word)), "{primitive}");
        Expr::Is(primitive)
    }

    pub fn protocol(protocol: Protocol) -> Expr {
        Expr::is(protocol.name())
    }

    pub fn host(end: End, address: IpAddr) -> Expr {
        Expr::is(format!("{} host {address}", end.word()))
    }

    pub fn net(end: End, network: impl fmt::Display) -> Expr {
        Expr::is(format!("{} net {network}", end.word()))
    }

    /// The port is one of these.
    pub fn port(end: End, ports: &Numbers) -> Expr {
        let one = |&(first, last): &(u32, u32)| {
            let (first, last) = (first.min(65535), last.min(65535));
            let word = end.word();
            Expr::is(if first == last {
                format!("{word} port {first}")
            } else {
                format!("{word} portrange {first}-{last}")
            })
        };
        Expr::Any(ports.ranges().iter().filter(|(first, _)| *first <= 65535).map(one).collect())
    }

    /// No packet can fulfil it.
    pub fn never() -> Expr {
        Expr::Any(Vec::new())
    }

    /// The same with groups of one, empty groups and groups within like groups resolved.
    pub fn simplified(self) -> Expr {
        match self {
            Expr::Is(_) => self,
            Expr::Not(inner) => match inner.simplified() {
                Expr::Not(twice) => *twice,
                Expr::All(all) if all.is_empty() => Expr::never(),
                Expr::Any(any) if any.is_empty() => Expr::All(Vec::new()),
                other => Expr::Not(Box::new(other)),
            },
            Expr::All(all) => {
                let flat = flat(all, |part| match part {
                    Expr::All(inner) => Ok(inner),
                    other => Err(other),
                });
                if flat.contains(&Expr::never()) { Expr::never() } else { one(flat, Expr::All) }
            }
            Expr::Any(any) => {
                let flat = flat(any, |part| match part {
                    Expr::Any(inner) => Ok(inner),
                    other => Err(other),
                });
                if flat.contains(&Expr::All(Vec::new())) { Expr::All(Vec::new()) } else { one(flat, Expr::Any) }
            }
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, top: bool) -> fmt::Result {
        let group = |f: &mut fmt::Formatter<'_>, parts: &[Expr], word: &str| {
            f.write_str(if top { "" } else { "(" })?;
            for (index, part) in parts.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { word })?;
                part.write(f, false)?;
            }
            f.write_str(if top { "" } else { ")" })
        };
        match self {
            Expr::Is(primitive) => f.write_str(primitive),
            Expr::Not(inner) => {
                f.write_str("not ")?;
                inner.write(f, false)
            }
            Expr::All(parts) => group(f, parts, " and "),
            Expr::Any(parts) => group(f, parts, " or "),
        }
    }
}

/// The parts of a group, each once; `inner` takes apart a group of the same kind.
fn flat(parts: Vec<Expr>, inner: impl Fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
    let mut flat: Vec<Expr> = Vec::new();
    for part in parts.into_iter().map(Expr::simplified) {
        let parts = inner(part).unwrap_or_else(|other| vec![other]);
        for part in parts {
            if !flat.contains(&part) {
                flat.push(part);
            }
        }
    }
    flat
}

/// A group, unless it has only one part.
fn one(mut parts: Vec<Expr>, group: fn(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 { parts.swap_remove(0) } else { group(parts) }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clone().simplified() {
            // The empty filter keeps everything. There is none that keeps nothing: a length has no bits below 0.
            Expr::All(parts) if parts.is_empty() => Ok(()),
            Expr::Any(parts) if parts.is_empty() => f.write_str("less 0"),
            other => other.write(f, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> Expr {
        Expr::is(text)
    }

    #[test]
    fn groups_have_parentheses() {
        let any = |parts: &[&str]| Expr::Any(parts.iter().map(|p| is(p)).collect());
        for (expr, text) in [
            (Expr::All(vec![is("tcp"), any(&["port 1", "port 2"])]), "tcp and (port 1 or port 2)"),
            (Expr::All(vec![any(&["a", "b"])]), "a or b"),
            (Expr::Any(vec![any(&["a", "b"]), any(&["b", "c"])]), "a or b or c"),
            (Expr::All(vec![is("a"), Expr::Not(Box::new(any(&["b", "c"])))]), "a and not (b or c)"),
            (Expr::All(vec![is("a"), Expr::Not(Box::new(any(&[])))]), "a"),
            (Expr::All(vec![is("a"), any(&[])]), "less 0"),
            (Expr::All(Vec::new()), ""),
        ] {
            assert_eq!(expr.to_string(), text);
        }
        let ports = Numbers::from_ranges(vec![(80, 80), (8080, 8090), (70_000, 70_001)]);
        assert_eq!(Expr::port(End::Source, &ports).to_string(), "src port 80 or src portrange 8080-8090");
    }
}

//! The interfaces of the output: one for each interface that was captured, in each input.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use indexmap::IndexSet;

use super::blocks::{Blocks, Opt, code, options};
use crate::capture::{Interface, LinkType, Section};
use crate::packet::{Link, Origin};

/// A name that the user gives an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenName {
    /// The input, from 0.
    pub input: usize,
    /// The interface index in an SLL2 capture, the interface's number in a pcapng capture; none: all of the input.
    pub index: Option<u32>,
    /// The name.
    pub name: String,
}

/// The name that the user gave an interface, if any.
pub(crate) fn given<'a>(names: &'a [GivenName], input: u16, number: u32, link: Option<&Link>) -> Option<&'a str> {
    let index = index(number, link);
    let fits = |name: &&GivenName| name.input == usize::from(input) && name.index.is_none_or(|i| i == index);
    // A name for one interface before a name for all of the input.
    let given = names.iter().filter(fits).min_by_key(|name| name.index.is_none());
    given.map(|name| name.name.as_str())
}

/// An interface that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    input: u16,
    interface: u32,
    part: u32,
    ethernet: bool,
}

/// What the output knows of its interfaces.
pub(super) struct Interfaces {
    names: Vec<GivenName>,
    numbers: Vec<u16>,
    /// The place of each is its number in the output.
    known: IndexSet<Key, RandomState>,
    /// The first of those that are one interface of an input.
    first: HashMap<(u16, u32), u32, RandomState>,
    /// For each input, which interface was asked for last: inputs take turns, their interfaces do so seldom.
    last: Vec<Option<(Key, u32)>>,
    /// Input and index of those that occurred, as a [`GivenName`] has them.
    occurred: HashSet<(usize, u32), RandomState>,
    link_types: Vec<LinkType>,
}

/// An interface of an input, as its capture describes it.
pub(super) struct Description<'a> {
    pub input: u16,
    pub number: u32,
    pub interface: &'a Interface,
    pub section: &'a Section,
}

impl Interfaces {
    /// `numbers` as [`super::Options::numbers`].
    pub fn new(names: Vec<GivenName>, numbers: Vec<u16>) -> Interfaces {
        Interfaces {
            names,
            numbers,
            known: IndexSet::default(),
            first: HashMap::default(),
            last: Vec::new(),
            occurred: HashSet::default(),
            link_types: Vec::new(),
        }
    }

    /// The number in the output of the interface that an input was asked for last, if it is this one.
    #[inline]
    pub fn same(&self, input: u16, interface: u32, link: &Link, ethernet: bool) -> Option<u32> {
        let (last, id) = (*self.last.get(usize::from(input))?)?;
        let is_same = last.interface == interface && last.part == part(link) && last.ethernet == ethernet;
        is_same.then_some(id)
    }

    /// The number of an interface in the output; describes it first if it is new.
    ///
    /// `-i any` captures several interfaces as one: SLL2 tells them apart by their index, SLL only loopback
    /// from the rest. `link` is none for an interface without packets.
    pub fn id(
        &mut self,
        described: &Description<'_>,
        link: Option<&Link>,
        ethernet: bool,
        blocks: &mut Blocks,
    ) -> Result<u32, std::io::Error> {
        let Description { input, number: interface, .. } = *described;
        let key = Key { input, interface, part: link.map_or(0, part), ethernet };
        let known = match link {
            Some(_) => self.known.get_index_of(&key).map(|place| place as u32),
            None => self.first.get(&(input, interface)).copied(),
        };
        if let Some(id) = known {
            if link.is_some() {
                self.remember(key, id);
            }
            return Ok(id);
        }
        let id = self.known.len() as u32;
        let link_type = if ethernet { LinkType::ETHERNET } else { described.interface.link_type };
        if !self.link_types.contains(&link_type) {
            self.link_types.push(link_type);
        }
        self.occurred.insert((usize::from(input), index(interface, link)));
        let options = self.describe(described, link);
        blocks.interface(link_type, &options)?;
        self.known.insert(key);
        self.first.entry((input, interface)).or_insert(id);
        self.remember(key, id);
        Ok(id)
    }

    fn remember(&mut self, key: Key, id: u32) {
        let input = usize::from(key.input);
        if self.last.len() <= input {
            self.last.resize(input + 1, None);
        }
        self.last[input] = Some((key, id));
    }

    /// The link types of the interfaces described so far. libpcap refuses several, whether or not there are packets of each.
    pub fn link_types(&self) -> &[LinkType] {
        &self.link_types
    }

    /// The name that the user gave, if any.
    pub fn given(&self, input: u16, number: u32, link: Option<&Link>) -> Option<&str> {
        given(&self.names, input, number, link)
    }

    /// The names for an interface that did not occur.
    pub fn unused_names(&self) -> Vec<GivenName> {
        let is_unused = |name: &&GivenName| name.index.is_some_and(|i| !self.occurred.contains(&(name.input, i)));
        self.names.iter().filter(is_unused).cloned().collect()
    }

    fn describe<'a>(&self, described: &Description<'a>, link: Option<&Link>) -> Vec<Opt<'a>> {
        let interface = described.interface;
        let origin = link.map_or(Origin::Unknown, |l| l.origin);
        let given = self.given(described.input, described.number, link).map(str::to_owned);
        let (name, source) = match (given, &interface.name) {
            (Some(name), _) => (Some(name), "name given"),
            (None, Some(name)) if name != "any" || link.is_none() => (Some(name.clone()), "name from the capture"),
            _ => (inferred(interface.link_type, link), "name inferred from its packets"),
        };
        let kind = match origin {
            Origin::Loopback => "loopback",
            Origin::Network => "network",
            Origin::Unknown => "interface",
        };
        let input = self.numbers.get(usize::from(described.input)).copied().unwrap_or(described.input);
        let mut text = format!("{kind}; input {}, interface {}", input + 1, described.number);
        if let Some(index) = link.and_then(Link::ifindex) {
            text += &format!(", index {index}");
        }
        if name.is_some() {
            text += &format!("; {source}");
        }
        if (1..262_144).contains(&interface.snaplen) {
            text += &format!("; snaplen {}", interface.snaplen);
        }
        let mut result: Vec<Opt<'a>> = Vec::new();
        if let Some(name) = name {
            result.push((code::IF_NAME, Cow::Owned(name.into_bytes())));
        }
        let own: Vec<(u16, &[u8])> = options(&interface.options).collect();
        let has = |wanted: u16| own.iter().any(|&(code, _)| code == wanted);
        // The capture's own description stays; ours is then a comment.
        let text_code = if has(code::IF_DESCRIPTION) { code::COMMENT } else { code::IF_DESCRIPTION };
        result.push((text_code, Cow::Owned(text.into_bytes())));
        let kept = own.iter().filter(|(c, _)| !code::CUSTOM_NO_COPY.contains(c));
        for &(code, value) in kept {
            // Of several, readers take the first.
            if !(code::IF_UNIQUE.contains(&code) && result.iter().any(|(known, _)| *known == code)) {
                result.push((code, Cow::Borrowed(value)));
            }
        }
        if let Some(len) = interface.fcs_len.filter(|_| !has(code::IF_FCSLEN)) {
            // In octets, as Wireshark reads it, though the draft has bits.
            result.push((code::IF_FCSLEN, Cow::Owned(vec![len])));
        }
        result.extend(from_section(described.section, has));
        if interface.section > 0 {
            // Those of the first section stand with the output's.
            let comments = options(&described.section.options).filter(|&(code, _)| code == code::COMMENT);
            result.extend(comments.map(|(code, value)| (code, Cow::Borrowed(value))));
        }
        result.push((code::IF_TSRESOL, Cow::Borrowed(&[9])));
        result
    }
}

/// By which index the user names an interface.
fn index(number: u32, link: Option<&Link>) -> u32 {
    link.and_then(Link::ifindex).unwrap_or(number)
}

/// What tells the interfaces of one `-i any` capture apart.
#[inline]
fn part(link: &Link) -> u32 {
    match link.ifindex() {
        Some(index) => index,
        None => u32::from(link.link_type == LinkType::LINUX_SLL && link.origin == Origin::Loopback),
    }
}

/// A name for an interface that the capture does not name.
fn inferred(link_type: LinkType, link: Option<&Link>) -> Option<String> {
    let link = link?;
    match (link.origin, link.ifindex()) {
        (Origin::Loopback, _) => Some("lo".to_owned()),
        (_, Some(index)) => Some(format!("if{index}")),
        // Kubernetes gives a pod's network interface this name.
        (Origin::Network, None) if link_type == LinkType::ETHERNET => Some("eth0".to_owned()),
        (Origin::Network, None) if link_type == LinkType::LINUX_SLL => Some("any".to_owned()),
        _ => None,
    }
}

/// What a section says of all its interfaces: the output has one section, so it stands with each interface.
fn from_section(section: &Section, has: impl Fn(u16) -> bool) -> Vec<Opt<'_>> {
    let mut result: Vec<Opt<'_>> = Vec::new();
    for (code, value) in options(&section.options) {
        match code {
            code::SHB_HARDWARE if !has(code::IF_HARDWARE) => result.push((code::IF_HARDWARE, value.into())),
            code::SHB_OS if !has(code::IF_OS) => result.push((code::IF_OS, value.into())),
            code::SHB_USERAPPL => {
                let mut text = b"captured by ".to_vec();
                text.extend_from_slice(value);
                result.push((code::COMMENT, text.into()));
            }
            _ => {}
        }
    }
    result
}

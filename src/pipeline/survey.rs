//! The first pass over files: everything is paired before anything is written, so nothing has to wait.
//!
//! What comes in is every packet, in order; what goes out is a [`Surveyed`]: whose each packet is, how the packets of
//! each conversation leave, and the legs with the numbers that Wireshark gives them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use super::calls::Calls;
use super::copies::Copies;
use super::legs::Legs;
use super::marking::Marker;
use super::numbers::Numbers;
use super::observing::{Finishing, Observing, Segment};
use super::pages::Pages;
use super::passages::{Passage, Passages};
use super::spools::{Counted, Entry, Headers, Origins, Plan};
use crate::audit::{Agreement, Audit};
use crate::capture::Described;
use crate::check::{self, Collector, Seen};
use crate::flow::{Leg, Mark, Outcome, Part, Reason, Translation, flags};
use crate::merge::Shared;
use crate::nat::Protocol;
use crate::output::{Datagrams, Frame, Header, comment};
use crate::packet::{Ip, Transport, View, protocol};
use crate::report::{Summary, Told};
use crate::store::Reader;
use crate::tie::infer::{self as observer, Half, Observed};
use crate::tie::{Others, Tied};

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

/// What is known after the first pass.
pub(super) struct Surveyed {
    pub plan: Plan,
    pub passages: Passages,
    /// The conversations of later fragments, by their group.
    pub fragments: HashMap<u32, u32, RandomState>,
    /// Legs in the order of their first packets: all that the report needs, or those that were changed or may be tied.
    pub legs: Legs,
    /// What is known of their calls, until streams have their numbers.
    pub calls: Calls,
    /// Of conversations of legs that are reported or tied: their `tcp.stream` or `udp.stream`, once [`Surveyed::number`] has
    /// counted.
    pub streams: Numbers,
    pub summary: Summary,
    /// What each conversation carried, until legs are tied.
    pub observed: Option<Observed>,
    /// TCP conversations that are not among the legs.
    pub others: Others,
    /// Conversations of which there are fragments.
    pub fragmented: HashSet<u32, RandomState>,
    headers: Headers,
    /// Whether the legs are all that there are, and each is reported.
    keeps_all: bool,
    /// Of each connection that was captured twice: the input whose packets are kept.
    pub kept: HashMap<u32, u16, RandomState>,
    /// What a check needs beside all this, if there is one.
    pub collector: Option<Collector>,
    origins: Option<Origins>,
}

/// The packets that were read, one after the other.
pub(super) struct Packets {
    plan: Plan,
    origins: Option<Origins>,
    kept: HashMap<u32, u16, RandomState>,
}

impl Packets {
    /// Whether the next packet is written, and what other captures of it have in common with it: its conversation, and a
    /// mark.
    pub fn advance(&mut self) -> io::Result<(bool, Option<(u32, u32)>)> {
        let entry = self.plan.skip()?.unwrap_or(Entry::AsCaptured);
        let (input, mark) = self.origins.as_mut().map_or(Ok((0, 0)), Origins::advance)?;
        let of = match entry {
            Entry::Packet { conversation, .. } | Entry::Copy { conversation } if mark != 0 => {
                Some((conversation, mark))
            }
            _ => None,
        };
        Ok((is_written(entry, input, &self.kept), of))
    }
}

/// Whether a packet of an input is written: if it is not another's copy. `kept` is [`Surveyed::kept`].
pub(super) fn is_written(entry: Entry, input: u16, kept: &HashMap<u32, u16, RandomState>) -> bool {
    match entry {
        Entry::Duplicate => false,
        Entry::Copy { conversation } => kept.get(&conversation) == Some(&input),
        Entry::Packet { conversation, .. } => kept.get(&conversation).is_none_or(|kept| *kept == input),
        Entry::AsCaptured | Entry::Quote { .. } | Entry::Fragment { .. } => true,
    }
}

impl Surveyed {
    /// Takes out what tells which packets are written.
    pub fn packets(&mut self) -> Packets {
        let plan = std::mem::take(&mut self.plan);
        Packets { plan, origins: self.origins.take(), kept: std::mem::take(&mut self.kept) }
    }

    /// Numbers conversations as Wireshark will, by the headers that they leave with, and tells each leg's tie.
    pub fn number(&mut self) -> io::Result<()> {
        let mut numbers = Numbers::default();
        let mut reader = Reader::default();
        for leg in self.calls.edges.iter().flat_map(|edge| [edge.near, edge.far]) {
            let [_, reply] = self.legs.parts(leg as usize, &mut reader)?;
            numbers.want(reply.number);
        }
        if self.keeps_all {
            for leg in 0..self.legs.len() {
                self.legs.parts(leg, &mut reader)?.into_iter().for_each(|part| numbers.want(part.number));
            }
        }
        numbers.count(&mut self.headers, &self.passages, &self.kept)?;
        self.streams = numbers;
        std::mem::take(&mut self.calls).tell(&mut self.legs, &self.streams)
    }
}

/// A first pass that has not come to its end.
pub(super) struct Survey {
    marker: Marker,
    audit: Audit,
    keeps_all: bool,
    plan: Plan,
    headers: Headers,
    datagrams: Datagrams<Counted>,
    /// Of each conversation that is not over: which of its headers do not count any more.
    counted: Pages<Known>,
    /// The same of conversations that another input showed first, by input.
    counted_of_others: HashMap<(u32, u16), Known, RandomState>,
    /// Whether several inputs can show one connection.
    several: bool,
    copies: Copies,
    /// Until there are no more packets.
    observing: Option<Observing>,
    /// Groups of later fragments whose first one is not known yet, each by one of its fragments.
    loose: VecDeque<Mark>,
    is_loose: HashSet<u32, RandomState>,
    passages: Passages,
    fragments: HashMap<u32, u32, RandomState>,
    fragmented: HashSet<u32, RandomState>,
    legs: Legs,
    /// Whether conntrack can tell where legs without a reply were meant to go.
    restores: bool,
    others: Others,
    pub summary: Summary,
    /// What a check needs, if there is one.
    pub collector: Option<Collector>,
    /// Where it needs them to know what is written: the inputs of packets.
    origins: Option<Origins>,
}

/// Legs that are kept for ties, at most. Repaired ones, and with a report all, are kept in any case.
const LEGS: usize = 262_144;

/// Octets that a leg takes between the passes, about: what is known of its call, and what it is tied by.
const LEG: usize = 400;

/// Octets that a survey may take, beside what has bounds of its own. Past it, files are merged in one pass.
pub(super) const MEMORY: usize = 512 << 20;

/// In [`Survey::counted`]: what the headers that an end sent have told, once they were counted. Each end for itself: where what
/// one sends is translated, what the other one sends can be another conversation in the output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known(u8);

impl Known {
    /// Of each end: the number that it counts from.
    const OWN: u8 = 1;
    /// The other end's, by the acknowledgment.
    const OTHER: u8 = 2;
    /// Bits of an end.
    const ENDS: [u8; 2] = [0, 2];

    /// Whether nothing more can be learned from what an end sends, but for SYNs.
    fn is_all(self, from_first: bool) -> bool {
        self.0 >> Known::ENDS[usize::from(from_first)] & (Known::OWN | Known::OTHER) == Known::OWN | Known::OTHER
    }

    fn learn(&mut self, from_first: bool, header: &Header) {
        let is_udp = header.protocol == Protocol::Udp;
        if !is_udp && header.control & (flags::SYN | flags::ACK) == flags::SYN {
            // It may be another stream: nothing is known of that.
            *self = Known::default();
        }
        let tells_other = is_udp || header.control & flags::ACK != 0;
        let bits = Known::OWN | if tells_other { Known::OTHER } else { 0 };
        self.0 |= bits << Known::ENDS[usize::from(from_first)];
    }
}

impl Survey {
    /// Nothing looked at yet. `keeps_all` if the report is to have every leg, `several` if packets that two inputs show are
    /// to be written once, `restores` if there are listings of conntrack.
    pub fn new(
        marker: Marker,
        audit: Audit,
        keeps_all: bool,
        several: bool,
        restores: bool,
        summary: Summary,
        collector: Option<Collector>,
    ) -> Survey {
        Survey {
            origins: collector.as_ref().filter(|_| several).map(|_| Origins::default()),
            collector,
            marker,
            audit,
            keeps_all,
            plan: Plan::default(),
            headers: Headers::default(),
            datagrams: Datagrams::default(),
            counted: Pages::default(),
            counted_of_others: HashMap::default(),
            several,
            copies: Copies::default(),
            observing: Some(Observing::start(observer::Limits::default())),
            loose: VecDeque::new(),
            is_loose: HashSet::default(),
            passages: Passages::default(),
            fragments: HashMap::default(),
            fragmented: HashSet::default(),
            legs: Legs::default(),
            restores,
            others: Others::default(),
            summary,
        }
    }

    /// Takes what a check needs of every packet, if there is one.
    fn note(&mut self, frame: &Frame<'_>, view: &View) -> io::Result<Option<Seen>> {
        let Some(collector) = &mut self.collector else { return Ok(None) };
        let mark = match &view.transport {
            Transport::Tcp(tcp) => check::mark(tcp.seq, tcp.ack, tcp.flags, tcp.data_len),
            _ => 0,
        };
        let seen = Seen { ordinal: self.summary.read - 1, time: frame.time, mark };
        collector.packet(seen, (frame.bytes.len() as u64) < u64::from(frame.original_len));
        if !frame.options.is_empty() {
            collector.options(frame.input, frame.interface, seen, frame.options);
        }
        if let Some(origins) = &mut self.origins {
            origins.push(frame.input, mark)?;
        }
        Ok(Some(seen))
    }

    /// Takes a packet that another input showed already.
    pub fn duplicate(&mut self, capture: &Described, frame: &Frame<'_>, view: &View) -> io::Result<()> {
        self.note(frame, view)?;
        let Some(conversation) = self.marker.known(capture, frame, view).map(|number| number as u32) else {
            return self.plan.push(Entry::Duplicate, frame);
        };
        self.copies.note(conversation, frame, view, true);
        // Which end sent it does not matter: nothing on the wire is translated.
        self.count(view, frame, Some((conversation, true)), true, true)?;
        self.plan.push(Entry::Copy { conversation }, frame)
    }

    /// Takes a packet; `number` is its number in its input, `shared` where its bytes are.
    pub fn packet(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        number: u64,
        view: &View,
        shared: Shared<'_>,
    ) -> io::Result<()> {
        let seen = self.note(frame, view)?;
        let mark = self.marker.mark(capture, frame, number, view);
        let conversation = self.marker.flows.number(mark).map(|number| number as u32);
        let (entry, owner) = match (mark, conversation) {
            (Mark::Conversation { from_first, .. }, Some(conversation)) => {
                (Entry::Packet { conversation, from_first }, Some((conversation, from_first)))
            }
            (Mark::Quote { from_first, .. }, Some(conversation)) => {
                (Entry::Quote { conversation, from_first }, Some((conversation, from_first)))
            }
            (Mark::Fragment { group }, _) => (Entry::Fragment { group }, None),
            _ => (Entry::AsCaptured, None),
        };
        self.plan.push(entry, frame)?;
        let has_copies = match (entry, &view.transport) {
            (Entry::Packet { conversation, .. }, Transport::Tcp(_))
                if self.several && self.marker.flows.is_on_wire(mark) =>
            {
                let are_several = self.copies.note(conversation, frame, view, false);
                are_several && self.marker.is_others(mark, frame.input)
            }
            _ => false,
        };
        self.count(view, frame, owner, has_copies, false)?;
        if let (Entry::Packet { conversation, .. }, Some(ip)) = (entry, &view.ip)
            && ip.fragment.is_some()
            && ip.protocol == protocol::TCP
        {
            self.fragmented.insert(conversation);
        }
        if let (Entry::Packet { conversation, from_first }, Transport::Tcp(tcp)) = (entry, &view.transport) {
            if let Some(observing) = &mut self.observing {
                let (half, data) = (Half { conversation, from_first }, view.data_range());
                let (time, seq, flags, sent) = (frame.time, tcp.seq, tcp.flags, tcp.data_len);
                observing.segment(Segment { half, time, seq, flags, data, sent }, shared);
            }
            let ip = view.ip.as_ref().filter(|ip| ip.fragment.is_none());
            if let (Some(collector), Some(seen), Some(ip)) = (&mut self.collector, seen, ip) {
                let end = |address, port| SocketAddr::new(address, port);
                collector.segment(&check::Segment {
                    conversation,
                    from_first,
                    input: frame.input,
                    seen,
                    ends: (end(ip.source, tcp.source), end(ip.destination, tcp.destination)),
                    seq: tcp.seq,
                    ack: tcp.ack,
                    flags: tcp.flags,
                    window: tcp.window,
                    data: view.data(frame.bytes),
                    data_len: tcp.data_len,
                });
            }
        }
        match mark {
            Mark::Fragment { group } if self.is_loose.insert(group) => self.loose.push_back(mark),
            _ => self.marker.flows.release(mark),
        }
        self.settle_fragments(false);
        self.retire()
    }

    /// Keeps the header of a packet, if Wireshark's numbers can depend on it. Of a connection that another input shows
    /// first (`of_other`), they can if this input's packets are kept.
    fn count(
        &mut self,
        view: &View,
        frame: &Frame<'_>,
        owner: Option<(u32, bool)>,
        of_other: bool,
        is_copy: bool,
    ) -> io::Result<()> {
        let Some(ip) = &view.ip else { return Ok(()) };
        if let (Transport::Tcp(tcp), Some((conversation, from_first)), None, false) =
            (&view.transport, owner, ip.fragment, of_other)
            && tcp.flags & flags::SYN == 0
            && self.counted.get(conversation).is_all(from_first)
        {
            return Ok(());
        }
        let counted = |header| Counted { header, owner, input: frame.input, is_copy };
        self.count_rare(view, ip, frame.bytes, of_other, &counted)
    }

    #[cold]
    fn count_rare(
        &mut self,
        view: &View,
        ip: &Ip,
        bytes: &[u8],
        of_other: bool,
        counted: &dyn Fn(Header) -> Counted,
    ) -> io::Result<()> {
        let read = self.datagrams.read(ip, || Header::of(view, ip, bytes).map(counted));
        let Some(read) = read else { return Ok(()) };
        if let (Some((conversation, from_first)), false) = (read.owner, read.header.is_quoted) {
            let of_other = of_other.then_some((conversation, read.input));
            let mut known = match of_other {
                Some(key) => self.counted_of_others.get(&key).copied().unwrap_or_default(),
                None => self.counted.get(conversation),
            };
            let opens = read.header.protocol == Protocol::Tcp && read.header.control & flags::SYN != 0;
            if known.is_all(from_first) && !opens {
                return Ok(());
            }
            known.learn(from_first, &read.header);
            match of_other {
                Some(key) => _ = self.counted_of_others.insert(key, known),
                None => self.counted.set(conversation, known),
            }
        }
        self.headers.push(&read)
    }

    /// Octets that grow with the conversations of a capture: here, and at their peak behind the first pass.
    pub fn memory(&self) -> usize {
        // Of both conversations of a leg: where its packets went, and their number.
        let reported = if self.keeps_all { 2 * (size_of::<(u64, u32)>() + size_of::<u32>()) } else { 0 };
        // A check has all legs at hand.
        let leg = LEG + reported + if self.collector.is_some() { size_of::<Kept>() } else { 0 };
        // A table is at most half empty when it has grown.
        let table = |entries: usize, entry: usize| 2 * entries * (entry + 1);
        self.counted.memory()
            + self.legs.len() * leg
            + self.passages.memory()
            + table(self.counted_of_others.len(), size_of::<((u32, u16), Known)>())
            + table(self.fragments.len(), size_of::<(u32, u32)>())
            + table(self.fragmented.len(), size_of::<u32>())
    }

    /// Notes whose later fragments are, as far as it is known, from the oldest on.
    fn settle_fragments(&mut self, all: bool) {
        while let Some(&mark) = self.loose.front() {
            let Mark::Fragment { group } = mark else { break };
            if !all && !self.marker.flows.is_owned(group) {
                break;
            }
            if let Some(conversation) = self.marker.flows.number(mark) {
                self.fragments.insert(group, conversation as u32);
            }
            self.marker.flows.release(mark);
            self.is_loose.remove(&group);
            self.loose.pop_front();
        }
    }

    fn retire(&mut self) -> io::Result<()> {
        for leg in self.marker.flows.retired() {
            for Part { number, .. } in [leg.forward, leg.reply] {
                self.counted.set(number as u32, Known::default());
            }
            self.summary.leg(&leg);
            let agreement = self.audit.leg(&leg);
            let is_changed = matches!(leg.outcome, Outcome::Repaired { .. });
            if is_changed {
                let to = Translation { source: leg.client, destination: leg.server };
                for (Part { number, client_is_first }, to) in [(leg.forward, Some(to)), (leg.reply, None)] {
                    let passage = Passage { leg: self.legs.len(), client_is_first, to, both_ways: false };
                    self.passages.set(number as u32, passage);
                }
            }
            if is_changed || self.keeps_all || may_be_tied(&leg, self.restores) && self.legs.len() < LEGS {
                self.legs.push(&Kept { leg, agreement, captured: None })?;
            } else if leg.protocol == Protocol::Tcp {
                self.others.add(leg.client, leg.server)?;
                if let Some(observing) = &mut self.observing {
                    observing.forget(leg.forward.number as u32);
                }
            }
        }
        Ok(())
    }

    /// There are no more packets: all is known.
    ///
    /// Errors: a temporary file cannot be written or read.
    pub fn finish(mut self) -> io::Result<Surveyed> {
        let observing = std::mem::take(&mut self.observing).map(Observing::finish);
        self.marker.flows.finish();
        self.settle_fragments(true);
        while self.marker.flows.retire_more() {
            self.retire()?;
        }
        if let Some(places) = self.legs.sort() {
            self.passages.renumber(&places);
        }
        self.summary.findings = Some(self.audit.finish());
        self.summary.gateway = self.marker.flows.gateway();
        let kept = self.copies.kept();
        for input in kept.values() {
            *self.summary.copied.entry(self.marker.numbers[usize::from(*input)]).or_default() += 1;
        }
        Ok(Surveyed {
            plan: self.plan,
            passages: self.passages,
            fragments: self.fragments,
            legs: self.legs,
            calls: Calls::default(),
            streams: Numbers::default(),
            summary: self.summary,
            observed: observing.map(Finishing::finish).transpose()?,
            others: self.others,
            fragmented: self.fragmented,
            headers: self.headers,
            keeps_all: self.keeps_all,
            kept,
            collector: self.collector,
            origins: self.origins,
        })
    }
}

/// Whether a leg that is neither repaired nor reported is kept for ties. `restores` if conntrack may repair it.
fn may_be_tied(leg: &Leg, restores: bool) -> bool {
    let is_tcp = leg.protocol == Protocol::Tcp;
    match leg.outcome {
        // The proxy saw nothing of what was never opened: it is tied to nothing.
        Outcome::Left(Reason::NoReply) => restores || is_tcp && !(leg.from_client.syn && leg.from_client.packets == 1),
        // Nor is what nobody answered.
        _ => is_tcp && leg.from_server.packets > 0,
    }
}

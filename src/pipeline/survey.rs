//! The first pass over files: everything is paired before anything is written, so nothing has to wait.
//!
//! What comes in is every packet, in order; what goes out is a [`Surveyed`]: whose each packet is, how the packets of
//! each conversation leave, and the legs with the numbers that Wireshark gives them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use super::calls::Calls;
use super::copies::{self, Clocks, Copies};
use super::counting::Counting;
use super::kept::Kept;
use super::legs::Legs;
use super::marking::Marker;
use super::numbers::Numbers;
use super::observing::{Finishing, Observing, Segment};
use super::passages::{Passage, Passages};
use super::spools::{Entry, Origins, Plan};
use super::surveyed::Surveyed;
use crate::audit::Audit;
use crate::capture::Described;
use crate::check::{self, Collector, Seen};
use crate::flow::{Leg, Mark, Outcome, Part, Reason, Translation, Whose};
use crate::merge::Shared;
use crate::nat::Protocol;
use crate::output::Frame;
use crate::packet::{Ip, Tcp, Transport, View, protocol};
use crate::report::Summary;
use crate::tie::Others;
use crate::tie::infer::{self as observer, Half};

/// A first pass that has not come to its end.
pub(super) struct Survey {
    marker: Marker,
    audit: Audit,
    keeps_all: bool,
    plan: Plan,
    counting: Counting,
    several: Several,
    copies: Copies,
    /// Whose times of a connection count, by an earlier pass.
    pub clocks: Clocks,
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

/// Whether several inputs can show one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Several {
    /// There is one input.
    None,
    /// They can, and what several show is written as often.
    Each,
    /// They can, and it is written once.
    Once,
}

/// Legs that are kept for ties, at most. Repaired ones, and with a report all, are kept in any case.
const LEGS: usize = 262_144;

/// Octets that a leg takes between the passes, about: what is known of its call, and what it is tied by.
const LEG: usize = 400;

/// Octets that a survey may take, beside what has bounds of its own. Past it, files are merged in one pass.
pub(super) const MEMORY: usize = 512 << 20;

impl Survey {
    /// Nothing looked at yet. `keeps_all` if the report is to have every leg, `restores` if there are listings of conntrack.
    pub fn new(
        marker: Marker,
        audit: Audit,
        keeps_all: bool,
        several: Several,
        restores: bool,
        summary: Summary,
        collector: Option<Collector>,
    ) -> Survey {
        Survey {
            origins: collector.as_ref().filter(|_| several == Several::Once).map(|_| Origins::default()),
            collector,
            marker,
            audit,
            keeps_all,
            plan: Plan::default(),
            counting: Counting::default(),
            several,
            copies: Copies::default(),
            clocks: Clocks::default(),
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
    pub fn duplicate(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        view: &View,
        shared: Shared<'_>,
    ) -> io::Result<()> {
        self.note(frame, view)?;
        let Some((number, from_first)) = self.marker.known(capture, frame, view) else {
            return self.plan.push(Entry::Duplicate, frame);
        };
        let conversation = number as u32;
        if let Transport::Tcp(tcp) = &view.transport {
            let half = Half { conversation, from_first };
            self.copies.note(half, frame, view, true);
            // The other one was by another clock, perhaps.
            if self.clocks.differ_on(conversation) {
                self.observe_by_clocks(half, frame, view, tcp, shared);
            }
        }
        // Which end sent it does not matter: nothing on the wire is translated.
        self.counting.packet(view, frame, Some((conversation, true)), true, true)?;
        self.plan.push(Entry::Copy { conversation }, frame)
    }

    /// Takes a packet; `number` is its number in its input, `shared` where its bytes are.
    #[inline]
    pub fn packet(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        number: u64,
        view: &View,
        shared: Shared<'_>,
    ) -> io::Result<()> {
        let seen = self.note(frame, view)?;
        let (whose, mark) = match self.marker.settled(capture, frame, number, view) {
            Some(whose) => (whose, None),
            None => match self.any(capture, frame, number, view)? {
                Some((whose, mark)) => (whose, Some(mark)),
                None => return Ok(()),
            },
        };
        self.segment(&whose, frame, view, shared, seen)?;
        match mark {
            Some(mark) => self.leave(mark),
            // Nothing is remembered of it, and nobody is retired by it.
            None => {
                self.settle_fragments(false);
                Ok(())
            }
        }
    }

    /// Takes a packet that is not one of a settled conversation, up to what all packets of conversations have in common:
    /// whose it is, if it is one.
    #[inline(never)]
    fn any(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        number: u64,
        view: &View,
    ) -> io::Result<Option<(Whose, Mark)>> {
        let mark = self.marker.mark(capture, frame, number, view);
        if let Some(whose) = self.marker.flows.whose(mark) {
            return Ok(Some((whose, mark)));
        }
        let (entry, owner) = match (mark, self.marker.flows.number(mark)) {
            (Mark::Quote { from_first, .. }, Some(number)) => {
                let conversation = number as u32;
                (Entry::Quote { conversation, from_first }, Some((conversation, from_first)))
            }
            (Mark::Fragment { group }, _) => (Entry::Fragment { group }, None),
            _ => (Entry::AsCaptured, None),
        };
        self.plan.push(entry, frame)?;
        self.counting.packet(view, frame, owner, false, false)?;
        self.leave(mark)?;
        Ok(None)
    }

    /// Nothing more is to be done with a packet.
    fn leave(&mut self, mark: Mark) -> io::Result<()> {
        match mark {
            Mark::Fragment { group } if self.is_loose.insert(group) => self.loose.push_back(mark),
            _ => self.marker.flows.release(mark),
        }
        self.settle_fragments(false);
        self.retire()
    }

    /// Takes a packet of a conversation.
    #[inline(always)]
    fn segment(
        &mut self,
        whose: &Whose,
        frame: &Frame<'_>,
        view: &View,
        shared: Shared<'_>,
        seen: Option<Seen>,
    ) -> io::Result<()> {
        let Whose { number, from_first, is_on_wire, first_input } = *whose;
        let conversation = number as u32;
        self.plan.push(Entry::Packet { conversation, from_first }, frame)?;
        let owner = Some((conversation, from_first));
        let Transport::Tcp(tcp) = &view.transport else {
            self.note_fragment(conversation, view);
            return self.counting.packet(view, frame, owner, false, false);
        };
        let half = Half { conversation, from_first };
        let has_copies = self.several != Several::None
            && is_on_wire
            && self.copies.note(half, frame, view, false)
            && first_input != self.marker.numbers[usize::from(frame.input)];
        self.counting.packet(view, frame, owner, has_copies, false)?;
        match self.clocks.are_one() {
            true => self.observe(half, frame, view, tcp, shared),
            false => self.observe_by_clocks(half, frame, view, tcp, shared),
        }
        if let (Some(seen), Some(ip)) = (seen, &view.ip) {
            self.collect(whose, frame, view, ip, tcp, seen);
        }
        self.note_fragment(conversation, view);
        Ok(())
    }

    /// Tells inference of a TCP segment.
    #[inline(always)]
    fn observe(&mut self, half: Half, frame: &Frame<'_>, view: &View, tcp: &Tcp, shared: Shared<'_>) {
        if let Some(observing) = &mut self.observing {
            let data = view.data_range();
            let (time, seq, ack, flags, sent) = (frame.time, tcp.seq, tcp.ack, tcp.flags, tcp.data_len);
            observing.segment(Segment { half, time, seq, ack, flags, data, sent }, shared);
        }
    }

    /// The same where inputs have clocks that differ: each proxy's legs by its own.
    #[cold]
    fn observe_by_clocks(&mut self, half: Half, frame: &Frame<'_>, view: &View, tcp: &Tcp, shared: Shared<'_>) {
        for half in self.clocks.told(half, frame.input).into_iter().flatten() {
            self.observe(half, frame, view, tcp, shared);
        }
    }

    /// Tells a check of a TCP segment, if there is one.
    #[inline(never)]
    fn collect(&mut self, whose: &Whose, frame: &Frame<'_>, view: &View, ip: &Ip, tcp: &Tcp, seen: Seen) {
        let Some(collector) = self.collector.as_mut().filter(|_| ip.fragment.is_none()) else { return };
        let end = |address, port| SocketAddr::new(address, port);
        collector.segment(&check::Segment {
            conversation: whose.number as u32,
            from_first: whose.from_first,
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

    /// Notes that there are fragments of a conversation, if this is one.
    #[inline]
    fn note_fragment(&mut self, conversation: u32, view: &View) {
        if let Some(ip) = &view.ip
            && ip.fragment.is_some()
            && ip.protocol == protocol::TCP
        {
            self.fragmented.insert(conversation);
        }
    }

    /// Octets that grow with the conversations of a capture: here, and at their peak behind the first pass.
    pub fn memory(&self) -> usize {
        // Of both conversations of a leg: where its packets went, and their number.
        let reported = if self.keeps_all { 2 * (size_of::<(u64, u32)>() + size_of::<u32>()) } else { 0 };
        // A check has all legs at hand.
        let leg = LEG + reported + if self.collector.is_some() { size_of::<Kept>() } else { 0 };
        // A table is at most half empty when it has grown.
        let table = |entries: usize, entry: usize| 2 * entries * (entry + 1);
        self.counting.memory()
            + self.legs.len() * leg
            + self.passages.memory()
            + self.clocks.memory()
            + table(self.fragments.len(), size_of::<(u32, u32)>())
            + table(self.fragmented.len(), size_of::<u32>())
    }

    /// Notes whose later fragments are, as far as it is known, from the oldest on.
    #[inline]
    fn settle_fragments(&mut self, all: bool) {
        if !self.loose.is_empty() {
            self.settle_loose(all);
        }
    }

    #[cold]
    fn settle_loose(&mut self, all: bool) {
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
                self.counting.forget(number as u32);
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
                    self.clocks.all(leg.forward.number as u32).into_iter().flatten().for_each(|n| observing.forget(n));
                }
            }
        }
        Ok(())
    }

    /// What was found of connections that several inputs show, when there are no more packets.
    pub fn copied(&mut self) -> copies::Found {
        let mut found = std::mem::take(&mut self.copies).finish();
        found.clocks.number(self.marker.flows.begun() as u32);
        found
    }

    /// There are no more packets: all is known. `kept` is [`copies::Found::kept`].
    ///
    /// Errors: a temporary file cannot be written or read.
    pub fn finish(mut self, mut kept: HashMap<u32, u16, RandomState>) -> io::Result<Surveyed> {
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
        if self.several != Several::Once {
            kept.clear();
        }
        self.summary.by_clocks = self.clocks.count();
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
            headers: self.counting.headers,
            keeps_all: self.keeps_all,
            kept,
            clocks: self.clocks,
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

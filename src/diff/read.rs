//! A repaired capture in, its [`Trace`] out: roles and ties from the comments of merge where it wrote them, else from the
//! packets as merge itself finds roles; what was said from the packets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;

use super::comment::{self, Said};
use super::content::{Content, DNS_PORT};
use super::http::Asked;
use super::order::Order;
use super::payload::Payload;
use super::settings::Settings;
use super::trace::{Conversation, Ended, Handshake, Place, Trace};
use crate::capture::{self, Capture, Described, Record, Source, Timestamp};
use crate::flow::{self, Flows, Leg, Mark, Part, flags};
use crate::nat::{Model, Protocol, Role};
use crate::output::{Frame, Streams, comments};
use crate::packet::{Transport, View, decode_packet};
use crate::pipeline::Marker;

/// Kinds of legs that one leg is tied to, at most.
const TIED: usize = 16;

/// The bounds of what is remembered of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Conversations.
    pub conversations: usize,
    /// Octets: messages, and what waits for its turn.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { conversations: 262_144, memory: 256 << 20 }
    }
}

/// Why a capture cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read at all.
    #[error(transparent)]
    Input(#[from] capture::Error),
    /// It holds more than is remembered.
    #[error("{name}: {what}; compare a shorter part of it (editcap -A and -B cut it by time)")]
    TooMuch {
        /// The capture as the user named it.
        name: String,
        /// Of what, and the bound.
        what: String,
    },
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}

/// What was read.
pub struct Read {
    /// The conversations.
    pub trace: Trace,
    /// Where the capture is damaged; what stood before was read.
    pub damage: Option<capture::Error>,
}

/// Reads a repaired capture; `name` is what the user named.
pub fn read(
    path: &Path,
    name: &str,
    settings: &Settings,
    limits: Limits,
    interrupted: &Arc<AtomicBool>,
) -> Result<Read, Error> {
    let mut capture = Capture::open(&Source::Path(path.to_owned()), 0, Arc::clone(interrupted))?;
    let mut reader = Reader::new(settings, limits);
    let damage = loop {
        let packet = match capture.advance() {
            Ok(Some(Record::Packet(packet))) => packet,
            Ok(Some(Record::Block(_))) => continue,
            Ok(None) => break None,
            Err(damage) => break Some(damage),
        };
        let bytes = capture.bytes();
        let view = decode_packet(capture.described(), packet.interface, bytes, packet.original_len);
        let frame = Frame::new(0, &packet, bytes, capture.options());
        reader.packet(capture.described(), &frame, packet.number, &view);
        if let Some(what) = reader.exceeded() {
            return Err(Error::TooMuch { name: name.to_owned(), what });
        }
    };
    if interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(Read { trace: reader.finish(), damage })
}

/// A conversation that is being read.
struct Live {
    place: Place,
    times: (Timestamp, Timestamp),
    said: Option<Said>,
    /// By which end sent it: the upper one, the lower one.
    halves: [Half; 2],
    /// Which end was the first to send a RST, before both had sent a FIN.
    reset: Option<usize>,
    /// Requests without a response.
    asked: VecDeque<Asked>,
}

struct Half {
    order: Order,
    content: Content,
    fin: bool,
    /// Whether a part of it is missing.
    is_cut: bool,
}

/// A conversation that is over.
struct Over {
    number: u64,
    conversation: Conversation,
    times: (Timestamp, Timestamp),
    said: Option<Said>,
}

struct Reader<'a> {
    settings: &'a Settings,
    limits: Limits,
    marker: Marker,
    streams: Streams,
    live: HashMap<u64, Box<Live>, RandomState>,
    over: Vec<Over>,
    memory: usize,
}

impl Reader<'_> {
    fn new(settings: &Settings, limits: Limits) -> Reader<'_> {
        let flows = Flows::new(Model::usual(), flow::Limits::default());
        Reader {
            settings,
            limits,
            marker: Marker { flows, numbers: vec![0], names: Vec::new(), hasher: RandomState::default() },
            streams: Streams::default(),
            live: HashMap::default(),
            over: Vec::new(),
            memory: 0,
        }
    }

    /// What there is too much of.
    fn exceeded(&self) -> Option<String> {
        if self.live.len() + self.over.len() > self.limits.conversations {
            return Some(format!("has more than {} conversations", self.limits.conversations));
        }
        let mebibytes = self.limits.memory >> 20;
        (self.memory > self.limits.memory).then(|| format!("what is compared of it takes more than {mebibytes} MiB"))
    }

    fn packet(&mut self, capture: &Described, frame: &Frame<'_>, number: u64, view: &View) {
        let stream = self.streams.of(view, frame.bytes);
        let mark = self.marker.mark(capture, frame, number, view);
        if let (Mark::Conversation { from_first, .. }, Some(conversation)) = (mark, self.marker.flows.number(mark)) {
            let side = usize::from(from_first);
            let place = Place { frame: number, stream };
            let ports = view.transport.ports();
            let is_dns = ports.is_some_and(|(source, destination)| source == DNS_PORT || destination == DNS_PORT);
            let from_server = ports.is_some_and(|(source, destination)| source < destination);
            let live = self.live.entry(conversation).or_insert_with(|| {
                self.memory += size_of::<Live>();
                // Who is the client is known with the leg; what each direction holds tells it for HTTP.
                let from_server = opened_by_other(view).unwrap_or(from_server);
                Box::new(Live::new(place, frame.time, side, from_server, is_dns))
            });
            let before = live.memory();
            live.packet(frame, side, view, self.settings);
            self.memory = (self.memory + live.memory()).saturating_sub(before);
        }
        self.marker.flows.release(mark);
        self.retire();
    }

    /// Takes over what the flows are done with.
    fn retire(&mut self) {
        let retired: Vec<Leg> = self.marker.flows.retired().collect();
        for leg in retired {
            let forward = self.live.remove(&leg.forward.number);
            let reply = if leg.reply.number == leg.forward.number { None } else { self.live.remove(&leg.reply.number) };
            let parts = [(leg.forward, forward), (leg.reply, reply)];
            let lives = parts.into_iter().filter_map(|(part, live)| Some((part, live?)));
            let lives: Vec<(Part, Box<Live>)> = lives.collect();
            let used: usize = lives.iter().map(|(_, live)| live.memory() + size_of::<Live>()).sum();
            self.memory = self.memory.saturating_sub(used);
            if let Some(over) = over(&leg, lives) {
                let (sent, received) = (&over.conversation.sent, &over.conversation.received);
                self.memory += size_of::<Over>() + sent.memory() + received.memory();
                self.over.push(over);
            }
        }
    }

    fn finish(mut self) -> Trace {
        self.marker.flows.finish();
        while self.marker.flows.retire_more() {
            self.retire();
        }
        let mut over = self.over;
        over.sort_by_key(|over| over.number);
        name_roles(&mut over);
        tie(&mut over);
        number_steps(&mut over);
        let mut conversations: Vec<Conversation> = over.into_iter().map(|over| over.conversation).collect();
        for conversation in &mut conversations {
            conversation.client = self.settings.addresses.old(conversation.client);
            conversation.server = self.settings.addresses.old_end(conversation.server);
        }
        Trace { conversations }
    }
}

/// Whether the sender of the first packet is who was asked; `None` if it does not tell.
fn opened_by_other(view: &View) -> Option<bool> {
    match &view.transport {
        Transport::Tcp(tcp) if tcp.flags & flags::SYN != 0 => Some(tcp.flags & flags::ACK != 0),
        Transport::Udp(_) => Some(false),
        _ => None,
    }
}

impl Live {
    /// Begins with a packet of an end (`side`), which is the server if `from_server`.
    fn new(place: Place, time: Timestamp, side: usize, from_server: bool, is_dns: bool) -> Live {
        let half = |end: usize| Half {
            order: Order::default(),
            content: Content::new((end == side) == from_server, is_dns),
            fin: false,
            is_cut: false,
        };
        Live { place, times: (time, time), said: None, halves: [half(0), half(1)], reset: None, asked: VecDeque::new() }
    }

    fn packet(&mut self, frame: &Frame<'_>, side: usize, view: &View, settings: &Settings) {
        self.times.1 = self.times.1.max(frame.time);
        self.said = self.said.or_else(|| comments(frame.options).find_map(comment::read));
        let Live { halves, asked, .. } = self;
        let half = &mut halves[side];
        let Some(ip) = &view.ip else { return };
        half.is_cut |= ip.fragment.is_some();
        match view.transport {
            Transport::Tcp(tcp) => {
                let is_reset = tcp.flags & flags::RST != 0;
                // What a RST carries is no data (RFC 9293, section 3.5.3).
                if !is_reset {
                    let data = view.data(frame.bytes);
                    let Half { order, content, .. } = half;
                    let mut out = |octets: &[u8]| content.octets(octets, asked, settings);
                    order.segment(tcp.seq, tcp.flags, data, tcp.data_len, &mut out);
                }
                half.fin |= tcp.flags & flags::FIN != 0;
                if is_reset && self.reset.is_none() && !self.halves.iter().all(|half| half.fin) {
                    self.reset = Some(side);
                }
            }
            Transport::Udp(_) => {
                half.is_cut |= !ip.is_whole();
                half.content.datagram(view.data(frame.bytes), settings);
            }
            _ => half.is_cut = true,
        }
    }

    fn memory(&self) -> usize {
        let halves: usize = self.halves.iter().map(|half| half.order.memory() + half.content.memory()).sum();
        halves + self.asked.capacity()
    }
}

/// What is compared of a leg, of whose conversations as captured (mostly one) the packets are.
fn over(leg: &Leg, lives: Vec<(Part, Box<Live>)>) -> Option<Over> {
    let place = lives.iter().map(|(_, live)| live.place).min_by_key(|place| place.frame)?;
    let number = lives.iter().map(|(part, _)| part.number).min()?;
    let times = lives.iter().map(|(_, live)| live.times);
    let times = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let said = lives.iter().find_map(|(_, live)| live.said);
    let client_reset = lives.iter().find_map(|(part, live)| Some(live.reset? == usize::from(part.client_is_first)));
    let is_tcp = leg.protocol == Protocol::Tcp;
    let handshake = match (leg.from_client.syn, leg.from_server.syn) {
        (true, false) if leg.from_server.rst => Handshake::Refused,
        (true, false) => Handshake::Unanswered,
        (_, true) => Handshake::Opened,
        (false, false) => Handshake::Before,
    };
    let ended = match (client_reset, leg.from_client.fin, leg.from_server.fin) {
        (Some(true), _, _) => Ended::ClientReset,
        (Some(false), _, _) => Ended::ServerReset,
        (None, true, true) => Ended::Closed,
        (None, true, false) => Ended::ClientClosed,
        (None, false, true) => Ended::ServerClosed,
        (None, false, false) => Ended::Open,
    };
    let is_late = is_tcp && handshake == Handshake::Before;
    let (mut sent, mut received) = (Payload::of_kind("none"), Payload::of_kind("none"));
    let last = lives.len() - 1;
    for (n, (part, live)) in lives.into_iter().enumerate() {
        let client = usize::from(part.client_is_first);
        let mut halves = live.halves.map(Some);
        let mut payload = |end: usize| halves[end].take().map(|half| half.finish(is_tcp, is_late)).unwrap_or_default();
        if n == 0 {
            sent = payload(client);
        }
        if n == last {
            received = payload(1 - client);
        }
    }
    let role = said.map_or(leg.role.name(), |said| said.role);
    let (client, server) = said.map_or((leg.client, leg.server), |said| (said.client, said.server));
    let conversation = Conversation {
        step: 0,
        protocol: leg.protocol.name().to_owned(),
        role: role.to_owned(),
        client: client.ip(),
        server,
        handshake: is_tcp.then_some(handshake),
        ended: is_tcp.then_some(ended),
        sent,
        received,
        tied: Vec::new(),
        place: Some(place),
    };
    Some(Over { number, conversation, times, said })
}

impl Half {
    /// What it carried. Of one that began before the capture (`is_late`), nothing is known.
    fn finish(self, is_tcp: bool, is_late: bool) -> Payload {
        if is_late {
            return Payload { incomplete: true, ..Payload::of_kind("unknown") };
        }
        let sent = self.order.sent();
        let is_whole = !self.is_cut && (!is_tcp || self.order.is_whole());
        let payload = self.content.finish();
        if is_whole {
            return payload;
        }
        // What was sent can be counted all the same.
        let octets = (is_tcp && payload.kind == "raw").then_some(sent);
        let kind = if payload.kind == "none" { "unknown" } else { &payload.kind };
        Payload { octets, incomplete: true, ..Payload::of_kind(kind) }
    }
}

/// Roles on the wire depend on which addresses are pods'; comments tell more of these than the packets of a repaired file.
fn name_roles(over: &mut [Over]) {
    let mut pods: HashSet<IpAddr> = HashSet::new();
    let (outbound, inbound) = (Role::OutboundPeer.name(), Role::InboundPeer.name());
    for Over { conversation, said, .. } in over.iter() {
        let is = |role: &Role| conversation.role == role.name();
        let (client, server) = (conversation.client, conversation.server.ip());
        if [Role::OutboundApp, Role::OutboundPeer, Role::SelfCall, Role::Dns].iter().any(is) {
            pods.insert(client);
        }
        if is(&Role::InboundPeer) || is(&Role::InboundApp) && said.is_some() {
            pods.insert(server);
        }
    }
    pods.retain(|address| !address.is_loopback());
    for Over { conversation, said, .. } in over.iter_mut() {
        if said.is_some() || ![outbound, inbound, Role::Network.name()].contains(&conversation.role.as_str()) {
            continue;
        }
        let ends = (pods.contains(&conversation.client), pods.contains(&conversation.server.ip()));
        let role = match ends {
            (true, _) => outbound,
            (false, true) => inbound,
            (false, false) => Role::Network.name(),
        };
        role.clone_into(&mut conversation.role);
    }
}

/// Names the kinds of legs that each is tied to.
fn tie(over: &mut [Over]) {
    let name = |conversation: &Conversation| format!("{} {}", conversation.role, conversation.server);
    let mut ties: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for Over { conversation, said, .. } in over.iter() {
        if let Some(tie) = said.and_then(|said| said.tie) {
            let kinds = ties.entry(tie).or_default();
            if kinds.len() < TIED {
                kinds.insert(name(conversation));
            }
        }
    }
    for Over { conversation, said, .. } in over.iter_mut() {
        if let Some(kinds) = said.and_then(|said| ties.get(&said.tie?)) {
            let own = name(conversation);
            conversation.tied = kinds.iter().filter(|kind| **kind != own).cloned().collect();
        }
    }
}

/// Numbers the steps: a new one begins where all conversations before are over.
fn number_steps(over: &mut [Over]) {
    let (mut step, mut end) = (1, Timestamp(0));
    for (n, Over { conversation, times, .. }) in over.iter_mut().enumerate() {
        if n > 0 && times.0 > end {
            step += 1;
        }
        end = end.max(times.1);
        conversation.step = step;
    }
}

//! TCP: which forward half and which reply half are one leg.
//!
//! A SYN-ACK acknowledges the SYN of exactly one connection, whatever ports conntrack wrote. Where the
//! handshake was not captured, the numbers of both halves must fit each other: what one half sent last is what
//! the other acknowledges, both ways. Ports are never looked at.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::Flows;
use super::evidence::Evidence;
use super::half::Half;
use super::key::Side;
use super::record::{State, marks};
use super::segment::{Content, Segment, end_of, flags};
use super::table::Records;
use crate::nat::Protocol;

/// How far an acknowledgment may lag behind what was sent, in octets, where a timestamp echo proves the rest.
/// Linux lets a window grow to 6 MiB by default (`tcp_rmem`).
const WINDOW: u32 = 1 << 24;

/// The same of what comes late, when a connection is over.
const LATE: u32 = 1 << 16;

/// Numbers further apart than this are those of different connections, or of a capture with a large gap.
const FAR: u32 = 1 << 26;

/// How long a pairing by sequence numbers waits for another half that fits as well.
const SETTLE: u64 = 50_000_000;

/// The halves that wait for their other half, by the client's address and by the number that the other half
/// acknowledges next.
#[derive(Default)]
pub(super) struct Pairing {
    forward: Index,
    reply: Index,
}

type Index = HashMap<(IpAddr, u32), Few, RandomState>;

/// How many halves with one number are told apart. More are a crowd, of which none is paired: only a flood has them, and
/// it must not cost every packet a look at all of them.
const CROWD: usize = 32;

/// Nearly always one; two or more is an ambiguity.
enum Few {
    One(u32),
    Many(Vec<u32>),
    /// So many that only their number is kept.
    Crowd(usize),
}

impl Few {
    fn as_slice(&self) -> &[u32] {
        match self {
            Few::One(id) => std::slice::from_ref(id),
            Few::Many(ids) => ids,
            Few::Crowd(_) => &[],
        }
    }
}

impl Pairing {
    fn remember(&mut self, id: u32, records: &Records) {
        let Some((index, key)) = self.place(id, records) else { return };
        match index.entry(key) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Few::One(id));
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => match entry.get_mut() {
                Few::One(first) => {
                    let first = *first;
                    entry.insert(Few::Many(vec![first, id]));
                }
                Few::Many(ids) if ids.len() < CROWD => ids.push(id),
                Few::Many(ids) => {
                    let crowd = Few::Crowd(ids.len() + 1);
                    entry.insert(crowd);
                }
                Few::Crowd(size) => *size += 1,
            },
        }
    }

    /// Takes a half out for good: its ends are another's, and so can be what fits it from now on.
    pub fn supersede(&mut self, id: u32, records: &mut Records) {
        self.forget(id, records);
        records[id].mark(marks::SUPERSEDED);
    }

    /// Takes a half out, by the number that it was remembered with.
    pub fn forget(&mut self, id: u32, records: &Records) {
        let Some((index, key)) = self.place(id, records) else { return };
        if let std::collections::hash_map::Entry::Occupied(mut entry) = index.entry(key) {
            match entry.get_mut() {
                Few::One(only) if *only == id => {
                    entry.remove();
                }
                Few::One(_) => {}
                Few::Many(ids) => {
                    ids.retain(|&other| other != id);
                    if let &[only] = ids.as_slice() {
                        entry.insert(Few::One(only));
                    }
                }
                // It stays one until the last has left: who is in it is not known.
                Few::Crowd(1) => {
                    entry.remove();
                }
                Few::Crowd(size) => *size -= 1,
            }
        }
    }

    fn place(&mut self, id: u32, records: &Records) -> Option<(&mut Index, (IpAddr, u32))> {
        let record = &records[id];
        let client = record.client().filter(|_| !record.is(marks::SUPERSEDED))?;
        let address = record.end(client).ip();
        let (index, half) = match record.state {
            State::Forward | State::Open => (&mut self.forward, records.half(id, client)),
            State::Reply => (&mut self.reply, records.half(id, 1 - client)),
            _ => return None,
        };
        // Remembered from its first segment on.
        (record.protocol() == Protocol::Tcp && half.packets() > 0).then_some((index, (address, half.next)))
    }
}

/// Whether a TCP segment on known addresses starts another connection; `ended` if the one before is over.
pub(super) fn begins_anew(
    state: State,
    ended: bool,
    halves: [&Half; 2],
    side: Side,
    (seq, ack, f): (u32, u32, u8),
) -> bool {
    let (mine, other) = (halves[side], halves[1 - side]);
    if mine.packets() == 0 {
        return false;
    }
    if f & flags::SYN != 0 {
        // The same SYN again is a retransmission, unless its answer was acknowledged already; a SYN-ACK may change its
        // number and still answer the SYN.
        let syn_ack = f & flags::ACK != 0;
        let again = mine.isn() == Some(seq) && (syn_ack || mine.ack().is_none());
        let answers = syn_ack && other.isn().is_some_and(|isn| ack == isn.wrapping_add(1));
        return !again && !answers;
    }
    let (has_ack, resets) = (f & flags::ACK != 0, f & flags::RST != 0);
    if resets && has_ack && seq == 0 {
        // RFC 9293, section 3.5.2: what refuses a SYN has number 0 and acknowledges it. Another SYN, another leg.
        return mine.ack().is_some_and(|last| last != ack);
    }
    // RFC 9293, section 3.10.7.3: in SYN-SENT, an ACK of an older connection is answered by a RST with its number.
    if resets && !has_ack && mine.isn().is_some() && mine.ack().is_none() {
        return false;
    }
    let (seq_gap, ack_gap) = gaps(mine, seq, ack, f);
    match state {
        State::Whole | State::Left(_) => !resets && seq_gap > FAR && ack_gap > FAR,
        // A mapping must not outlive its connection: where one is at stake, or may come, either number is enough to end
        // it. What goes on nevertheless, behind a large gap of the capture, is paired anew.
        _ if ended => seq_gap > LATE || ack_gap > LATE,
        _ => seq_gap > WINDOW || ack_gap > WINDOW,
    }
}

/// Whether a segment goes on exactly where a direction of a connection stopped, though another one with the same ends began
/// meanwhile; a SYN, if it is the same again.
pub(super) fn resumes(half: &Half, (seq, end, ack, f): (u32, u32, u32, u8)) -> bool {
    if f & flags::SYN != 0 {
        return f & flags::ACK == 0 && half.isn() == Some(seq) && half.ack().is_none();
    }
    let (_, ack_gap) = gaps(half, seq, ack, f);
    half.packets() > 0
        && f & flags::ACK != 0
        && half.ack().is_some()
        && ack_gap <= WINDOW
        && (seq == half.next || end == half.next)
}

/// How far the numbers of a segment are from where those of its direction were last.
#[inline]
fn gaps(half: &Half, seq: u32, ack: u32, f: u8) -> (u32, u32) {
    let ack_gap = half.ack().filter(|_| f & flags::ACK != 0).map_or(0, |last| distance(ack, last));
    (distance(seq, half.next), ack_gap)
}

/// Whether a segment that bears no SYN and no RST follows what its direction sent, in whatever state the conversation is.
#[inline]
pub(super) fn follows(half: &Half, seq: u32, ack: u32, f: u8) -> bool {
    let (seq_gap, ack_gap) = gaps(half, seq, ack, f);
    seq_gap <= WINDOW && ack_gap <= WINDOW
}

/// How far two sequence numbers lie apart, whichever is first.
fn distance(a: u32, b: u32) -> u32 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}

impl Flows {
    pub(super) fn pair_tcp(&mut self, id: u32, side: Side, segment: &Segment) {
        self.pairs.forget(id, &self.table.records);
        self.table.records.note(id, side, segment);
        self.pairs.remember(id, &self.table.records);
        let record = &self.table.records[id];
        let Some(client) = record.client() else { return };
        let address = record.end(client).ip();
        let Content::Tcp { seq, ack, flags: f, timestamps } = segment.content else { return };
        if f & flags::ACK == 0 {
            return;
        }
        let echo = timestamps.map(|(_, tsecr)| tsecr);
        let now = segment.time;
        let is_reply = record.state == State::Reply;
        let index = if is_reply { &self.pairs.forward } else { &self.pairs.reply };
        let Some(candidates) = index.get(&(address, ack)).map(Few::as_slice) else { return };
        let records = &self.table.records;
        let other = |candidate: u32| {
            let client = records[candidate].client().unwrap_or_default();
            records.half(candidate, if is_reply { client } else { 1 - client })
        };
        let end = end_of(seq, segment.data_len, f);
        let fits: Vec<(u32, Evidence)> = candidates
            .iter()
            .filter(|&&candidate| records[candidate].origin == segment.origin)
            .filter_map(|&candidate| {
                let half = other(candidate);
                let evidence = if is_reply {
                    answers_syn(half, segment, f)
                        .or_else(|| fit(half, seq, end, echo).map(|echo| sequence(half, segment, echo, true)))
                } else {
                    fit(half, seq, end, echo).map(|echo| sequence(half, segment, echo, false))
                };
                evidence.map(|evidence| (candidate, evidence))
            })
            .collect();
        let pair = |candidate| if is_reply { (candidate, id) } else { (id, candidate) };
        match fits.as_slice() {
            [] => {}
            &[(candidate, evidence)] => {
                let (forward, reply) = pair(candidate);
                match evidence {
                    Evidence::Handshake { .. } => self.join(forward, reply, evidence),
                    _ => self.propose(forward, reply, evidence, now, SETTLE),
                }
            }
            many => {
                // SYNs with one initial sequence number: the SYN-ACK echoes the timestamp of its own.
                let echoed: Vec<&(u32, Evidence)> = many
                    .iter()
                    .filter(|(candidate, evidence)| {
                        matches!(evidence, Evidence::Handshake { .. })
                            && echo.is_some()
                            && other(*candidate).tsval() == echo
                    })
                    .collect();
                if let &[&(candidate, evidence)] = echoed.as_slice() {
                    let (forward, reply) = pair(candidate);
                    self.join(forward, reply, evidence);
                } else {
                    let mut all: Vec<u32> = many.iter().map(|&(candidate, _)| candidate).collect();
                    all.push(id);
                    for &one in &all {
                        self.cancel(one);
                    }
                    self.contest(&all);
                }
            }
        }
    }
}

/// A SYN-ACK, or the RST of a refusal, that acknowledges the SYN of `forward`; the caller has compared the
/// acknowledgment number.
fn answers_syn(forward: &Half, segment: &Segment, f: u8) -> Option<Evidence> {
    let only_syn = forward.ack().is_none() && forward.isn().is_some();
    let refused = f & flags::RST != 0;
    (only_syn && (f & flags::SYN != 0 || refused)).then_some(Evidence::Handshake {
        syn: forward.place(),
        answer: segment.place,
        refused,
    })
}

/// Whether a segment `seq..end` fits a half whose last segment it acknowledges: what the half acknowledged
/// last is where the segment starts, or lies a window behind and the timestamp echo proves it; so it does if the segment asks
/// whether the other end is still there, with the number before its next one (RFC 9293, section 3.8.4).
///
/// `Some(true)` if it took the echo.
fn fit(half: &Half, seq: u32, end: u32, echo: Option<u32>) -> Option<bool> {
    let acked = half.ack()?;
    if acked == seq {
        return Some(false);
    }
    let behind = end.wrapping_sub(acked) <= WINDOW;
    let probes = seq == end && acked == seq.wrapping_add(1);
    ((behind || probes) && echo.is_some() && echo == half.tsval()).then_some(true)
}

fn sequence(half: &Half, segment: &Segment, echo: bool, segment_replies: bool) -> Evidence {
    let (forward, reply) = if segment_replies { (half.place(), segment.place) } else { (segment.place, half.place()) };
    Evidence::Sequence { forward, reply, echo }
}

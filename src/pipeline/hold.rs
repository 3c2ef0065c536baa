//! Packets on their way from pairing to the output: written at once if it is known how they leave, else held
//! until it is, with everything behind them.
//!
//! This is the way of pipes, which are read once; how long a packet may wait is the look-ahead.

use std::io;

use super::LookAhead;
use super::marking::Marker;
use super::queue::Queue;
use crate::audit::Audit;
use crate::capture::block_type::DECRYPTION_SECRETS;
use crate::capture::{BlockRecord, Described, Timestamp};
use crate::flow::{Flows, Mark, Reason};
use crate::output::{Change, Finished, Frame, Output, comment};
use crate::packet::{View, decode_packet};
use crate::report::{Report, Summary, Told};
use crate::tie::Tied;

/// What could not be written.
pub(super) enum Failed {
    Output(io::Error),
    Report(io::Error),
    Queue(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Output(error)
    }
}

/// Pairing, the queue behind it, and where everything goes.
pub(super) struct Hold {
    pub marker: Marker,
    pub audit: Audit,
    pub output: Output,
    pub report: Option<Report>,
    pub summary: Summary,
    pub look_ahead: Option<LookAhead>,
    pub queue: Queue,
}

impl Hold {
    /// Takes a packet: pairs it, then writes it or lets it wait. `number` is its number in its input.
    pub fn packet(
        &mut self,
        captures: &[Described],
        frame: &Frame<'_>,
        number: u64,
        mut view: View,
    ) -> Result<(), Failed> {
        let capture = &captures[usize::from(frame.input)];
        let mark = self.marker.mark(capture, frame, number, &view);
        if self.queue.is_empty() && self.marker.flows.is_decided(mark) {
            write(&mut self.marker.flows, &mut self.output, capture, frame, &mut view, mark)?;
        } else {
            let content = Content::Packet { original_len: frame.original_len, mark };
            let waiting = Waiting { input: frame.input, interface: frame.interface, time: frame.time, content };
            self.queue.push([&waiting.encode(), frame.options], frame.bytes).map_err(Failed::Queue)?;
        }
        self.release(captures, frame.time)?;
        self.retire()
    }

    /// Takes a block that goes with the packets. Secrets do not wait: they have to stand before the packets
    /// that need them.
    pub fn block(
        &mut self,
        captures: &[Described],
        input: u16,
        block: &BlockRecord,
        body: &[u8],
    ) -> Result<(), Failed> {
        if self.queue.is_empty() || block.block_type == DECRYPTION_SECRETS {
            let capture = &captures[usize::from(input)];
            return Ok(self.output.block(capture, input, block.block_type, block.interface, body)?);
        }
        let content = Content::Block { block_type: block.block_type };
        let interface = block.interface.unwrap_or(NO_INTERFACE);
        let waiting = Waiting { input, interface, time: Timestamp(0), content };
        self.queue.push([&waiting.encode(), &[]], body).map_err(Failed::Queue)
    }

    /// There are no more packets: everything is decided and written.
    pub fn finish(mut self, captures: &[Described]) -> Result<(Summary, Finished), Failed> {
        self.marker.flows.finish();
        self.release(captures, Timestamp(0))?;
        while self.marker.flows.retire_more() {
            self.retire()?;
        }
        // If the report cannot be written, there is to be no output either.
        self.report.as_mut().map_or(Ok(()), Report::complete).map_err(Failed::Report)?;
        let finished = self.output.finish(captures)?;
        self.summary.counts = finished.counts;
        if let Some(report) = self.report {
            report.finish().map_err(Failed::Report)?;
        }
        self.summary.findings = Some(self.audit.finish());
        self.summary.gateway = self.marker.flows.gateway();
        Ok((self.summary, finished))
    }

    /// Writes what waits and is decided, and gives up what may wait no longer.
    fn release(&mut self, captures: &[Described], now: Timestamp) -> Result<(), Failed> {
        while let Some((description, bytes)) = self.queue.front() {
            let Some((waiting, options)) = Waiting::decode(description) else { break };
            let capture = &captures[usize::from(waiting.input)];
            match waiting.content {
                Content::Block { block_type } => {
                    let interface = Some(waiting.interface).filter(|&i| i != NO_INTERFACE);
                    self.output.block(capture, waiting.input, block_type, interface, bytes)?;
                }
                Content::Packet { original_len, mark } => {
                    if !self.marker.flows.is_decided(mark) {
                        let Some(reason) = self.too_long(waiting.time, now) else { break };
                        self.marker.flows.give_up(mark, reason);
                    }
                    let frame = Frame {
                        input: waiting.input,
                        interface: waiting.interface,
                        time: waiting.time,
                        original_len,
                        bytes,
                        options,
                    };
                    let mut view = decode_packet(capture, waiting.interface, bytes, original_len);
                    write(&mut self.marker.flows, &mut self.output, capture, &frame, &mut view, mark)?;
                }
            }
            self.queue.pop().map_err(Failed::Queue)?;
        }
        Ok(())
    }

    /// Why a packet of this time may wait no longer, if so.
    fn too_long(&self, time: Timestamp, now: Timestamp) -> Option<Reason> {
        if self.marker.flows.is_crowded() {
            return Some(Reason::Evicted);
        }
        let look_ahead = self.look_ahead?;
        let exceeded = now.0.saturating_sub(time.0) > look_ahead.time || self.queue.bytes() > look_ahead.bytes;
        exceeded.then_some(Reason::LookAhead)
    }

    fn retire(&mut self) -> Result<(), Failed> {
        for leg in self.marker.flows.retired() {
            self.summary.leg(&leg);
            let agreement = self.audit.leg(&leg);
            if let Some(report) = &mut self.report {
                let mesh = self.audit.given_mesh();
                let told = Told { leg: &leg, agreement: agreement.as_ref(), captured: None, tied: None, mesh };
                report.leg(&told).map_err(Failed::Report)?;
            }
        }
        Ok(())
    }
}

fn write(
    flows: &mut Flows,
    output: &mut Output,
    capture: &Described,
    frame: &Frame<'_>,
    view: &mut View,
    mark: Mark,
) -> Result<(), Failed> {
    let change = match (flows.translation(mark), mark) {
        (None, _) => Change::None,
        (Some(to), Mark::Quote { .. }) => Change::TranslateQuote(to),
        (Some(to), _) => Change::Translate(to),
    };
    let comment = flows.comment(mark).map(|leg| comment::of(&leg, None, &Tied::default()));
    let place = output.packet(capture, frame, view, change, comment.as_deref())?;
    flows.written(mark, place);
    Ok(())
}

/// Stands for "none" in [`Waiting::interface`].
const NO_INTERFACE: u32 = u32::MAX;

/// What waits in the queue, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    input: u16,
    interface: u32,
    time: Timestamp,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Packet { original_len: u32, mark: Mark },
    Block { block_type: u32 },
}

/// Octets of an encoded [`Waiting`]; the options of the packet follow.
const ENCODED: usize = 24;

impl Waiting {
    fn encode(&self) -> [u8; ENCODED] {
        let (kind, number, index) = match self.content {
            Content::Block { block_type } => (0, block_type, 0),
            Content::Packet { original_len, mark } => match mark {
                Mark::Untracked => (1, original_len, 0),
                Mark::Conversation { id, from_first: false } => (2, original_len, id),
                Mark::Conversation { id, from_first: true } => (3, original_len, id),
                Mark::Quote { id, from_first: false } => (4, original_len, id),
                Mark::Quote { id, from_first: true } => (6, original_len, id),
                Mark::Fragment { group } => (5, original_len, group),
            },
        };
        let mut encoded = [0; ENCODED];
        encoded[0..8].copy_from_slice(&self.time.0.to_le_bytes());
        encoded[8..12].copy_from_slice(&self.interface.to_le_bytes());
        encoded[12..16].copy_from_slice(&number.to_le_bytes());
        encoded[16..20].copy_from_slice(&index.to_le_bytes());
        encoded[20..22].copy_from_slice(&self.input.to_le_bytes());
        encoded[22] = kind;
        encoded
    }

    fn decode(encoded: &[u8]) -> Option<(Waiting, &[u8])> {
        let (head, options) = encoded.split_first_chunk::<ENCODED>()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (number, id) = (word(12), word(16));
        let packet = |mark| Content::Packet { original_len: number, mark };
        let content = match head[22] {
            0 => Content::Block { block_type: number },
            1 => packet(Mark::Untracked),
            2 => packet(Mark::Conversation { id, from_first: false }),
            3 => packet(Mark::Conversation { id, from_first: true }),
            4 => packet(Mark::Quote { id, from_first: false }),
            6 => packet(Mark::Quote { id, from_first: true }),
            5 => packet(Mark::Fragment { group: id }),
            _ => return None,
        };
        let time = Timestamp(u64::from(word(0)) | u64::from(word(4)) << 32);
        let input = u16::from_le_bytes([head[20], head[21]]);
        Some((Waiting { input, interface: word(8), time, content }, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_back_as_it_was() {
        let marks = [
            Mark::Untracked,
            Mark::Conversation { id: 7, from_first: true },
            Mark::Conversation { id: 8, from_first: false },
            Mark::Quote { id: 9, from_first: true },
            Mark::Quote { id: 9, from_first: false },
            Mark::Fragment { group: 10 },
        ];
        let packets = marks.map(|mark| Content::Packet { original_len: 1514, mark });
        for content in packets.into_iter().chain([Content::Block { block_type: 5 }]) {
            let waiting = Waiting { input: 3, interface: 4, time: Timestamp(0x0102_0304_0506_0708), content };
            assert_eq!(
                Waiting::decode(&[&waiting.encode(), &b"options"[..]].concat()),
                Some((waiting, &b"options"[..]))
            );
        }
    }
}

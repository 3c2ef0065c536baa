//! The second pass over files: every packet again, in the same order, and written as the first pass found it has to be.

use std::io;

use super::hold::Failed;
use super::numbers::Numbers;
use super::spools::Entry;
use super::surveyed::{self, Surveyed};
use crate::audit::Findings;
use crate::capture::{BlockRecord, Described};
use crate::flow::{Part, Written};
use crate::output::{Change, Finished, Frame, Output};
use crate::packet::View;
use crate::report::{Report, Summary};
use crate::store::Reader;

/// What was surveyed, and where it goes.
pub(super) struct Replay {
    surveyed: Surveyed,
    output: Output,
    report: Option<Report>,
    reader: Reader,
    /// Of each leg: whether its comment was written.
    commented: Vec<bool>,
    /// Of each conversation: frame and interface of the first packet written; 0 if none was. Only for the report.
    first: Vec<(u64, u32)>,
}

impl Replay {
    /// Nothing written yet.
    pub fn new(surveyed: Surveyed, output: Output, report: Option<Report>) -> Replay {
        let commented = vec![false; surveyed.legs.len()];
        Replay { surveyed, output, report, reader: Reader::default(), commented, first: Vec::new() }
    }

    /// Whose the next packet is; none if it is not the one that the first pass saw.
    pub fn advance(&mut self, frame: &Frame<'_>) -> Result<Option<Entry>, Failed> {
        self.surveyed.plan.advance(frame).map_err(Failed::Queue)
    }

    /// Whether all packets that the first pass saw were there.
    pub fn is_at_end(&mut self) -> Result<bool, Failed> {
        self.surveyed.plan.is_at_end().map_err(Failed::Queue)
    }

    /// Whether a packet of an input is written: if it is not another's copy.
    pub fn is_written(&mut self, entry: Entry, input: u16) -> bool {
        let written = surveyed::is_written(entry, input, &self.surveyed.kept);
        let summary = &mut self.surveyed.summary;
        match (entry, written) {
            // It was counted as one.
            (Entry::Copy { .. }, true) => summary.duplicates -= 1,
            (Entry::Packet { .. }, false) => summary.duplicates += 1,
            _ => {}
        }
        written
    }

    /// Writes a packet that is no duplicate.
    pub fn packet(
        &mut self,
        capture: &Described,
        frame: &Frame<'_>,
        view: &mut View,
        entry: Entry,
    ) -> Result<(), Failed> {
        let fragments = &self.surveyed.fragments;
        let (conversation, from_first, is_quote) = match entry {
            Entry::Packet { conversation, from_first } => (Some(conversation), Some(from_first), false),
            Entry::Quote { conversation, from_first } => (Some(conversation), Some(from_first), true),
            // Later fragments that wait are those of what the client sent.
            Entry::Fragment { group } => (fragments.get(&group).copied(), None, false),
            Entry::Copy { conversation } => (Some(conversation), None, false),
            Entry::AsCaptured | Entry::Duplicate => (None, None, false),
        };
        let passage = conversation.and_then(|conversation| self.surveyed.passages.get(conversation));
        let to = passage.and_then(|passage| match from_first {
            Some(from_first) => passage.translation(from_first),
            None => passage.to,
        });
        let change = match (to, is_quote) {
            (None, _) => Change::None,
            (Some(to), true) => Change::TranslateQuote(to),
            (Some(to), false) => Change::Translate(to),
        };
        let leg =
            passage.filter(|_| matches!(entry, Entry::Packet { .. } | Entry::Copy { .. })).map(|passage| passage.leg);
        let comment = leg.filter(|&leg| !std::mem::replace(&mut self.commented[leg], true));
        let comment = comment.map(|leg| self.comment(leg)).transpose().map_err(Failed::Queue)?;
        let place = self.output.packet(capture, frame, view, change, comment.as_deref())?;
        if let (Entry::Packet { conversation, .. } | Entry::Copy { conversation }, true) =
            (entry, self.report.is_some())
        {
            let conversation = conversation as usize;
            if self.first.len() <= conversation {
                self.first.resize(conversation + 1, (0, 0));
            }
            if self.first[conversation].0 == 0 {
                self.first[conversation] = (place.frame, place.interface);
            }
        }
        Ok(())
    }

    /// The comment on a leg's first packet.
    fn comment(&mut self, leg: usize) -> io::Result<String> {
        let legs = &self.surveyed.legs;
        let tied = legs.tied(leg, &mut self.reader)?.unwrap_or_default();
        Ok(legs.get(leg, &mut self.reader)?.comment(&tied))
    }

    /// Writes a block that goes with the packets.
    pub fn block(&mut self, capture: &Described, input: u16, block: &BlockRecord, body: &[u8]) -> io::Result<()> {
        self.output.block(capture, input, block.block_type, block.interface, body)
    }

    /// There are no more packets.
    pub fn finish(mut self, captures: &[Described]) -> Result<(Summary, Finished), Failed> {
        if let Some(report) = &mut self.report {
            let mesh = self.surveyed.summary.findings.as_ref().and_then(Findings::mesh);
            let legs = &self.surveyed.legs;
            for number in 0..legs.len() {
                let mut kept = legs.get(number, &mut self.reader).map_err(Failed::Queue)?;
                kept.leg.written = written(&kept.leg.forward, &kept.leg.reply, &self.first, &self.surveyed.streams);
                let tied = legs.tied(number, &mut self.reader).map_err(Failed::Queue)?;
                report.leg(&kept.told(tied.as_ref(), mesh)).map_err(Failed::Report)?;
            }
            // If the report cannot be written, there is to be no output either.
            report.complete().map_err(Failed::Report)?;
        }
        let finished = self.output.finish(captures)?;
        let mut summary = self.surveyed.summary;
        summary.counts = finished.counts;
        if let Some(report) = self.report {
            report.finish().map_err(Failed::Report)?;
        }
        Ok((summary, finished))
    }
}

/// Where the first packet of a leg went: the earlier one of its halves.
fn written(forward: &Part, reply: &Part, first: &[(u64, u32)], streams: &Numbers) -> Option<Written> {
    let place = |part: &Part| first.get(part.number as usize).copied().filter(|(frame, _)| *frame > 0);
    let of = |part: &Part| place(part).map(|place| (place, part.number));
    let ((frame, interface), number) = [of(forward), of(reply)].into_iter().flatten().min()?;
    Some(Written { frame, stream: streams.get(number), interface })
}

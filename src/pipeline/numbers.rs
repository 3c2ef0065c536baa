//! The numbers that Wireshark will give conversations, by the headers that they leave with.

use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;

use super::pages::Pages;
use super::passages::Passages;
use super::spools::{Counted, Headers};
use crate::output::Streams;

/// `tcp.stream` or `udp.stream` of those conversations that anybody asks for.
#[derive(Default)]
pub(super) struct Numbers {
    /// 0 of a conversation that nobody asks for, [`WANTED`] of one whose number is not known, else its number and [`FIRST`].
    numbers: Pages<u32>,
    are_wanted: bool,
}

const WANTED: u32 = 1;
const FIRST: u32 = 2;

impl Numbers {
    /// Asks for the number of a conversation, before it is counted.
    pub fn want(&mut self, conversation: u64) {
        self.are_wanted = true;
        self.numbers.set(conversation as u32, WANTED);
    }

    /// The number of a conversation that was asked for, if it has one.
    pub fn get(&self, conversation: u64) -> Option<u32> {
        self.numbers.get(conversation as u32).checked_sub(FIRST)
    }

    /// Counts conversations by their headers; the first number that one has is its own. `kept` is, of each connection that
    /// was captured twice, the input whose packets are written.
    pub fn count(
        &mut self,
        headers: &mut Headers,
        passages: &Passages,
        kept: &HashMap<u32, u16, RandomState>,
    ) -> io::Result<()> {
        if !self.are_wanted {
            return Ok(());
        }
        let mut streams = Streams::default();
        while let Some(Counted { mut header, owner, input, is_copy }) = headers.advance()? {
            let kept = owner.and_then(|(conversation, _)| kept.get(&conversation));
            if kept.map_or(is_copy, |kept| *kept != input) {
                continue;
            }
            if let Some((conversation, from_first)) = owner
                && let Some(to) = passages.get(conversation).and_then(|passage| passage.translation(from_first))
            {
                (header.source, header.destination) = (to.source, to.destination);
            }
            let number = streams.count(&header).and_then(|number| number.checked_add(FIRST));
            if let (Some((conversation, _)), Some(number), false) = (owner, number, header.is_quoted)
                && self.numbers.get(conversation) == WANTED
            {
                self.numbers.set(conversation, number);
            }
        }
        Ok(())
    }
}

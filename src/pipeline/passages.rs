//! How packets leave, by their conversation: those that get other addresses, and those of legs that bear a comment.

use crate::flow::Translation;

/// How the packets of a conversation leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    client_is_first: bool,
    from_client: Option<Translation>,
    from_server: Option<Translation>,
    /// The leg, as an index into [`Surveyed::legs`](super::survey::Surveyed).
    pub leg: usize,
}

impl Passage {
    /// A way with these changes, if any, for what client and server send.
    pub fn new(
        client_is_first: bool,
        from_client: Option<Translation>,
        from_server: Option<Translation>,
        leg: usize,
    ) -> Passage {
        Passage { client_is_first, from_client, from_server, leg }
    }

    /// The addresses that a packet from one of the ends gets.
    pub fn translation(&self, from_first: bool) -> Option<Translation> {
        if from_first == self.client_is_first { self.from_client } else { self.from_server }
    }

    /// The addresses that what the client sends gets.
    pub fn of_client(&self) -> Option<Translation> {
        self.from_client
    }
}

/// Stands for "none" in [`Passages::places`].
const NONE: u32 = u32::MAX;

/// The passages of conversations, which are looked up for every packet.
#[derive(Default)]
pub(super) struct Passages {
    /// Of each conversation: the place of its passage.
    places: Vec<u32>,
    passages: Vec<Passage>,
}

impl Passages {
    /// The passage of a conversation. Those that have none leave as they were captured.
    #[inline]
    pub fn get(&self, conversation: u32) -> Option<&Passage> {
        self.passages.get(*self.places.get(conversation as usize)? as usize)
    }

    /// Gives a conversation a passage, in place of the one that it has.
    pub fn set(&mut self, conversation: u32, passage: Passage) {
        let conversation = conversation as usize;
        if self.places.len() <= conversation {
            self.places.resize(conversation + 1, NONE);
        }
        match self.passages.get_mut(self.places[conversation] as usize) {
            Some(known) => *known = passage,
            None => {
                self.places[conversation] = self.passages.len() as u32;
                self.passages.push(passage);
            }
        }
    }

    /// Octets in use, or soon to be: vectors double when they grow.
    pub fn memory(&self) -> usize {
        2 * (self.places.len() * size_of::<u32>() + self.passages.len() * size_of::<Passage>())
    }
}

//! The first pass: what inference needs of each TCP conversation, collected while packets go by.

use super::stream::Stream;
use crate::capture::Timestamp;

/// The bounds of what is collected.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: 96 << 20 }
    }
}

/// One direction of a conversation as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Half {
    /// The serial number of the conversation.
    pub conversation: u32,
    /// Which of its two ends sent it; how they are told apart is up to the caller.
    pub from_first: bool,
}

/// What was collected of a conversation: by [`Half::from_first`], no before yes.
type Conversation = Box<[Stream; 2]>;

/// Collects, in the first pass over a capture, what inference needs of each TCP conversation.
///
/// Memory is bounded by [`Limits::memory`]: when it is used up, no conversation is added, and those that are there are
/// known to be cut. What ended before is not affected: a far leg that is there began
/// after its near one.
#[derive(Debug)]
pub struct Observer {
    limits: Limits,
    conversations: Vec<Option<Conversation>>,
    /// Octets in use.
    memory: usize,
    /// Whether the bound was reached.
    full: bool,
    /// When the last segment was captured.
    end: Timestamp,
    nothing: Stream,
}

impl Observer {
    /// Nothing collected yet.
    pub fn new(limits: Limits) -> Observer {
        Observer {
            limits,
            conversations: Vec::new(),
            memory: 0,
            full: false,
            end: Timestamp(0),
            nothing: Stream::default(),
        }
    }

    /// Takes in a segment. `data` is what was captured of its `data_len` octets.
    pub fn segment(&mut self, half: Half, time: Timestamp, seq: u32, flags: u8, data: &[u8], data_len: u32) {
        self.end = self.end.max(time);
        let index = half.conversation as usize;
        if self.full {
            if let Some(Some(conversation)) = self.conversations.get_mut(index) {
                conversation[usize::from(half.from_first)].miss(time, flags);
            }
            return;
        }
        if index >= self.conversations.len() {
            let more =
                (index - self.conversations.len()).saturating_add(1).saturating_mul(size_of::<Option<Conversation>>());
            if self.memory.saturating_add(more) > self.limits.memory {
                return self.full = true;
            }
            self.memory += more;
            self.conversations.resize_with(index + 1, || None);
        }
        let conversation = self.conversations[index].get_or_insert_with(|| {
            self.memory += size_of::<[Stream; 2]>();
            Box::new([Stream::default(), Stream::default()])
        });
        let stream = &mut conversation[usize::from(half.from_first)];
        let before = stream.memory();
        stream.segment(time, seq, flags, data, data_len);
        self.memory = self.memory + stream.memory() - before;
        self.full = self.memory > self.limits.memory;
    }

    /// What was collected of a direction.
    pub(super) fn stream(&self, half: Half) -> &Stream {
        match self.conversations.get(half.conversation as usize) {
            Some(Some(conversation)) => &conversation[usize::from(half.from_first)],
            _ => &self.nothing,
        }
    }

    /// When the last segment was captured.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }
}

//! Pairing, by tables of events and against a model of what nat does.

mod bounds;
mod collisions;
mod model;
mod notation;
mod records;
mod tables;

use std::collections::VecDeque;

use super::*;

/// Feeds events as the pipeline does: what is not decided waits, and everything behind it.
struct Run {
    flows: Flows,
    queue: VecDeque<(usize, Mark, Timestamp)>,
    /// How each packet left, in the order of the events.
    out: Vec<Option<Translation>>,
    legs: Vec<Leg>,
    look_ahead: Option<u64>,
}

impl Run {
    fn new(limits: Limits, look_ahead: Option<u64>) -> Run {
        let flows = Flows::new(Model::usual(), limits);
        Run { flows, queue: VecDeque::new(), out: Vec::new(), legs: Vec::new(), look_ahead }
    }

    fn packet(&mut self, segment: &Segment) -> Mark {
        let mark = self.flows.observe(segment);
        self.enqueue(mark, segment.time);
        mark
    }

    fn enqueue(&mut self, mark: Mark, time: Timestamp) {
        self.queue.push_back((self.out.len(), mark, time));
        self.out.push(None);
        self.release(time);
    }

    fn release(&mut self, now: Timestamp) {
        while let Some(&(number, mark, time)) = self.queue.front() {
            if !self.flows.is_decided(mark) {
                let late = self.look_ahead.is_some_and(|ahead| now.0.saturating_sub(time.0) > ahead);
                match (self.flows.is_crowded(), late) {
                    (true, _) => self.flows.give_up(mark, Reason::Evicted),
                    (false, true) => self.flows.give_up(mark, Reason::LookAhead),
                    (false, false) => break,
                }
            }
            self.out[number] = self.flows.translation(mark);
            let frame = number as u64 + 1;
            self.flows.written(mark, Written { frame, stream: None, interface: 0 });
            self.queue.pop_front();
        }
        self.legs.extend(self.flows.retired());
    }

    fn finish(&mut self) {
        self.flows.finish();
        self.release(Timestamp(0));
        assert!(self.queue.is_empty(), "after the last packet everything is decided");
        while self.flows.retire_more() {
            self.legs.extend(self.flows.retired());
        }
    }
}

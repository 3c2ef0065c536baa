//! Arbitrary events through pairing with small limits: the tables keep to them, what is decided stays decided, and the
//! legs account for every packet.
#![no_main]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use meshpcap::capture::{LinkType, Timestamp};
use meshpcap::flow::{Content, Flows, Limits, Mark, Place, Reason, Segment, Translation, Written};
use meshpcap::nat::{Model, Protocol};
use meshpcap::packet::{Origin, decode};

const LIMITS: Limits = Limits { legs: 16, over: 8, ended: 4, pending: 8 };

const ENDS: [&str; 12] = [
    "10.0.0.1:1000",
    "10.0.0.1:1001",
    "10.0.0.1:1002",
    "10.0.0.1:1003",
    "127.0.0.1:15001",
    "127.0.0.1:15053",
    "127.0.0.1:15006",
    "127.0.0.6:99",
    "10.96.0.10:80",
    "10.96.0.20:53",
    "[fd00::1]:1000",
    "[::1]:15001",
];

#[derive(Arbitrary, Debug)]
struct Event {
    ends: (u8, u8),
    step: Step,
    wire: bool,
    what: What,
}

#[derive(Arbitrary, Debug)]
enum Step {
    None,
    Short(u16),
    Long(u8),
    Back(u8),
}

#[derive(Arbitrary, Debug)]
enum What {
    /// Few numbers, so that they meet.
    Tcp {
        seq: u8,
        ack: u8,
        flags: u8,
        timestamps: Option<(u8, u8)>,
        data: u8,
    },
    AnyTcp {
        seq: u32,
        ack: u32,
        flags: u8,
        timestamps: Option<(u32, u32)>,
    },
    Dns {
        id: bool,
        question: bool,
        response: bool,
    },
    Opaque {
        udp: bool,
    },
    FirstFragment {
        id: u8,
    },
    LaterFragment {
        id: u8,
    },
    IcmpError {
        udp: bool,
    },
    GiveUp,
}

struct Run {
    flows: Flows,
    queue: VecDeque<(Mark, u64)>,
    /// What was decided for a packet that waits.
    decided: HashMap<u64, Option<Translation>>,
    number: u64,
    segments: u64,
    counted: u64,
}

impl Run {
    fn release(&mut self) {
        for &(mark, number) in &self.queue {
            if self.flows.is_decided(mark) {
                let translation = self.flows.translation(mark);
                let first = *self.decided.entry(number).or_insert(translation);
                assert_eq!(first, translation, "what is decided stays decided");
            } else {
                assert!(!self.decided.contains_key(&number), "what is decided stays decided: {mark:?} {number}");
            }
        }
        while let Some(&(mark, number)) = self.queue.front() {
            if !self.flows.is_decided(mark) {
                if !self.flows.is_crowded() {
                    break;
                }
                self.give_up(mark, Reason::Evicted);
            }
            let leg = self.flows.comment(mark);
            assert!(leg.is_none() || matches!(mark, Mark::Conversation { .. }));
            self.flows.written(mark, Written { frame: number, stream: None, interface: 0 });
            self.decided.remove(&number);
            self.queue.pop_front();
        }
        self.count();
        let remembered = self.flows.remembered();
        assert!(remembered.waiting <= LIMITS.pending + 1, "{remembered:?}");
        assert!(remembered.conversations <= LIMITS.legs * 2 + LIMITS.legs / 8 + 2, "{remembered:?}");
        assert!(remembered.deadlines <= 6 * (LIMITS.pending + 1) + 65, "{remembered:?}");
        assert!(remembered.queries <= 65_536 && remembered.fragments <= 4097, "{remembered:?}");
    }

    fn give_up(&mut self, mark: Mark, reason: Reason) {
        self.flows.give_up(mark, reason);
        assert!(self.flows.is_decided(mark), "given up is decided");
        assert_eq!(self.flows.translation(mark), None);
    }

    fn count(&mut self) {
        self.counted += self.flows.retired().map(|leg| leg.from_client.packets + leg.from_server.packets).sum::<u64>();
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let flows = Flows::new(Model::usual(), LIMITS);
    let (queue, decided) = (VecDeque::new(), HashMap::new());
    let mut run = Run { flows, queue, decided, number: 0, segments: 0, counted: 0 };
    let mut now = 1_u64 << 40;
    while !input.is_empty() {
        let Ok(event) = Event::arbitrary(&mut input) else { break };
        now = match event.step {
            Step::None => now,
            Step::Short(microseconds) => now + u64::from(microseconds) * 1000,
            Step::Long(seconds) => now + u64::from(seconds) * 1_000_000_000,
            Step::Back(milliseconds) => now - u64::from(milliseconds) * 1_000_000,
        };
        step(&mut run, &event, Timestamp(now));
    }
    run.flows.finish();
    assert!(run.queue.iter().all(|&(mark, _)| run.flows.is_decided(mark)), "in the end all is decided");
    run.release();
    assert!(run.queue.is_empty());
    while run.flows.retire_more() {}
    run.count();
    assert_eq!(run.counted, run.segments, "the legs account for every packet");
    assert_eq!((run.flows.remembered().conversations, run.flows.remembered().waiting), (0, 0));
});

fn step(run: &mut Run, event: &Event, time: Timestamp) {
    let end = |index: u8| -> SocketAddr {
        ENDS[usize::from(index) % ENDS.len()].parse().expect("an address of the target's own")
    };
    let (source, mut destination) = (end(event.ends.0), end(event.ends.1));
    if source.is_ipv4() != destination.is_ipv4() {
        destination = source;
    }
    let origin = if event.wire { Origin::Network } else { Origin::Loopback };
    let number = |n: u8| if n < 8 { u32::from(n) } else { u32::from(n) << 24 };
    let mut data_len = 0;
    let (protocol, content) = match event.what {
        What::Tcp { seq, ack, flags, timestamps, data } => {
            data_len = u32::from(data & 3);
            let timestamps = timestamps.map(|(val, ecr)| (u32::from(val & 3), u32::from(ecr & 3)));
            (Protocol::Tcp, Content::Tcp { seq: number(seq), ack: number(ack), flags, timestamps })
        }
        What::AnyTcp { seq, ack, flags, timestamps } => (Protocol::Tcp, Content::Tcp { seq, ack, flags, timestamps }),
        What::Dns { id, question, response } => {
            (Protocol::Udp, Content::Dns { id: id.into(), question: question.into(), response })
        }
        What::Opaque { udp: false } => (Protocol::Tcp, Content::Opaque),
        What::Opaque { udp: true } | What::FirstFragment { .. } => (Protocol::Udp, Content::Opaque),
        What::LaterFragment { id } => return other(run, &frame(source, destination, id, Some(64), 17), origin, time),
        What::IcmpError { udp } => {
            let quoted = frame(source, destination, 0, None, if udp { 17 } else { 6 });
            let mut message = vec![3, 1, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(&quoted);
            let mut error = frame(end(8), end(0), 0, None, 1);
            error.truncate(20);
            error.extend_from_slice(&message);
            let len = error.len() as u16;
            error[2..4].copy_from_slice(&len.to_be_bytes());
            return other(run, &error, origin, time);
        }
        What::GiveUp => {
            if let Some(&(mark, _)) = run.queue.front()
                && !run.flows.is_decided(mark)
            {
                run.give_up(mark, Reason::LookAhead);
            }
            return run.release();
        }
    };
    run.number += 1;
    run.segments += 1;
    let place = Place { input: 0, frame: run.number };
    let segment = Segment { protocol, source, destination, origin, time, place, data_len, content };
    let mark = run.flows.observe(&segment);
    if let What::FirstFragment { id } = event.what {
        let frame = frame(source, destination, id, Some(0), 17);
        run.flows.observe_first_fragment(&decode(LinkType::RAW, &frame, frame.len()), mark, time);
    }
    run.queue.push_back((mark, run.number));
    run.release();
}

/// A packet without ports of its own.
fn other(run: &mut Run, frame: &[u8], origin: Origin, time: Timestamp) {
    let mark = run.flows.observe_other(&decode(LinkType::RAW, frame, frame.len()), frame, origin, time);
    run.number += 1;
    run.queue.push_back((mark, run.number));
    run.release();
}

/// A raw IPv4 packet of these ends (of IPv6 ones, between two of IPv4), perhaps a fragment at this offset.
fn frame(source: SocketAddr, destination: SocketAddr, id: u8, fragment: Option<u16>, protocol: u8) -> Vec<u8> {
    let octets = |end: SocketAddr| match end {
        SocketAddr::V4(end) => end.ip().octets(),
        SocketAddr::V6(_) => [10, 0, 0, 9],
    };
    let mut frame = vec![0x45, 0, 0, 40, 0, id & 3, 0, 0, 64, protocol, 0, 0];
    if let Some(offset) = fragment {
        // More Fragments.
        frame[6..8].copy_from_slice(&(0x2000 | (offset >> 3)).to_be_bytes());
    }
    frame.extend_from_slice(&octets(source));
    frame.extend_from_slice(&octets(destination));
    frame.extend_from_slice(&source.port().to_be_bytes());
    frame.extend_from_slice(&destination.port().to_be_bytes());
    frame.resize(40, 0);
    frame
}

//! Legs by what is looked at of all of them; and legs read whole, where some are compared.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::observer::Observed;
use super::shape::Shape;
use super::stream::Moment;
use super::{Stage, TcpLeg, bytes, http};
use crate::capture::Timestamp;
use crate::store::{Put, Reader, put_from};

/// Octets of legs that stay on a [`Shelf`], about.
const KEPT: usize = 2 << 20;

/// A leg, and what tells with which others it has to be compared.
pub struct Side<'a> {
    pub leg: &'a TcpLeg,
    /// When its SYN was captured.
    pub syn: Moment,
    /// When the first and the last segment was captured, either way.
    pub first: Moment,
    pub last: Moment,
    /// When a proxy could first connect onwards.
    pub can_open: Moment,
    /// When it was answered, so that a far leg was opened before.
    pub answered: Moment,
    /// The octets of each reading: see [`Side::totals`].
    totals: Box<[u8]>,
    /// How many units it has.
    pub len: u32,
    /// Whether the octets may differ from what the other side of the proxy has.
    pub is_loose: bool,
    /// Whether either direction ended.
    pub has_ended: bool,
    pub is_tls: bool,
    pub is_http: bool,
    pub is_http2: bool,
}

impl<'a> Side<'a> {
    fn new(stage: Stage, leg: &'a TcpLeg, shape: &Shape, end: Timestamp) -> Side<'a> {
        let (mut totals, mut last) = (Vec::new(), (0, 0));
        for (up, down) in shape.readings().map(|reading| reading.total) {
            put_from(&mut totals, last.0, up);
            put_from(&mut totals, last.1, down);
            last = (up, down);
        }
        let seen = || [shape.up.seen(), shape.down.seen()].into_iter().flatten();
        Side {
            leg,
            syn: shape.up.syn().into(),
            first: seen().map(|(first, _)| first).min().into(),
            last: seen().map(|(_, last)| last).max().into(),
            can_open: bytes::can_open(stage, shape).into(),
            answered: bytes::answered(stage, shape).into(),
            totals: totals.into_boxed_slice(),
            len: shape.len() as u32,
            is_loose: bytes::is_loose(shape, end),
            has_ended: shape.up.ended().is_some() || shape.down.ended().is_some(),
            is_tls: shape.tls.is_some(),
            is_http: http::is_http(shape),
            is_http2: http::is_http2(shape),
        }
    }
}

impl Side<'_> {
    /// The octets of each reading, either way.
    pub fn totals(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mut put, mut last) = (Put(&self.totals), (0, 0));
        std::iter::from_fn(move || {
            let is_there = !put.0.is_empty();
            last = (put.take_from(last.0), put.take_from(last.1));
            is_there.then_some(last)
        })
    }
}

/// Legs that were read, the last ones of them to be looked at again.
pub struct Shelf<'a> {
    observed: &'a Observed,
    reader: Reader,
    shapes: HashMap<u32, Rc<Shape>, RandomState>,
    /// Octets in use by them, about.
    memory: usize,
}

impl<'a> Shelf<'a> {
    pub fn new(observed: &'a Observed) -> Shelf<'a> {
        Shelf { observed, reader: Reader::default(), shapes: HashMap::default(), memory: 0 }
    }

    /// Looks at legs, one after the other.
    pub fn sides<'b>(&mut self, stage: Stage, legs: &'b [TcpLeg]) -> io::Result<Vec<Side<'b>>> {
        legs.iter().map(|leg| Ok(Side::new(stage, leg, &self.read(leg)?, self.observed.end()))).collect()
    }

    /// Reads a leg.
    pub fn read(&mut self, leg: &TcpLeg) -> io::Result<Shape> {
        let [up, down] = self.observed.streams([leg.from_client, leg.from_server], &mut self.reader)?;
        Ok(Shape::new(up, down))
    }

    /// Reads a leg that is looked at more than once.
    pub fn shape(&mut self, leg: &TcpLeg) -> io::Result<Rc<Shape>> {
        if let Some(known) = self.shapes.get(&leg.id) {
            return Ok(Rc::clone(known));
        }
        let shape = Rc::new(self.read(leg)?);
        if self.memory > KEPT {
            self.shapes.clear();
            self.memory = 0;
        }
        self.memory += shape.memory();
        self.shapes.insert(leg.id, Rc::clone(&shape));
        Ok(shape)
    }
}

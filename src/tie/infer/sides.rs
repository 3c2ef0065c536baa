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

/// The legs on one side of a proxy.
pub struct Sides<'a> {
    pub sides: Vec<Side<'a>>,
    /// The octets of all readings of all of them.
    totals: Vec<u8>,
    /// When the first segment of all was captured.
    pub first: Option<Timestamp>,
}

/// A leg, and what tells with which others it has to be compared.
pub struct Side<'a> {
    pub leg: &'a TcpLeg,
    /// Of a near leg: when a proxy could first connect onwards. Of a far one: when its SYN was captured.
    pub opened: Moment,
    /// Of a near leg: when it was answered, so that a far leg was opened before.
    pub answered: Moment,
    /// Where its totals begin.
    totals: u32,
    /// How many units it has.
    pub len: u32,
    /// Whether the octets may differ from what the other side of the proxy has.
    pub is_loose: bool,
    pub is_tls: bool,
    pub is_http: bool,
    pub is_http2: bool,
}

impl<'a> Sides<'a> {
    fn push(&mut self, stage: Stage, is_near: bool, leg: &'a TcpLeg, shape: &Shape, end: Timestamp) {
        let opened = if is_near { bytes::can_open(stage, shape) } else { shape.up.syn() };
        let answered = if is_near { bytes::answered(stage, shape) } else { None };
        self.sides.push(Side {
            leg,
            opened: opened.into(),
            answered: answered.into(),
            totals: self.totals.len() as u32,
            len: shape.len() as u32,
            is_loose: bytes::is_loose(shape, end),
            is_tls: shape.tls.is_some(),
            is_http: http::is_http(shape),
            is_http2: http::is_http2(shape),
        });
        let mut last = (0, 0);
        for (up, down) in shape.readings().map(|reading| reading.total) {
            put_from(&mut self.totals, last.0, up);
            put_from(&mut self.totals, last.1, down);
            last = (up, down);
        }
        self.first = shape.seen().map(|(first, _)| first).into_iter().chain(self.first).min();
    }

    /// The octets of each reading of a leg, either way.
    pub fn totals(&self, index: usize) -> impl Iterator<Item = (u64, u64)> {
        let begin = |index: usize| self.sides.get(index).map_or(self.totals.len(), |side| side.totals as usize);
        let (mut put, mut last) = (Put(&self.totals[begin(index)..begin(index + 1)]), (0, 0));
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
    pub fn sides<'b>(&mut self, stage: Stage, is_near: bool, legs: &'b [TcpLeg]) -> io::Result<Sides<'b>> {
        let mut sides = Sides { sides: Vec::with_capacity(legs.len()), totals: Vec::new(), first: None };
        for leg in legs {
            sides.push(stage, is_near, leg, &self.read(leg)?, self.observed.end());
        }
        Ok(sides)
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

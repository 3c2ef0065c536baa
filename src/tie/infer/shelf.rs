//! Legs that are read, and those of them that stay, since they are compared with more than one other.

use std::io;

use super::TcpLeg;
use super::observed::Observed;
use super::shape::Shape;
use crate::capture::Timestamp;
use crate::store::Reader;

/// Octets of legs that stay, about.
const KEPT: usize = 2 << 20;

/// Legs that stay at most: where each is compared with few others, and where it is with many.
const FEW: usize = 64;
const MANY: usize = 2048;

/// What observed legs are read with. All that is read goes where something else was before: nothing is allocated for it.
pub struct Shelf<'a> {
    observed: &'a Observed,
    reader: Reader,
    /// A leg that does not stay, and whose it is.
    last: Slot,
    /// Legs that stay, each where its number, divided by how many there are, leaves it.
    kept: Vec<Slot>,
    /// Octets in use by them.
    memory: usize,
}

/// Room for a leg.
#[derive(Default)]
struct Slot {
    /// [`TcpLeg::id`], if one is there.
    id: Option<u32>,
    shape: Shape,
}

impl Slot {
    fn read(&mut self, leg: &TcpLeg, observed: &Observed, reader: &mut Reader) -> io::Result<()> {
        self.id = None;
        observed.read([leg.from_client, leg.from_server], reader, &mut self.shape)?;
        self.shape.look();
        self.id = Some(leg.id);
        Ok(())
    }
}

impl<'a> Shelf<'a> {
    pub fn new(observed: &'a Observed) -> Shelf<'a> {
        Shelf { observed, reader: Reader::default(), last: Slot::default(), kept: Vec::new(), memory: 0 }
    }

    /// When the last segment of all was captured.
    pub fn end(&self) -> Timestamp {
        self.observed.end()
    }

    /// Reads a leg.
    pub fn read(&mut self, leg: &TcpLeg) -> io::Result<&Shape> {
        self.last.read(leg, self.observed, &mut self.reader)?;
        Ok(&self.last.shape)
    }

    /// Makes room for legs that are compared, each with so many others.
    pub fn expect(&mut self, others: usize) {
        let wanted = if others > 2 { MANY } else { FEW };
        if self.kept.len() < wanted {
            self.kept.clear();
            self.kept.resize_with(wanted, Slot::default);
            self.memory = 0;
        }
    }

    /// Reads two legs that are compared. The second one of a call is at hand in the next one, the
    /// first one in many later ones.
    pub fn pair(&mut self, first: &TcpLeg, second: &TcpLeg) -> io::Result<[&Shape; 2]> {
        if self.last.id != Some(second.id) {
            self.last.read(second, self.observed, &mut self.reader)?;
        }
        if self.memory > KEPT {
            self.kept.fill_with(Slot::default);
            self.memory = 0;
        }
        if self.kept.is_empty() {
            self.expect(0);
        }
        let place = first.id as usize % self.kept.len();
        let slot = &mut self.kept[place];
        if slot.id != Some(first.id) {
            let before = slot.shape.memory();
            slot.read(first, self.observed, &mut self.reader)?;
            self.memory = (self.memory + slot.shape.memory()).saturating_sub(before);
        }
        Ok([&slot.shape, &self.last.shape])
    }
}

//! The legs of a survey, put away until they are tied, commented on and reported: each in as few octets as it needs.

mod octets;

use std::io;
use std::net::SocketAddr;

use octets::{put_kept, put_tied, take_kept, take_outline, take_parts, take_tied};

use super::kept::Kept;
use crate::flow::Part;
use crate::nat::{Protocol, Role};
use crate::store::{self, Put, Reader, Store};
use crate::tie::Tied;

/// Legs in the order in which they were completed; in that of their first packets, once they are sorted.
#[derive(Default)]
pub(super) struct Legs {
    store: Store,
    places: Vec<store::Place>,
    /// Of each, until they are sorted, the conversation that it began with.
    begins: Vec<u32>,
    /// Of each, where it is put away what is known of its call.
    tied: Vec<Option<store::Place>>,
    octets: Vec<u8>,
}

impl Legs {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a leg.
    pub fn push(&mut self, kept: &Kept) -> io::Result<()> {
        self.octets.clear();
        put_kept(kept, &mut self.octets);
        self.places.push(self.store.push(&self.octets)?);
        self.begins.push(kept.leg.forward.number.min(kept.leg.reply.number) as u32);
        Ok(())
    }

    /// Puts all that there will be in the order of their first packets: the place of each then; none if they stay.
    pub fn sort(&mut self) -> Option<Vec<u32>> {
        let begins = std::mem::take(&mut self.begins);
        if begins.is_sorted() {
            return None;
        }
        let mut order: Vec<(u32, u32)> = begins.into_iter().zip(0..).collect();
        order.sort_unstable();
        let mut places = vec![0; order.len()];
        for (&(_, old), new) in order.iter().zip(0..) {
            places[old as usize] = new;
        }
        self.places = order.into_iter().map(|(_, old)| self.places[old as usize]).collect();
        Some(places)
    }

    /// Changes a leg.
    pub fn set(&mut self, number: usize, kept: &Kept) -> io::Result<()> {
        self.octets.clear();
        put_kept(kept, &mut self.octets);
        self.places[number] = self.store.push(&self.octets)?;
        Ok(())
    }

    /// Reads a leg.
    pub fn get(&self, number: usize, reader: &mut Reader) -> io::Result<Kept> {
        Ok(take_kept(&mut Put(reader.read(&self.store, self.places[number])?)))
    }

    /// Reads which conversations a leg is: of a repaired one its forward half, and the reply half.
    pub fn parts(&self, number: usize, reader: &mut Reader) -> io::Result<[Part; 2]> {
        Ok(take_parts(&mut Put(reader.read(&self.store, self.places[number])?)).1)
    }

    /// Reads what a leg is, and between whom.
    pub fn outline(&self, number: usize, reader: &mut Reader) -> io::Result<Outline> {
        Ok(take_outline(&mut Put(reader.read(&self.store, self.places[number])?)).1)
    }

    /// Reads them all.
    pub fn iter(&self) -> impl Iterator<Item = io::Result<Kept>> {
        let mut reader = Reader::in_order();
        (0..self.len()).map(move |number| self.get(number, &mut reader))
    }

    /// What is known of a leg's call, if anything.
    pub fn tied(&self, number: usize, reader: &mut Reader) -> io::Result<Option<Tied>> {
        let Some(place) = self.tied.get(number).copied().flatten() else { return Ok(None) };
        Ok(Some(take_tied(&mut Put(reader.read(&self.store, place)?))))
    }

    /// Notes what is known of a leg's call.
    pub fn set_tied(&mut self, number: usize, tied: &Tied) -> io::Result<()> {
        if self.tied.len() <= number {
            self.tied.resize(self.len().max(number + 1), None);
        }
        self.octets.clear();
        put_tied(tied, &mut self.octets);
        self.tied[number] = Some(self.store.push(&self.octets)?);
        Ok(())
    }
}

/// What of a leg is read without the rest: it is put away before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub protocol: Protocol,
    pub role: Role,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub client_is_local: bool,
    pub server_is_local: bool,
    /// Of a repaired leg its forward half, and the reply half.
    pub parts: [Part; 2],
}

#[cfg(test)]
mod tests {
    use super::octets::REASONS;
    use super::*;
    use crate::audit::{Agreement, Contradiction};
    use crate::capture::Timestamp;
    use crate::flow::{Direction, Evidence, Leg, Outcome, Place};
    use crate::tie;
    use crate::tie::infer::Span;

    fn leg(client: &str, server: &str, outcome: Outcome, number: u64) -> Leg {
        let end = |text: &str| text.parse().expect("an address and a port");
        let is = |bit: u64| number & bit != 0;
        let direction = |bytes| Direction { packets: number * 100, bytes, syn: is(1), fin: is(2), rst: is(4) };
        Leg {
            protocol: if is(1) { Protocol::Udp } else { Protocol::Tcp },
            role: Role::ALL[number as usize % Role::ALL.len()],
            client: end(client),
            server: end(server),
            client_known: is(2),
            client_is_local: is(4),
            server_is_local: is(1),
            unasked: is(2),
            outcome,
            from_client: direction(u64::MAX),
            from_server: direction(0),
            first: Place { input: 3, frame: number },
            first_time: Timestamp(1_700_000_000_000_000_000 + number),
            last_time: Timestamp(u64::MAX),
            last_request: Timestamp(0),
            written: None,
            forward: Part { number: number + 1, client_is_first: is(4) },
            reply: Part { number, client_is_first: is(1) },
        }
    }

    #[test]
    fn legs_come_back_as_they_were() {
        let (here, there) = (Place { input: 0, frame: 1 }, Place { input: u16::MAX, frame: 1 << 40 });
        let all = [
            Evidence::Handshake { syn: here, answer: there, refused: false },
            Evidence::Handshake { syn: here, answer: there, refused: true },
            Evidence::Sequence { forward: there, reply: here, echo: false },
            Evidence::Sequence { forward: there, reply: here, echo: true },
            Evidence::Dns { query: here, reply: there },
            Evidence::Conntrack { forward: here, listing: 7, line: 1 << 33 },
        ];
        let end = |text: &str| -> SocketAddr { text.parse().expect("an address and a port") };
        let repaired =
            |evidence| Outcome::Repaired { source: end("[fd00::1]:1"), destination: end("1.2.3.4:5"), evidence };
        let outcomes = all.map(repaired).into_iter().chain(REASONS.map(Outcome::Left)).chain([Outcome::Whole]);
        let told = |is_certain| Contradiction { packets: "packets\u{a0}".to_owned(), rules: String::new(), is_certain };
        let agreements = [
            None,
            Some(Agreement::Agrees),
            Some(Agreement::Undecided),
            Some(Agreement::Contradicts(told(true))),
            Some(Agreement::Bypasses(told(false))),
        ];
        let mut legs = Legs::default();
        let mut kept = Vec::new();
        for (outcome, number) in outcomes.zip(0..) {
            kept.push(Kept {
                leg: leg("10.0.0.1:65535", "[fd00::2]:0", outcome, number),
                agreement: agreements[number as usize % agreements.len()].clone(),
                captured: (number % 2 == 1).then(|| (end("[::1]:7"), end("127.0.0.1:8"))),
            });
        }
        kept.iter().for_each(|kept| legs.push(kept).expect("there is room"));
        kept.swap(0, 5);
        legs.set(0, &kept[0]).expect("there is room");
        legs.set(5, &kept[5]).expect("there is room");
        let again: Vec<String> = legs.iter().map(|kept| format!("{:?}", kept.expect("it is there"))).collect();
        assert_eq!(again, kept.iter().map(|kept| format!("{kept:?}")).collect::<Vec<_>>());
        let time = |n: u64| Timestamp(1_700_000_000_000_000_000 + n);
        let span = Span { request: (time(5), time(7)), response: (time(6), Timestamp(u64::MAX)) };
        let full = Tied {
            tie: Some((7, Some("tcp.stream in {1}".into()))),
            evidence: Some(tie::Evidence::AccessLog { file: "log".into(), line: 1 << 40 }),
            requests: 300,
            exchanged: 2,
            exchanges: vec![(span, None), (span, Some("an id".to_owned()))],
            clients: vec![end("1.2.3.4:0").ip(), end("[fd00::1]:0").ip()],
            flags: vec!["UF".to_owned(), String::new()],
        };
        let others = [tie::Evidence::Bytes, tie::Evidence::Elimination, tie::Evidence::Exchanges];
        let others = others.map(|evidence| Tied { tie: Some((0, None)), evidence: Some(evidence), ..Tied::default() });
        let all = others.into_iter().chain([full, Tied::default()]);
        let mut reader = Reader::default();
        for (tied, number) in all.zip(3..) {
            legs.set_tied(number, &tied).expect("there is room");
            let again = legs.tied(number, &mut reader).expect("it is there").expect("it was put");
            assert_eq!(format!("{again:?}"), format!("{tied:?}"));
        }
        assert!(legs.tied(2, &mut reader).expect("nothing is wrong").is_none());
    }
}

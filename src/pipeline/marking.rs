//! What pairing is told of a packet: where it stands, and where it was seen.

use foldhash::fast::RandomState;

use crate::capture::Described;
use crate::flow::{Flows, Mark, Place, Segment, Whose};
use crate::output::{Frame, GivenName, given};
use crate::packet::{Origin, View};

/// The conversations, and what stands between them and packets.
pub(crate) struct Marker {
    pub flows: Flows,
    /// Of each capture: which of the user's inputs it is, from 0.
    pub numbers: Vec<u16>,
    /// The names that the user gave interfaces.
    pub names: Vec<GivenName>,
    pub hasher: RandomState,
}

impl Marker {
    /// The conversation of a packet. `number` is its number in its input.
    pub fn mark(&mut self, capture: &Described, frame: &Frame<'_>, number: u64, view: &View) -> Mark {
        let Some(ip) = &view.ip else { return Mark::Untracked };
        let origin = self.origin(capture, frame, view);
        match self.segment(origin, frame, number, view) {
            Some(segment) => {
                let mark = self.flows.observe(&segment);
                if ip.fragment.is_some() {
                    self.flows.observe_first_fragment(view, mark, frame.time);
                }
                mark
            }
            None => self.flows.observe_other(view, frame.bytes, origin, frame.time),
        }
    }

    /// The conversation of a packet, if that is settled and nothing has to be remembered of the packet: what most are. Else it
    /// was not taken in, and [`Marker::mark`] tells.
    #[inline]
    pub fn settled(&mut self, capture: &Described, frame: &Frame<'_>, number: u64, view: &View) -> Option<Whose> {
        let origin = self.origin(capture, frame, view);
        let place = self.place(frame, number);
        self.flows.observe_settled(view, origin, frame.time, place)
    }

    /// The conversation of a packet that another input showed as well, and that is not looked at for itself; and whether the lower
    /// end sent it.
    pub fn known(&self, capture: &Described, frame: &Frame<'_>, view: &View) -> Option<(u64, bool)> {
        let segment = self.segment(self.origin(capture, frame, view), frame, 0, view)?;
        self.flows.known(&segment)
    }

    #[inline]
    fn place(&self, frame: &Frame<'_>, number: u64) -> Place {
        Place { input: self.numbers[usize::from(frame.input)], frame: number }
    }

    #[inline(always)]
    fn origin(&self, capture: &Described, frame: &Frame<'_>, view: &View) -> Origin {
        if self.names.is_empty() && view.link.origin != Origin::Unknown {
            return view.link.origin;
        }
        self.origin_by_name(capture, frame, view)
    }

    fn origin_by_name(&self, capture: &Described, frame: &Frame<'_>, view: &View) -> Origin {
        let given = given(&self.names, frame.input, frame.interface, Some(&view.link));
        let named = capture.interfaces[frame.interface as usize].name.as_deref();
        origin(view.link.origin, given, named)
    }

    #[inline]
    fn segment(&self, origin: Origin, frame: &Frame<'_>, number: u64, view: &View) -> Option<Segment> {
        Segment::from_view(view, frame.bytes, origin, frame.time, self.place(frame, number), &self.hasher)
    }
}

/// Where a packet was seen: on loopback if the user names the interface so, else as the link layer shows, else by the
/// name that the user or the capture gives it.
fn origin(link: Origin, given: Option<&str>, named: Option<&str>) -> Origin {
    let by_name = |name: &str| match name {
        "lo" | "lo0" => Origin::Loopback,
        _ => Origin::Network,
    };
    match (given, link, named) {
        (Some(name @ ("lo" | "lo0")), _, _) | (Some(name), Origin::Unknown, _) => by_name(name),
        (None, Origin::Unknown, Some(name)) if name != "any" => by_name(name),
        _ => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_decides_where_the_link_layer_does_not() {
        use Origin::{Loopback, Network, Unknown};
        assert_eq!(origin(Unknown, None, Some("lo")), Loopback);
        assert_eq!(origin(Unknown, None, Some("eth0")), Network);
        assert_eq!(origin(Unknown, None, Some("any")), Unknown);
        assert_eq!(origin(Network, Some("lo"), Some("eth0")), Loopback);
        assert_eq!(origin(Loopback, None, Some("eth0")), Loopback);
        assert_eq!(origin(Loopback, Some("sidecar"), None), Loopback, "a label is no proof");
        assert_eq!(origin(Unknown, Some("sidecar"), None), Network);
    }
}

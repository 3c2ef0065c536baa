//! Frames of other link types as Ethernet frames.
//!
//! tcpdump reads no file whose interfaces differ in link type. What comes in is a frame with its view; what goes out is an
//! Ethernet II frame with the same payload. Refused is what has no EtherType.

use crate::capture::LinkType;
use crate::packet::{self, Origin, View, array, be16};

/// EtherTypes start here; below are lengths (IEEE 802.3, clause 3.2.6).
const FIRST_ETHERTYPE: u16 = 0x0600;

/// Whether frames of this link type can become Ethernet frames: of all that are read, and are none yet.
pub fn can_be_ethernet(link_type: LinkType) -> bool {
    link_type != LinkType::ETHERNET && packet::is_read(link_type)
}

/// The source where there is none to be had: locally administered (IEEE 802, clause 8.4).
const NO_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 0];

/// Replaces what `out` holds by the frame as an Ethernet II frame: destination zero; source zero for a loopback interface,
/// else that of the cooked header if it has six octets, else 02:00:00:00:00:00; EtherType; VLAN tags and payload as they are.
///
/// The length on the wire changes as the captured length does. False, and `out` is empty, if the frame cannot be one:
/// it has no EtherType, or its link type is one that [`can_be_ethernet`] refuses.
pub fn to_ethernet(view: &View, frame: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some(parts) = split(view, frame) else {
        return false;
    };
    let source = match view.link.origin {
        Origin::Loopback => [0; 6],
        // Two addresses of zero would say loopback.
        _ if parts.source == [0; 6] => NO_ADDRESS,
        _ => parts.source,
    };
    out.reserve(14 + parts.payload.len());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&source);
    out.extend_from_slice(&parts.ethertype.to_be_bytes());
    out.extend_from_slice(parts.payload);
    true
}

struct Parts<'a> {
    source: [u8; 6],
    /// The outermost: a VLAN tag's, if there is one.
    ethertype: u16,
    payload: &'a [u8],
}

fn split<'a>(view: &View, frame: &'a [u8]) -> Option<Parts<'a>> {
    // 0 also where the cooked header's protocol is no EtherType.
    if view.link.ethertype < FIRST_ETHERTYPE || !can_be_ethernet(view.link.link_type) {
        return None;
    }
    let parts = match view.link.link_type {
        LinkType::LINUX_SLL => {
            Parts { source: source(frame, be16(frame, 4)?, 6), ethertype: be16(frame, 14)?, payload: frame.get(16..)? }
        }
        LinkType::LINUX_SLL2 => Parts {
            source: source(frame, u16::from(*frame.get(11)?), 12),
            ethertype: be16(frame, 0)?,
            payload: frame.get(20..)?,
        },
        // No addresses, no tags: the network header is the payload.
        _ => Parts { source: [0; 6], ethertype: view.link.ethertype, payload: frame.get(view.link.network()..)? },
    };
    Some(parts)
}

/// The link-layer address of a cooked header, if it is an Ethernet one.
fn source(frame: &[u8], len: u16, at: usize) -> [u8; 6] {
    match len {
        6 => array(frame, at).unwrap_or_default(),
        _ => [0; 6],
    }
}

//! Whether the packets of real connections leave as they would without a flood.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use meshpcap::capture::{Capture, Record, Source, Timestamp};
use meshpcap::packet::decode;

/// How many packets of two merged captures are the same in time and octets, those of the flood left out.
///
/// Errors: one of them differs.
pub fn same_but_for_flood(quiet: &Path, flooded: &Path) -> io::Result<u64> {
    let [mut quiet, mut flooded] = [Packets::open(quiet)?, Packets::open(flooded)?];
    let mut same = 0;
    loop {
        match (quiet.advance()?, flooded.advance()?) {
            (None, None) => return Ok(same),
            (Some(one), Some(other)) if one == other && quiet.0.bytes() == flooded.0.bytes() => same += 1,
            _ => return Err(io::Error::other(format!("packet {} of the real connections differs", same + 1))),
        }
    }
}

/// The packets of a merged capture that are not of the flood.
struct Packets(Capture);

impl Packets {
    fn open(path: &Path) -> io::Result<Packets> {
        let capture = Capture::open(&Source::Path(path.to_owned()), 0, Arc::default()).map_err(io::Error::other)?;
        Ok(Packets(capture))
    }

    fn advance(&mut self) -> io::Result<Option<Timestamp>> {
        while let Some(record) = self.0.advance().map_err(io::Error::other)? {
            let Record::Packet(packet) = record else { continue };
            let link_type = self.0.described().interfaces[packet.interface as usize].link_type;
            let view = decode(link_type, self.0.bytes(), packet.original_len as usize);
            // RFC 2544: the flood's addresses.
            let is_flood =
                |source| matches!(source, IpAddr::V4(ip) if ip.octets()[0] == 198 && ip.octets()[1] & 254 == 18);
            if !view.ip.is_some_and(|ip| is_flood(ip.source)) {
                return Ok(Some(packet.time));
            }
        }
        Ok(None)
    }
}

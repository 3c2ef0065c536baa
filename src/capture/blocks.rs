//! Blocks that go with the packets: names, secrets, statistics, and what only others understand.
//!
//! In comes the body of a block as the file has it; out goes the body little-endian, times in nanoseconds, fit
//! to be written into a new file. Parts with lengths that cannot be right would make other readers refuse that
//! file: they are left out, and so are options that say of themselves that they may not be copied. Opaque contents (custom blocks, journal entries, unknown types) stay as they are.

use super::block_type::{CUSTOM, CUSTOM_NO_COPY, DECRYPTION_SECRETS, INTERFACE_STATISTICS, JOURNAL, NAME_RESOLUTION};
use super::bytes::{Order, padded};
use super::clock::Clock;
use super::error::Fault;
use super::options::{self, Kind, Options};

/// Whether tshark shows the block as a frame of its own and gives it a number.
pub(super) fn is_numbered(block_type: u32) -> bool {
    // The last three are sysdig's events.
    matches!(block_type, CUSTOM | CUSTOM_NO_COPY | JOURNAL | 0x204 | 0x216 | 0x221)
}

/// Appends the body in its new form; false if it can stay as it is.
///
/// `clock` is that of the interface which statistics are about, if it is described.
pub(super) fn normalise(
    out: &mut Vec<u8>,
    block_type: u32,
    body: &[u8],
    order: Order,
    clock: Option<Clock>,
) -> Result<bool, Fault> {
    let needs = |what: &str, octets: usize| match body.len() {
        len if len < octets => Err(Fault::Corrupt(format!("{what} holds {len} bytes, it needs at least {octets}"))),
        _ => Ok(()),
    };
    match block_type {
        NAME_RESOLUTION => {
            needs("a Name Resolution Block", 4)?;
            names(out, body, order);
        }
        INTERFACE_STATISTICS => {
            needs("an Interface Statistics Block", 12)?;
            statistics(out, body, order, clock);
        }
        DECRYPTION_SECRETS => {
            needs("a Decryption Secrets Block", 8)?;
            secrets(out, body, order);
        }
        CUSTOM | CUSTOM_NO_COPY => {
            needs("a Custom Block", 4)?;
            if order == Order::Little {
                return Ok(false);
            }
            out.extend(order.u32(body, 0).to_le_bytes());
            out.extend(body.get(4..).unwrap_or(&[]));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Section 4.5: records up to an end record, then options.
fn names(out: &mut Vec<u8>, body: &[u8], order: Order) {
    const END: [u8; 4] = [0; 4];
    let mut rest = body;
    loop {
        let record_type = order.u16(rest, 0);
        let len = usize::from(order.u16(rest, 2));
        let (Some(value), Some(after)) = (rest.get(4..4 + len), rest.get(4 + padded(len)..)) else {
            // The end record is missing, or a record does not fit; what would be options are not known to be.
            out.extend(END);
            return;
        };
        rest = after;
        let address = match record_type {
            0 => break,
            // nrb_record_ipv4, nrb_record_ipv6
            1 => 4,
            2 => 16,
            _ => 0,
        };
        if len < address {
            continue;
        }
        let unterminated = address > 0 && len > address && value.last() != Some(&0);
        let Some(new_len) = u16::try_from(len + usize::from(unterminated)).ok() else { continue };
        out.extend(record_type.to_le_bytes());
        out.extend(new_len.to_le_bytes());
        out.extend(value);
        out.extend(unterminated.then_some(0));
        options::pad(out, usize::from(new_len));
    }
    out.extend(END);
    options::append_all(out, Kind::Other, rest, order);
}

/// Section 4.6. Without a clock the interface is not described, and the times are left in its unknown units.
fn statistics(out: &mut Vec<u8>, body: &[u8], order: Order, clock: Option<Clock>) {
    let time = |at: &[u8]| {
        let units = order.high_low(at, 0);
        let nanos = clock.map_or(units, |clock| clock.time(units).0);
        let [high, low] = [(nanos >> 32) as u32, nanos as u32].map(u32::to_le_bytes);
        [high, low].concat()
    };
    out.extend(order.u32(body, 0).to_le_bytes());
    out.extend(time(body.get(4..).unwrap_or(&[])));
    for option in Options::new(body.get(12..).unwrap_or(&[]), order) {
        // isb_starttime, isb_endtime
        if matches!(option.code, 2 | 3) && option.is_sound(Kind::Statistics) {
            let value = &time(option.value);
            options::append(out, Kind::Statistics, options::Opt { value, ..option }, Order::Little);
        } else {
            options::append(out, Kind::Statistics, option, order);
        }
    }
}

/// Section 4.7: type, length, secrets, options.
fn secrets(out: &mut Vec<u8>, body: &[u8], order: Order) {
    let promised = order.u32(body, 4);
    let rest = body.get(8..).unwrap_or(&[]);
    let len = rest.len().min(usize::try_from(promised).unwrap_or(usize::MAX));
    out.extend(order.u32(body, 0).to_le_bytes());
    // At most `promised`, which is a u32.
    out.extend((len as u32).to_le_bytes());
    out.extend(&rest[..len]);
    options::pad(out, len);
    options::append_all(out, Kind::Other, rest.get(padded(len)..).unwrap_or(&[]), order);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(block_type: u32, body: &[u8], order: Order) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let clock = (order.u32(body, 0) == 1).then(|| Clock::new(6, 0));
        normalise(&mut out, block_type, body, order, clock).unwrap().then_some(out)
    }

    #[test]
    fn statistics_times_become_nanoseconds() {
        let big = b"\0\0\0\x01\0\0\0\0\0\0\0\x02\0\x03\0\x08\0\0\0\0\0\0\0\x03\0\x04\0\x08\0\0\0\0\0\0\0\x05";
        let little = b"\x01\0\0\0\0\0\0\0\xd0\x07\0\0\x03\0\x08\0\0\0\0\0\xb8\x0b\0\0\x04\0\x08\0\x05\0\0\0\0\0\0\0";
        assert_eq!(normal(INTERFACE_STATISTICS, big, Order::Big).unwrap(), little);
        // Interface 2 is not described.
        let unknown = b"\x02\0\0\0\x01\0\0\0\x03\0\0\0";
        assert_eq!(normal(INTERFACE_STATISTICS, unknown, Order::Little).unwrap(), unknown);
    }

    #[test]
    fn names_get_their_end_and_their_zero() {
        let big = b"\0\x01\0\x06\x0a\0\0\x01a\0\0\0\0\0\0\0\0\x01\0\x01c\0\0\0\0\0\0\0";
        let little = b"\x01\0\x06\0\x0a\0\0\x01a\0\0\0\0\0\0\0\x01\0\x01\0c\0\0\0";
        assert_eq!(normal(NAME_RESOLUTION, big, Order::Big).unwrap(), little);
        let careless = b"\x01\0\x05\0\x0a\0\0\x01a\0\0\0\x01\0\x02\0xx\0\0\x01\0\xff\0";
        assert_eq!(
            normal(NAME_RESOLUTION, careless, Order::Little).unwrap(),
            b"\x01\0\x06\0\x0a\0\0\x01a\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn secrets_are_clipped_to_the_block() {
        let big = b"TLSK\0\0\0\x05hello\0\0\0\0\x01\0\x01c\0\0\0";
        let little = b"KSLT\x05\0\0\0hello\0\0\0\x01\0\x01\0c\0\0\0";
        assert_eq!(normal(DECRYPTION_SECRETS, big, Order::Big).unwrap(), little);
        let long = b"KSLT\xff\xff\xff\xffhell";
        assert_eq!(normal(DECRYPTION_SECRETS, long, Order::Little).unwrap(), b"KSLT\x04\0\0\0hell");
    }

    #[test]
    fn opaque_blocks() {
        assert_eq!(normal(CUSTOM, b"\0\0\x01\x02opaq", Order::Big).unwrap(), b"\x02\x01\0\0opaq");
        assert_eq!(normal(CUSTOM_NO_COPY, b"\0\0\x01\x02opaq", Order::Little), None);
        assert_eq!(normal(JOURNAL, b"x", Order::Big), None);
        assert_eq!(normal(77, b"x", Order::Big), None);
    }

    #[test]
    fn too_short() {
        for (block_type, len) in
            [(NAME_RESOLUTION, 4), (INTERFACE_STATISTICS, 12), (DECRYPTION_SECRETS, 8), (CUSTOM, 4)]
        {
            let body = vec![0; len - 1];
            assert!(normalise(&mut Vec::new(), block_type, &body, Order::Little, None).is_err());
        }
    }
}

//! pcapng options: walked, checked, and turned little-endian.
//!
//! In come the options of a block as the file has them; out go the same options little-endian, padded with
//! zeros to 4 octets and without `opt_endofopt`. What is not known is copied. A length that cannot be right (for
//! the type, or for the block) would make other readers refuse the whole file, so such an option does not leave
//! here; the block it is in does.

use super::bytes::{Order, padded};

/// `opt_endofopt`.
const END: u16 = 0;
/// `opt_custom` that may not be copied into another file (section 3.5.1), with a text or with octets.
pub(crate) const CUSTOM_NO_COPY: [u16; 2] = [19372, 19373];
/// The octets of code and length before a value.
const HEADER: usize = 4;

/// Which block the options belong to: codes mean something else in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Section,
    Interface,
    Packet,
    Statistics,
    /// Name resolution, secrets: blocks whose own options hold no numbers.
    Other,
}

/// One option as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opt<'a> {
    pub code: u16,
    pub value: &'a [u8],
}

impl Opt<'_> {
    /// Whether the length can be right for the type.
    pub fn is_sound(&self, kind: Kind) -> bool {
        numbers(kind, self).is_some()
    }
}

/// The options of a block up to the end, or to the first that does not fit into the block.
pub(super) struct Options<'a> {
    rest: &'a [u8],
    order: Order,
}

impl<'a> Options<'a> {
    pub fn new(raw: &'a [u8], order: Order) -> Options<'a> {
        Options { rest: raw, order }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Opt<'a>;

    #[inline]
    fn next(&mut self) -> Option<Opt<'a>> {
        let code = self.order.u16(self.rest, 0);
        let len = usize::from(self.order.u16(self.rest, 2));
        // Short of a header, the code reads as 0, which is the end too.
        if code == END {
            return None;
        }
        let value = self.rest.get(HEADER..HEADER + len)?;
        self.rest = self.rest.get(HEADER + padded(len)..)?;
        Some(Opt { code, value })
    }
}

/// How many octets of a packet's little-endian options can be handed out as they are.
#[inline]
pub(super) fn sound_len(raw: &[u8]) -> usize {
    let mut options = Options::new(raw, Order::Little);
    let mut len = 0;
    while options.next().is_some_and(|option| option.is_sound(Kind::Packet)) {
        len = raw.len() - options.rest.len();
    }
    len
}

/// Appends the sound ones of the options.
pub(super) fn append_all(out: &mut Vec<u8>, kind: Kind, raw: &[u8], order: Order) {
    for option in Options::new(raw, order) {
        append(out, kind, option, order);
    }
}

/// Appends an option, little-endian, unless its length cannot be right. One that may not be copied is only handed out
/// where the output stage looks at each option.
pub(super) fn append(out: &mut Vec<u8>, kind: Kind, option: Opt, order: Order) {
    if matches!(kind, Kind::Statistics | Kind::Other) && CUSTOM_NO_COPY.contains(&option.code) {
        return;
    }
    let Some(widths) = numbers(kind, &option) else { return };
    // Values come out of 16-bit lengths; what is built here is 8 octets.
    let Ok(len) = u16::try_from(option.value.len()) else { return };
    out.extend(option.code.to_le_bytes());
    out.extend(len.to_le_bytes());
    let mut at = 0;
    for &width in widths {
        match width {
            4 => out.extend(order.u32(option.value, at).to_le_bytes()),
            8 => out.extend(order.u64(option.value, at).to_le_bytes()),
            _ => out.extend(option.value.get(at..at + width).unwrap_or(&[])),
        }
        at += width;
    }
    out.extend(option.value.get(at..).unwrap_or(&[]));
    pad(out, option.value.len());
}

/// Appends the zeros after a value of `len` octets.
pub(super) fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(&[0; 3][..padded(len) - len]);
}

/// The widths in octets of the numbers that a value starts with; `None` if its length cannot be right.
/// (draft-ietf-opsawg-pcapng, sections 3.5 and 4)
#[inline]
fn numbers(kind: Kind, option: &Opt) -> Option<&'static [usize]> {
    let len = option.value.len();
    let exactly = |expected: usize, widths: &'static [usize]| (len == expected).then_some(widths);
    match (kind, option.code) {
        // opt_custom: a Private Enterprise Number, then what only its owner knows.
        (_, 2988 | 2989 | 19372 | 19373) => (len >= 4).then_some(&[4]),
        // epb_flags, epb_queue
        (Kind::Packet, 2 | 6) => exactly(4, &[4]),
        // epb_dropcount, epb_packetid
        (Kind::Packet, 4 | 5) => exactly(8, &[8]),
        // epb_verdict: those of eBPF TC (1) and XDP (2) are numbers.
        (Kind::Packet, 7) => match option.value.first()? {
            1 | 2 => exactly(9, &[1, 8]),
            _ => Some(&[]),
        },
        // epb_processid_threadid
        (Kind::Packet, 8) => exactly(8, &[4, 4]),
        // if_speed, if_tsoffset, if_txspeed, if_rxspeed
        (Kind::Interface, 8 | 14 | 16 | 17) => exactly(8, &[8]),
        // if_tzone
        (Kind::Interface, 10) => exactly(4, &[4]),
        // if_tsresol, if_fcslen
        (Kind::Interface, 9 | 13) => exactly(1, &[]),
        // if_filter: the first octet says what follows.
        (Kind::Interface, 11) => (len >= 1).then_some(&[]),
        // isb_starttime, isb_endtime: upper and lower half.
        (Kind::Statistics, 2 | 3) => exactly(8, &[4, 4]),
        // The counters of an interface.
        (Kind::Statistics, 4..=8) => exactly(8, &[8]),
        _ => Some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(kind: Kind, raw: &[u8], order: Order) -> Vec<u8> {
        let mut out = Vec::new();
        append_all(&mut out, kind, raw, order);
        out
    }

    #[test]
    fn numbers_are_swapped_text_is_not() {
        let big = b"\0\x01\0\x02hi??\0\x02\0\x04\0\0\0\x01\0\x08\0\x08\0\0\0\x02\0\0\0\x03\0\0\0\0";
        let little = b"\x01\0\x02\0hi\0\0\x02\0\x04\0\x01\0\0\0\x08\0\x08\0\x02\0\0\0\x03\0\0\0";
        assert_eq!(normal(Kind::Packet, big, Order::Big), little);
        assert_eq!(normal(Kind::Packet, little, Order::Little), little);
        assert_eq!(sound_len(little), little.len());
    }

    #[test]
    fn other_numbers() {
        for (kind, big, little) in [
            (
                Kind::Packet,
                &b"\0\x04\0\x08\x01\x02\x03\x04\x05\x06\x07\x08"[..],
                &b"\x04\0\x08\0\x08\x07\x06\x05\x04\x03\x02\x01"[..],
            ),
            (Kind::Packet, b"\0\x07\0\x09\x01\0\0\0\0\0\0\0\x05\0\0\0", b"\x07\0\x09\0\x01\x05\0\0\0\0\0\0\0\0\0\0"),
            (Kind::Packet, b"\0\x07\0\x02\0\x05\0\0", b"\x07\0\x02\0\0\x05\0\0"),
            (Kind::Packet, b"\0\x03\0\x05\x02\x01\x02\x03\x04\0\0\0", b"\x03\0\x05\0\x02\x01\x02\x03\x04\0\0\0"),
            (Kind::Section, b"\x0b\xac\0\x05\0\0\x01\x02x\0\0\0", b"\xac\x0b\x05\0\x02\x01\0\0x\0\0\0"),
            (Kind::Interface, b"\0\x08\0\x08\0\0\0\0\0\0\0\x07", b"\x08\0\x08\0\x07\0\0\0\0\0\0\0"),
            (Kind::Interface, b"\0\x0a\0\x04\0\0\0\x07", b"\x0a\0\x04\0\x07\0\0\0"),
            (Kind::Statistics, b"\0\x02\0\x08\0\0\0\x01\0\0\0\x02", b"\x02\0\x08\0\x01\0\0\0\x02\0\0\0"),
            (Kind::Statistics, b"\0\x05\0\x08\0\0\0\0\0\0\0\x02", b"\x05\0\x08\0\x02\0\0\0\0\0\0\0"),
        ] {
            assert_eq!(normal(kind, big, Order::Big), little);
        }
    }

    #[test]
    fn wrong_lengths() {
        // Does not fit into the block; half a header; a flags word of 2 octets; a custom option without a PEN.
        let good = b"\x01\0\x01\0x\0\0\0";
        for bad in
            [&b"\x01\0\x05\0abcd"[..], b"\x01\0\x05", b"\x02\0\x02\0ab\0\0", b"\xac\x0b\x03\0abc\0", b"\x07\0\0\0"]
        {
            let raw = [&good[..], bad].concat();
            assert_eq!(sound_len(&raw), good.len(), "{bad:?}");
            assert_eq!(normal(Kind::Packet, &raw, Order::Little), good, "{bad:?}");
        }
        // Padding of the last value missing: it is not known what it was meant to be.
        assert_eq!(sound_len(b"\x01\0\x01\0x"), 0);
    }
}

//! Anything at all: never a panic, always an end, and the same whatever the chunks.

use proptest::prelude::*;

use super::*;
use crate::capture::bytes::Order;

/// Reads one byte at a time, with an interrupted system call between every two.
struct Trickle(Cursor<Vec<u8>>, bool);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

fn same(bytes: &[u8]) {
    let whole = read(bytes);
    let trickled = read_from(Trickle(Cursor::new(bytes.to_vec()), false));
    assert_eq!(whole.packets, trickled.packets);
    assert_eq!(whole.blocks, trickled.blocks);
    // What it looks like instead is guessed from whatever arrived first.
    if !matches!(whole.error, Some(Error::NotACapture { .. })) {
        assert_eq!(whole.error(), trickled.error());
    }
}

#[test]
fn one_byte_at_a_time() {
    for order in [Order::Little, Order::Big] {
        same(&build::pcap(order));
        same(&build::pcapng(order));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [Order::Little, Order::Big].into_iter().flat_map(|order| [build::pcap(order), build::pcapng(order)]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0..8_usize) {
        let starts: [&[u8]; 8] = [
            b"", b"\xd4\xc3\xb2\xa1\x02\0\x04\0", b"\xa1\xb2\xcd\x34\0\x02\0\x04", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0",
            b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d\0\x01\0\0",
        ];
        read(&[starts[start], &bytes].concat());
    }

    #[test]
    fn mutated_captures(
        seed in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        same(&bytes);
    }

    #[test]
    fn mutated_blocks(block_type in 0..12_u32, body in prop::collection::vec(0..20_u8, 0..80), big in any::<bool>()) {
        let order = if big { Order::Big } else { Order::Little };
        let file = build::Bytes::new(order).section(&[]).interface(1, 0, &[]).block(block_type, body);
        same(&file.packet(0, 1, 1, b"a", &[]).1);
    }
}

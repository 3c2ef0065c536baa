//! gzip, zstd and lz4: several members, damage, a cut, and what is read ahead in threads.

use std::io::Write;

use super::*;
use crate::capture::bytes::Order;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    // Of a block that is cut nothing can be read; small ones leave something before.
    let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info.content_checksum(true), Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;
const CODERS: [Encode; 3] = [gzip, zstd, lz4];

/// Bytes that do not compress, in a pcap file: the compressed file is about as long.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut data = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let file = build::Bytes::new(Order::Little).pcap_header(0xa1b2_c3d4, (2, 4), 65535, 1);
    (0..1000).fold(file, |file, i| file.record(i, 0, 1000, &(0..1000).map(|_| data()).collect::<Vec<_>>())).1
}

#[test]
fn one_member_or_several() {
    let plain = build::pcapng(Order::Little);
    let packets = read(&plain).packets;
    for encode in CODERS {
        assert_eq!(read(&encode(&plain)).packets, packets);
        let (first, second) = plain.split_at(plain.len() / 2);
        let outcome = read(&[encode(first), encode(second)].concat());
        assert_eq!(outcome.error(), "");
        assert!(outcome.packets == packets);
    }
}

#[test]
fn zeros_after_gzip_are_not_data() {
    let outcome = read(&[gzip(&build::pcap(Order::Little)), vec![0; 100]].concat());
    assert_eq!((outcome.packets.len(), outcome.error()), (100, String::new()));
}

#[test]
fn cut_compressed_data() {
    let plain = noise();
    for encode in CODERS {
        let whole = encode(&plain);
        for len in [whole.len() / 2, whole.len() / 3] {
            let outcome = read(&whole[..len]);
            assert!(outcome.packets.len() > 100, "{}", outcome.packets.len());
            assert!(matches!(outcome.error, Some(Error::CutShort { .. })), "{}", outcome.error());
        }
    }
}

#[test]
fn lz4_cut_between_two_blocks() {
    let plain = noise();
    let whole = lz4(&plain);
    // A header of 7 octets, then blocks that are stored as they are, each with its length before it.
    let outcome = read(&whole[..7 + 2 * (4 + (64 << 10))]);
    assert!(outcome.packets.len() > 100);
    assert!(outcome.error().contains("the lz4 data ends in the middle"), "{}", outcome.error());
}

#[test]
fn damaged_compressed_data() {
    let plain = noise();
    for encode in CODERS {
        let mut whole = encode(&plain);
        let middle = whole.len() / 2;
        whole[middle..middle + 1000].fill(0x55);
        // Where the noise is stored as it is, only a checksum at the end knows.
        assert!(read(&whole).error.is_some_and(|error| error.is_damage()));
    }
}

#[test]
fn compressed_nothing_and_compressed_text() {
    for encode in CODERS {
        assert!(matches!(read(&encode(b"")).error, Some(Error::Empty { .. })));
        assert!(read(&encode(b"hello, world")).error().contains("decompressed with"));
    }
}

#[test]
fn files_are_decompressed_in_threads_whatever_their_name() {
    let directory = tempfile::tempdir().unwrap();
    let plain = noise();
    for (number, encode) in CODERS.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.pcap"));
        std::fs::write(&path, encode(&plain)).unwrap();
        let mut capture = Capture::open(&Source::Path(path), number, Arc::default()).unwrap();
        assert!(!capture.is_stream());
        let mut count = 0;
        while let Some(Record::Packet(_)) = capture.advance().unwrap() {
            count += 1;
        }
        assert_eq!(count, 1000);
        assert_eq!(Some(capture.progress().read()), capture.progress().total);
    }
}

#[test]
fn what_was_decompressed_once_is_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.pcap");
    let open = |unpacked: &Arc<Unpacked>| {
        let input = Input::start(&Source::Path(path.clone()), 0, Arc::default()).unwrap();
        drain(Capture::from_input(input.keeping(unpacked)).unwrap())
    };
    for encode in CODERS {
        let unpacked = Unpacked::new(folder.path().to_owned(), 1);
        std::fs::write(&path, encode(&noise())).unwrap();
        let first = open(&unpacked);
        assert_eq!((first.packets.len(), first.error()), (1000, String::new()));
        // Nobody looks at the file any more.
        std::fs::write(&path, []).unwrap();
        assert!(open(&unpacked).packets == first.packets);
        // What ends in the middle is decompressed once more, and ends there again.
        let unpacked = Unpacked::new(folder.path().to_owned(), 1);
        let whole = encode(&noise());
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let cut = [open(&unpacked), open(&unpacked)];
        assert!(cut.iter().all(|cut| matches!(cut.error, Some(Error::CutShort { .. }))), "{cut:?}");
        assert!(cut[0].packets == cut[1].packets);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "what was kept has no name");
}

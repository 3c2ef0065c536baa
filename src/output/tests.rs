//! Whole captures through the output, and the blocks that come out.

use std::io::Cursor;

use super::*;
use crate::capture::Record;
use crate::packet::decode;
use crate::packet::tests::build;

/// A block of the output: type, the fixed part, the options.
#[derive(Debug)]
struct Block {
    block_type: u32,
    body: Vec<u8>,
    options: Vec<(u16, Vec<u8>)>,
}

impl Block {
    fn values(&self, code: u16) -> Vec<&[u8]> {
        self.options.iter().filter(|(c, _)| *c == code).map(|(_, value)| &value[..]).collect()
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.body[at], self.body[at + 1]])
    }
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;

fn block(block_type: u32, fixed: &[u8], options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = fixed.to_vec();
    for (code, value) in options {
        body.extend(code.to_le_bytes());
        body.extend((value.len() as u16).to_le_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&block_type.to_le_bytes()[..], &len, &body, &len].concat()
}

fn section(options: &[(u16, &[u8])]) -> Vec<u8> {
    block(SECTION, b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", options)
}

fn interface(link_type: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let [low, high] = link_type.to_le_bytes();
    block(INTERFACE, &[low, high, 0, 0, 0, 0, 0, 0], options)
}

fn packet(data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_le_bytes();
    let mut fixed = [&[0; 12][..], &len, &len, data].concat();
    fixed.resize(fixed.len().next_multiple_of(4), 0);
    block(6, &fixed, &[])
}

fn statistics(interface: u32) -> Vec<u8> {
    block(5, &[&interface.to_le_bytes()[..], &[0; 8]].concat(), &[])
}

/// Writes what the captures hold, one after the other.
fn written(captures: &[Vec<u8>], ethernet: bool) -> (Vec<Block>, Vec<LinkType>) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("out.pcapng");
    let open = |bytes: &Vec<u8>| {
        Capture::from_reader("x".to_owned(), Box::new(Cursor::new(bytes.clone()))).expect("a capture")
    };
    let mut captures: Vec<Capture> = captures.iter().map(open).collect();
    let options = Options { ethernet, ..Options::default() };
    let mut output = Output::create(&Destination::Path(path.clone()), options, captures.iter().map(Capture::described))
        .expect("an output");
    for (input, capture) in captures.iter_mut().enumerate() {
        while let Some(record) = capture.advance().expect("a record") {
            let bytes = capture.bytes();
            match record {
                Record::Packet(record) => {
                    let link_type = capture.described().interfaces[record.interface as usize].link_type;
                    let mut view = decode(link_type, bytes, record.original_len as usize);
                    let frame = Frame::new(input as u16, &record, bytes, capture.options());
                    output.packet(capture.described(), &frame, &mut view, Change::None, None).expect("written");
                }
                Record::Block(block) => output
                    .block(capture.described(), input as u16, block.block_type, block.interface, bytes)
                    .expect("written"),
            }
        }
    }
    let described: Vec<_> = captures.iter().map(|capture| capture.described().clone()).collect();
    let link_types = output.finish(&described).expect("finished").link_types;
    (blocks(&std::fs::read(path).expect("the output")), link_types)
}

fn blocks(mut bytes: &[u8]) -> Vec<Block> {
    let mut result = Vec::new();
    while let [t0, t1, t2, t3, l0, l1, l2, l3, ..] = *bytes {
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let block_type = u32::from_le_bytes([t0, t1, t2, t3]);
        let fixed = match block_type {
            SECTION => 24,
            INTERFACE => 16,
            5 => 20,
            _ => len - 4,
        };
        let options = blocks::options(&bytes[fixed..len - 4]).filter(|(code, _)| *code != 0);
        let options = options.map(|(code, value)| (code, value.to_vec())).collect();
        result.push(Block { block_type, body: bytes[8..fixed].to_vec(), options });
        bytes = &bytes[len..];
    }
    result
}

fn interfaces(blocks: &[Block]) -> Vec<&Block> {
    blocks.iter().filter(|block| block.block_type == INTERFACE).collect()
}

fn udp_frame() -> Vec<u8> {
    build::ethernet(0x0800, &build::v4(17, &build::udp(b"x")))
}

/// A name that grew past 65535 octets when it was decoded, or a text with something before it, made the run fail.
#[test]
fn texts_that_grow_too_long() {
    let (bad, long) = (vec![0xff; 65535], vec![b'a'; 65535]);
    let capture = [section(&[(4, &long)]), interface(1, &[(2, &bad)]), packet(&udp_frame())].concat();
    let (blocks, _) = written(&[capture], false);
    let interface = interfaces(&blocks)[0];
    assert_eq!(interface.values(2), [&"\u{fffd}".repeat(21845).into_bytes()[..]]);
    let comment = [&b"captured by "[..], &long[12..]].concat();
    assert_eq!(interface.values(1), [&comment[..]]);
}

#[test]
fn clipped_texts_are_whole_characters() {
    for (text, len) in [("ä", 65534), ("€", 65535), ("😀", 65532), ("a", 65535)] {
        let long = format!("{}{}", text.repeat(65540 / text.len()), "a");
        let clipped = blocks::clipped(long.as_bytes());
        assert_eq!((clipped.len(), str::from_utf8(clipped).is_ok()), (len, true), "{text}");
    }
    assert_eq!(blocks::clipped(&[0x80; 65540]).len(), 65532);
    assert_eq!(blocks::clipped(b"short"), b"short");
}

/// libpcap refuses a file with a second link type, also where no packet has it.
#[test]
fn interfaces_without_packets_have_link_types() {
    let empty = [section(&[]), interface(276, &[])].concat();
    let early = [section(&[]), interface(113, &[]), statistics(0)].concat();
    let ethernet = [section(&[]), interface(1, &[]), packet(&udp_frame())].concat();
    let unknown = [section(&[]), interface(147, &[])].concat();
    let all = [empty, early, ethernet, unknown];
    let link_types = |blocks: &[Block]| interfaces(blocks).iter().map(|block| block.u16(0)).collect::<Vec<_>>();

    let (blocks, told) = written(&all[..3], false);
    assert_eq!(link_types(&blocks), [113, 1, 276]);
    assert_eq!(told, [LinkType::LINUX_SLL, LinkType::ETHERNET, LinkType::LINUX_SLL2]);
    let (blocks, told) = written(&all[..3], true);
    assert_eq!((link_types(&blocks), told), (vec![1, 1, 1], vec![LinkType::ETHERNET]));
    let (blocks, told) = written(&all, true);
    assert_eq!((link_types(&blocks), told), (vec![1, 1, 1, 147], vec![LinkType::ETHERNET, LinkType(147)]));
}

#[test]
fn options_that_stand_once() {
    let options: [(u16, &[u8]); 9] = [
        (2, b"first"),
        (2, b"second"),
        (12, b"os"),
        (12, b"other os"),
        (13, &[4]),
        (13, &[0]),
        (4, &[10, 0, 0, 1, 255, 0, 0, 0]),
        (4, &[10, 0, 0, 2, 255, 0, 0, 0]),
        (2988, b"\x07\0\0\0x"),
    ];
    let (blocks, _) = written(&[[section(&[(3, b"section's os")]), interface(1, &options)].concat()], false);
    let interface = interfaces(&blocks)[0];
    let count = |code| interface.values(code).len();
    assert_eq!(
        (interface.values(2), interface.values(12), interface.values(13)),
        (vec![&b"first"[..]], vec![&b"os"[..]], vec![&[4_u8][..]])
    );
    assert_eq!((count(4), count(2988), count(9)), (2, 1, 1));
}

/// What the link type field of a pcap file says of the frame check sequence stands in an option here.
#[test]
fn frame_check_sequences() {
    let link_type = 1_u32 | 1 << 26 | 2 << 28;
    let header = [&b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0"[..], &link_type.to_le_bytes()].concat();
    let (blocks, _) = written(&[header], false);
    assert_eq!(interfaces(&blocks)[0].values(13), [[4]]);
}

/// The output has one section; comments of the second one were lost.
#[test]
fn comments_of_every_section() {
    let capture =
        [section(&[(1, b"one")]), interface(1, &[]), section(&[(1, b"two"), (2, b"hardware")]), interface(1, &[])]
            .concat();
    let (blocks, _) = written(&[capture], false);
    assert_eq!(blocks[0].values(1), [b"one"]);
    let interfaces = interfaces(&blocks);
    assert_eq!(interfaces[0].values(1), [] as [&[u8]; 0]);
    assert_eq!((interfaces[1].values(1), interfaces[1].values(15)), (vec![&b"two"[..]], vec![&b"hardware"[..]]));
}

/// In the output, the number would be that of another interface.
#[test]
fn statistics_of_no_interface() {
    let capture = [section(&[]), interface(1, &[]), statistics(0), statistics(1)].concat();
    let (blocks, _) = written(&[capture], false);
    let statistics: Vec<u16> = blocks.iter().filter(|block| block.block_type == 5).map(|block| block.u16(0)).collect();
    assert_eq!(statistics, [0]);
}

/// A search through all of them for each made 100,000 interfaces take a minute.
#[test]
fn many_interfaces() {
    let described = [section(&[]), interface(1, &[]).repeat(20_000)].concat();
    assert_eq!(interfaces(&written(&[described], false).0).len(), 20_000);
    // SLL2 tells them apart by index: each packet of its own, twice.
    let of = |index: u32| packet(&build::sll2(index % 20_000, 0, 1, 0x0800, &build::v4(17, &build::udp(b"x"))));
    let packets = (0..40_000).map(of).collect::<Vec<_>>().concat();
    let (blocks, _) = written(&[[section(&[]), interface(276, &[]), packets].concat()], false);
    assert_eq!(interfaces(&blocks).len(), 20_000);
    let numbers: Vec<u32> = blocks.iter().filter(|b| b.block_type == 6).map(|b| u32::from(b.u16(0))).collect();
    assert_eq!(numbers, [(0..20_000).collect::<Vec<_>>(), (0..20_000).collect()].concat());
}

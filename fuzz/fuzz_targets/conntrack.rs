//! Arbitrary bytes as conntrack's entries: no panic, every line is counted once, tuples are of one address family.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshpcap::beside::Conntrack;

fuzz_target!(|data: &[u8]| {
    let mut entries = Conntrack::new("fuzz", data);
    let (mut count, mut line) = (0, 0);
    while let Some(entry) = entries.advance().expect("memory does not fail") {
        assert!(entry.line > line, "lines go up");
        line = entry.line;
        count += 1;
        for tuple in [entry.original, entry.reply] {
            assert_eq!(tuple.source.is_ipv4(), tuple.destination.is_ipv4());
        }
    }
    let lines = data.split(|&octet| octet == b'\n').count() as u64;
    assert!(count + entries.unused().bad + entries.unused().other <= lines, "every line once");
    assert!(!entries.unused().to_string().is_empty());
});

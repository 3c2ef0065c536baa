//! Arbitrary bytes as key logs, one after the other: no panic, and each line that is kept is found by its session.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshpcap::beside::{KeyLine, Keys};

fuzz_target!(|data: &[u8]| {
    let mut keys = Keys::default();
    for log in data.split(|&octet| octet == 0) {
        match keys.read("fuzz", log) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(unused) => {
                let lines = log.split(|&octet| octet == b'\n').count() as u64;
                assert!(unused.bad + unused.other <= lines, "every line once");
            }
        }
    }
    for number in 0..keys.len() {
        let line = KeyLine::read(keys.line(number)).expect("a line that is kept can be read");
        assert_eq!(keys.find(&line), Some(number), "each secret once");
        assert!(keys.of(&line.random).any(|one| one == number));
    }
    assert!(keys.sessions() <= keys.len());
});

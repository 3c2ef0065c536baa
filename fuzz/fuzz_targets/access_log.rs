//! Arbitrary bytes as a format string and as lines in it, and as lines in Istio's formats: no panic, every line is
//! counted once, and what is read stands in its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshpcap::beside::{AccessLog, Format};

fuzz_target!(|data: &[u8]| {
    let (format, text) = match data.iter().position(|&octet| octet == 0) {
        Some(at) => (Format::new(&String::from_utf8_lossy(&data[..at])), &data[at + 1..]),
        None => (Format::istio(), data),
    };
    let format = match format {
        Ok(format) => format,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut log = AccessLog::new("fuzz", text, format);
    let (mut records, mut line) = (0, 0);
    while let Some(record) = log.advance().expect("memory does not fail") {
        assert!(record.line > line, "lines go up");
        line = record.line;
        records += 1;
        let texts = [record.request_id, record.response_flags];
        assert!(texts.iter().flatten().all(|text| !text.is_empty() && *text != b"-"), "absent is none");
        assert_eq!(record.start.is_some(), record.start_resolution > 0);
    }
    let lines = text.split(|&octet| octet == b'\n').count() as u64;
    assert!(records + log.unused().bad + log.unused().other <= lines, "every line once");
    assert!(log.advance().expect("for good").is_none());
});

//! Arbitrary bytes as files of names, hosts or JSON: no panic, and what is kept are names.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use meshpcap::beside::{Names, is_name};

fuzz_target!(|data: &[u8]| {
    let mut names = Names::default();
    for file in data.split(|&octet| octet == 0) {
        match names.read("fuzz", file) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(unused) => assert!(unused.first.len() as u64 <= unused.bad),
        }
    }
    // Addresses that the fuzzer finds: 1.0.0.0 to 1.9.9.9.
    for number in 0..1_000_u32 {
        let digit = |place: u32| (number / 10_u32.pow(place) % 10) as u8;
        let address = IpAddr::V4(Ipv4Addr::new(1, digit(2), digit(1), digit(0)));
        let of = names.of(address);
        assert!(of.iter().all(|name| is_name(name)));
        assert!((1..of.len()).all(|at| !of[..at].contains(&of[at])), "each pair once");
    }
});

//! tcpdump as the judge of a filter.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};

/// Constants of a filter that are looked at, at most.
const MOST: usize = 400;

/// IPv4, ARP, IPv6: every program compares with them.
const ETHERTYPES: [u32; 3] = [0x0800, 0x0806, 0x86dd];

/// Why a filter was not checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no tcpdump.
    #[error("--check runs the filter over packets with tcpdump, which is not installed here (apt-get install tcpdump)")]
    Missing,
    /// tcpdump does not take the filter.
    #[error("tcpdump refuses the filter: {0}")]
    Refused(String),
    /// tcpdump did not do what it should.
    #[error("tcpdump: {0}")]
    Failed(#[from] std::io::Error),
}

/// What the instructions of a filter compare with: the values at which its answer can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constants {
    /// Ports, with their neighbours.
    pub ports: Vec<u16>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// The constants of a filter, from the program that tcpdump compiles it to.
pub(super) fn constants(filter: &str) -> Result<Constants, Error> {
    let program = run(&["-ddd"], filter, &pcap([].into_iter()))?;
    Ok(read_constants(&String::from_utf8_lossy(&program)))
}

/// `-ddd` prints a line for each instruction: code, jump if true, jump if false, constant.
fn read_constants(program: &str) -> Constants {
    let numbers = |line: &str| line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>();
    // BPF_JMP is class 5 of an instruction's code (linux/bpf_common.h).
    let compared: Vec<u32> = program
        .lines()
        .skip(1)
        .filter_map(numbers)
        .filter_map(|line| (line.len() == 4 && line[0] & 7 == 5).then(|| line[3]))
        .filter(|value| !ETHERTYPES.contains(value))
        .take(MOST)
        .collect();
    let mut constants = Constants::default();
    for &value in &compared {
        if let Ok(port) = u16::try_from(value) {
            let around = [Some(port), port.checked_sub(1), port.checked_add(1)];
            constants.ports.extend(around.into_iter().flatten().filter(|port| *port > 0));
        } else {
            // The network's own address, or the first one in it.
            constants.addresses.push(Ipv4Addr::from_bits(value).into());
            constants.addresses.push(Ipv4Addr::from_bits(value | 1).into());
        }
    }
    // An IPv6 address is compared in four parts, one after the other.
    for part in compared.windows(4) {
        let bits = part.iter().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
        if part[0] > 0xffff {
            constants.addresses.push(Ipv6Addr::from_bits(bits).into());
        }
    }
    constants
}

/// Which of these Ethernet frames a filter keeps.
pub(super) fn kept<'a>(filter: &str, frames: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Vec<bool>, Error> {
    let count = frames.clone().count();
    let output = run(&["-U", "-w", "-"], filter, &pcap(frames))?;
    let mut kept = vec![false; count];
    let mut at = 24;
    // The time of a frame is its number.
    while let Some(record) = output.get(at..at + 16) {
        let word =
            |from: usize| u32::from_le_bytes([record[from], record[from + 1], record[from + 2], record[from + 3]]);
        if let Some(one) = kept.get_mut(word(0) as usize) {
            *one = true;
        }
        at += 16 + word(8) as usize;
    }
    Ok(kept)
}

/// A little-endian pcap file of Ethernet frames, the time of each its number in seconds.
fn pcap<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut file = Vec::new();
    let words = |file: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    words(&mut file, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]);
    for (number, frame) in (0..).zip(frames) {
        words(&mut file, &[number, 0, frame.len() as u32, frame.len() as u32]);
        file.extend(frame);
    }
    file
}

/// What tcpdump prints for a filter and a capture.
fn run(options: &[&str], filter: &str, capture: &[u8]) -> Result<Vec<u8>, Error> {
    let mut child: Child = Command::new("tcpdump")
        .args(["-n", "-r", "-"])
        .args(options)
        // What follows is no option, whatever it looks like.
        .args(["--", filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| if error.kind() == std::io::ErrorKind::NotFound { Error::Missing } else { error.into() })?;
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let mut output = Vec::new();
    let mut told = String::new();
    std::thread::scope(|scope| {
        // It stops reading when the filter makes no sense to it.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(capture)));
        scope.spawn(|| stderr.map(|mut stderr| stderr.read_to_string(&mut told)));
        child.stdout.take().map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut output))
    })?;
    if child.wait()?.success() {
        return Ok(output);
    }
    let complaint = told.lines().rfind(|line| line.starts_with("tcpdump: ")).unwrap_or("it does not say why");
    Err(Error::Refused(complaint.trim_start_matches("tcpdump: ").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_a_program() {
        // tcpdump -ddd 'port 15001 and dst host 10.96.0.10', shortened
        let program = "5\n40 0 0 12\n21 0 8 34525\n48 0 0 20\n21 2 0 15001\n21 0 1 174063626\n6 0 0 262144\n";
        let constants = read_constants(program);
        assert!(constants.ports.contains(&15001) && constants.ports.contains(&15002), "{constants:?}");
        assert!(constants.addresses.contains(&"10.96.0.10".parse().expect("an address")), "{constants:?}");
        assert!(!constants.ports.contains(&20), "an offset is no value");
        assert_eq!(read_constants(""), Constants::default());
    }
}

//! Captures that are made to be hard: memory stays within a bound, and four times the packets take no more than a few
//! times the time.
//!
//! What is measured is the command's own: its peak of resident memory and its CPU time, which does not grow while others
//! are at work. (The kernel counts this process' memory as the command's until that takes its place: a failed test, whose
//! backtrace needs 50 MiB, can fail the others.) Quadratic work would take sixteen times the time. The sizes are those for an unoptimized build;
//! `cargo test --release --test pathological` goes up to 10 million packets.

#[path = "../benches/traffic/mod.rs"]
#[allow(dead_code, reason = "the benchmark uses more of it")]
mod traffic;

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use wait4::Wait4;

use traffic::{Shape, Traffic};

/// Four times the packets may take so many times the CPU time. Linear work takes four times it.
const MOST_TIME: f64 = 7.0;

/// How much larger captures are for an optimized build.
const LARGER: u64 = if cfg!(debug_assertions) { 1 } else { 10 };

/// What a merge took.
struct Taken {
    packets: u64,
    /// In KiB.
    peak: u64,
    time: Duration,
}

impl Taken {
    /// Of a merge of this traffic; what `--lookahead` is, if it is to be read once.
    fn by(traffic: Traffic, look_ahead: Option<&str>) -> Taken {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = traffic.write(folder.path()).expect("room for the captures");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
        command.arg("merge").args(&made.paths).arg("-o").arg(folder.path().join("out.pcapng"));
        command.args(look_ahead.iter().flat_map(|bound| ["--lookahead", bound])).stdin(Stdio::null());
        let summary = folder.path().join("summary");
        command.stderr(File::create(&summary).expect("room for the summary"));
        let used = command.spawn().and_then(|mut child| child.wait4()).expect("the command runs");
        let summary = fs::read_to_string(summary).expect("a summary");
        assert!(used.status.success(), "{}: {summary}", used.status);
        let all = format!("{0} packets from 2 inputs, {0} written", made.packets);
        assert!(summary.contains(&all), "{all}: {summary}");
        let time = used.rusage.utime + used.rusage.stime;
        Taken { packets: made.packets, peak: used.rusage.maxrss / 1024, time }
    }
}

/// Merges the traffic that `of` makes of a size, and four times as much. `most` is the memory that either may take, in MiB:
/// at the sizes of an unoptimized build, and at those of an optimized one.
fn holds(of: impl Fn(u64) -> Traffic, size: u64, look_ahead: Option<&str>, most: [u64; 2]) {
    let most = most[usize::from(!cfg!(debug_assertions))];
    let size = size * LARGER;
    // One after the other, and the smaller one twice: what it takes to warm up is not its own.
    let once = [Taken::by(of(size), look_ahead), Taken::by(of(size), look_ahead)];
    let four = Taken::by(of(size * 4), look_ahead);
    let once = once.into_iter().min_by_key(|taken| taken.time).expect("two of them");
    let packets = four.packets as f64 / once.packets as f64;
    assert!((3.5..4.5).contains(&packets), "{packets} times the packets");
    let ratio = four.time.as_secs_f64() / once.time.as_secs_f64();
    let told = format!(
        "{} packets: {:.2?}, {} KiB; {} packets: {:.2?}, {} KiB; {ratio:.1} times the time",
        once.packets, once.time, once.peak, four.packets, four.time, four.peak
    );
    println!("{told}");
    assert!(ratio < MOST_TIME, "{told}");
    assert!(once.peak.max(four.peak) <= most * 1024, "{told}; at most {most} MiB");
}

/// Ordinary connections of about 250 packets.
fn connections(packets: u64) -> Traffic {
    let connections = (packets / 250) as u32;
    Traffic { bytes: packets * 140, connections, live: 100, shape: Shape::Small, ..Traffic::default() }
}

/// The same, and lo shows no replies.
fn only_forward(packets: u64) -> Traffic {
    Traffic { only_forward: true, ..connections(packets) }
}

#[test]
fn one_flow_of_very_many_packets() {
    let of = |packets| Traffic { connections: 1, live: 1, bytes: packets * 255, ..connections(packets) };
    holds(of, 250_000, None, [24, 16]);
}

#[test]
fn very_many_flows_of_one_packet() {
    // Of each, a SYN; nobody answers.
    let of = |packets| Traffic { connections: 0, flood: packets, ..Traffic::default() };
    holds(of, 50_000, None, [100, 104]);
}

#[test]
fn no_leg_is_resolved() {
    holds(only_forward, 100_000, None, [32, 36]);
}

#[test]
fn timestamps_go_backwards() {
    let of = |packets: u64| Traffic { backwards: true, connections: (packets / 1_000) as u32, ..connections(packets) };
    holds(of, 100_000, None, [56, 160]);
}

#[test]
fn everything_is_held_until_the_end() {
    // It is read once, and nothing is decided before a reply is there.
    holds(only_forward, 100_000, Some("1000000s,1000GiB"), [36, 36]);
}

/// Health checks of many clients, none of which sends anything: each far leg could be of each near one.
#[test]
fn very_many_legs_without_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [eth0, lo] = ["eth0.pcap", "lo.pcap"].map(|name| folder.path().join(name));
    let clients = (0..2_000).map(|n: u16| ([10, 0, (n / 200) as u8 + 1, (n % 200) as u8], 2_000));
    let proxy = (0..20_000).map(|n: u16| ([127, 0, 0, 6], 2_000 + n));
    fs::write(&eth0, handshakes(0, [2; 12], clients)).expect("room for the capture");
    fs::write(&lo, handshakes(1, [0; 12], proxy)).expect("room for the capture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
    command.arg("merge").args([eth0, lo]).arg("-o").arg(folder.path().join("out.pcapng"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    let used = child.wait4().expect("the command runs");
    assert!(used.status.success());
    let peak = used.rusage.maxrss / 1024 / 1024;
    assert!(peak <= 64, "{peak} MiB");
}

/// A capture of the handshakes of clients with a pod; it begins at some second, and has these hardware addresses.
fn handshakes(second: u32, hardware: [u8; 12], clients: impl Iterator<Item = ([u8; 4], u16)>) -> Vec<u8> {
    const POD: ([u8; 4], u16) = ([10, 0, 0, 1], 8080);
    let mut file = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[255, 255, 0, 0, 1, 0, 0, 0]].concat();
    for (client, n) in clients.zip(0_u32..) {
        for (from, to, seq, ack, flags, micros) in
            [(client, POD, n, 0, 2, 20 * n), (POD, client, 7, n + 1, 0x12, 20 * n + 9)]
        {
            let mut packet = [&hardware[..], &[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]].concat();
            packet.extend([from.0, to.0].concat());
            packet.extend([from.1, to.1].into_iter().flat_map(u16::to_be_bytes));
            packet.extend([seq, ack].into_iter().flat_map(u32::to_be_bytes));
            packet.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
            file.extend([1_700_000_000 + second, micros, 54, 54].into_iter().flat_map(u32::to_le_bytes));
            file.extend(packet);
        }
    }
    file
}

/// Where no temporary file can be made, what is a few MiB stays in memory; the output is the same.
#[test]
fn without_temporary_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = connections(150_000).write(folder.path()).expect("room for the captures");
    let merge = |output: &str, temporary: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshpcap"));
        command.arg("merge").args(&made.paths).arg("-o").arg(folder.path().join(output)).stdin(Stdio::null());
        let run = command.envs(temporary.map(|path| ("TMPDIR", path))).output().expect("the command runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        fs::read(folder.path().join(output)).expect("an output")
    };
    assert!(merge("with.pcapng", None) == merge("without.pcapng", Some("/dev/null/nothing")));
}

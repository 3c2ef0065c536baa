//! The same packets give the same bytes: from a file or a pipe, compressed or not, in whatever folder.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::common::leg::together;
use crate::common::{Job, Leg, Link, Output, Shot, pcap};

const MESHPCAP: &str = env!("CARGO_BIN_EXE_meshpcap");

fn shots() -> Vec<Shot> {
    let legs: Vec<Leg> = (0..50_u16)
        .map(|n| {
            Leg::outbound(&format!("10.1.0.5:{}", 40_000 + n), &format!("10.96.0.{n}:80")).after(u64::from(n) * 7_000)
        })
        .map(Leg::whole)
        .collect();
    together(&legs.iter().collect::<Vec<_>>(), Link::Lo)
}

fn compressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        "zstd" => zstd::encode_all(bytes, 1).expect("memory"),
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        }
        _ => bytes.to_vec(),
    }
}

#[test]
fn whatever_the_source() {
    let file = pcap(Link::Lo, &shots());
    let expected = Job::new().input(&file).run().bytes;
    for coding in ["plain", "gzip", "zstd", "lz4"] {
        let bytes = compressed(coding, &file);
        assert_eq!(Job::new().input(&bytes).run().bytes, expected, "{coding} from a file");

        let output = through_pipes(bytes, &[]);
        assert_eq!(output.stdout, expected, "{coding} through pipes");
    }
}

fn through_pipes(bytes: Vec<u8>, args: &[&str]) -> std::process::Output {
    let mut child = Command::new(MESHPCAP)
        .args(["merge", "-", "-o", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meshpcap starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("meshpcap ends");
    writer.join().expect("the writer").expect("all was read");
    assert!(output.status.success());
    output
}

#[test]
fn a_pipe_is_put_in_order_as_far_as_it_goes() {
    let leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").whole();
    let mut shots = leg.shots(Link::Lo);
    shots.swap(0, 1);
    let output = through_pipes(pcap(Link::Lo, &shots), &["-q"]);
    assert_eq!(Output::read(&output.stdout).ends(), leg.repaired(), "microseconds late");

    // Seconds late: it comes out where it came in, and is counted.
    let last = shots[9].clone();
    let later = |seconds: u64| Shot { time: last.time + seconds * 1_000_000_000, ..last.clone() };
    shots.extend([later(5), later(6), later(1)]);
    let output = through_pipes(pcap(Link::Lo, &shots), &[]);
    assert_eq!(Output::read(&output.stdout).packets.len(), shots.len());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("1 packet came out of order, too late to be put in order"), "{told}");
}

#[test]
fn a_pipe_is_looked_ahead_for_two_seconds() {
    for (wait, args, repaired) in [(1_900, &[][..], true), (2_200, &[], false), (2_200, &["--lookahead", "3s"], true)] {
        let mut leg = Leg::outbound("10.1.0.5:40000", "10.96.0.10:80").syn();
        leg.time += wait * 1_000_000;
        let leg = leg.refuse();
        let mut shots = leg.shots(Link::Lo);
        // Something in between, so that time goes on.
        let other = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after((wait - 1) * 1_000_000).whole();
        shots.extend(other.shots(Link::Lo));
        shots.sort_by_key(|shot| shot.time);
        let output = Output::read(&through_pipes(pcap(Link::Lo, &shots), args).stdout);
        let expected = if repaired { leg.repaired() } else { leg.as_captured() };
        assert_eq!(output.ends()[0], expected[0], "{wait} ms, {args:?}");
    }
}

#[test]
fn two_compressed_members_are_one_file() {
    let file = pcap(Link::Lo, &shots());
    let expected = Job::new().input(&file).run().bytes;
    let (head, tail) = file.split_at(1000);
    for coding in ["gzip", "zstd", "lz4"] {
        let bytes = [compressed(coding, head), compressed(coding, tail)].concat();
        assert_eq!(Job::new().input(&bytes).run().bytes, expected, "{coding}");
    }
}

#[test]
fn a_fifo() {
    let job = Job::new();
    let fifo = job.folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo, of every Unix").success());
    let file = pcap(Link::Lo, &shots());
    let expected = Job::new().input(&file).run().bytes;
    let writer = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::write(fifo, file))
    };
    let output = job.folder.path().join("o.pcapng");
    let run = Command::new(MESHPCAP).args(["merge", "-q"]).arg(&fifo).arg("-o").arg(&output).output();
    assert!(run.expect("meshpcap runs").status.success());
    writer.join().expect("the writer").expect("all was read");
    assert_eq!(std::fs::read(output).expect("the output"), expected);
}

#[test]
fn an_output_that_was_there_is_replaced_and_keeps_its_permissions() {
    let job = Job::new().shots(Link::Lo, &shots());
    let output = job.folder.path().join("out.pcapng");
    std::fs::write(&output, "old").expect("written");
    std::fs::set_permissions(&output, std::fs::Permissions::from_mode(0o600)).expect("mode");
    meshpcap::pipeline::merge(&job.merge, &std::sync::Arc::default(), &mut |_, _| ()).expect("the merge");
    assert_eq!(Output::read(&std::fs::read(&output).expect("it")).packets.len(), shots().len());
    let mode = std::fs::metadata(&output).expect("it").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

//! Pipes that pause, readers that leave, and the user who has seen enough.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

use crate::common::{Leg, Link, Output, pcap};
use crate::{folder, meshpcap, names, packets, text, told};

/// Starts a run whose input is a pipe, and gives it a capture without its end.
fn start(folder: &TempDir, args: &str) -> Child {
    let command = &mut meshpcap(folder, args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("meshpcap starts");
    let capture = std::fs::read(folder.path().join("lo.pcap")).expect("the input");
    let stdin = child.stdin.as_mut().expect("a pipe");
    stdin.write_all(&capture).and_then(|()| stdin.flush()).expect("meshpcap reads");
    child
}

fn interrupt(child: &Child, signal: &str) {
    // By the shell, which has it built in. Of a run that is done there is nothing to interrupt.
    let kill = Command::new("sh").arg("-c").arg(format!("kill {signal} {} 2>/dev/null", child.id())).status();
    kill.expect("a shell");
}

#[test]
fn packets_leave_while_the_writer_pauses() {
    let folder = folder();
    let mut child = start(&folder, "merge - -o - -q --lookahead 2s");
    let mut out = child.stdout.take().expect("a pipe");
    let mut head = vec![0; 200];
    out.read_exact(&mut head).expect("it comes before the input ends");
    drop(child.stdin.take());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("the rest");
    let output = Output::read(&[head, rest].concat());
    assert_eq!(output.packets.len(), 10);
    assert!(child.wait().expect("meshpcap ends").success());
}

/// Waits until a run in this folder has its temporary file: then it is at work, and answers to signals. Or it is done.
fn wait_for_work(folder: &TempDir, child: &mut Child) {
    let at_work = || names(folder).iter().any(|name| name.starts_with(".meshpcap-"));
    while !at_work() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupt_ends_a_pipe() {
    for (signal, output) in [("-INT", "out.pcapng"), ("-TERM", "out.pcapng"), ("-INT", "-")] {
        let folder = folder();
        let mut child = start(&folder, &format!("merge - -o {output} -q"));
        let stdin = child.stdin.take();
        let mut head = vec![0; if output == "-" { 4 } else { 0 }];
        match output {
            "-" => child.stdout.as_mut().expect("a pipe").read_exact(&mut head).expect("the section comes at once"),
            _ => wait_for_work(&folder, &mut child),
        }
        interrupt(&child, signal);
        let result = child.wait_with_output().expect("meshpcap ends");
        drop(stdin);
        assert_eq!(text(&result.stderr), "", "what came is all there is");
        assert_eq!(result.status.code(), Some(130), "{signal} {output}");
        if output == "-" {
            assert_eq!(Output::read(&[head, result.stdout].concat()).packets.len(), 10);
        } else {
            assert_eq!(packets(&folder, output), 10);
            assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap", "out.pcapng"]);
        }
    }
}

#[test]
fn an_interrupt_of_files_leaves_nothing() {
    // Large enough that it is not done at once.
    let folder = folder();
    let leg = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole();
    let records = pcap(Link::Eth, &leg.shots(Link::Eth))[24..].repeat(1000);
    let mut large = File::create(folder.path().join("large.pcap")).expect("a file");
    large.write_all(&pcap(Link::Eth, &[])).expect("written");
    for _ in 0..60 {
        large.write_all(&records).expect("written");
    }
    drop(large);
    // A fast machine may be done before the signal comes; not every time.
    let mut runs = (0..20).map(|_| {
        let child =
            meshpcap(&folder, "merge large.pcap -o out.pcapng --report legs.csv").stderr(Stdio::piped()).spawn();
        let mut child = child.expect("meshpcap starts");
        wait_for_work(&folder, &mut child);
        interrupt(&child, "-INT");
        child.wait_with_output().expect("meshpcap ends")
    });
    let is_done = |_: &std::process::Output| {
        let gone = ["out.pcapng", "legs.csv"].map(|name| std::fs::remove_file(folder.path().join(name)).is_ok());
        gone[0]
    };
    let result = runs.find(|run| !is_done(run)).expect("one that was interrupted");
    assert_data_eq!(
        told(&result),
        str![[r#"
130
meshpcap: interrupted; nothing was written

"#]]
    );
    assert_eq!(names(&folder), ["eth0.pcap", "large.pcap", "lo.pcap"]);
}

#[test]
fn a_reader_that_has_seen_enough() {
    let folder = folder();
    let mut child = start(&folder, "merge - -o -");
    drop(child.stdout.take());
    // More than a pipe and the buffers hold.
    let leg = Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").after(1_000_000_000).whole();
    let records = pcap(Link::Eth, &leg.shots(Link::Eth))[24..].repeat(3000);
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(&records);
    drop(stdin);
    let result = child.wait_with_output().expect("meshpcap ends");
    assert_eq!(told(&result), "0\n");
}

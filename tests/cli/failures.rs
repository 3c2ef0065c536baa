//! What goes wrong, each with its one line, its status, and nothing half written left behind.

use std::fs::File;

use snapbox::{assert_data_eq, str};

use crate::common::{Link, pcap};
use crate::{folder, meshpcap, names, packets, put, run, text, told};

#[test]
fn wrong_arguments() {
    let folder = folder();
    for (args, expected) in [
        (
            "merge",
            str![[r#"
2
error: the following required arguments were not provided:
  --output <FILE>
  <CAPTURE>...

  tip: `-` reads a capture from standard input

Usage: meshpcap merge --output <FILE> <CAPTURE>...

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --lookahead 5",
            str![[r#"
2
error: invalid value '5' for '--lookahead <TIME,SIZE>': `5`: give a unit: ns, us, ms, s, min; B, KiB, MiB, GiB

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --interface lo",
            str![[r#"
2
error: invalid value 'lo' for '--interface <CAPTURE[:INTERFACE]=NAME>': `lo` is not of the form 2=lo or 1:3=eth0

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --interface 3=lo",
            str![[r#"
2
meshpcap: --interface: there is no capture 3, only 1

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --report legs.xml",
            str![[r#"
2
meshpcap: legs.xml: cannot be written: name it .csv or .json

"#]],
        ),
        (
            "merge - - -o x.pcapng",
            str![[r#"
2
meshpcap: standard input (-) can be read only once

"#]],
        ),
        (
            "merge lo.pcap -o lo.pcap",
            str![[r#"
2
meshpcap: lo.pcap: is both input and output; name another file for the output

"#]],
        ),
        (
            "merge lo.pcap -o ./../no/lo.pcap",
            str![[r#"
2
meshpcap: ./../no/lo.pcap: cannot be written: No such file or directory (os error 2) (is the path right? its folder has to be there: mkdir -p)

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --report lo.pcap",
            str![[r#"
2
meshpcap: lo.pcap: is both input and report; name another file for the report

"#]],
        ),
        (
            "merge lo.pcap -o x.csv --report ./x.csv",
            str![[r#"
2
meshpcap: x.csv: is both output and report; name another file for the report

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --lookahead 2s,3s",
            str![[r#"
2
error: invalid value '2s,3s' for '--lookahead <TIME,SIZE>': `3s`: give one time and one size at most

For more information, try '--help'.

"#]],
        ),
        (
            "merge lo.pcap -o x.pcapng --interface 1=lo --interface 1:0=lo --interface 1=eth0",
            str![[r#"
2
meshpcap: --interface: 1=lo and 1=eth0 name one interface; give it one name

"#]],
        ),
    ] {
        assert_data_eq!(told(&run(&folder, args)), expected);
        assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"], "{args}");
    }
}

#[test]
fn the_output_is_an_input_by_another_name() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("lo.pcap", path("link.pcap")).expect("a link");
    std::fs::hard_link(path("lo.pcap"), path("hard.pcap")).expect("a link");
    let before = std::fs::read(path("lo.pcap")).expect("the input");
    for name in ["link.pcap", "hard.pcap", "./lo.pcap"] {
        let output = run(&folder, &format!("merge lo.pcap -o {name}"));
        assert_eq!(
            told(&output),
            format!("2\nmeshpcap: {name}: is both input and output; name another file for the output\n")
        );
        assert_eq!(std::fs::read(path("lo.pcap")).expect("the input"), before);
    }
}

#[test]
fn inputs_that_are_none() {
    let folder = folder();
    put(&folder, "empty", b"");
    put(&folder, "text", b"12:00:01.5 IP 10.0.0.1 > 10.0.0.2\n");
    put(&folder, "program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&folder, "zeros", &[0; 100]);
    put(&folder, "short", &pcap(Link::Lo, &[])[..20]);
    std::fs::create_dir(folder.path().join("folder")).expect("a folder");
    let before = names(&folder);
    for (input, expected) in [
        (
            "missing",
            str![[r#"
2
meshpcap: missing: No such file or directory (os error 2) (is the path right? "-" reads standard input)

"#]],
        ),
        (
            "empty",
            str![[r#"
2
meshpcap: empty: empty, not even a capture header (was the capture started, did anything write to it?)

"#]],
        ),
        (
            "text",
            str![[r#"
2
meshpcap: text: not a pcap or pcapng capture: it is text (tcpdump's output on the screen? write a capture with tcpdump -w)

"#]],
        ),
        (
            "program",
            str![[r#"
2
meshpcap: program: not a pcap or pcapng capture: it is a program

"#]],
        ),
        (
            "zeros",
            str![[r#"
2
meshpcap: zeros: not a pcap or pcapng capture: it is all zeros (a file that was preallocated?)

"#]],
        ),
        (
            "short",
            str![[r#"
2
meshpcap: short: cut short before the first frame at byte 0: a pcap header has 24 bytes, here are 20; what came before was used (was it still being written or copied?)

"#]],
        ),
        (
            "folder",
            str![[r#"
2
meshpcap: folder: there is no capture in it (pcap or pcapng; folders within it are not looked into)

"#]],
        ),
    ] {
        assert_data_eq!(told(&run(&folder, &format!("merge {input} -o out.pcapng --report out.csv"))), expected);
        assert_eq!(names(&folder), before, "{input}");
    }
    // Beside a good one, what is no capture is still an obstacle; what is merely empty is not.
    for (input, status) in [("missing", 2), ("text", 2), ("folder", 2), ("empty", 1), ("short", 1)] {
        let output = run(&folder, &format!("merge lo.pcap {input} -o out.pcapng -q"));
        assert_eq!(output.status.code(), Some(status), "{input}");
        assert_eq!(folder.path().join("out.pcapng").exists(), status == 1, "{input}");
        let _ = std::fs::remove_file(folder.path().join("out.pcapng"));
    }
}

#[test]
fn a_tail_that_is_cut_short() {
    let folder = folder();
    let mut file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
    file.truncate(file.len() - 7);
    put(&folder, "cut.pcap", &file);
    assert_data_eq!(
        told(&run(&folder, "merge cut.pcap eth0.pcap -o out.pcapng -q")),
        str![[r#"
1
meshpcap: cut.pcap: cut short in frame 10 at byte 799: the record promises 66 bytes, 59 follow; what came before was used (was it still being written or copied?)

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 19);
}

#[test]
fn a_record_that_makes_no_sense() {
    let folder = folder();
    let mut file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
    // The length of the third record.
    let at = 24 + 2 * (16 + 66) + 8;
    file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    put(&folder, "bad.pcap", &file);
    assert_data_eq!(
        told(&run(&folder, "merge bad.pcap eth0.pcap -o out.pcapng -q")),
        str![[r#"
1
meshpcap: bad.pcap: damaged in frame 3 at byte 188: the record promises 4294967295 bytes, the largest packet of this kind has 262144; what came before was used (was it copied as text, as kubectl exec -t does, or written by two?)

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 12);
}

#[test]
fn an_output_that_cannot_be_written() {
    let folder = folder();
    for (output, expected) in [
        (
            "no/out.pcapng",
            "No such file or directory (os error 2) (is the path right? its folder has to be there: mkdir -p)",
        ),
        ("new/", "is a directory (name a file in it)"),
        (".", "Is a directory (os error 21) (name a file in it)"),
        (
            "lo.pcap/out.pcapng",
            "Not a directory (os error 20) (is the path right? a part of it is a file, not a folder)",
        ),
        ("/dev/full", "No space left on device (os error 28) (make room, or name a file elsewhere)"),
    ] {
        let told = told(&run(&folder, &format!("merge lo.pcap -o {output}")));
        assert_eq!(told, format!("2\nmeshpcap: {output}: cannot be written: {expected}\n"));
        assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);
    }
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = meshpcap(&folder, "merge lo.pcap -o -").stdout(full).output().expect("meshpcap runs");
    assert_data_eq!(
        told(&output),
        str![[r#"
2
meshpcap: standard output: cannot be written: No space left on device (os error 28) (make room, or name a file elsewhere)

"#]]
    );
}

#[test]
fn a_report_that_cannot_be_written_leaves_no_output() {
    let folder = folder();
    let output = run(&folder, "merge lo.pcap -o out.pcapng --report no/legs.csv");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("meshpcap: no/legs.csv: cannot be written: "), "{}", told(&output));
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);

    std::fs::create_dir(folder.path().join("legs.csv")).expect("a folder");
    let output = run(&folder, "merge lo.pcap -o out.pcapng --report legs.csv");
    assert_eq!(told(&output), "2\nmeshpcap: legs.csv: cannot be written: is a directory (name a file in it)\n");
    assert_eq!(names(&folder), ["eth0.pcap", "legs.csv", "lo.pcap"]);
}

#[test]
fn a_compressed_tail_that_is_cut_short() {
    let folder = folder();
    let file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, &file).expect("memory");
    let mut gz = encoder.finish().expect("memory");
    gz.truncate(gz.len() - 100);
    put(&folder, "cut.pcap.gz", &gz);
    let output = run(&folder, "merge cut.pcap.gz -o out.pcapng -q");
    assert_data_eq!(
        told(&output),
        str![[r#"
1
meshpcap: cut.pcap.gz: cut short in frame 9 at byte 717: the gzip data ends in the middle; what came before was used (was it still being written or copied?)

"#]]
    );
    // The last two packets are not all there.
    assert_eq!(packets(&folder, "out.pcapng"), 8);
}

#[test]
fn a_pcapng_block_that_makes_no_sense() {
    let folder = folder();
    let shots = crate::common::Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole().shots(Link::Eth);
    let mut file = crate::common::pcapng(Link::Eth, "eth0", &shots);
    let end = file.len();
    file[end - 4..].copy_from_slice(&77_u32.to_le_bytes());
    put(&folder, "bad.pcapng", &file);
    let output = run(&folder, "merge bad.pcapng -o out.pcapng -q");
    assert_data_eq!(
        told(&output),
        str![[r#"
1
meshpcap: bad.pcapng: damaged in frame 10 at byte 1004: the block has 100 bytes at its start, 77 at its end; what came before was used (was it copied as text, as kubectl exec -t does, or written by two?)

"#]]
    );
    assert_eq!(packets(&folder, "out.pcapng"), 9);
}

#[test]
fn a_name_for_an_interface_that_is_not_there() {
    let folder = folder();
    let output = run(&folder, "merge eth0.pcap lo.pcap -o out.pcapng -q --interface 2:5=x --interface 2:0=lo");
    assert_eq!(told(&output), "0\nmeshpcap: --interface 2:5=x: nothing of such an interface is in capture 2\n");
    // Captures are counted as they were typed, whether or not all hold something; so are the indexes of `-i any`.
    put(&folder, "empty", b"");
    let leg = crate::common::Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole();
    let any = Link::Sll2 { index: 2, lo: false };
    put(&folder, "any.pcap", &pcap(any, &leg.shots(any)));
    let output = run(&folder, "merge empty any.pcap -o out.pcapng -q --interface 2:2=eth0 --interface 2:0=x");
    let lines: Vec<String> = text(&output.stderr).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines, ["meshpcap: --interface 2:0=x: nothing of such an interface is in capture 2"]);
}

/// They were replaced by the output of the others.
#[test]
fn a_capture_that_others_wrote_is_not_replaced() {
    let folder = folder();
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let file = std::fs::read(folder.path().join("lo.pcap")).expect("it");
        std::io::Write::write_all(&mut encoder, &file).expect("memory");
        encoder.finish().expect("memory")
    };
    let shots = crate::common::Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole().shots(Link::Eth);
    put(&folder, "other.pcapng", &crate::common::pcapng(Link::Eth, "eth0", &shots));
    put(&folder, "packed", &gz);
    for name in ["eth0.pcap", "other.pcapng", "packed"] {
        let before = std::fs::read(folder.path().join(name)).expect("it");
        // The order of arguments that was meant: merge -o OUTPUT eth0.pcap lo.pcap.
        let output = run(&folder, &format!("merge -o {name} lo.pcap"));
        assert_eq!(
            told(&output),
            format!(
                "2\nmeshpcap: {name}: is a capture that meshpcap did not write, and would be lost; \
                 name another file for the output, or remove it\n"
            )
        );
        assert_eq!(std::fs::read(folder.path().join(name)).expect("it"), before);
    }
    // What meshpcap wrote, and what is no capture, is.
    put(&folder, "text", b"words");
    for output in ["out.pcapng", "out.pcapng", "text"] {
        assert_eq!(told(&run(&folder, &format!("merge lo.pcap -o {output} -q"))), "0\n");
        assert_eq!(packets(&folder, output), 10);
    }
}

#[test]
fn an_output_that_is_named_as_if_it_were_compressed() {
    let folder = folder();
    for name in ["out.pcapng.gz", "out.ZST", "out.lz4"] {
        let expected = "the output is not compressed; name it .pcapng, or pipe it into the compressor with -o -";
        assert_eq!(
            told(&run(&folder, &format!("merge lo.pcap -o {name}"))),
            format!("2\nmeshpcap: {name}: {expected}\n")
        );
    }
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap"]);
}

/// What users of tcpdump, mergecap and editcap type first.
#[test]
fn habits_from_other_tools() {
    let folder = folder();
    let merge = "meshpcap merge eth0.pcap lo.pcap -o fixed.pcapng";
    for (args, tip) in [
        ("eth0.pcap lo.pcap -o x.pcapng", format!("to repair captures: {merge}")),
        ("-w x.pcapng eth0.pcap lo.pcap", format!("to repair captures: {merge}")),
        ("-r lo.pcap", format!("captures need no option: {merge}")),
        ("merge -r lo.pcap -w x.pcapng", format!("captures need no option: {merge}")),
        ("merge -o x.pcapng", "`-` reads a capture from standard input".to_owned()),
        ("merg lo.pcap", "a similar subcommand exists: 'merge'".to_owned()),
    ] {
        let told = told(&run(&folder, args));
        assert!(told.starts_with("2\nerror: ") && told.contains(&format!("\n  tip: {tip}\n")), "{args}: {told}");
        assert_eq!(told.matches("tip:").count(), 1, "{told}");
    }
    assert_eq!(told(&run(&folder, "merge -w x.pcapng eth0.pcap lo.pcap -q")), "0\n");
    assert_eq!(names(&folder), ["eth0.pcap", "lo.pcap", "x.pcapng"]);
}

#[test]
fn what_is_printed_cannot_be_written() {
    let folder = folder();
    put(&folder, "probes", b"{\"probe\": \"tcp 10.1.0.5:4000 -> 10.96.0.10:80\"}\n");
    for args in ["man", "man merge", "completions zsh", "explain --mesh istio --probes probes"] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = meshpcap(&folder, args).stdout(full).output().expect("meshpcap runs");
        assert_eq!(
            told(&output),
            "2\nmeshpcap: standard output: cannot be written: No space left on device (os error 28)\n",
            "{args}"
        );
    }
}

#[test]
fn probes_that_cannot_be_read() {
    let folder = folder();
    put(&folder, "probes", b"\nno json\n");
    for (probes, expected) in [
        ("missing", "missing: No such file or directory (os error 2)"),
        (".", ".: Is a directory (os error 21)"),
        ("probes", "probes: line 2: expected ident"),
    ] {
        let output = run(&folder, &format!("explain --mesh istio --probes {probes}"));
        assert_eq!(told(&output), format!("2\nmeshpcap: {expected}\n"));
    }
}

#[test]
fn standard_input_that_is_a_terminal() {
    let folder = folder();
    if !crate::common::require("script", "standard_input_that_is_a_terminal") {
        return;
    }
    let command = format!("{} merge - -o x.pcapng", env!("CARGO_BIN_EXE_meshpcap"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path()).stdin(std::process::Stdio::null());
    let output = script.output().expect("script runs");
    assert_eq!(
        told(&output),
        "2\nmeshpcap: standard input (-) is a terminal: pipe a capture into it, such as tcpdump -U -w - writes\r\n"
    );
}

/// The second header was a packet without bytes.
#[test]
fn two_captures_in_one_file() {
    let folder = folder();
    let [eth0, lo] = ["eth0.pcap", "lo.pcap"].map(|name| std::fs::read(folder.path().join(name)).expect("it"));
    let shots = crate::common::Leg::direct("10.1.0.5:57168", "10.1.0.6:8080").whole().shots(Link::Eth);
    for second in [eth0, crate::common::pcapng(Link::Eth, "eth0", &shots)] {
        put(&folder, "both", &[&lo[..], &second].concat());
        assert_eq!(
            told(&run(&folder, "merge both -o out.pcapng -q")),
            format!(
                "1\nmeshpcap: both: damaged in frame 11 at byte {}: another capture begins here, as `cat` makes of two \
                 (cut them apart here, give both as inputs); what came before was used \
                 (was it copied as text, as kubectl exec -t does, or written by two?)\n",
                lo.len()
            )
        );
        assert_eq!(packets(&folder, "out.pcapng"), 10);
    }
}

//! One shape of traffic, and every program over it.

use std::io;
use std::path::Path;

use crate::programs::{Measured, Program, measure};
use crate::traffic::{Generated, Shape, Traffic};
use crate::{Arguments, generate};

/// Generates traffic as it was asked for, and measures or keeps it. Names what was not measured.
pub fn compare(arguments: &Arguments, traffic: Traffic) -> io::Result<Vec<String>> {
    let folder = tempfile::Builder::new().prefix("meshpcap-bench-").tempdir_in(&arguments.folder)?;
    let shape = traffic.shape;
    let connections = arguments.connections.unwrap_or(if shape == Shape::Bulk { 4_000 } else { 40_000 });
    let Arguments { seed, size, live, .. } = *arguments;
    let traffic = Traffic { seed, bytes: size * 1_000_000, connections, live, ..traffic };
    let generated = generate(traffic, folder.path())?;
    let Generated { packets, bytes, .. } = generated;
    println!(
        "{shape:?}: {} MB, {packets} packets of {} octets on average, {connections} connections, {live} at once",
        bytes / 1_000_000,
        bytes / packets.max(1),
    );
    if arguments.generate {
        println!("{}", folder.keep().display());
        return Ok(Vec::new());
    }
    let measured = measure(folder.path(), &programs(arguments), arguments.rounds)?;
    print(&measured, bytes);
    Ok(measured.into_iter().filter_map(|it| it.missing.map(|missing| format!("{} ({missing})", it.name))).collect())
}

pub fn cat() -> Program {
    Program::new("cat", &["cat"], "exec cat eth0.pcap lo.pcap > out")
}

/// mergecap, and tcprewrite behind it.
pub fn peers() -> [Program; 2] {
    [
        Program::new("mergecap", &["mergecap"], "exec mergecap -w out eth0.pcap lo.pcap"),
        Program::new(
            "+ tcprewrite",
            &["mergecap", "tcprewrite"],
            "mergecap -F pcap -w merged eth0.pcap lo.pcap && exec tcprewrite --fixcsum -i merged -o out",
        ),
    ]
}

fn programs(arguments: &Arguments) -> Vec<Program> {
    const FILES: &str = "eth0.pcap lo.pcap -o out";
    let merge = |name, binary: &Path, more: &str| Program::merge(name, binary, &format!("{FILES}{more}"));
    let own = arguments.meshpcap.as_path();
    // The rules are looked at once for each connection.
    let check = format!("exec '{}' check --fail-on never eth0.pcap lo.pcap", own.display());
    let mut programs = vec![
        cat(),
        merge("meshpcap", own, ""),
        merge("  with rules", own, " --mesh istio"),
        Program::new("  check", &[], &check),
    ];
    if let Some(binary) = &arguments.against {
        programs.push(merge("against", binary, ""));
    }
    if !arguments.quick {
        programs.extend(peers());
    }
    programs
}

fn print(measured: &[Measured], bytes: u64) {
    println!(
        "  {:14} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}",
        "", "min s", "med s", "MB/s", "x cat", "x merge", "RSS MiB"
    );
    let ratio = |it: &Measured, name: &str| {
        let ratio = measured.iter().find(|base| base.name == name).and_then(|base| it.ratio(base));
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    for it in measured {
        if let Some(missing) = it.missing {
            println!("  {:14} not measured: {missing} is not installed", it.name);
            continue;
        }
        println!(
            "  {:14} {:7.3} {:7.3} {:7.0} {:>9} {:>9} {:9.1}",
            it.name,
            it.times.iter().min().map_or(0.0, |time| time.as_secs_f64()),
            it.median(),
            bytes as f64 / 1e6 / it.median(),
            ratio(it, "cat"),
            ratio(it, "mergecap"),
            it.peak as f64 / 1024.0,
        );
    }
}

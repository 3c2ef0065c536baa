//! A folder, or an archive of one, where a capture is expected.

use std::path::Path;

use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

use crate::common::{Leg, Link, pcap};
use crate::{folder, names, put, run, text, told};

const RULES: &str = include_str!("../../src/nat/presets/istio.rules");

/// What the script of `meshpcap plan` leaves, in the folder `left`.
fn left(folder: &TempDir) {
    let left = folder.path().join("left");
    std::fs::create_dir(&left).expect("a folder");
    for (from, to) in [("eth0.pcap", "net1.pcap0"), ("lo.pcap", "lo.pcap0")] {
        std::fs::rename(folder.path().join(from), left.join(to)).expect("a capture of the test");
    }
    let late = Leg::outbound("10.1.0.5:40001", "10.96.0.10:80").after(9_000).whole();
    let write = |name: &str, bytes: &[u8]| std::fs::write(left.join(name), bytes).expect("a file of the test");
    write("lo.pcap1", &pcap(Link::Lo, &late.shots(Link::Lo)));
    write("iptables-save.txt", RULES.as_bytes());
    write("addresses.json", br#"[{"ifindex":1,"ifname":"lo"},{"ifindex":2,"ifname":"net1"}]"#);
    write("lo.log", b"tcpdump: listening on lo\n");
    std::fs::create_dir(left.join("within")).expect("a folder");
    std::fs::copy(left.join("lo.pcap0"), left.join("within/lo.pcap")).expect("a capture that is not looked at");
}

#[test]
fn a_folder_is_its_captures() {
    let folder = folder();
    left(&folder);
    let output = run(&folder, "merge left -o fixed.pcapng --report legs.csv");
    assert_data_eq!(
        told(&output),
        str![[r#"
0
30 packets from 3 inputs, 30 written
[..]
legs            repaired     whole      left
outbound-app           2         0         0  app to proxy
outbound-peer          0         1         0  proxy to peer
...
"#]]
    );
    let read = crate::common::Output::read(&std::fs::read(folder.path().join("fixed.pcapng")).expect("the output"));
    // Rotated files are captures of their own, and have an interface each.
    assert_eq!(read.interface_names(), ["lo", "net1", "lo"]);
    let typed = run(&folder, "merge left -o named.pcapng --interface 3=eth9 -q");
    assert_eq!(told(&typed), "0\n");
    let read = crate::common::Output::read(&std::fs::read(folder.path().join("named.pcapng")).expect("the output"));
    assert_eq!(read.interface_names(), ["lo", "eth9", "lo"]);
}

#[test]
fn an_archive_is_unpacked() {
    let folder = folder();
    left(&folder);
    let left = folder.path().join("left");
    let archived = |name: &str, inner: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(inner, &left).expect("an archive");
        std::fs::write(folder.path().join(name), archive.into_inner().expect("its bytes")).expect("an archive");
    };
    archived("flat.tar", ".");
    archived("nested.tar", "retina-capture");
    let gzip = std::process::Command::new("gzip").arg("-k").arg(folder.path().join("nested.tar")).status();
    assert!(gzip.expect("gzip runs").success());
    // The rules are named after the place that they were unpacked to.
    let but_rules = |told: String| told.split("nat rules: ").next().unwrap_or_default().to_owned();
    let whole = but_rules(told(&run(&folder, "merge left -o out.pcapng")));
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).expect("the output");
    for name in ["flat.tar", "nested.tar", "nested.tar.gz"] {
        assert_eq!(but_rules(told(&run(&folder, &format!("merge {name} -o archive.pcapng")))), whole, "{name}");
        assert_eq!(bytes("archive.pcapng"), bytes("out.pcapng"), "{name}");
    }
}

/// As `kubectl retina capture` packs them; its rules are the node's, and no file that iptables-save prints.
#[test]
fn what_retina_leaves() {
    let folder = folder();
    let retina = folder.path().join("retina");
    std::fs::create_dir_all(retina.join("proc-net")).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(retina.join(name), text).expect("a file of the test");
    std::fs::copy(folder.path().join("lo.pcap"), retina.join("capture-node-1-20260101000000UTC.pcap"))
        .expect("a capture");
    write(
        "iptables-rules.txt",
        &format!("Summary:\n\n/usr/sbin/iptables-nft-save(IPtables rules)\n\nExecute:\n\n{RULES}"),
    );
    write("ip-resources.txt", "Summary:\n\n/sbin/ip -d -j addr show(IP address configuration)\n");
    write("socket-stats.txt", "Summary:\n\n/usr/bin/ss -s(Socket statistics summary)\n");
    write("tcpdump.log", "tcpdump: listening on any\n");
    write("proc-net/tcp", "sl local_address\n");
    let told = told(&run(&folder, "merge retina -o out.pcapng"));
    assert!(told.starts_with("0\n10 packets from 1 input, 10 written\n"), "{told}");
}

#[test]
fn folders_that_are_no_input() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", folder.path().join("empty")).expect("an archive");
    put(&folder, "empty.tar", &archive.into_inner().expect("its bytes"));
    let before = names(&folder);
    for name in ["empty", "empty.tar"] {
        assert_eq!(
            told(&run(&folder, &format!("merge lo.pcap {name} -o out.pcapng"))),
            format!(
                "2\nmeshpcap: {name}: there is no capture in it (pcap or pcapng; folders within it are not looked into)\n"
            )
        );
        assert_eq!(names(&folder), before);
    }
}

/// Side files that make no sense do not keep the captures from being repaired.
#[test]
fn rules_that_cannot_be_read_are_said() {
    let folder = folder();
    left(&folder);
    put(
        &folder,
        "left/iptables-save.txt",
        b"*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT --nonsense\n-A NOWHERE -j X\nCOMMIT\n",
    );
    let output = run(&folder, "merge left -o out.pcapng");
    let errors = text(&output.stderr);
    assert!(output.status.success() && errors.starts_with("meshpcap: not used: "), "{errors}");
    assert!(Path::new(&folder.path().join("out.pcapng")).exists());
}

/// An archive cannot write outside of the folder that it is unpacked to.
#[test]
fn an_archive_that_leads_out() {
    let folder = folder();
    let capture = std::fs::read(folder.path().join("lo.pcap")).expect("a capture");
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["../../out.pcap", "/meshpcap-test-out.pcap", "good.pcap"] {
        let mut header = tar::Header::new_gnu();
        // The builder refuses such names itself.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(capture.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, &capture[..]).expect("an entry");
    }
    put(&folder, "bad.tar", &archive.into_inner().expect("its bytes"));
    let told = told(&run(&folder, "merge bad.tar -o fixed.pcapng"));
    assert!(told.starts_with("0\n"), "{told}");
    assert!(!Path::new("/meshpcap-test-out.pcap").exists() && !std::env::temp_dir().join("../out.pcap").exists());
}

//! A gateway as typed: networks with host bits are said once, its options go together, the plan's command has them.

use snapbox::{assert_data_eq, str};

use crate::common::leg::together;
use crate::common::{Leg, Link, pcap};
use crate::{folder, put, run, told};

const NETWORKS: &str = "--gateway --cluster-cidr 192.168.0.0/12,192.168.0.0/12 --service-cidr 10.96.0.0/12";

#[test]
fn a_gateway_is_merged() {
    let folder = folder();
    let legs = [
        Leg::direct("203.0.113.9:51000", "192.168.3.4:8443").whole(),
        Leg::direct("192.168.3.4:40000", "192.168.3.5:8080").after(1_000_000).whole(),
    ];
    put(&folder, "gateway.pcap", &pcap(Link::Eth, &together(&legs.each_ref(), Link::Eth)));
    let output = run(&folder, &format!("merge gateway.pcap -o fixed.pcapng {NETWORKS}"));
    assert_data_eq!(
        told(&output),
        str![[r#"
0
meshpcap: 192.168.0.0/12: host bits set, taken as 192.160.0.0/12
20 packets from 1 input, 20 written
0 packets got their original addresses back, 20 checksums completed
legs            repaired     whole      left
downstream             0         1         0  client to gateway
upstream               0         1         0  gateway to service
gateway: 192.168.3.4
nat rules: nothing was redirected, as at a gateway

"#]]
    );
    let quiet = run(&folder, &format!("merge gateway.pcap -o fixed.pcapng -q {NETWORKS}"));
    assert_eq!(told(&quiet), "0\nmeshpcap: 192.168.0.0/12: host bits set, taken as 192.160.0.0/12\n");
}

#[test]
fn options_that_go_together() {
    let folder = folder();
    for (typed, missing) in [
        ("--gateway", "--cluster-cidr <CIDR>"),
        ("--cluster-cidr 10.0.0.0/8", "--gateway"),
        ("--service-cidr 10.0.0.0/8", "--gateway"),
        ("--pod 10.0.0.7", "--gateway"),
        ("--port 8443", "--gateway"),
    ] {
        let told = told(&run(&folder, &format!("merge eth0.pcap -o fixed.pcapng {typed}")));
        let (_, needed) = told.split_once("were not provided:\n").expect("what is missing");
        let (needed, _) = needed.split_once("\n\n").expect("how it is used");
        assert!(told.starts_with("2\n") && needed.contains(missing), "{told}");
    }
    let wrong = told(&run(&folder, "merge eth0.pcap -o fixed.pcapng --gateway --cluster-cidr 10.0.0.0/33"));
    assert!(wrong.starts_with("2\n") && wrong.contains("the prefix is longer than the address"), "{wrong}");
    for other in ["--rules rules.txt", "--mesh istio", "--local-ports 1-2"] {
        let told = told(&run(&folder, &format!("plan --gateway --cluster-cidr 10.0.0.0/8 {other}")));
        assert!(told.starts_with("2\n") && told.contains("cannot be used with"), "{told}");
    }
}

#[test]
fn a_plan_ends_with_the_command() {
    let folder = folder();
    let plan = |more: &str| told(&run(&folder, &format!("plan {NETWORKS} {more}")));
    let networks = "--cluster-cidr 192.160.0.0/12,192.160.0.0/12,10.96.0.0/12";
    assert!(plan("").ends_with(&format!("\n  meshpcap merge FOLDER/ -o fixed.pcapng --gateway {networks}\n")));
    let script = plan("--pod 192.168.3.4 --port 8443,9000-9010 --script");
    let options = format!("\nmerge_options=' --gateway --pod 192.168.3.4 --port 8443,9000-9010 {networks}'\n");
    assert!(script.contains(&options), "{script}");
}

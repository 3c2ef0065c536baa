//! `meshpcap plan` by what tcpdump says: its filters compile and keep what they are for, and lose what they should lose.
//! The live part captures with them, see tests/rig/planned.py.

#[path = "common/mod.rs"]
mod common;

use std::net::IpAddr;
use std::process::Command;

use meshpcap::nat::{Gateway, Numbers, PRESETS, Preset};
use meshpcap::plan::check::{Found, check};
use meshpcap::plan::{Leg, Plan, Pod, Settings, Side, Target, plan};

fn settings() -> Settings {
    Settings {
        via: None,
        interface: "eth0".to_owned(),
        duration: 60,
        buffer: 32_768,
        snaplen: 0,
        files: 10,
        file_size: 100,
        folder: None,
        access_log: None,
        keys: None,
    }
}

fn addresses(typed: &str) -> Vec<IpAddr> {
    typed.split(',').map(|address| address.parse().expect("an address of the test")).collect()
}

fn pod(mesh: &str, typed: &str, port: Option<u32>) -> Target {
    let preset = Preset::named(mesh).expect("a preset");
    let mut pod = Pod::new(&addresses(typed), "eth0", &preset.ruleset(), Some(mesh));
    pod.ports = port.map(Numbers::one).unwrap_or_default();
    Target::Sidecar(pod)
}

/// Every filter by itself: tcpdump compiles it for Ethernet and for `-i any`, and it keeps its own legs.
fn assert_good(plan: &Plan, about: &str) {
    for capture in &plan.captures {
        for link_type in ["EN10MB", "LINUX_SLL2"] {
            let compiled = Command::new("tcpdump").args(["-y", link_type, "-d", "--", &capture.filter]).output();
            let compiled = compiled.expect("tcpdump runs");
            let told = String::from_utf8_lossy(&compiled.stderr).into_owned();
            assert!(compiled.status.success(), "{about}: {}: {told}", capture.filter);
        }
        let alone = Plan { captures: vec![capture.clone()], ..plan.clone() };
        let checked = check(&alone, &capture.filter).expect("tcpdump takes it");
        assert!(checked.rows.iter().all(|row| row.found == Found::Kept), "{about}: {}\n{checked}", capture.filter);
    }
}

#[test]
fn every_filter_compiles_and_keeps_its_legs() {
    if !common::require("tcpdump", "every_filter_compiles_and_keeps_its_legs") {
        return;
    }
    let mut filters = 0;
    for preset in PRESETS {
        for typed in ["10.0.0.7", "fd00::7", "10.0.0.7,fd00::7"] {
            for port in [None, Some(8080)] {
                let target = pod(preset.name, typed, port);
                let one_by_one = Leg::SIDECAR.map(|leg| vec![leg]).into_iter().filter(|_| typed.contains(','));
                for legs in one_by_one.chain([Vec::new()]) {
                    let plan = plan(&target, &legs, settings());
                    assert_good(&plan, &format!("{} {typed} {port:?} {legs:?}", preset.name));
                    filters += plan.captures.len();
                }
            }
        }
    }
    assert!(filters > 150, "{filters} filters");
}

#[test]
fn every_filter_of_a_gateway_compiles_and_keeps_its_legs() {
    if !common::require("tcpdump", "every_filter_of_a_gateway_compiles_and_keeps_its_legs") {
        return;
    }
    for inside in ["192.168.0.0/12", "10.96.0.0/12,fd00:10::/56", "0.0.0.0/1"] {
        let inside: Vec<_> = inside.split(',').map(|cidr| cidr.parse().expect("a network of the test")).collect();
        for (typed, port) in
            [("", None), ("192.168.3.4", None), ("192.168.3.4", Some(8443)), ("198.51.100.4", Some(443))]
        {
            let own = if typed.is_empty() { Vec::new() } else { addresses(typed) };
            let ports = port.map(Numbers::one).unwrap_or_default();
            let target = Target::Gateway(Gateway { addresses: own, ports, inside: inside.clone() });
            for legs in Leg::GATEWAY.map(|leg| vec![leg]).into_iter().chain([Vec::new()]) {
                assert_good(&plan(&target, &legs, settings()), &format!("{inside:?} {typed} {port:?} {legs:?}"));
            }
        }
    }
}

/// What well-known mistakes lose.
#[test]
fn what_filters_lose() {
    if !common::require("tcpdump", "what_filters_lose") {
        return;
    }
    let target = pod("istio-dns", "10.0.0.7,fd00::7", Some(8080));
    let plan = plan(&target, &[], settings());
    let row = |filter: &str, leg: Leg, side: Side, forward: bool| {
        let rows = check(&plan, filter).expect("tcpdump takes it").rows;
        let is_it = |half: &meshpcap::plan::Half| {
            let client = half.direction == meshpcap::plan::Direction::Client;
            half.leg == leg && half.side == side && client == forward
        };
        rows.into_iter().find(|row| is_it(&row.half)).expect("the half is in the plan").found
    };
    let lost = |found: &Found| matches!(found, Found::Lost { .. });
    let partly = |found: &Found| matches!(found, Found::Partly { .. });
    assert_eq!(row("port 15001", Leg::OutboundApp, Side::Lo, true), Found::Kept);
    assert!(lost(&row("port 15001", Leg::OutboundApp, Side::Lo, false)), "replies bear the service's port");
    assert!(lost(&row("port 15006", Leg::InboundPeer, Side::Wire, true)), "15006 shows on no wire");
    assert!(partly(&row("ip", Leg::OutboundApp, Side::Lo, true)), "IPv6");
    assert!(partly(&row("host 10.0.0.7", Leg::InboundApp, Side::Lo, true)), "the pod's IPv6 address");
    assert!(partly(&row("tcp port 8080", Leg::OutboundPeer, Side::Wire, true)), "services have other ports, too");
    assert!(partly(&row("tcp[tcpflags] & tcp-syn != 0", Leg::OutboundPeer, Side::Wire, true)), "data is lost");
    // A port that only a client with a wide ip_local_port_range has.
    let narrow = row("portrange 32768-60999", Leg::OutboundApp, Side::Lo, true);
    assert!(matches!(&narrow, Found::Mostly { lost } if lost.contains(":1024 > ")), "{narrow:?}");
    assert_eq!(row("", Leg::Dns, Side::Lo, false), Found::Kept);
    // The service that the filter names is kept, others are not.
    let one = row("host 10.96.7.7 or dst port 15001", Leg::OutboundApp, Side::Lo, false);
    assert!(matches!(&one, Found::Partly { kept, .. } if kept.starts_with("10.96.7.7:")), "{one:?}");
    let six = row("host fd00:96::77", Leg::OutboundApp, Side::Lo, false);
    assert!(matches!(&six, Found::Partly { kept, .. } if kept.starts_with("[fd00:96::77]:")), "{six:?}");
}

/// What is said of the interface that leads to the network bears its name.
#[test]
fn the_interface_has_the_name_that_was_given() {
    let settings = || Settings { interface: "net1".to_owned(), ..settings() };
    let one = plan(&pod("linkerd", "10.0.0.7", None), &[Leg::OutboundPeer], settings());
    assert_eq!(one.captures.iter().map(|capture| capture.interface.as_str()).collect::<Vec<_>>(), ["net1"]);
    assert!(one.notes.len() == 2 && one.notes.iter().all(|note| note.starts_with("net1: ")), "{:?}", one.notes);
    if common::require("tcpdump", "the_interface_has_the_name_that_was_given") {
        let told = check(&one, "tcp").expect("tcpdump takes it").to_string();
        assert!(told.lines().all(|line| line.starts_with("outbound-peer     net1 tcp")), "{told}");
    }
}

#[test]
fn filters_that_tcpdump_refuses() {
    if !common::require("tcpdump", "filters_that_tcpdump_refuses") {
        return;
    }
    let plan = plan(&pod("istio", "10.0.0.7", None), &[], settings());
    for (filter, why) in
        [("foo bar", "syntax error"), ("net 192.168.0.0/12", "non-network bits set"), ("-w x", "syntax error")]
    {
        let error = check(&plan, filter).expect_err("tcpdump refuses it").to_string();
        assert!(error.starts_with("tcpdump refuses the filter: ") && error.contains(why), "{error}");
    }
}

#[test]
fn live() {
    common::rig::judged("planned.py", "the live test of plan", &[]);
}

//! The legs of a gateway: labelled by who called, tied by its log and by the captures alone; and, live, Envoy as a gateway
//! in a namespace of its own (see tests/rig/gateway.py).

mod common;

use std::net::IpAddr;

use common::leg::{START, together};
use common::{Job, Leg, Link, Outcome};
use meshpcap::nat::{Gateway, Numbers};
use serde_json::Value;

const OWN: &str = "192.168.3.4";

/// 192.168.0.0/12 as typed, and the services.
fn gateway(own: &[&str], port: Option<u32>) -> Gateway {
    let address = |own: &&str| own.parse::<IpAddr>().expect("an address of the test");
    let inside = ["192.168.0.0/12", "10.96.0.0/12", "fd00:10::/56"];
    Gateway {
        addresses: own.iter().map(address).collect(),
        ports: port.map(Numbers::one).unwrap_or_default(),
        inside: inside.map(|cidr| cidr.parse().expect("a network of the test")).into(),
    }
}

fn merged(gateway: Gateway, legs: &[&Leg]) -> Outcome {
    let mut job = Job::new().shots(Link::Eth, &together(legs, Link::Eth));
    job.merge.gateway = Some(gateway);
    job.run()
}

/// Role and ends of each leg.
fn roles(outcome: &Outcome) -> Vec<String> {
    let text = |leg: &Value, key: &str| leg[key].as_str().unwrap_or_default().to_owned();
    let line = |leg: &Value| format!("{} {} > {}", text(leg, "role"), text(leg, "client"), text(leg, "server"));
    outcome.legs.iter().map(line).collect()
}

/// A leg of each kind, in turn.
fn all() -> [Leg; 6] {
    [
        Leg::direct("203.0.113.9:51000", "192.168.3.4:8443").whole(),
        Leg::direct("192.175.9.9:52000", "192.168.3.4:8443").after(1_000).whole(),
        Leg::direct("192.168.3.4:40000", "192.168.3.5:8080").after(2_000).whole(),
        Leg::direct("192.168.3.4:40001", "10.96.0.20:443").after(3_000).whole(),
        Leg::direct("192.168.3.4:40002", "198.51.100.7:443").after(4_000).whole(),
        Leg::direct("10.240.0.1:53000", "192.168.3.4:15021").after(5_000).whole(),
    ]
}

const ALL: [&str; 6] = [
    "downstream 203.0.113.9:51000 > 192.168.3.4:8443",
    "downstream 192.175.9.9:52000 > 192.168.3.4:8443",
    "upstream 192.168.3.4:40000 > 192.168.3.5:8080",
    "upstream 192.168.3.4:40001 > 10.96.0.20:443",
    "upstream 192.168.3.4:40002 > 198.51.100.7:443",
    "downstream 10.240.0.1:53000 > 192.168.3.4:15021",
];

#[test]
fn who_called_decides() {
    for own in [&[][..], &[OWN], &[OWN, "fd00:10::4"]] {
        let outcome = merged(gateway(own, None), &all().each_ref());
        assert_eq!(roles(&outcome), ALL, "{own:?}");
        assert!(outcome.summary().contains("\ngateway: 192.168.3.4\n") == (own.len() < 2), "{}", outcome.summary());
        assert!(outcome.summary().contains("nothing was redirected, as at a gateway"), "{}", outcome.summary());
        assert!(!outcome.summary().contains("-i lo"), "{}", outcome.summary());
    }
    let outcome = merged(gateway(&["192.168.99.99"], None), &all().each_ref());
    assert!(roles(&outcome).iter().all(|told| told.starts_with("network ")), "another one's capture");
}

#[test]
fn without_a_gateway_nothing_is_one() {
    let outcome = common::merge(Link::Eth, &together(&all().each_ref(), Link::Eth));
    assert!(roles(&outcome).iter().all(|told| told.starts_with("network ")), "{:?}", roles(&outcome));
    assert!(!outcome.summary().contains("\ngateway"), "{}", outcome.summary());
}

#[test]
fn its_address_is_found_without_a_client_outside() {
    let legs = all();
    let outcome = merged(gateway(&[], None), &[&legs[1], &legs[2], &legs[3]]);
    assert_eq!(roles(&outcome), ALL[1..4]);
    // On the node's network, it is itself outside.
    let hosted = [
        Leg::direct("203.0.113.9:51000", "10.240.0.7:443").whole(),
        Leg::direct("192.168.3.9:51000", "10.240.0.7:443").after(1_000).whole(),
        Leg::direct("10.240.0.7:40000", "192.168.3.5:8080").after(2_000).whole(),
    ];
    let told = roles(&merged(gateway(&[], None), &hosted.each_ref()));
    assert_eq!(
        told,
        [
            "downstream 203.0.113.9:51000 > 10.240.0.7:443",
            "downstream 192.168.3.9:51000 > 10.240.0.7:443",
            "upstream 10.240.0.7:40000 > 192.168.3.5:8080"
        ]
    );
    // Two addresses inside talk to each other: either may be it.
    let outcome = merged(gateway(&[], None), &[&legs[2]]);
    assert!(roles(&outcome)[0].starts_with("network "), "{:?}", roles(&outcome));
    assert!(outcome.summary().contains("give it with --pod"), "{}", outcome.summary());
}

#[test]
fn families_are_told_apart() {
    let legs = [
        Leg::direct("[2001:db8::9]:51000", "[fd00:10::4]:8443").whole(),
        Leg::direct("[fd00:10::4]:40000", "[fd00:10::5]:8080").after(1_000).whole(),
        Leg::direct("192.175.9.9:52000", "192.168.3.4:8443").after(2_000).whole(),
        Leg::direct("192.168.3.4:40000", "192.168.3.5:8080").after(3_000).whole(),
    ];
    let outcome = merged(gateway(&[], None), &legs.each_ref());
    let told: Vec<String> = roles(&outcome).iter().map(|told| told.split(' ').next().unwrap_or("").into()).collect();
    assert_eq!(told, ["downstream", "upstream", "downstream", "upstream"]);
    assert!(outcome.summary().contains("\ngateway: 192.168.3.4, fd00:10::4\n"), "{}", outcome.summary());
}

/// Connections that began before the capture, with ports that a guess takes the wrong way round.
#[test]
fn who_called_before_the_capture() {
    let late = |client: &str, server: &str| Leg::direct(client, server).open().begun_at(3).ask("x").answer("yes");
    // Clients outside call; the service's port is known by another connection to it, the gateway's as well.
    let legs = [
        late("203.0.113.9:2000", "192.168.3.4:8443"),
        late("192.175.9.9:2001", "192.168.3.4:8443").after(200_000).ask("z"),
        late("192.168.3.4:40000", "192.168.3.5:50051"),
        Leg::direct("192.175.9.8:52000", "192.168.3.4:8443").after(1_000_000).whole(),
        Leg::direct("192.168.3.4:40009", "192.168.3.5:50051").after(2_000_000).whole(),
    ];
    let mut told = roles(&merged(gateway(&[], None), &legs.each_ref()));
    told.sort();
    assert_eq!(
        told,
        [
            "downstream 192.175.9.8:52000 > 192.168.3.4:8443",
            "downstream 192.175.9.9:2001 > 192.168.3.4:8443",
            "downstream 203.0.113.9:2000 > 192.168.3.4:8443",
            "upstream 192.168.3.4:40000 > 192.168.3.5:50051",
            "upstream 192.168.3.4:40009 > 192.168.3.5:50051"
        ]
    );
    // Without another connection, the port that was given tells; without that, the higher port is the client's.
    let told = roles(&merged(gateway(&[OWN], Some(8443)), &[&legs[1]]));
    assert_eq!(told, ["downstream 192.175.9.9:2001 > 192.168.3.4:8443"]);
    let told = roles(&merged(gateway(&[OWN], None), &[&legs[1]]));
    assert_eq!(told, ["upstream 192.168.3.4:8443 > 192.175.9.9:2001"]);
}

/// What a pipe shows is told in the same way.
#[test]
fn read_once() {
    let mut job = Job::new().shots(Link::Eth, &together(&all().each_ref(), Link::Eth)).look_ahead(u64::MAX, u64::MAX);
    job.merge.gateway = Some(gateway(&[], None));
    assert_eq!(roles(&job.run()), ALL);
}

#[test]
fn what_a_port_is_for() {
    let legs = [
        &all()[..],
        &[
            Leg::direct("192.168.3.4:40005", "10.96.0.2:15012").after(6_000).whole(),
            Leg::direct("192.168.3.4:40006", "192.168.3.6:15000").after(7_000).whole(),
            // A client's port is nobody's listener.
            Leg::direct("192.175.9.9:15090", "192.168.3.4:8443").after(8_000).whole(),
        ],
    ]
    .concat();
    let labels = |mesh: Option<&str>| {
        let legs: Vec<&Leg> = legs.iter().collect();
        let mut job = Job::new().shots(Link::Eth, &together(&legs, Link::Eth));
        job.merge.gateway = Some(gateway(&[], None));
        let job = if let Some(mesh) = mesh { job.mesh(mesh) } else { job };
        let outcome = job.run();
        let label = |leg: &Value| leg["port_label"].as_str().unwrap_or("-").to_owned();
        outcome.legs.iter().skip(5).map(label).collect::<Vec<_>>()
    };
    let (health, agent) = ("15021 health: /healthz/ready", "15012 configuration and certificates, TLS");
    assert_eq!(labels(None), [health, agent, "-", "-"]);
    let admin = "15000 administration: statistics, configuration, log levels";
    assert_eq!(labels(Some("istio")), [health, agent, admin, "-"]);
    assert_eq!(labels(Some("linkerd")), ["-", "-", "-", "-"]);
}

/// Exchanges through a gateway that passes them on 50 µs later, each to a connection of its own.
fn calls() -> Vec<Leg> {
    let call = |n: usize, client: &str| {
        let (ask, answer) = ("q".repeat(100 + 7 * n), "a".repeat(1000 + 13 * n));
        let begin = 1_000_000 * n as u64;
        let near = Leg::direct(client, "192.168.3.4:8443").after(begin).open().ask(&ask);
        let far = Leg::direct(&format!("192.168.3.4:{}", 40_000 + n), "192.168.3.5:6379").after(begin + 90_000);
        let far = far.open().ask(&ask).answer(&answer);
        let near = near.after(begin + 200_000).answer(&answer).close();
        [near, far.after(begin + 250_000).close()]
    };
    let clients = ["203.0.113.9:51000", "192.175.9.9:52000", "203.0.113.9:51001", "192.175.9.9:52001"];
    clients.into_iter().enumerate().flat_map(|(n, client)| call(n, client)).collect()
}

fn ties(outcome: &Outcome) -> Vec<(String, String, String)> {
    let tied = |leg: &&Value| leg["role"] == "upstream";
    let near = |tie: &Value| {
        let of_tie: Vec<&Value> =
            outcome.legs.iter().filter(|leg| leg["tie"] == *tie && leg["role"] == "downstream").collect();
        of_tie.iter().filter_map(|leg| leg["client"].as_str()).collect::<Vec<_>>().join(" ")
    };
    let row = |leg: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let client = leg["real_client"][0].as_str().unwrap_or("-").to_owned();
        let near = if leg["tie"].is_null() { "-".to_owned() } else { near(&leg["tie"]) };
        (text(&leg["client"]) + " " + &near, text(&leg["tie_evidence"]), client)
    };
    outcome.legs.iter().filter(tied).map(row).collect()
}

fn told(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    rows.iter().map(|(ends, evidence, client)| (ends.to_string(), evidence.to_string(), client.to_string())).collect()
}

#[test]
fn tied_by_the_captures_alone() {
    let legs = calls();
    let outcome = merged(gateway(&[], None), &legs.iter().collect::<Vec<_>>());
    assert_eq!(
        ties(&outcome),
        told(&[
            ("192.168.3.4:40000 203.0.113.9:51000", "bytes", "203.0.113.9"),
            ("192.168.3.4:40001 192.175.9.9:52000", "bytes", "192.175.9.9"),
            ("192.168.3.4:40002 203.0.113.9:51001", "bytes", "203.0.113.9"),
            ("192.168.3.4:40003 192.175.9.9:52001", "bytes", "192.175.9.9"),
        ])
    );
    // No leg gets another's address: both sides are what they are.
    assert!(outcome.legs.iter().all(|leg| leg["captured_client"].is_null()));
}

/// Another gateway's legs carry the same: what meets is decided by the address between them.
#[test]
fn a_tie_goes_through_one_gateway() {
    let legs = calls();
    let mut others = legs[..2].to_vec();
    let text =
        |end: std::net::SocketAddr| end.to_string().replace(OWN, "192.168.3.8").replace("203.0.113.9", "203.0.113.8");
    for leg in &mut others {
        let (client, server) = (text(leg.client), text(leg.server));
        // The same octets at the same times.
        let is_near = leg.client.ip().to_string() == "203.0.113.9";
        let (ask, answer) = ("q".repeat(100), "a".repeat(1000));
        let moved = Leg::direct(&client, &server);
        *leg = match is_near {
            true => moved.after(500).open().ask(&ask).after(200_500).answer(&answer).close(),
            false => moved.after(90_500).open().ask(&ask).answer(&answer).after(250_500).close(),
        };
    }
    let both: Vec<&Leg> = legs[..2].iter().chain(&others).collect();
    let outcome = merged(gateway(&[OWN, "192.168.3.8"], None), &both);
    assert_eq!(
        ties(&outcome),
        told(&[
            ("192.168.3.4:40000 203.0.113.9:51000", "bytes", "203.0.113.9"),
            ("192.168.3.8:40000 203.0.113.8:51000", "bytes", "203.0.113.8"),
        ])
    );
}

/// A line of Istio's log at a gateway.
fn line(near: &str, far: &str, host: &str) -> String {
    assert_eq!(START, 1_700_000_000_000_000_000);
    format!(
        "[2023-11-14T22:13:20.000Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 1 1 \"-\" \"curl\" \
         \"6f1c9ae2-1d62-4b7e-a3f3-000000000001\" \"svc\" \"{host}\" outbound|80||svc {far} 192.168.3.4:8443 {near} - default\n"
    )
}

/// One connection to the service carries the requests of two clients: only the log tells that.
#[test]
fn tied_by_the_log() {
    let request = "GET / HTTP/1.1\r\n\r\n";
    let legs = [
        Leg::direct("203.0.113.9:51000", "192.168.3.4:8443").open().ask(request).after(300_000).answer("one").close(),
        Leg::direct("192.175.9.9:52000", "192.168.3.4:8443").open().ask(request).after(300_000).answer("two").close(),
        Leg::direct("192.168.3.4:40000", "192.168.3.5:8080")
            .after(100_000)
            .open()
            .ask(request)
            .answer("one")
            .ask(request)
            .answer("two"),
    ];
    let far = ("192.168.3.4:40000", "192.168.3.5:8080");
    let log = line("203.0.113.9:51000", far.0, far.1) + &line("192.175.9.9:52000", far.0, far.1);
    let mut job = Job::new().shots(Link::Eth, &together(&legs.each_ref(), Link::Eth));
    let path = job.folder.path().join("access.log");
    std::fs::write(&path, log).expect("a log beside the inputs");
    job.merge.beside.access_logs.push(path);
    job.merge.gateway = Some(gateway(&[], None));
    let outcome = job.run();
    assert_eq!(
        ties(&outcome),
        told(&[("192.168.3.4:40000 203.0.113.9:51000 192.175.9.9:52000", "access-log", "192.175.9.9")])
    );
    let far = outcome.legs.iter().find(|leg| leg["role"] == "upstream").expect("the leg to the service");
    assert_eq!(far["real_client"], serde_json::json!(["192.175.9.9", "203.0.113.9"]));
    assert_eq!((&far["tie_grade"], &far["requests"]), (&"exact".into(), &2.into()));
}

/// From a client outside through the gateway and a sidecar to the application: one call.
#[test]
fn a_call_through_gateway_and_sidecar() {
    let (ask, answer) = ("q".repeat(333), "a".repeat(4444));
    let client = Leg::direct("203.0.113.9:51000", "192.168.3.4:8443").open().ask(&ask).after(400_000).answer(&answer);
    let wire = Leg::direct("192.168.3.4:40000", "192.168.3.5:6379").after(90_000).open().ask(&ask);
    let app = Leg::direct("127.0.0.6:29894", "192.168.3.5:6379").after(190_000).open().ask(&ask).answer(&answer);
    let (client, wire) = (client.close(), wire.after(300_000).answer(&answer).after(500_000).close());
    let app = app.after(600_000).close();
    let mut job = Job::new()
        .shots(Link::Eth, &together(&[&client, &wire], Link::Eth))
        .shots(Link::Eth, &together(&[&wire], Link::Eth))
        .shots(Link::Lo, &together(&[&app], Link::Lo));
    job.merge.gateway = Some(gateway(&[OWN], None));
    let outcome = job.run();
    assert_eq!(
        roles(&outcome),
        [
            "downstream 203.0.113.9:51000 > 192.168.3.4:8443",
            "upstream 192.168.3.4:40000 > 192.168.3.5:6379",
            // Whose it is: the gateway's.
            "inbound-app 192.168.3.4:29894 > 192.168.3.5:6379"
        ]
    );
    let ties: Vec<&Value> = outcome.legs.iter().map(|leg| &leg["tie"]).collect();
    assert_eq!(ties, [1, 1, 1]);
}

/// From an application through its sidecar and the gateway to a service: one call, and the pod inside is a client.
#[test]
fn a_call_through_sidecar_and_gateway() {
    let (ask, answer) = ("q".repeat(333), "a".repeat(4444));
    let app = Leg::outbound("192.175.9.9:45000", "10.96.0.10:6379").open().ask(&ask).after(600_000).answer(&answer);
    let wire = Leg::direct("192.175.9.9:52000", "192.168.3.4:8443").after(90_000).open().ask(&ask);
    let far = Leg::direct("192.168.3.4:40000", "192.168.3.5:6379").after(190_000).open().ask(&ask).answer(&answer);
    let (app, wire) = (app.close(), wire.after(500_000).answer(&answer).after(650_000).close());
    let far = far.after(700_000).close();
    let mut job = Job::new()
        .shots(Link::Eth, &together(&[&wire], Link::Eth))
        .shots(Link::Lo, &together(&[&app], Link::Lo))
        .shots(Link::Eth, &together(&[&wire, &far], Link::Eth));
    job.merge.gateway = Some(gateway(&[OWN], None));
    let outcome = job.run();
    assert_eq!(
        roles(&outcome),
        [
            "outbound-app 192.175.9.9:45000 > 10.96.0.10:6379",
            "downstream 192.175.9.9:52000 > 192.168.3.4:8443",
            "upstream 192.168.3.4:40000 > 192.168.3.5:6379"
        ]
    );
    let ties: Vec<&Value> = outcome.legs.iter().map(|leg| &leg["tie"]).collect();
    assert_eq!(ties, [1, 1, 1]);
}

#[test]
fn live() {
    common::rig::judged("gateway.py", "the live test of a gateway", &[]);
}

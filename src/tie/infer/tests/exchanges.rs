//! HTTP/1.1: exchanges within others.

use super::*;

const ADDED: usize = 77;
const ANSWERED: usize = 73;

/// A message of `len` octets that begins like this.
fn message(begin: &str, len: usize) -> Vec<u8> {
    let mut message = begin.as_bytes().to_vec();
    message.resize(len, b'.');
    message
}

/// An exchange that takes 10 ms, from `time`; the proxy adds headers.
fn exchange(world: &mut World, near: &mut Talk, far: &mut Talk, time: u64, up: usize, down: usize) {
    world.send(near, ms(time), Client, &message("GET / HTTP/1.1\r\n", up));
    world.send(far, ms(time + 2), Client, &message("GET / HTTP/1.1\r\n", up + ADDED));
    world.send(far, ms(time + 6), Server, &message("HTTP/1.1 200 OK\r\n", down));
    world.send(near, ms(time + 8), Server, &message("HTTP/1.1 200 OK\r\n", down + ANSWERED));
}

/// Enough exchanges of other legs to learn what the proxy adds.
fn taught() -> World {
    let mut world = World::new();
    for n in 0..10 {
        let mut near = world.near(ms(n * 100), &format!("10.8.0.{n}:4000"));
        let mut far = world.far(ms(n * 100 + 1), 100 + n as u16);
        exchange(&mut world, &mut near, &mut far, n * 100 + 2, 100 + n as usize, 500);
    }
    world
}

fn client_of(inferred: &Inferred, far: &Talk) -> Option<Clients> {
    inferred.clients.iter().find(|(leg, _)| *leg == far.id()).map(|(_, clients)| clients.clone())
}

fn one(client: &str) -> Option<Clients> {
    Some(Clients::One(client.parse().expect("an address")))
}

#[test]
fn a_leg_that_served_one_client_bears_it() {
    let mut world = taught();
    let mut near = world.near(ms(2000), "10.9.0.1:4000");
    let mut far = world.far(ms(2001), 1);
    exchange(&mut world, &mut near, &mut far, 2002, 120, 800);
    exchange(&mut world, &mut near, &mut far, 2020, 130, 60);
    let inferred = world.infer();
    assert_eq!(client_of(&inferred, &far), one("10.9.0.1"));
    let tie = inferred.ties.iter().find(|tie| tie.far == far.id()).expect("it is tied");
    assert_eq!((tie.near, &tie.evidence, tie.exchanges().len()), (near.id(), &Evidence::Exchanges, 2));
    assert_eq!(tie.exchanges()[1].near.request, (ms(2020), ms(2020)));
    assert_eq!(tie.exchanges()[1].far.response, (ms(2026), ms(2026)));
}

#[test]
fn a_pooled_leg_names_its_clients() {
    let mut world = taught();
    let mut far = world.far(ms(2001), 1);
    for n in 1..=3 {
        let mut near = world.near(ms(2000), &format!("10.9.0.{n}:4000"));
        exchange(&mut world, &mut near, &mut far, 2000 + n * 20, 120, 800);
    }
    let clients = (1..=3).map(|n| format!("10.9.0.{n}").parse().expect("an address")).collect();
    assert_eq!(client_of(&world.infer(), &far), Some(Clients::Several(clients)));
}

#[test]
fn two_that_fit_at_once_leave_it_open() {
    let mut world = taught();
    let (mut a, mut b) = (world.near(ms(2000), "10.9.0.1:4000"), world.near(ms(2000), "10.9.0.2:4000"));
    let (mut far_a, mut far_b) = (world.far(ms(2001), 1), world.far(ms(2001), 2));
    exchange(&mut world, &mut a, &mut far_a, 2002, 120, 800);
    exchange(&mut world, &mut b, &mut far_b, 2002, 120, 800);
    let inferred = world.infer();
    assert_eq!(client_of(&inferred, &far_a), Some(Clients::Unknown));
    assert_eq!(client_of(&inferred, &far_b), Some(Clients::Unknown));
}

#[test]
fn an_exchange_of_a_size_that_the_proxy_never_makes_is_another() {
    let mut world = taught();
    let mut near = world.near(ms(2000), "10.9.0.1:4000");
    let mut far = world.far(ms(2001), 1);
    world.send(&mut near, ms(2002), Client, &message("GET / HTTP/1.1\r\n", 120));
    world.send(&mut far, ms(2003), Client, &message("GET / HTTP/1.1\r\n", 120 + ADDED + 11));
    world.send(&mut far, ms(2004), Server, &message("HTTP/1.1 200 OK\r\n", 300));
    world.send(&mut near, ms(2005), Server, &message("HTTP/1.1 200 OK\r\n", 300 + ANSWERED));
    assert_eq!(client_of(&world.infer(), &far), Some(Clients::Unknown));
}

#[test]
fn a_leg_that_can_not_be_read_may_have_it() {
    let mut world = taught();
    let mut near = world.near(ms(2000), "10.9.0.1:4000");
    let mut far = world.far(ms(2001), 1);
    exchange(&mut world, &mut near, &mut far, 2002, 120, 800);
    assert_eq!(client_of(&world.infer(), &far), one("10.9.0.1"));
    // TLS without its handshake, at the same time, of another client.
    let mut unsure = world.near_midstream("10.9.0.2:4000");
    world.send(&mut unsure, ms(1999), Client, &record(23, 300));
    world.send(&mut unsure, ms(2020), Server, &record(23, 900));
    assert_eq!(client_of(&world.infer(), &far), Some(Clients::Unknown));
    // Of the same client it makes no difference.
    let unsure = world.near.last_mut().expect("the last near leg");
    unsure.client = "10.9.0.1".parse().expect("an address");
    assert_eq!(client_of(&world.infer(), &far), one("10.9.0.1"));
}

#[test]
fn a_leg_that_nothing_explains_may_have_it() {
    let mut world = taught();
    let mut near = world.near(ms(2000), "10.9.0.1:4000");
    let mut far = world.far(ms(2001), 1);
    exchange(&mut world, &mut near, &mut far, 2002, 120, 800);
    let mut other = world.near(ms(2000), "10.9.0.2:4000");
    world.send(&mut other, ms(2001), Client, &[1; 33]);
    world.send(&mut other, ms(2050), Server, &[2; 44]);
    assert_eq!(client_of(&world.infer(), &far), Some(Clients::Unknown));
    // HTTP/2, where the proxy speaks it onwards, is explained.
    let mut world = taught();
    let mut near = world.near(ms(2000), "10.9.0.1:4000");
    let mut far = world.far(ms(2001), 1);
    exchange(&mut world, &mut near, &mut far, 2002, 120, 800);
    let mut other = world.near(ms(2000), "10.9.0.2:4000");
    world.send(&mut other, ms(2001), Client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    world.send(&mut other, ms(2050), Server, &[2; 44]);
    let mut onwards = world.far(ms(2001), 2);
    world.send(&mut onwards, ms(2002), Client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n....");
    assert_eq!(client_of(&world.infer(), &far), one("10.9.0.1"));
}

#[test]
fn where_near_legs_are_missing_nothing_is_said() {
    let mut world = taught();
    for n in 0..3 {
        let mut near = world.near(ms(2000 + n * 20), "10.9.0.1:4000");
        let mut far = world.far(ms(2001 + n * 20), n as u16);
        exchange(&mut world, &mut near, &mut far, 2002 + n * 20, 120, 800);
        world.near.pop();
    }
    let told = world.infer().clients;
    assert!(told.iter().all(|(_, clients)| *clients == Clients::Unknown), "{told:?}");
}

#[test]
fn a_request_id_tells_apart_what_sizes_do_not() {
    let mut world = taught();
    let (mut a, mut b) = (world.near(ms(2000), "10.9.0.1:4000"), world.near(ms(2000), "10.9.0.2:4000"));
    let (mut far_a, mut far_b) = (world.far(ms(2001), 1), world.far(ms(2001), 2));
    let head = |n: u32| format!("GET / HTTP/1.1\r\nX-Request-Id: 1234567890-abcdef-{n}\r\n\r\n");
    for (n, near, far) in [(1, &mut a, &mut far_a), (2, &mut b, &mut far_b)] {
        world.send(near, ms(2002), Client, &message(&head(n), 120));
        world.send(far, ms(2003), Client, &message(&head(n), 120 + ADDED));
        world.send(far, ms(2004), Server, &message("HTTP/1.1 200 OK\r\n", 300));
        world.send(near, ms(2005), Server, &message("HTTP/1.1 200 OK\r\n", 300 + ANSWERED));
    }
    let inferred = world.infer();
    assert_eq!(client_of(&inferred, &far_a), one("10.9.0.1"));
    assert_eq!(client_of(&inferred, &far_b), one("10.9.0.2"));
}

#[test]
fn within_tls_the_tickets_are_no_response() {
    let mut world = World::new();
    let mut legs = Vec::new();
    for n in 0..10_u64 {
        let mut near = tls(&mut world, n * 500, &format!("10.8.0.{n}:4000"));
        let mut far = world.far(ms(n * 500 + 2), n as u16);
        let up = 100 + n as usize;
        world.send(&mut near, ms(n * 500 + 10), Client, &protected(up));
        world.send(&mut far, ms(n * 500 + 11), Client, &message("GET / HTTP/1.1\r\n", up + ADDED + 1));
        world.send(&mut far, ms(n * 500 + 12), Server, &message("HTTP/1.1 200 OK\r\n", 500));
        world.send(&mut near, ms(n * 500 + 13), Server, &protected(500 + ANSWERED));
        legs.push(far);
    }
    let inferred = world.infer();
    for (n, far) in legs.iter().enumerate() {
        assert_eq!(client_of(&inferred, far), one(&format!("10.8.0.{n}")));
    }
}

//! Through a gateway: what differs from a sidecar.

use super::*;

/// The ties of a world whose proxy is a gateway at 10.0.0.1.
fn ties(world: &World) -> Vec<(u32, u32)> {
    let address = |text: &str| text.parse().expect("an address");
    let far = |leg: &TcpLeg| TcpLeg { client: address("10.0.0.1"), server: address("10.0.0.2"), port: 8080, ..*leg };
    let far: Vec<TcpLeg> = world.far.iter().map(far).collect();
    let inferred = world.infer_of(Stage::Gateway, &far);
    inferred.ties.iter().map(|tie| (tie.near, tie.far)).collect()
}

/// What goes through TLS at `time`, to a far leg that was opened before.
fn pass_on(world: &mut World, near: &mut Talk, far: &mut Talk, time: u64) {
    world.send(near, ms(time), Client, &protected(100));
    world.send(far, ms(time + 1), Client, &[b'x'; 100]);
    world.send(far, ms(time + 2), Server, &[b'y'; 2000]);
    world.send(near, ms(time + 3), Server, &protected(2000));
}

#[test]
fn a_gateway_connects_onwards_whenever_it_likes() {
    // Between the client's SYN and its hello, or when the handshake is over.
    for opened in [us(500), ms(7)] {
        let mut world = World::new();
        let mut near = tls(&mut world, 0, "10.9.0.1:4000");
        let mut far = world.far(opened, 1);
        pass_on(&mut world, &mut near, &mut far, 8);
        assert_eq!(ties(&world), [(near.id(), far.id())]);
        assert_eq!(world.ties(), [], "no sidecar does");
    }
    // Before the client's SYN: it is another's.
    let mut world = World::new();
    let mut far = world.far(ms(0), 1);
    let mut near = tls(&mut world, 1, "10.9.0.1:4000");
    pass_on(&mut world, &mut near, &mut far, 9);
    assert_eq!(ties(&world), []);
}

#[test]
fn a_gateway_may_end_tls_and_begin_it() {
    let mut world = World::new();
    let mut near = tls(&mut world, 0, "10.9.0.1:4000");
    let mut far = world.far(us(500), 1);
    // TLS 1.2 to the service, whose records add 24 octets.
    world.send(&mut far, ms(1), Client, &record(22, 202));
    world.send(&mut far, ms(2), Server, &[record(22, 72), record(20, 1), record(22, 40)].concat());
    world.send(&mut far, ms(3), Client, &[record(20, 1), record(22, 40)].concat());
    world.send(&mut near, ms(8), Client, &protected(100));
    world.send(&mut far, ms(9), Client, &record(23, 124));
    world.send(&mut far, ms(10), Server, &record(23, 2024));
    world.send(&mut near, ms(11), Server, &protected(2000));
    assert_eq!(ties(&world), [(near.id(), far.id())]);
    assert_eq!(world.ties(), [], "no sidecar does");
}

#[test]
fn another_gateway_is_no_way() {
    let mut world = World::new();
    let mut near = tls(&mut world, 0, "10.9.0.1:4000");
    let mut far = world.far(us(500), 1);
    pass_on(&mut world, &mut near, &mut far, 8);
    for leg in &mut world.near {
        leg.server = "10.0.0.9".parse().expect("an address");
    }
    assert_eq!(ties(&world), []);
}

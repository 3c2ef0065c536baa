//! The source ports of one address.

use std::ops::Range;

/// The ports that clients use.
const PORTS: Range<u16> = 9_000..65_500;
/// Those among them that the mesh listens on.
const MESH: Range<u16> = 15_000..15_100;

pub(super) struct Ports {
    used: Vec<bool>,
    next: u16,
    last_freed: Option<u16>,
}

impl Ports {
    pub fn new() -> Ports {
        Ports { used: vec![false; 1 << 16], next: PORTS.start, last_freed: None }
    }

    /// A port for a connection that is being opened; the one that was freed last if it is to be used `again`.
    pub fn take(&mut self, again: bool) -> u16 {
        let freed = self.last_freed.filter(|&port| again && !self.used[usize::from(port)]);
        let port = freed.unwrap_or_else(|| self.free());
        self.used[usize::from(port)] = true;
        port
    }

    /// A port that is free, and stays so.
    pub fn free(&mut self) -> u16 {
        loop {
            let port = self.next;
            self.next = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
            if !self.used[usize::from(port)] && !MESH.contains(&port) {
                return port;
            }
        }
    }

    pub fn release(&mut self, port: u16) {
        self.used[usize::from(port)] = false;
        self.last_freed = Some(port);
    }
}

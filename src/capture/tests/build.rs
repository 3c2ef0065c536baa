//! Captures for tests, in either byte order.

use crate::capture::bytes::{Order, padded};

pub const ORDERS: [Order; 2] = [Order::Little, Order::Big];

/// Bytes in one byte order.
pub struct Bytes(pub Order, pub Vec<u8>);

impl Bytes {
    pub fn new(order: Order) -> Bytes {
        Bytes(order, Vec::new())
    }
    pub fn u16(mut self, value: u16) -> Bytes {
        self.1.extend(if self.0 == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }
    pub fn u32(mut self, value: u32) -> Bytes {
        self.1.extend(if self.0 == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }
    pub fn u64(mut self, value: u64) -> Bytes {
        self.1.extend(if self.0 == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }
    pub fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.1.extend(bytes);
        self
    }
    pub fn pad(mut self) -> Bytes {
        self.1.resize(padded(self.1.len()), 0);
        self
    }
    pub fn option(self, code: u16, value: &[u8]) -> Bytes {
        self.u16(code).u16(value.len() as u16).raw(value).pad()
    }
    pub fn block(self, block_type: u32, body: Vec<u8>) -> Bytes {
        let len = padded(body.len()) as u32 + 12;
        self.u32(block_type).u32(len).raw(&body).pad().u32(len)
    }
    pub fn section(self, options: &[u8]) -> Bytes {
        let body = Bytes::new(self.0).u32(0x1a2b_3c4d).u16(1).u16(0).u64(u64::MAX).raw(options).1;
        self.block(0x0a0d_0d0a, body)
    }
    pub fn interface(self, link_type: u16, snaplen: u32, options: &[u8]) -> Bytes {
        let body = Bytes::new(self.0).u16(link_type).u16(0).u32(snaplen).raw(options).1;
        self.block(1, body)
    }
    pub fn packet(self, interface: u32, time: u64, original: u32, data: &[u8], options: &[u8]) -> Bytes {
        let body = Bytes::new(self.0).u32(interface).u32((time >> 32) as u32).u32(time as u32);
        let body = body.u32(data.len() as u32).u32(original).raw(data).pad().raw(options).1;
        self.block(6, body)
    }
    pub fn pcap_header(self, magic: u32, version: (u16, u16), snaplen: u32, network: u32) -> Bytes {
        self.u32(magic).u16(version.0).u16(version.1).u32(0).u32(0).u32(snaplen).u32(network)
    }
    pub fn record(self, seconds: u32, fraction: u32, original: u32, data: &[u8]) -> Bytes {
        self.u32(seconds).u32(fraction).u32(data.len() as u32).u32(original).raw(data)
    }
}

/// A microsecond pcap file with a hundred packets of different lengths.
pub fn pcap(order: Order) -> Vec<u8> {
    let file = Bytes::new(order).pcap_header(0xa1b2_c3d4, (2, 4), 65535, 1);
    (0..100).fold(file, |file, i| file.record(1_700_000_000 + i, i, 200, &vec![i as u8; 40 + i as usize])).1
}

/// A pcapng file with an interface and a hundred packets, some with options.
pub fn pcapng(order: Order) -> Vec<u8> {
    let comment = Bytes::new(order).option(1, b"why").u32(0).1;
    let file = Bytes::new(order).section(&comment).interface(1, 0, &Bytes::new(order).option(2, b"lo").1);
    let packet = |file: Bytes, i: u32| {
        let options = if i.is_multiple_of(3) { &comment[..] } else { &[] };
        file.packet(0, 1_700_000_000_000_000 + u64::from(i), 200, &vec![i as u8; 40 + i as usize], options)
    };
    let names = b"\0\0\0\0".to_vec();
    (0..100).fold(file, packet).block(4, names).block(0xbad, b"\0\0\0\0abcd".to_vec()).1
}

//! Captures as bytes: pcap, and pcapng block by block in either byte order.

use super::packet::{Link, Shot};

/// A pcap file with nanoseconds.
pub fn pcap(link: Link, shots: &[Shot]) -> Vec<u8> {
    let mut file = [0xa1b2_3c4d_u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4], 262_144_u32.to_le_bytes()].concat();
    file.extend(u32::from(link.number()).to_le_bytes());
    for shot in shots {
        file.extend(record(shot));
    }
    file
}

/// A record of such a file.
pub fn record(shot: &Shot) -> Vec<u8> {
    let (seconds, rest) = (shot.time / 1_000_000_000, shot.time % 1_000_000_000);
    let words = [seconds as u32, rest as u32, shot.bytes.len() as u32, shot.length];
    [&words.map(u32::to_le_bytes).concat()[..], &shot.bytes].concat()
}

/// A pcapng file with one interface that counts nanoseconds.
pub fn pcapng(link: Link, name: &str, shots: &[Shot]) -> Vec<u8> {
    let section = Section::new(Order::Little).interface(link, &[(2, name.as_bytes()), (9, &[9])]);
    shots.iter().fold(section, |section, shot| section.packet(0, shot, &[])).bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

/// A section of a pcapng file.
#[derive(Clone, Debug)]
pub struct Section {
    order: Order,
    pub bytes: Vec<u8>,
}

type Options<'a> = &'a [(u16, &'a [u8])];

impl Section {
    pub fn new(order: Order) -> Section {
        Section::with(order, &[])
    }

    pub fn with(order: Order, options: Options) -> Section {
        let section = Section { order, bytes: Vec::new() };
        let version = [section.u16(1), section.u16(0)].concat();
        let body = [&section.u32(0x1a2b_3c4d)[..], &version, &[0xff; 8], &section.options(options)].concat();
        section.block(0x0a0d_0d0a, &body)
    }

    pub fn u16(&self, value: u16) -> [u8; 2] {
        if self.order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn u32(&self, value: u32) -> [u8; 4] {
        if self.order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn options(&self, options: Options) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend([self.u16(*code), self.u16(value.len() as u16)].concat());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.resize(bytes.len() + if options.is_empty() { 0 } else { 4 }, 0);
        bytes
    }

    pub fn block(mut self, block_type: u32, body: &[u8]) -> Section {
        let length = self.u32(body.len().next_multiple_of(4) as u32 + 12);
        self.bytes.extend(self.u32(block_type));
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(length);
        self
    }

    pub fn interface(self, link: Link, options: Options) -> Section {
        let body = [&self.u16(link.number())[..], &[0, 0], &self.u32(0), &self.options(options)].concat();
        self.block(1, &body)
    }

    /// An Enhanced Packet Block; the time of the shot is in units of the interface.
    pub fn packet(self, interface: u32, shot: &Shot, options: Options) -> Section {
        let words = [interface, (shot.time >> 32) as u32, shot.time as u32, shot.bytes.len() as u32, shot.length];
        let mut body = words.map(|word| self.u32(word)).concat();
        body.extend(&shot.bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body)
    }

    /// A Decryption Secrets Block with TLS keys.
    pub fn secrets(self, keys: &[u8]) -> Section {
        let body = [&self.u32(0x544c_534b)[..], &self.u32(keys.len() as u32), keys].concat();
        self.block(10, &body)
    }
}

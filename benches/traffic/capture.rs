//! Pcap files that are being written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{BEGIN, Generated, Traffic};

/// The captures of both interfaces, each in one file or spread over several.
pub(super) struct Captures {
    eth0: Vec<Capture>,
    lo: Vec<Capture>,
    paths: Vec<PathBuf>,
}

impl Captures {
    /// Files in a folder: `eth0.pcap` and `lo.pcap`, or `eth0-1.pcap` and so on.
    pub fn create(folder: &Path, traffic: &Traffic) -> io::Result<Captures> {
        let path = |name: &str, number: usize| match traffic.pairs {
            1 => folder.join(format!("{name}.pcap")),
            _ => folder.join(format!("{name}-{}.pcap", number + 1)),
        };
        let paths = |name: &str| (0..traffic.pairs).map(|number| path(name, number)).collect::<Vec<_>>();
        let create = |paths: &[PathBuf]| {
            paths.iter().map(|path| Capture::create(path, traffic.backwards)).collect::<io::Result<Vec<_>>>()
        };
        let (eth0, lo) = (paths("eth0"), paths("lo"));
        let created = Captures { eth0: create(&eth0)?, lo: create(&lo)?, paths: Vec::new() };
        Ok(Captures { paths: [eth0, lo].concat(), ..created })
    }

    /// Writes a packet that one of the interfaces shows, at a time in microseconds.
    pub fn packet(&mut self, on_lo: bool, pair: usize, time: u64, frame: &[u8]) -> io::Result<()> {
        let captures = if on_lo { &mut self.lo } else { &mut self.eth0 };
        captures[pair].packet(time, frame)
    }

    pub fn finish(self) -> io::Result<Generated> {
        let mut generated = Generated { packets: 0, bytes: 0, paths: self.paths };
        for mut capture in self.eth0.into_iter().chain(self.lo) {
            capture.file.flush()?;
            generated.packets += capture.packets;
            generated.bytes += capture.bytes;
        }
        Ok(generated)
    }
}

struct Capture {
    file: BufWriter<File>,
    backwards: bool,
    packets: u64,
    bytes: u64,
}

impl Capture {
    fn create(path: &Path, backwards: bool) -> io::Result<Capture> {
        let mut file = BufWriter::with_capacity(256 << 10, File::create(path)?);
        // Microseconds, version 2.4, tcpdump's snaplen, Ethernet.
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
        file.write_all(&header.map(u32::to_le_bytes).concat())?;
        Ok(Capture { file, backwards, packets: 0, bytes: 24 })
    }

    fn packet(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let time = if self.backwards { BEGIN - (time - BEGIN) } else { time };
        let length = frame.len() as u32;
        let mut record = [0; 16];
        record[0..4].copy_from_slice(&((time / 1_000_000) as u32).to_le_bytes());
        record[4..8].copy_from_slice(&((time % 1_000_000) as u32).to_le_bytes());
        record[8..12].copy_from_slice(&length.to_le_bytes());
        record[12..16].copy_from_slice(&length.to_le_bytes());
        self.file.write_all(&record)?;
        self.file.write_all(frame)?;
        self.packets += 1;
        self.bytes += 16 + u64::from(length);
        Ok(())
    }
}

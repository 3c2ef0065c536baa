//! Decryption Secrets Blocks (pcapng, section 4.7): the TLS secrets of the sessions that begin in the capture, each
//! before the packet with its ClientHello.
//!
//! A session is known by its client random, which stands in the first 43 octets that the client sends. Where these come
//! in several segments, they are put together; where PROXY protocol stands before them, it is skipped. What begins as plain
//! text (STARTTLS, CONNECT) sends its ClientHello at the start of a later segment, and is found there. A ClientHello that
//! is split over several TLS records is not.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::block_type;
use super::blocks::Blocks;
use crate::beside::{KeyLine, Loaded, Random};
use crate::packet::{Transport, View};

/// "TLSK": the secrets are a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// Octets up to the end of the client random: record header, handshake header, version, random (RFC 8446, sections 4, 4.1.2
/// and 5.1).
const HELLO: usize = 5 + 4 + 2 + 32;

/// Connections whose first segment is shorter than that, and that wait for the next one.
const WAITING: usize = 64;

/// The secrets that are written, and those that are.
pub(super) struct Secrets {
    loaded: Arc<Loaded>,
    /// Of each line of the key logs: whether the output has it.
    done: Vec<bool>,
    waiting: VecDeque<Begun>,
    body: Vec<u8>,
    sessions: u64,
}

/// The start of what may be a ClientHello.
struct Begun {
    ends: (SocketAddr, SocketAddr),
    next_seq: u32,
    len: usize,
    octets: [u8; HELLO],
}

impl Secrets {
    /// None if there are no secrets.
    pub fn new(loaded: &Arc<Loaded>) -> Option<Secrets> {
        (!loaded.keys.is_empty()).then(|| Secrets {
            loaded: Arc::clone(loaded),
            done: vec![false; loaded.keys.len()],
            waiting: VecDeque::new(),
            body: Vec::new(),
            sessions: 0,
        })
    }

    /// Of how many sessions secrets were written.
    pub fn sessions(&self) -> u64 {
        self.sessions
    }

    /// Writes the secrets of the session that a packet, as captured, opens.
    pub fn before(&mut self, view: &View, frame: &[u8], blocks: &mut Blocks) -> io::Result<()> {
        let (Some(ip), Transport::Tcp(tcp)) = (&view.ip, &view.transport) else { return Ok(()) };
        let data @ [first, ..] = view.data(frame) else { return Ok(()) };
        if !matches!(first, 0x16 | b'P' | b'\r') && self.waiting.is_empty() {
            return Ok(());
        }
        let ends = (SocketAddr::new(ip.source, tcp.source), SocketAddr::new(ip.destination, tcp.destination));
        match self.random(data, ends, tcp.seq) {
            Some(random) => self.write(&random, blocks),
            None => Ok(()),
        }
    }

    /// The client random, if the segment holds it or the rest of it.
    fn random(&mut self, data: &[u8], ends: (SocketAddr, SocketAddr), seq: u32) -> Option<Random> {
        let data_len = data.len() as u32; // sequence numbers wrap
        let begun = self.waiting.iter().position(|begun| begun.ends == ends && begun.next_seq == seq);
        let mut hello = match begun.and_then(|at| self.waiting.remove(at)) {
            Some(begun) => begun,
            None => Begun { ends, next_seq: seq, len: 0, octets: [0; HELLO] },
        };
        let data = if hello.len == 0 { behind_proxy_protocol(data) } else { data };
        let taken = data.len().min(HELLO - hello.len);
        hello.octets[hello.len..hello.len + taken].copy_from_slice(&data[..taken]);
        hello.len += taken;
        hello.next_seq = seq.wrapping_add(data_len);
        if !is_client_hello(&hello.octets[..hello.len]) {
            return None;
        }
        if hello.len == HELLO {
            return hello.octets.last_chunk::<32>().copied();
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(hello);
        None
    }

    fn write(&mut self, random: &Random, blocks: &mut Blocks) -> io::Result<()> {
        self.body.clear();
        self.body.extend_from_slice(&TLS_KEY_LOG.to_le_bytes());
        self.body.extend_from_slice(&[0; 4]);
        let start = self.body.len();
        for line in self.loaded.keys.of(random) {
            if !std::mem::replace(&mut self.done[line], true) {
                self.body.extend_from_slice(self.loaded.keys.line(line));
            }
        }
        let len = self.body.len() - start;
        if len == 0 {
            return Ok(());
        }
        self.sessions += 1;
        // All secrets together have fewer than 2^32 octets.
        self.body[start - 4..start].copy_from_slice(&(len as u32).to_le_bytes());
        self.body.resize(self.body.len().next_multiple_of(4), 0);
        blocks.other(block_type::DECRYPTION_SECRETS, &self.body)
    }

    /// Notes what a block of an input holds, little-endian: it is not written again.
    pub fn carry(&mut self, body: &[u8]) {
        let Some((head, rest)) = body.split_first_chunk::<8>() else { return };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if word(0) != TLS_KEY_LOG {
            return;
        }
        let text = rest.get(..word(4) as usize).unwrap_or(rest);
        for line in text.split(|&octet| octet == b'\n') {
            if let Some(known) = KeyLine::read(line).and_then(|key| self.loaded.keys.find(&key)) {
                self.done[known] = true;
            }
        }
    }
}

/// Whether these octets are the start of a ClientHello, as far as they go: a handshake record of TLS, its first message, a
/// version of TLS.
fn is_client_hello(start: &[u8]) -> bool {
    let fits = |at: usize, is: fn(u8) -> bool| start.get(at).is_none_or(|&octet| is(octet));
    fits(0, |octet| octet == 0x16)
        && fits(1, |octet| octet == 3)
        && fits(2, |octet| octet <= 4)
        && fits(5, |octet| octet == 1)
        && fits(6, |octet| octet == 0)
        && fits(9, |octet| octet == 3)
        && fits(10, |octet| octet <= 4)
}

/// The data behind a header of PROXY protocol, version 1 (a line) or 2 (a signature, and a length in octets 14 and 15).
fn behind_proxy_protocol(data: &[u8]) -> &[u8] {
    let rest = if data.starts_with(b"PROXY ") {
        // A line has at most 107 octets.
        data.windows(2).take(107).position(|pair| pair == b"\r\n").and_then(|at| data.get(at + 2..))
    } else if let Some([_, _, high, low, ..]) = data.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        data.get(16 + usize::from(u16::from_be_bytes([*high, *low]))..)
    } else {
        None
    };
    rest.unwrap_or(data)
}

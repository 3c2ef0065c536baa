//! The captures in testdata/: what the applications' own sockets saw has to be in the repaired output, connection by
//! connection, byte by byte. Once as read back here, which needs nothing, and once as Wireshark sees it.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::{Job, Output};
use etherparse::{LaxSlicedPacket, TransportSlice};
use meshpcap::capture::Source;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What one end sent, by sequence number from its first segment on.
#[derive(Default)]
struct Sent {
    first: Option<u32>,
    data: BTreeMap<u32, Vec<u8>>,
}

impl Sent {
    /// SHA-256 of all that was sent; none if something is missing in between.
    fn digest(&self) -> Option<String> {
        let mut whole: Vec<u8> = Vec::new();
        for (&at, data) in &self.data {
            let known = whole.len().checked_sub(at as usize)?;
            whole.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        Some(Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A conversation: what each end sent.
type Conversation = BTreeMap<SocketAddr, Sent>;

/// The TCP conversations of an output, told apart as Follow TCP Stream does: by addresses and ports, and by the SYN
/// with another number.
fn conversations(output: &Output) -> Vec<Conversation> {
    let mut current: BTreeMap<[SocketAddr; 2], Conversation> = BTreeMap::new();
    let mut ended = Vec::new();
    for packet in output.packets.iter().filter(|packet| is_ip(packet.datagram())) {
        let sliced = LaxSlicedPacket::from_ip(packet.datagram()).expect("an IP header");
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { continue };
        let (source, destination) = packet.ends();
        let mut key = [source, destination];
        key.sort();
        let conversation = current.entry(key).or_default();
        let after_syn = tcp.sequence_number().wrapping_add(u32::from(tcp.syn()));
        let known = conversation.get(&source).and_then(|sent| sent.first);
        if tcp.syn() && !tcp.ack() && known.is_some_and(|first| first != after_syn) {
            ended.push(std::mem::take(conversation));
        }
        conversation.entry(destination).or_default();
        let sent = conversation.entry(source).or_default();
        let first = *sent.first.get_or_insert(after_syn);
        let payload = tcp.payload();
        if !payload.is_empty() {
            sent.data.entry(after_syn.wrapping_sub(first)).or_insert_with(|| payload.to_vec());
        }
    }
    ended.extend(current.into_values());
    ended
}

fn is_ip(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && LaxSlicedPacket::from_ip(datagram).is_ok_and(|packet| packet.net.is_some())
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn end(value: &Value) -> SocketAddr {
    let ip = value[0].as_str().expect("an address").parse().expect("an IP address");
    SocketAddr::new(ip, value[1].as_u64().expect("a port") as u16)
}

#[test]
fn every_connection_follows_whole() {
    let mut judged = 0;
    for folder in std::fs::read_dir(testdata()).expect("testdata") {
        let folder = folder.expect("an entry").path();
        let Ok(case) = std::fs::read(folder.join("case.json")) else { continue };
        let case: Value = serde_json::from_slice(&case).expect("JSON");
        // Those that are cut, began mid-stream or meet older connections are judged by the other test; incidents by check.
        if ["compare", "left", "ports", "lossless", "codes"].iter().any(|key| case.get(key).is_some()) {
            continue;
        }
        // What the application's own socket saw of the proxy.
        let mut job = Job::new().keep_proxy_address();
        for input in case["inputs"].as_array().expect("inputs") {
            job.merge.inputs.push(Source::Path(folder.join(input.as_str().expect("a name"))));
        }
        let output = job.run().output;
        let mut conversations = conversations(&output);
        let truth = std::fs::read_to_string(folder.join("truth.jsonl")).expect("the truth");
        for line in truth.lines() {
            let seen: Value = serde_json::from_str(line).expect("JSON");
            if seen["protocol"] != "tcp" {
                continue;
            }
            let (local, peer) = (end(&seen["local"]), end(&seen["peer"]));
            let is_it = |conversation: &Conversation| {
                let digest = |end: SocketAddr| conversation.get(&end).and_then(Sent::digest);
                conversation.len() == 2
                    && digest(local).as_deref() == seen["sent"]["sha256"].as_str()
                    && digest(peer).as_deref() == seen["got"]["sha256"].as_str()
            };
            // The two ends of one connection inside a pod are two lines: it serves for both.
            assert!(conversations.iter_mut().any(|c| is_it(c)), "{}: {line}", folder.display());
            judged += 1;
        }
    }
    assert!(judged > 50, "only {judged} connections");
}

/// tshark and what else the judge of testdata/ asks.
fn can_judge(test: &str) -> bool {
    let needed = ["python3", "tshark", "mergecap", "reordercap", "capinfos", "tcpdump"];
    needed.iter().all(|tool| common::require(tool, test))
}

#[test]
fn as_wireshark_sees_it() {
    if can_judge("testdata as Wireshark sees it") {
        common::rig::assert_good("stored.py", &[env!("CARGO_BIN_EXE_meshpcap")]);
    }
}

/// The judge itself can fail: it sees what is spoiled in an output.
#[test]
fn the_judge_sees_spoiled_outputs() {
    if can_judge("the test of the judge") {
        common::rig::assert_good("mutate.py", &[env!("CARGO_BIN_EXE_meshpcap")]);
    }
}

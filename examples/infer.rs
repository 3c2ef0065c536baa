//! throw-away driver: reads recordings, infers, compares with truth.json
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use meshpcap::capture::{Capture, Record, Source, Timestamp};
use meshpcap::flow::{Content, Flows, Limits, Mark, Place, Segment};
use meshpcap::merge::{Inputs, Order};
use meshpcap::nat::Model;
use meshpcap::packet::{Origin, Transport, decode};
use meshpcap::tie::infer::{self, Clients, Half, Observer, Stage, TcpLeg};

struct Conv { first: (SocketAddr, SocketAddr), ff: bool, origin: Origin, time: Timestamp, last: Timestamp, syn: Option<bool>, mark: Mark }

fn read(dir: &Path) -> (Observer, BTreeMap<u32, Conv>, Flows) {
    let mut flows = Flows::new(Model::usual(), Limits::default());
    let mut observer = Observer::new(infer::Limits { memory: 512 << 20 });
    let stop = Arc::new(AtomicBool::new(false));
    let caps: Vec<Capture> = ["eth0.pcap", "lo.pcap"].iter().enumerate()
        .map(|(n, f)| Capture::open(&Source::Path(dir.join(f)), n, stop.clone()).expect("open")).collect();
    let mut inputs = Inputs::new(caps, &[Order::Window, Order::Window]).expect("inputs");
    let hasher = foldhash::fast::RandomState::default();
    let mut convs: BTreeMap<u32, Conv> = BTreeMap::new();
    let mut took = std::time::Duration::ZERO;
    let mut n = 0_u64;
    while let Some((input, record)) = inputs.advance() {
        let Record::Packet(p) = record else { continue };
        let lt = inputs.captures()[input].interfaces()[p.interface as usize].link_type;
        let bytes = inputs.bytes(input);
        let view = decode(lt, bytes, p.original_len as usize);
        let Some(ip) = &view.ip else { continue };
        let origin = if input == 0 { Origin::Network } else { Origin::Loopback };
        let place = Place { input: input as u16, frame: p.number };
        let Some(s) = Segment::from_view(&view, bytes, origin, p.time, place, &hasher) else { continue };
        let mark = flows.observe(&s);
        let Mark::Conversation { id, from_first } = mark else { continue };
        let Transport::Tcp(tcp) = view.transport else { continue };
        let Content::Tcp { seq, flags, .. } = s.content else { continue };
        let c = convs.entry(id).or_insert(Conv { first: (s.source, s.destination), ff: from_first, origin, time: p.time, last: p.time, syn: None, mark });
        c.last = p.time;
        if flags & 2 != 0 && flags & 16 == 0 && c.syn.is_none() { c.syn = Some(from_first) }
        if flags & 2 != 0 && flags & 16 != 0 && c.syn.is_none() { c.syn = Some(!from_first) }
        if let Ok(v) = std::env::var("DROPPKT") { let x = (p.time.0 ^ (p.number * 2654435761)).wrapping_mul(0x9E3779B97F4A7C15) >> 40; if (x % 100000) < v.parse::<u64>().unwrap() { continue } }
        let t = std::time::Instant::now();
        observer.segment(Half { conversation: u64::from(id), from_first }, p.time, seq, flags, &bytes[tcp.data.min(ip.end)..ip.end], tcp.data_len);
        took += t.elapsed(); n += 1;
    }
    flows.finish();
    if std::env::var("TIMES").is_ok() { println!("  observe {n} segments {:?}", took); }
    (observer, convs, flows)
}

fn leg(id: u32, c: &Conv) -> TcpLeg {
    // client: SYN side, else the higher port
    let (a, b) = c.first;
    let client_is_first_src = match c.syn { Some(ff) => ff == c.ff, None => a.port() > b.port() && b.port() < 20000 || b.port() >= 20000 };
    let (client, server) = if client_is_first_src { (a, b) } else { (b, a) };
    let cf = if client_is_first_src { c.ff } else { !c.ff };
    TcpLeg { id, client, server, from_client: Half { conversation: id.into(), from_first: cf }, from_server: Half { conversation: id.into(), from_first: !cf } }
}

fn host(e: &str) -> IpAddr { e.parse::<SocketAddr>().expect("end").ip() }

fn main() {
    let mut total: BTreeMap<String, usize> = BTreeMap::new();
    let verbose = std::env::var("V").is_ok();
    for dir in std::env::args().skip(1) {
        let dir = Path::new(&dir);
        let truth: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(dir.join("truth.json")).expect("truth")).expect("json");
        if truth["scenario"] == "many-clients" { many(dir, &truth, &mut total, verbose) } else { two(dir, &truth, &mut total, verbose) }
    }
    println!("\nTOTAL {total:#?}");
}

fn many(dir: &Path, truth: &serde_json::Value, total: &mut BTreeMap<String, usize>, verbose: bool) {
    let pod: Vec<IpAddr> = ["ip", "ip6"].iter().map(|k| truth["pod"][k].as_str().unwrap().parse().unwrap()).collect();
    let (observer, convs, _flows) = read(dir);
    let proxy: [IpAddr; 2] = ["127.0.0.6".parse().unwrap(), "::6".parse().unwrap()];
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for (&id, c) in &convs {
        let l = leg(id, c);
        if c.origin == Origin::Network && pod.contains(&l.server.ip()) { near.push(l) }
        if c.origin == Origin::Loopback && proxy.contains(&l.client.ip()) { far.push(l) }
    }
    if let Ok(v) = std::env::var("DROPLEG") { near.retain(|l| (u64::from(l.id) * 7919 + u64::from(l.client.port())).wrapping_mul(0x9E3779B97F4A7C15) >> 40 & 1023 >= v.parse::<u64>().unwrap()); }
    let nearall: Vec<TcpLeg> = near.clone();
    let t = std::time::Instant::now();
    let inferred = infer::infer(&observer, Stage::Inbound, &near, &far);
    let took = t.elapsed();
    let _ = nearall;
    let begin = convs.values().map(|c| c.time.0).min().unwrap() as f64 / 1e9;
    let nearby: HashMap<u32, &TcpLeg> = near.iter().map(|l| (l.id, l)).collect();
    let ties: HashMap<u32, Vec<&infer::Tie>> = { let mut m: HashMap<u32, Vec<&infer::Tie>> = HashMap::new(); for t in &inferred.ties { m.entry(t.far).or_default().push(t) } m };
    let claims: HashMap<u32, &Clients> = inferred.clients.iter().map(|(f, c)| (*f, c)).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = HashSet::new();
    for t in truth["legs"].as_array().unwrap() {
        let (p, a): (SocketAddr, SocketAddr) = (t["proxy"].as_str().unwrap().parse().unwrap(), t["app"].as_str().unwrap().parse().unwrap());
        let began = t["began"].as_f64().unwrap(); let ended = t["ended"].as_f64().unwrap();
        let Some(f) = far.iter().filter(|f| f.client == p && f.server == a && (convs[&f.id].time.0 as f64 / 1e9) < ended + 1.0 && (convs[&f.id].last.0 as f64 / 1e9) > began - 1.0)
            .min_by_key(|f| ((convs[&f.id].time.0 as f64 / 1e9 - began).abs() * 1e6) as u64) else { *counts.entry("not captured".into()).or_default() += 1; continue };
        assert!(seen.insert(f.id));
        // clients of what was captured
        let carried = t["carried"].as_array().unwrap();
        let all: HashSet<&str> = t["clients"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        let wanted: HashSet<&str> = if carried.is_empty() { all.clone() } else {
            carried.iter().filter(|r| !r["client"].is_null()).filter(|r| {
                let mut m = 0f64;
                for k in ["answered", "whole", "got"] { m = m.max(r[k].as_f64().unwrap_or(0.0)) }
                m = m.max(r["client_times"]["last"].as_f64().unwrap_or(0.0)); m >= begin }).map(|r| r["client"].as_str().unwrap()).collect() };
        if wanted.is_empty() { *counts.entry("no truth".into()).or_default() += 1; continue }
        let hosts: HashSet<IpAddr> = wanted.iter().map(|e| host(e)).collect();
        let allhosts: HashSet<IpAddr> = all.iter().map(|e| host(e)).collect();
        let proto = t["protocol"].as_str().unwrap();
        let silent = t["got"].as_u64() == Some(0) && t["sent"].as_u64() == Some(0);
        let opened = convs[&f.id].syn.is_some();
        let kind = format!("{}{}{}", proto, if silent { " silent" } else if proto != "tcp" && hosts.len() > 1 { " pooled" } else { "" }, if opened { "" } else { " mid" });
        let mut r = match claims.get(&f.id) {
            None | Some(Clients::Unknown) => "none".to_string(),
            Some(Clients::One(ip)) => if hosts.len() == 1 && hosts.contains(ip) && (allhosts.len() == 1) { "right".into() } else if hosts.len() == 1 && hosts.contains(ip) { "right (captured part)".into() } else { "WRONG".into() },
            Some(Clients::Several(v)) => if v.iter().copied().collect::<HashSet<_>>() == hosts { "right several".into() } else { "WRONG several".into() },
        };
        for tie in ties.get(&f.id).into_iter().flatten() {
            let n = nearby[&tie.near];
            // same port used twice: by address then
            let exact = all.iter().any(|e| e.parse::<SocketAddr>().unwrap() == n.client);
            if !exact { r += if allhosts.contains(&n.client.ip()) { " PORT?" } else { " WRONGTIE" } }
        }
        if verbose && (r.contains("WRONG") || r.contains("PORT") || (r == "none" && kind == "tcp")) || std::env::var("VH").is_ok() && r=="none" && kind=="http1" {
            println!("   {kind} {r}: {p} -> {a} got {} sent {} closed {} wanted {:?} ties {:?} id {}", t["got"], t["sent"], t["closed"], wanted, ties.get(&f.id).map(|v| v.iter().map(|t| (nearby[&t.near].client, t.evidence)).collect::<Vec<_>>()), f.id);
        }
        *counts.entry(format!("{kind}: {r}")).or_default() += 1;
        if let Some(e) = ties.get(&f.id).and_then(|v| v.first()) { *total.entry(format!("ev {:?} {kind} {r}", e.evidence)).or_default() += 1; }
    }
    println!("{} {} near {} far {} {:?} {:?}", dir.file_name().unwrap().to_string_lossy(), truth["parameters"]["load"], near.len(), far.len(), took, counts);
    for (k, v) in counts { *total.entry(k).or_default() += v }
}

fn two(dir: &Path, truth: &serde_json::Value, total: &mut BTreeMap<String, usize>, verbose: bool) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // pod b inbound; pod a outbound
    for (pod, stage) in [("b", Stage::Inbound), ("a", Stage::Outbound)] {
        let ip: Vec<IpAddr> = ["ip", "ip6"].iter().map(|k| truth["pods"][pod][k].as_str().unwrap().parse().unwrap()).collect();
        let (observer, convs, flows) = read(&dir.join(pod));
        let proxy: [IpAddr; 2] = ["127.0.0.6".parse().unwrap(), "::6".parse().unwrap()];
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for (&id, c) in &convs {
            let l = leg(id, c);
            if stage == Stage::Inbound {
                if c.origin == Origin::Network && ip.contains(&l.server.ip()) { near.push(l) }
                if c.origin == Origin::Loopback && proxy.contains(&l.client.ip()) { far.push(l) }
            } else {
                if c.origin == Origin::Network && ip.contains(&l.client.ip()) { far.push(l) }
                if c.origin == Origin::Loopback && let Some(tr) = flows.translation(c.mark) {
                    // the reply half
                    let reply = convs.iter().filter(|(_, r)| r.origin == Origin::Loopback && (r.first == (tr.source, tr.destination) || r.first == (tr.destination, tr.source)))
                        .min_by_key(|(_, r)| r.time.0.abs_diff(c.time.0));
                    if let Some((&rid, r)) = reply {
                        let from_server = Half { conversation: rid.into(), from_first: if r.first.0 == tr.destination { r.ff } else { !r.ff } };
                        near.push(TcpLeg { client: tr.source, server: tr.destination, from_server, ..l });
                    }
                }
            }
        }
        let t = std::time::Instant::now();
        let inferred = infer::infer(&observer, stage, &near, &far);
        let took = t.elapsed();
        println!("{} {pod} {stage:?} near {} far {} {took:?} ties {}", dir.display(), near.len(), far.len(), inferred.ties.len());
        let nearby: HashMap<u32, &TcpLeg> = near.iter().map(|l| (l.id, l)).collect();
        let farby: HashMap<u32, &TcpLeg> = far.iter().map(|l| (l.id, l)).collect();
        let mut pairs: HashMap<String, (HashSet<String>, String)> = HashMap::new(); // far name -> near names
        for e in truth["exchanges"].as_array().unwrap() {
            let (n, f) = if pod == "b" { (&e["b_wire"], &e["b_app"]) } else { (&e["a_app"], &e["a_wire"]) };
            if let (Some(n), Some(f)) = (n.as_str(), f.as_str()) {
                let p = pairs.entry(f.into()).or_default(); p.0.insert(n.into()); p.1 = e["protocol"].as_str().unwrap().into();
            }
        }
        let name = |l: &TcpLeg| format!("{} > {}", l.client, l.server);
        let mut tied: HashMap<String, Vec<String>> = HashMap::new();
        for t in &inferred.ties { tied.entry(name(farby[&t.far])).or_default().push(name(nearby[&t.near])) }
        for (f, (ns, proto)) in &pairs {
            let one = if ns.len() == 1 { "one" } else { "pooled" };
            let r = match tied.get(f) { None => "none", Some(v) if v.iter().all(|n| ns.contains(n)) => if v.len() == ns.len() { "right" } else { "part" }, _ => "WRONG" };
            if verbose && (r == "WRONG" || r == "none" && proto == "tcp") { println!("   {stage:?} {proto} {r} {f}: {ns:?} tied {:?}", tied.get(f)); }
            *counts.entry(format!("two {stage:?} {proto} {one}: {r}")).or_default() += 1;
        }
        for (f, v) in &tied { if !pairs.contains_key(f) { if verbose { println!("   {stage:?} not in truth {f} {v:?}"); } *counts.entry(format!("two {stage:?} not in truth")).or_default() += 1 } }
    }
    println!("  {counts:?}");
    for (k, v) in counts { *total.entry(k).or_default() += v }
}

//! Names of addresses: hosts files, and pods and services as `kubectl get pods,services -A -o json` prints them.
//!
//! What comes in is a file of either kind; what goes out is, for each address, its names in the order in which they
//! were read. An address may have several: a service and its alias, pods on their node's network.

mod hosts;
mod kubectl;

use std::collections::HashMap;
use std::io::BufRead;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::error::Error;
use super::lines::{Lines, Step};
use super::unused::Unused;

/// A larger file is not read to its end.
const LARGEST: u64 = 256 << 20;

/// The longest name in octets: DNS has 253 (RFC 1035, section 2.3.4), a pod's with its namespace 317.
const LONGEST_NAME: usize = 320;

/// Names that one address may have.
const NAMES_OF_ONE: usize = 256;

/// Addresses and their names. Holds each pair once: its name and some 100 octets; files are at most 256 MiB each.
#[derive(Debug, Default)]
pub struct Names {
    by_address: HashMap<IpAddr, Vec<Box<str>>, RandomState>,
}

impl Names {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// The names of an address, in the order in which they were read.
    pub fn of(&self, address: IpAddr) -> &[Box<str>] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Adds a file: the output of kubectl if it starts with `{`, else a hosts file.
    ///
    /// Errors: it cannot be read, it is larger than 256 MiB, or nothing in it names an address.
    pub fn read(&mut self, file: &str, mut reader: impl BufRead) -> Result<Unused, Error> {
        let failed = |source| Error::Io { file: file.to_owned(), source };
        let mut skipped = 0;
        let first = loop {
            let buffer = reader.fill_buf().map_err(failed)?;
            let blank = buffer.iter().take_while(|octet| octet.is_ascii_whitespace()).count();
            if blank == 0 {
                break buffer.first().copied();
            }
            skipped += buffer[..blank].iter().filter(|&&octet| octet == b'\n').count() as u64;
            reader.consume(blank);
        };
        let mut bounded = reader.take(LARGEST + 1);
        let mut unused = Unused::new(file);
        let named = match first {
            Some(b'{') => kubectl::read(self, &mut bounded, &mut unused).map_err(failed)?,
            _ => self.hosts(Lines::after(skipped, &mut bounded), &mut unused).map_err(failed)?,
        };
        if bounded.limit() == 0 {
            return Err(Error::unusable(file, "larger than 256 MiB; leave out what the capture does not need"));
        }
        if named == 0 && unused.bad > 0 {
            let what = "names no address: neither a hosts file nor the output of kubectl get pods,services -A -o json";
            return Err(Error::unusable(file, format!("{what} ({})", unused.first[0].what)));
        }
        Ok(unused)
    }

    /// hosts(5). Returns how many pairs were read.
    fn hosts(&mut self, mut lines: Lines<impl BufRead>, unused: &mut Unused) -> std::io::Result<u64> {
        let mut named = 0;
        loop {
            let result = match lines.advance()? {
                Step::End => return Ok(named),
                Step::TooLong => Err("longer than 64 KiB"),
                Step::Line => hosts::line(lines.bytes()),
            };
            match result {
                Ok(None) => {}
                Ok(Some((address, names))) => named += names.filter(|name| self.add(address, name)).count() as u64,
                Err(what) => unused.bad(format_args!("line {}", lines.number()), what, lines.bytes()),
            }
        }
    }

    /// Adds a name; `false` if the address has too many.
    fn add(&mut self, address: IpAddr, name: &str) -> bool {
        let names = self.by_address.entry(address).or_default();
        let known = names.iter().any(|there| **there == *name);
        if !known && names.len() < NAMES_OF_ONE {
            names.push(name.into());
            return true;
        }
        known
    }
}

/// Whether a text can stand as a name: printable, without spaces, no longer than names are.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(|c: char| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::spoil::spoiled;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<(Names, Unused), Error> {
        let mut names = Names::default();
        let unused = names.read("names", text)?;
        Ok((names, unused))
    }

    fn of(names: &Names, address: &str) -> Vec<String> {
        names.of(address.parse().expect("an address")).iter().map(|name| name.to_string()).collect()
    }

    const HOSTS: &str = "# a comment\n127.0.0.1\tlocalhost\n\n10.96.0.10 web.default.svc web # the shop\n\
        10.96.0.10 web.default.svc shop\r\nfd00:96::10 web.default.svc\nfe80::1%eth0 gateway\n";

    #[test]
    fn a_hosts_file() {
        let (names, unused) = read(HOSTS.as_bytes()).expect("a hosts file");
        assert_eq!((unused.bad, unused.other), (0, 0));
        assert_eq!(of(&names, "10.96.0.10"), ["web.default.svc", "web", "shop"]);
        assert_eq!(of(&names, "fd00:96::10"), ["web.default.svc"]);
        assert_eq!(of(&names, "fe80::1"), ["gateway"]);
        assert!(of(&names, "10.96.0.11").is_empty());
    }

    #[test]
    fn bad_lines_of_a_hosts_file() {
        let bad = "10.0.0.256 a\n10.0.0.1\nweb 10.0.0.1\n10.0.0.2 ok bad\u{7f}\n";
        let (names, unused) = read(format!("\n{HOSTS}{bad}").as_bytes()).expect("the rest is good");
        assert_eq!(unused.bad, 4);
        let places: Vec<_> = unused.first.iter().map(|line| line.place.as_str()).collect();
        assert_eq!(places, ["line 9", "line 10", "line 11", "line 12"]);
        assert!(of(&names, "10.0.0.2").is_empty());
        let error = read(b"hello\nworld\n").expect_err("no hosts file");
        assert!(error.to_string().starts_with("names: names no address"), "{error}");
    }

    fn cluster() -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "items": [
                {"kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "managedFields": [{"f": {"name": "x"}}]},
                 "spec": {"containers": [{"name": "app"}], "nodeName": "n1"},
                 "status": {"phase": "Running", "podIP": "10.1.0.5", "podIPs": [{"ip": "10.1.0.5"}, {"ip": "fd00:21::5"}],
                            "hostIP": "192.168.0.1"}},
                {"kind": "Pod", "metadata": {"name": "proxy-a", "namespace": "kube-system"}, "spec": {"hostNetwork": true},
                 "status": {"phase": "Running", "podIP": "192.168.0.1"}},
                {"kind": "Pod", "metadata": {"name": "proxy-b", "namespace": "kube-system"}, "spec": {"hostNetwork": true},
                 "status": {"phase": "Running", "podIP": "192.168.0.1"}},
                {"kind": "Pod", "metadata": {"name": "done", "namespace": "shop"},
                 "status": {"phase": "Succeeded", "podIP": "10.1.0.5"}},
                {"kind": "Pod", "metadata": {"name": "waits", "namespace": "shop"}, "status": {"phase": "Pending"}},
                {"kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                 "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"], "ports": [{"port": 80}],
                          "externalIPs": ["203.0.113.7"]},
                 "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}, {"hostname": "lb.example"}]}}},
                {"kind": "Service", "metadata": {"name": "headless", "namespace": "shop"},
                 "spec": {"clusterIP": "None", "clusterIPs": ["None"]}},
                {"kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": [{"address": "192.168.0.1"}]}},
            ],
            "kind": "List", "metadata": {"resourceVersion": ""}
        })
        .to_string()
    }

    #[test]
    fn pods_and_services() {
        let (names, unused) = read(cluster().as_bytes()).expect("a list");
        assert_eq!((unused.bad, unused.other), (0, 1), "the node is of another kind");
        assert_eq!(of(&names, "10.1.0.5"), ["web-1.shop"], "not the pod that has ended");
        assert_eq!(of(&names, "fd00:21::5"), ["web-1.shop"]);
        assert_eq!(of(&names, "192.168.0.1"), ["proxy-a.kube-system", "proxy-b.kube-system"]);
        for address in ["10.96.0.10", "fd00:96::10", "203.0.113.7", "198.51.100.9"] {
            assert_eq!(of(&names, address), ["web.shop.svc"], "{address}");
        }
    }

    #[test]
    fn one_object_and_a_list_of_one_kind() {
        let pod = r#"{"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}, "status": {"podIP": "10.1.0.5"}}"#;
        assert_eq!(of(&read(pod.as_bytes()).expect("a pod").0, "10.1.0.5"), ["a.b"]);
        // The API server's own lists: items without a kind.
        let list = r#"{"kind": "PodList", "items": [{"metadata": {"name": "a"}, "status": {"podIPs": [{"ip": "10.1.0.5"}]}}]}"#;
        assert_eq!(of(&read(list.as_bytes()).expect("pods").0, "10.1.0.5"), ["a.default"]);
    }

    #[test]
    fn what_is_wrong_with_a_list() {
        let pod = |name: &str, address: &str| {
            format!(r#"{{"metadata": {{"name": {name}, "namespace": "b"}}, "status": {{"podIP": "{address}"}}}}"#)
        };
        let items = [
            pod("\"ok\"", "10.1.0.5"),
            pod("7", "10.1.0.6"),
            pod("\"c d\"", "10.1.0.7"),
            pod("\"e\"", "10.1"),
            "[1]".into(),
        ];
        let (names, unused) = read(format!("{{\"items\": [{}]}}", items.join(",")).as_bytes()).expect("one is good");
        assert_eq!(of(&names, "10.1.0.5"), ["ok.b"]);
        let places: Vec<_> = unused.first.iter().map(|line| line.place.as_str()).collect();
        assert_eq!((unused.bad, unused.other, places), (3, 1, vec!["item 2", "item 3", "item 4"]));

        let cut = &cluster()[..cluster().len() / 2];
        let (names, unused) = read(cut.as_bytes()).expect("what came before is used");
        assert_eq!(of(&names, "10.1.0.5"), ["web-1.shop"]);
        assert_eq!(unused.bad, 1);
        assert!(unused.first[0].what.contains("EOF"), "{unused}");
        assert!(read(b"{\"a\": 1").is_err());
    }

    proptest! {
        #[test]
        fn spoiled_files_are_read_as_far_as_they_go(text in prop_oneof![spoiled(HOSTS), spoiled(cluster())]) {
            if let Ok((names, unused)) = read(&text) {
                prop_assert!(unused.bad < 64);
                prop_assert!(names.by_address.values().flatten().all(|name| is_name(name)));
                prop_assert!(names.by_address.values().all(|names| !names.is_empty()));
            }
        }
    }
}

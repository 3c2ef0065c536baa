//! `ss -tanp`, read: which process listens on which port.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The listening sockets of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// By port; a port can have several.
    pub by_port: BTreeMap<u16, Vec<Socket>>,
    /// Lines that list no socket, the heading aside.
    pub not_understood: usize,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The address that it is bound to; none: any.
    pub address: Option<IpAddr>,
    /// The names of the processes that have it; empty if `ss` was not allowed to see them.
    pub processes: Vec<String>,
}

/// The listening sockets in what `ss -tanp` printed, or any other list of sockets by `ss`.
pub fn listeners(text: &str) -> Sockets {
    let mut sockets = Sockets::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // With several families or protocols in the list, their name (`tcp`) stands before the state.
        let Some(state) = words.iter().take(2).position(|word| STATES.contains(word)) else {
            let heading = matches!(words[0], "State" | "Netid");
            // `ss -m`, `-i` and the like put more lines under a socket, indented.
            sockets.not_understood += usize::from(!heading && !line.starts_with(char::is_whitespace));
            continue;
        };
        if words[state] != "LISTEN" {
            continue;
        }
        // State, Recv-Q, Send-Q, local address and port.
        match words.get(state + 3).and_then(|local| endpoint(local)) {
            Some((address, port)) => {
                sockets.by_port.entry(port).or_default().push(Socket { address, processes: processes(line) });
            }
            None => sockets.not_understood += 1,
        }
    }
    sockets
}

/// As `ss` writes them (`misc/ss.c`).
const STATES: [&str; 12] = [
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "CLOSE",
];

/// `0.0.0.0:15001`, `*:8080`, `[::]:80`, `127.0.0.1%lo:53`.
fn endpoint(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.split_once('%').map_or(host, |(host, _)| host.trim_end_matches(']'));
    let port = port.parse().ok()?;
    if host == "*" {
        return Some((None, port));
    }
    let address: IpAddr = host.parse().ok()?;
    Some((Some(address).filter(|a| !a.is_unspecified()), port))
}

/// The names in `users:(("envoy",pid=27,fd=20),("envoy",pid=27,fd=21))`, each once.
fn processes(line: &str) -> Vec<String> {
    let Some((_, users)) = line.split_once("users:(") else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for name in users.split("(\"").skip(1).filter_map(|part| part.split_once("\",pid=").map(|(name, _)| name)) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ss_prints() {
        let text = "\
State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process
LISTEN 0      4096         0.0.0.0:15001      0.0.0.0:*     users:((\"envoy\",pid=27,fd=20),(\"envoy\",pid=27,fd=21))
LISTEN 0      128        127.0.0.1:15000      0.0.0.0:*
ESTAB  0      0         10.0.0.1:40000     10.96.0.1:80    users:((\"app\",pid=1,fd=3))
LISTEN 0      128                *:8080             *:*     users:((\"a b\",pid=1,fd=3),(\"c\",pid=2,fd=3))
LISTEN 0      128            [::1]:53            [::]:*
LISTEN 0      128     127.0.0.53%lo:53        0.0.0.0:*
";
        let sockets = listeners(text);
        assert_eq!(sockets.not_understood, 0);
        let told: Vec<String> = sockets
            .by_port
            .iter()
            .flat_map(|(port, all)| all.iter().map(move |s| format!("{port} {:?} {:?}", s.address, s.processes)))
            .collect();
        assert_eq!(
            told,
            [
                "53 Some(::1) []",
                "53 Some(127.0.0.53) []",
                "8080 None [\"a b\", \"c\"]",
                "15000 Some(127.0.0.1) []",
                "15001 None [\"envoy\"]",
            ]
        );
    }

    #[test]
    fn what_is_no_list_of_sockets() {
        assert_eq!(listeners("hello\nLISTEN 0 128 nowhere *:*\n").not_understood, 2);
        assert_eq!(listeners(""), Sockets::default());
    }
}

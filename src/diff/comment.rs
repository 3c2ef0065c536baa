//! What merge wrote about a leg into the comment on its first packet, read again: `output::comment` has the other side.

use std::net::SocketAddr;

use crate::nat::Role;

/// What a comment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub role: &'static str,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub tie: Option<u64>,
}

/// Reads a comment; `None` if it is not one about a leg.
pub(super) fn read(comment: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(comment).ok()?.strip_prefix("meshpcap: ")?;
    let (name, rest) = text.split_once(" leg, ")?;
    let role = Role::ALL.into_iter().find(|role| role.name() == name)?;
    let mut parts = rest.split("; ");
    let ends = parts.next()?.strip_prefix(role.meaning())?.strip_prefix(": ")?;
    let (client, server) = ends.split(", ").next()?.split_once(" > ")?;
    let tie = parts.filter_map(|part| part.strip_prefix("tie ")).find_map(|tie| {
        let digits = tie.find(|c: char| !c.is_ascii_digit()).unwrap_or(tie.len());
        tie[..digits].parse().ok()
    });
    Some(Said { role: role.name(), client: client.parse().ok()?, server: server.parse().ok()?, tie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_again() {
        let text = "meshpcap: outbound-app leg, app to proxy: 10.1.0.5:57582 > 10.96.0.10:80, captured as \
                    10.1.0.5:57582 > 127.0.0.1:15001; evidence: handshake, SYN in frame 1 of input 2 and SYN-ACK that \
                    acknowledges it in frame 2 of input 2; tied by the access log, a.log line 2, 1 request; tie 7, all its \
                    legs: tcp.stream in {0, 1}";
        let said = read(text.as_bytes()).expect("a comment");
        assert_eq!((said.role, said.client.port(), said.server.port(), said.tie), ("outbound-app", 57582, 80, Some(7)));
        let untied = text.split("; tied").next().expect("its first part");
        assert_eq!(read(untied.as_bytes()).expect("a comment").tie, None);
        assert_eq!(read(b"meshpcap: something else"), None);
        assert_eq!(read(b"a comment of the user's"), None);
    }
}

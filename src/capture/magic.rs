//! What a file that is no capture looks like, for the message.

use super::coding::Coding;

/// A guess from the first bytes, and what to do about it; `coding` is what they were decompressed from.
pub(super) fn looks_like(head: &[u8], coding: Option<Coding>) -> String {
    let known = SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic));
    let guess = match known {
        Some((_, guess)) => (*guess).to_owned(),
        None if is_text(head) => {
            "it is text (tcpdump's output on the screen? write a capture with tcpdump -w)".to_owned()
        }
        None if head.get(257..262) == Some(b"ustar") => "it is a tar archive (unpack it first: tar xf)".to_owned(),
        None if head.iter().all(|&octet| octet == 0) => "it is all zeros (a file that was preallocated?)".to_owned(),
        None => format!("it starts with {}", hex(head)),
    };
    match coding {
        Some(coding) => format!("decompressed with {}, {guess}", coding.name()),
        None => guess,
    }
}

const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "it is xz-compressed (decompress it first: unxz)"),
    (b"BZh", "it is bzip2-compressed (decompress it first: bunzip2)"),
    (b"PK\x03\x04", "it is a zip archive (unpack it first)"),
    (b"7z\xbc\xaf", "it is a 7z archive (unpack it first)"),
    (b"\x1f\x8b", "it is gzip-compressed twice, or damaged (decompress it first: gunzip)"),
    (b"\x28\xb5\x2f\xfd", "it is zstd-compressed twice (decompress it first: unzstd)"),
    (b"snoop\0\0\0", "it is a snoop capture (convert it first: editcap -F pcapng)"),
    (b"GMBU", "it is a Network Monitor capture (convert it first: editcap -F pcapng)"),
    (b"RTSS", "it is a Network Monitor capture (convert it first: editcap -F pcapng)"),
    (b"\x7fELF", "it is a program"),
    (b"tcpdump: ", "it starts with tcpdump's messages (kubectl exec without -t keeps them apart from the capture)"),
    (b"\x0a\x0a", "it may be a pcapng file that was copied as text (copy it again, as binary)"),
];

fn is_text(head: &[u8]) -> bool {
    let text = |octet: &u8| matches!(octet, b'\t' | b'\n' | b'\r' | 0x1b | b' '..=b'~' | 0x80..);
    !head.is_empty() && head.iter().all(text) && is_utf8(head)
}

/// A character cut at the end does not count against it.
fn is_utf8(head: &[u8]) -> bool {
    std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
}

fn hex(head: &[u8]) -> String {
    let octets: Vec<String> = head.iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    octets.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses() {
        for (head, guess) in [
            (&b"12:00:01.5 IP 10.0.0.1 > 10.0.0.2\n"[..], "text"),
            (b"BZh91AY", "bzip2"),
            (b"tcpdump: listening on any\r\n\xd4\xc3\xb2\xa1", "kubectl exec without -t"),
            (&[&b"lo.pcap"[..], &[0; 250], b"ustar"].concat(), "tar archive"),
            (b"\0\0\0\0", "zeros"),
            (b"\x01\x02\xff\x04\x05", "starts with 01 02 ff 04"),
        ] {
            assert!(looks_like(head, None).contains(guess), "{head:?}");
        }
        assert!(looks_like(b"hello", Some(Coding::Gzip)).starts_with("decompressed with gzip, it is text"));
    }
}

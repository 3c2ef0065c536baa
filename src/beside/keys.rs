//! TLS key logs, as `SSLKEYLOGFILE` and Envoy's `key_log` write them ("NSS Key Log Format", draft-ietf-tls-keylogfile).
//!
//! What comes in is lines `LABEL CLIENT_RANDOM SECRET`, the last two in hexadecimal; what goes out is the lines of a
//! session, found by its client random. Labels that are not known are kept: readers skip what they do not need. Lines
//! of RSA key exchange (`RSA …`) bear no client random, and are counted as of another kind. No secret is ever
//! printed.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

use foldhash::fast::RandomState;

use super::error::Error;
use super::lines::{Lines, Step};
use super::unused::Unused;

/// All secrets together may not take more octets.
const LARGEST: usize = 256 << 20;

/// `ClientHello.random` (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2).
pub type Random = [u8; 32];

/// The secrets of sessions. Holds the text of all of them, at most 256 MiB, and some 100 octets for each line.
#[derive(Default)]
pub struct Keys {
    /// Lines as they are written, each with its newline.
    text: Vec<u8>,
    lines: Vec<Stored>,
    /// The last line of each session.
    sessions: HashMap<Random, u32, RandomState>,
}

#[derive(Clone, Copy)]
struct Stored {
    /// Where it starts in the text; it ends where the next one starts.
    start: u32,
    /// The line of the same session before.
    previous: Option<u32>,
}

/// A line of a key log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyLine<'a> {
    /// `CLIENT_RANDOM`, `CLIENT_TRAFFIC_SECRET_0` and the like.
    pub label: &'a [u8],
    /// The session.
    pub random: Random,
    /// The secret, in hexadecimal.
    pub secret: &'a [u8],
}

/// What a line is.
enum Parsed<'a> {
    Key(KeyLine<'a>),
    /// Nothing to use: a comment, an empty line.
    Nothing,
    /// A secret that is not found by a client random.
    OfRsa,
}

impl<'a> KeyLine<'a> {
    /// Reads a line; none if it is anything else.
    pub fn read(line: &'a [u8]) -> Option<KeyLine<'a>> {
        match parse(line) {
            Ok(Parsed::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl Keys {
    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many sessions have secrets.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many lines there are: they are numbered from 0.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The numbers of the lines of a session, the last one first.
    pub fn of(&self, random: &Random) -> impl Iterator<Item = usize> {
        let last = self.sessions.get(random).copied();
        std::iter::successors(last, |&line| self.lines.get(line as usize)?.previous).map(|line| line as usize)
    }

    /// A line as it is written, with its newline.
    pub fn line(&self, number: usize) -> &[u8] {
        let start = |number: usize| self.lines.get(number).map_or(self.text.len(), |line| line.start as usize);
        &self.text[start(number)..start(number + 1)]
    }

    /// Adds a key log. What is there already is not added again.
    ///
    /// Errors: it cannot be read, no line of it belongs in a key log, it is larger than 256 MiB, or
    /// all secrets together are.
    pub fn read(&mut self, file: &str, reader: impl BufRead) -> Result<Unused, Error> {
        let mut bounded = reader.take(LARGEST as u64 + 1);
        let mut lines = Lines::new(&mut bounded);
        let mut unused = Unused::new(file);
        let mut used = 0_u64;
        loop {
            match lines.advance().map_err(|source| Error::Io { file: file.to_owned(), source })? {
                Step::End => break,
                Step::TooLong => unused.bad(format_args!("line {}", lines.number()), "longer than 64 KiB", &[]),
                Step::Line => match parse(lines.bytes()) {
                    Ok(Parsed::Nothing) => {}
                    Ok(Parsed::OfRsa) => unused.other += 1,
                    Err(what) => unused.bad(format_args!("line {}", lines.number()), what, &[]),
                    Ok(Parsed::Key(key)) => {
                        if self.text.len() + lines.bytes().len() >= LARGEST {
                            return Err(Error::unusable(
                                file,
                                "more than 256 MiB of secrets with those before; leave out old sessions",
                            ));
                        }
                        match self.add(&key) {
                            true => used += 1,
                            false => {
                                let what = "another secret for a session that has one";
                                unused.bad(format_args!("line {}", lines.number()), what, &[]);
                            }
                        }
                    }
                },
            }
        }
        if bounded.limit() == 0 {
            return Err(Error::unusable(file, "larger than 256 MiB; leave out old sessions"));
        }
        if used == 0 && unused.bad > 0 {
            let what = "not a TLS key log: no line reads LABEL CLIENT_RANDOM SECRET \
                        (give the file that Envoy's key_log or SSLKEYLOGFILE names)";
            return Err(Error::unusable(file, what));
        }
        Ok(unused)
    }

    /// Adds a line; `false` if another one contradicts it.
    fn add(&mut self, key: &KeyLine<'_>) -> bool {
        let known = self.of(&key.random).find_map(|line| {
            let there = KeyLine::read(self.line(line))?;
            (there.label == key.label).then(|| there.secret.eq_ignore_ascii_case(key.secret))
        });
        if let Some(same) = known {
            return same;
        }
        // Fewer than 2^32 octets: see LARGEST.
        let stored = Stored { start: self.text.len() as u32, previous: self.sessions.get(&key.random).copied() };
        self.text.extend_from_slice(key.label);
        self.text.push(b' ');
        self.text.extend(key.random.iter().flat_map(|&octet| [hexadecimal(octet >> 4), hexadecimal(octet & 15)]));
        self.text.push(b' ');
        self.text.extend_from_slice(key.secret);
        self.text.push(b'\n');
        self.sessions.insert(key.random, self.lines.len() as u32);
        self.lines.push(stored);
        true
    }

    /// The line that says the same as this one about the same session, if there is one.
    pub fn find(&self, key: &KeyLine<'_>) -> Option<usize> {
        self.of(&key.random).find(|&line| KeyLine::read(self.line(line)).is_some_and(|there| there.label == key.label))
    }
}

/// Secrets are not printed.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("sessions", &self.sessions()).field("lines", &self.len()).finish_non_exhaustive()
    }
}

/// Secrets are not printed.
impl fmt::Debug for KeyLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLine").field("label", &self.label.escape_ascii().to_string()).finish_non_exhaustive()
    }
}

fn parse(line: &[u8]) -> Result<Parsed<'_>, &'static str> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let label = match words.next() {
        None => return Ok(Parsed::Nothing),
        Some(label) if label.starts_with(b"#") => return Ok(Parsed::Nothing),
        Some(b"RSA") => return Ok(Parsed::OfRsa),
        Some(label) => label,
    };
    let is_label =
        label.len() <= 64 && label.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == b'_');
    if !is_label {
        return Err("it does not start with a label such as CLIENT_RANDOM");
    }
    let (Some(random), Some(secret), None) = (words.next(), words.next(), words.next()) else {
        return Err("not a label, a client random and a secret");
    };
    let random = random_of(random).ok_or("the client random is not 64 hexadecimal digits")?;
    let length_fits = match label {
        // The master secret has 48 octets (RFC 5246, section 8.1).
        b"CLIENT_RANDOM" => secret.len() == 96,
        // Secrets are as long as a hash: 32 or 48 octets so far.
        _ => (32..=256).contains(&secret.len()) && secret.len().is_multiple_of(2),
    };
    if !length_fits || !secret.iter().all(u8::is_ascii_hexdigit) {
        return Err("the secret is not as many hexadecimal digits as its label needs");
    }
    Ok(Parsed::Key(KeyLine { label, random, secret }))
}

fn random_of(digits: &[u8]) -> Option<Random> {
    let digits: &[u8; 64] = digits.try_into().ok()?;
    let mut random = [0; 32];
    for (octet, pair) in random.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *octet = (digit(0)? * 16 + digit(1)?) as u8; // two digits
    }
    Some(random)
}

fn hexadecimal(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::spoil::spoiled;
    use proptest::prelude::*;

    fn random(octet: u8) -> String {
        format!("{octet:02x}").repeat(32)
    }

    fn log() -> String {
        let (one, two) = (random(1), random(0xab).to_uppercase());
        let (long, short) = ("0c".repeat(48), "0D".repeat(32));
        format!(
            "# a comment\nCLIENT_RANDOM {one} {long}\r\nCLIENT_TRAFFIC_SECRET_0 {two} {short}\n\nEXPORTER_SECRET {two} {long}\n\
             RSA 0011223344556677 {long}\nRSA Session-ID:{one} Master-Key:{long}\nSOMETHING_NEW {two} {short}\n"
        )
    }

    fn read(text: &str) -> Result<(Keys, Unused), Error> {
        let mut keys = Keys::default();
        let unused = keys.read("keys.log", text.as_bytes())?;
        Ok((keys, unused))
    }

    fn lines(keys: &Keys, random: u8) -> Vec<String> {
        let text = |line| String::from_utf8(keys.line(line).to_vec()).expect("ASCII");
        keys.of(&[random; 32]).map(text).collect()
    }

    #[test]
    fn sessions_by_their_client_random() {
        let (keys, unused) = read(&log()).expect("a key log");
        assert_eq!((keys.sessions(), keys.len(), unused.bad, unused.other), (2, 4, 0, 2));
        assert_eq!(lines(&keys, 1), [format!("CLIENT_RANDOM {} {}\n", random(1), "0c".repeat(48))]);
        let labels: Vec<_> = lines(&keys, 0xab).iter().map(|l| l.split(' ').next().map(str::to_owned)).collect();
        let expected = ["SOMETHING_NEW", "EXPORTER_SECRET", "CLIENT_TRAFFIC_SECRET_0"];
        assert_eq!(labels, expected.map(|label| Some(label.to_owned())));
        assert!(lines(&keys, 2).is_empty());
    }

    #[test]
    fn the_same_again_is_there_once_and_a_contradiction_is_bad() {
        let (mut keys, _) = read(&log()).expect("a key log");
        assert_eq!(keys.read("again", log().as_bytes()).expect("a key log").bad, 0);
        assert_eq!(keys.len(), 4);
        let other = format!("{}CLIENT_RANDOM {} {}\n", log(), random(1), "ff".repeat(48));
        let unused = keys.read("other", other.as_bytes()).expect("a key log");
        assert_eq!((unused.bad, keys.len()), (1, 4));
        assert_eq!(unused.first[0].place, "line 9");
    }

    #[test]
    fn bad_lines_are_named_and_not_shown() {
        let secret = "5e".repeat(48);
        let bad = [
            format!("CLIENT_RANDOM {} {}", random(2), &secret[2..]),
            format!("CLIENT_RANDOM {} {secret}", &random(2)[1..]),
            format!("CLIENT_RANDOM {} {secret} more", random(2)),
            format!("client_random {} {secret}", random(2)),
            format!("EXPORTER_SECRET {} {}x", random(2), &secret[1..]),
            format!("{} {secret}", "X".repeat(70_000)),
        ];
        let (keys, unused) = read(&format!("{}{}\n", log(), bad.join("\n"))).expect("a key log with bad lines");
        assert_eq!((keys.len(), unused.bad), (4, 6));
        let told = unused.to_string();
        assert!(told.contains("line 9: ") && told.contains("and 1 more") && !told.contains("5e5e"), "{told}");
        assert!(!format!("{keys:?}").contains("0c0c"), "secrets are not printed");
    }

    #[test]
    fn another_file_is_refused() {
        let error = read("127.0.0.1 localhost\n").expect_err("a hosts file");
        assert!(error.to_string().starts_with("keys.log: not a TLS key log"), "{error}");
        assert!(read("").is_ok(), "no session so far");
    }

    proptest! {
        #[test]
        fn spoiled_logs_are_read_as_far_as_they_go(text in spoiled(log())) {
            let mut keys = Keys::default();
            if let Ok(unused) = keys.read("x", &text[..]) {
                let lines = text.split(|&c| c == b'\n').count() as u64;
                prop_assert!(unused.bad + unused.other + keys.len() as u64 <= lines);
            }
            for line in 0..keys.len() {
                let key = KeyLine::read(keys.line(line));
                prop_assert_eq!(key.and_then(|key| keys.find(&key)), Some(line));
            }
        }
    }
}

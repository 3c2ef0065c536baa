//! What was not used of a file: the first bad lines with their places, and how many there were.

use std::fmt;

/// Bad lines that are kept; the rest is counted.
const KEPT: usize = 5;

/// Characters of a line that are shown.
const SHOWN: usize = 80;

/// The lines of a file that were not used. Holds no more than a few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// The file as the user named it.
    pub file: String,
    /// The first of the bad lines.
    pub first: Vec<BadLine>,
    /// How many lines made no sense.
    pub bad: u64,
    /// How many lines are of another kind that such files hold, and mean no harm: the proxy's own log, comments on
    /// what is no use here.
    pub other: u64,
}

/// A line that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which: `line 12`, `item 3`.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
    /// The beginning of its text; empty where that may be a secret.
    pub text: String,
}

impl Unused {
    pub(super) fn new(file: &str) -> Unused {
        Unused { file: file.to_owned(), ..Unused::default() }
    }

    /// Counts a bad line.
    pub(super) fn bad(&mut self, place: fmt::Arguments<'_>, what: impl fmt::Display, text: &[u8]) {
        self.bad += 1;
        if self.first.len() < KEPT {
            // A character has no more than four octets.
            let start = &text[..text.len().min(4 * (SHOWN + 1))];
            let start = String::from_utf8_lossy(start);
            let mut shown: String = start.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
            if start.chars().nth(SHOWN).is_some() {
                shown.push_str("...");
            }
            self.first.push(BadLine { place: place.to_string(), what: what.to_string(), text: shown });
        }
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = if self.bad == 1 { "1 bad line was" } else { &format!("{} bad lines were", self.bad) };
        write!(f, "{}: {lines} not used", self.file)?;
        for line in &self.first {
            write!(f, "\n  {}: {}", line.place, line.what)?;
            if !line.text.is_empty() {
                write!(f, ": {}", line.text)?;
            }
        }
        let more = self.bad - self.first.len() as u64;
        if more > 0 {
            write!(f, "\n  and {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_shown_and_the_rest_is_counted() {
        let mut unused = Unused::new("a.log");
        unused.bad(format_args!("line 3"), "no log", b"x\x1b[2J\xff");
        assert_eq!(unused.to_string(), "a.log: 1 bad line was not used\n  line 3: no log: x [2J\u{fffd}");
        for line in 4..20 {
            unused.bad(format_args!("line {line}"), "no log", "ä".repeat(4000).as_bytes());
        }
        let told = unused.to_string();
        assert!(told.starts_with("a.log: 17 bad lines were not used\n") && told.ends_with("\n  and 12 more"), "{told}");
        assert!(told.contains(&format!("line 7: no log: {}...\n", "ä".repeat(80))), "{told}");
    }
}

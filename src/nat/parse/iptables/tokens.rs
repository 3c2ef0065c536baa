//! Words of an iptables rule: quotes, escapes, negation.

/// A word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Whether it stood in quotes: then it is never an option.
    pub(super) quoted: bool,
}

/// The words of a rule, taken from the front.
#[derive(Debug)]
pub(super) struct Tokens {
    list: Vec<Token>,
    next: usize,
}

impl Tokens {
    /// Splits a line as `iptables-restore` does: blanks separate, double quotes hold together, and in them a backslash
    /// takes the next character as it is (`xtables_save_string` in libxtables).
    pub(super) fn split(line: &str) -> Result<Tokens, String> {
        let mut list = Vec::new();
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            if c.is_whitespace() {
                continue;
            }
            let mut text = String::new();
            if c == '"' {
                loop {
                    match characters.next() {
                        Some('\\') => text.extend(characters.next()),
                        Some('"') => break,
                        Some(c) => text.push(c),
                        None => return Err("a quote that does not end".to_owned()),
                    }
                }
                list.push(Token { text, quoted: true });
                continue;
            }
            text.push(c);
            while let Some(c) = characters.next_if(|c| !c.is_whitespace()) {
                text.push(c);
            }
            list.push(Token { text, quoted: false });
        }
        Ok(Tokens { list, next: 0 })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.list.get(self.next)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes an exclamation mark, if one is next.
    pub(super) fn negation(&mut self) -> bool {
        let found = self.peek().is_some_and(|t| !t.quoted && t.text == "!");
        self.next += usize::from(found);
        found
    }

    /// The argument of an option. An old form has the exclamation mark here; it turns `negated`.
    pub(super) fn argument(&mut self, option: &str, negated: &mut bool) -> Result<String, String> {
        *negated |= self.negation();
        self.next().map(|t| t.text).ok_or_else(|| format!("{option} has no argument"))
    }

    /// Whether the next word is an option or a negated option.
    pub(super) fn at_option(&self) -> bool {
        self.peek().is_none_or(|t| !t.quoted && (t.text == "!" || t.text.starts_with('-')))
    }

    /// Whether the next word begins another module or the target.
    pub(super) fn at_module(&self) -> bool {
        self.peek().is_none_or(|t| {
            !t.quoted && matches!(t.text.as_str(), "-m" | "--match" | "-j" | "--jump" | "-g" | "--goto")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        let words = |line: &str| Tokens::split(line).map(|t| t.list.into_iter().map(|t| t.text).collect::<Vec<_>>());
        assert_eq!(words("-A X  -j Y"), Ok(vec!["-A".to_owned(), "X".to_owned(), "-j".to_owned(), "Y".to_owned()]));
        assert_eq!(
            words(r#"--comment "a \"b\" \'c\' \\ !""#),
            Ok(vec!["--comment".to_owned(), r#"a "b" 'c' \ !"#.to_owned()])
        );
        assert_eq!(words(r#"--comment """#), Ok(vec!["--comment".to_owned(), String::new()]));
        assert!(words("--comment \"a").is_err());
    }
}

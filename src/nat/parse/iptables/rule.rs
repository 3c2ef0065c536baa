//! A rule of iptables, word by word, as `iptables-save` prints it.
//!
//! Names and meanings are those of iptables-extensions(8). Modules and options that are not known become
//! [`Test::Unknown`] and [`Action::Unknown`]; values that make no sense are errors.

use super::matches::{start_module, test};
use super::parsed::Parsed;
use super::targets::target;
use super::tokens::Tokens;
use crate::nat::ruleset::{Family, Match, Step};

/// Reads what follows the chain's name.
pub(super) fn rule(tokens: &mut Tokens) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut module = String::new();
    loop {
        let mut negated = tokens.negation();
        let Some(token) = tokens.next() else {
            return if negated { Err("an exclamation mark at the end".to_owned()) } else { Ok(parsed) };
        };
        let option = token.text;
        match option.as_str() {
            "-m" | "--match" => {
                module = tokens.argument("-m", &mut false)?;
                if let Some(test) = start_module(&module, tokens, &mut parsed)? {
                    parsed.steps.push(Step::Match(test));
                }
            }
            "-j" | "--jump" | "-g" | "--goto" => {
                let name = tokens.argument(&option, &mut false)?;
                parsed.action = target(&name, tokens, &mut parsed.family)?;
                parsed.target = Some((name, option.starts_with("-g") || option == "--goto"));
                return Ok(parsed);
            }
            "-4" => parsed.family = Some(Family::V4),
            "-6" => parsed.family = Some(Family::V6),
            "-c" | "--set-counters" => {
                tokens.argument("-c", &mut false)?;
                tokens.argument("-c", &mut false)?;
            }
            _ => {
                let mut text = option.clone();
                let test = test(&option, &module, tokens, &mut negated, &mut text, &mut parsed)?;
                let sign = if negated { "! " } else { "" };
                if let Some(test) = test {
                    parsed.steps.push(Step::Match(Match { negated, test, text: format!("{sign}{text}") }));
                }
            }
        }
    }
}

//! Rules about the instructions of a stage that is built.

use super::rule::{LEGACY_KEY_VALUE_FORMAT, MULTIPLE_INSTRUCTIONS_DISALLOWED, SECRETS_USED_IN_ARG_OR_ENV};
use super::{Warning, arguments_of, keyword};
use crate::dockerfile::{Instruction, Kind, arguments};

/// Parts of a name that make it a secret's.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Parts of a name that make it no secret's after all.
const NOT_SECRET: [&str; 3] = ["public", "file", "version"];

/// What is wrong with the instructions of one stage as they stand, triggers included, in no order.
/// `escape` is the directive's.
///
/// # Source
/// BuildKit, `dockerfile2llb/convert.go` and `validations.go`.
pub fn check_stage<'a>(instructions: impl IntoIterator<Item = &'a Instruction>, escape: char) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut last: [Option<&Instruction>; 3] = [None; 3];
    for instruction in instructions {
        let slot = match &instruction.kind {
            Kind::Cmd(_) => Some(0),
            Kind::Entrypoint(_) => Some(1),
            Kind::Healthcheck(_) => Some(2),
            _ => None,
        };
        if let Some(earlier) = slot.and_then(|slot| last[slot].replace(instruction)) {
            warnings.push(overridden(earlier));
        }
        warnings.extend(legacy(instruction, escape));
        warnings.extend(secrets(instruction));
    }
    warnings
}

/// Reported at the instruction that has no effect.
fn overridden(earlier: &Instruction) -> Warning {
    let word = keyword(earlier);
    Warning::new(&MULTIPLE_INSTRUCTIONS_DISALLOWED, &[word], earlier.span).at(word)
}

fn legacy(instruction: &Instruction, escape: char) -> Option<Warning> {
    if !matches!(instruction.kind, Kind::Env(_) | Kind::Label(_)) {
        return None;
    }
    let first = arguments::quoted_words(arguments_of(instruction), escape).into_iter().next()?;
    let word = keyword(instruction);
    let warning = || Warning::new(&LEGACY_KEY_VALUE_FORMAT, &[word, word], instruction.span).at(&first);
    (!first.contains('=')).then(warning)
}

fn secrets(instruction: &Instruction) -> Vec<Warning> {
    let (word, pairs) = match &instruction.kind {
        Kind::Arg(pairs) => ("ARG", pairs),
        Kind::Env(pairs) => ("ENV", pairs),
        _ => return Vec::new(),
    };
    let names = pairs.iter().map(|pair| pair.name.as_str()).filter(|name| names_secret(name));
    let warning = |name: &str| {
        Warning::new(&SECRETS_USED_IN_ARG_OR_ENV, &[word, &format!("{name:?}")], instruction.span).at(name)
    };
    names.map(warning).collect()
}

/// Whether a variable is called like a secret.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&NOT_SECRET)
}

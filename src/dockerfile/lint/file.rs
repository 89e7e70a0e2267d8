//! Rules about the whole file, whatever is built of it.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{
    CONSISTENT_INSTRUCTION_CASING, DUPLICATE_STAGE_NAME, FROM_AS_CASING, INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED, NO_EMPTY_CONTINUATION, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
};
use super::{Warning, keyword};
use crate::dockerfile::{Dockerfile, Instruction, Kind, Note, Span, arguments, directive};

/// Names that mean something else.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// What is wrong with the file whatever its stages are used for, in no order.
///
/// # Source
/// BuildKit, `frontend/dockerfile/instructions` and `dockerfile2llb/validations.go`.
pub fn check_file(dockerfile: &Dockerfile) -> Vec<Warning> {
    let mut warnings = stage_names(dockerfile);
    warnings.extend(dockerfile.notes.iter().filter_map(empty_continuation));
    warnings.extend(dockerfile.notes.iter().flat_map(|note| from_words(note, dockerfile.directives.escape)));
    warnings.extend(casing(dockerfile));
    warnings.extend(maintainers(dockerfile));
    warnings.extend(descriptions(dockerfile));
    warnings
}

/// Reported at the last line.
fn empty_continuation(note: &Note) -> Option<Warning> {
    let end = note.span.end;
    let span = Span::lines(end, end);
    note.empty_continuation.then(|| Warning::new(&NO_EMPTY_CONTINUATION, &[], span))
}

/// The casing of a FROM's words.
fn from_words(note: &Note, escape: char) -> Vec<Warning> {
    let parts = arguments::split(&note.text, escape);
    let words = arguments::fields(parts.rest);
    let (from, [_, word, name]) = (parts.keyword, words.as_slice()) else { return Vec::new() };
    if !from.eq_ignore_ascii_case("from") {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if *name != name.to_lowercase() {
        warnings.push(Warning::new(&STAGE_NAME_CASING, &[name], note.span).at_last(name));
    }
    let lower = is_lower(from) && !is_lower(word);
    let upper = is_upper(from) && !is_upper(word);
    if lower || upper {
        warnings.push(Warning::new(&FROM_AS_CASING, &[word, from], note.span).at(word));
    }
    warnings
}

/// Keywords that are not in the case of most; upper on a tie. ARGs before the first FROM do not count.
fn casing(dockerfile: &Dockerfile) -> Vec<Warning> {
    let notes = dockerfile.notes.get(dockerfile.global_args.len()..).unwrap_or_default();
    let keywords = || notes.iter().map(|note| (first_word(&note.text), note.span));
    let lower = keywords().filter(|(word, _)| is_lower(word)).count();
    let upper = keywords().filter(|(word, _)| is_upper(word)).count();
    let (fits, case): (fn(&str) -> bool, _) =
        if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    let wrong = keywords().filter(|(word, _)| !fits(word));
    wrong.map(|(word, span)| Warning::new(&CONSISTENT_INSTRUCTION_CASING, &[word, case], span).at(word)).collect()
}

fn stage_names(dockerfile: &Dockerfile) -> Vec<Warning> {
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for stage in &dockerfile.stages {
        let Some(name) = stage.name.as_deref() else { continue };
        let quoted = format!("{name:?}");
        if RESERVED.contains(&name) {
            warnings.push(Warning::new(&RESERVED_STAGE_NAME, &[&quoted], stage.span).at_last(name));
        }
        if !seen.insert(name) {
            warnings.push(Warning::new(&DUPLICATE_STAGE_NAME, &[&quoted], stage.span).at_last(name));
        }
    }
    warnings
}

fn maintainers(dockerfile: &Dockerfile) -> impl Iterator<Item = Warning> {
    let maintainers = instructions(dockerfile).filter(|found| matches!(found.kind, Kind::Maintainer(_)));
    maintainers.map(|found| Warning::new(&MAINTAINER_DEPRECATED, &[], found.span).at(keyword(found)))
}

/// The last comment before an ARG or a named FROM should start with its name.
fn descriptions(dockerfile: &Dockerfile) -> Vec<Warning> {
    let comments = dockerfile.notes.iter().filter_map(|note| {
        let comment = note.comments.iter().rfind(|comment| !directive::is_directive(comment))?;
        Some((note.span.start, comment.split(' ').next().unwrap_or_default()))
    });
    let comments: BTreeMap<usize, &str> = comments.collect();
    let wrong = |(what, names, span): (&str, Vec<&str>, Span)| {
        let first = comments.get(&span.start).filter(|first| !names.contains(first));
        let example = if let [name] = names.as_slice() { name } else { "<arg_key>" };
        first.map(|_| Warning::new(&INVALID_DEFINITION_DESCRIPTION, &[what, example], span))
    };
    definitions(dockerfile).filter_map(wrong).collect()
}

/// Instructions that give something a name, and the names.
fn definitions(dockerfile: &Dockerfile) -> impl Iterator<Item = (&'static str, Vec<&str>, Span)> {
    let stages = dockerfile.stages.iter().filter_map(|stage| Some(("FROM", vec![stage.name.as_deref()?], stage.span)));
    let arguments = instructions(dockerfile).filter_map(|found| match &found.kind {
        Kind::Arg(pairs) => Some(("ARG", pairs.iter().map(|pair| pair.name.as_str()).collect(), found.span)),
        _ => None,
    });
    stages.chain(arguments)
}

fn instructions(dockerfile: &Dockerfile) -> impl Iterator<Item = &Instruction> {
    dockerfile.global_args.iter().chain(dockerfile.stages.iter().flat_map(|stage| &stage.instructions))
}

fn first_word(text: &str) -> &str {
    arguments::cut(text).map_or(text, |(word, _)| word)
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

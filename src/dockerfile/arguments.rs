//! How the rest of an instruction's line becomes arguments.

use super::diagnostic::Fault;

/// White space between an instruction's words. Other Unicode spaces belong to them.
const BLANKS: [char; 5] = ['\t', '\u{0B}', '\u{0C}', '\r', ' '];

/// A line cut into its parts.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// As typed.
    pub(super) keyword: &'a str,
    /// The leading `--…` words, quotes removed.
    pub(super) flags: Vec<String>,
    /// What follows, trimmed.
    pub(super) rest: &'a str,
}

/// Cuts a logical line into keyword, flags and arguments.
pub(super) fn split(line: &str, escape: char) -> Parts<'_> {
    let line = line.trim();
    let (keyword, rest) = cut(line).unwrap_or((line, ""));
    let (flags, rest) = take_flags(rest, escape);
    Parts { keyword, flags, rest: rest.trim() }
}

/// `text` up to its first blanks, and what follows them.
pub(super) fn cut(text: &str) -> Option<(&str, &str)> {
    text.split_once(BLANKS).map(|(first, rest)| (first, rest.trim_start_matches(BLANKS)))
}

/// The words between blanks; quotes mean nothing.
pub(super) fn fields(rest: &str) -> Vec<String> {
    rest.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The elements of a JSON array of strings, or `None` when `rest` is no JSON array.
///
/// # Errors
/// When it is an array of something else.
pub(super) fn json(rest: &str) -> Result<Option<Vec<String>>, Fault> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    let Ok(elements) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else { return Ok(None) };
    let strings = elements.into_iter().map(|element| match element {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Fault::at("when using JSON array syntax, arrays must be comprised of strings only", rest)),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// The words of ARG, ENV and LABEL: split at white space outside quotes. Quotes and escapes stay.
pub(super) fn quoted_words(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        if c == escape && quote != Some('\'') {
            // One at the very end is dropped.
            if let Some(next) = chars.next() {
                word.extend([c, next]);
            }
            continue;
        }
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes the leading words that start with `--`; a bare `--` ends them and is dropped.
fn take_flags(rest: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let (flag, after) = flag_word(rest, escape);
        rest = after.trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
}

/// The first word of `text` without its quotes and escapes, and what follows.
///
/// BuildKit goes byte by byte and takes each for a character of its own: what is not ASCII comes out
/// garbled, and some of it is white space.
fn flag_word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut bytes = text.bytes().map(char::from).enumerate();
    while let Some((at, c)) = bytes.next() {
        match c {
            c if c == escape => word.extend(bytes.next().map(|(_, next)| next)),
            c if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote.is_none() && c.is_whitespace() && text.is_char_boundary(at + 1) => {
                return (word, &text[at + 1..]);
            }
            c => word.push(c),
        }
    }
    (word, "")
}

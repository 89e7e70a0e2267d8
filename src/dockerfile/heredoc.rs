//! Heredoc tokens: `<<NAME`, `<<-NAME`, `3<<"NAME"`.

use super::ast::Heredoc;
use super::expand::lexer::{Lexer, Mode};

/// `<<NAME` as it stands in a line, before its body was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// The word, quotes removed.
    pub(super) name: String,
    /// No part of the word was quoted.
    pub(super) expand: bool,
    /// `<<-`.
    pub(super) chomp: bool,
}

/// The heredocs that a logical line announces, in order; none when a quote in it is open.
pub(super) fn tokens(line: &str) -> Vec<Token> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let mode = Mode { raw_quotes: true, raw_escapes: true, join_heredoc: true, ..word_mode() };
    words(line, mode).iter().filter_map(|word| token(word)).collect()
}

/// `word` as a heredoc token, if it is exactly one.
pub(super) fn token(word: &str) -> Option<Token> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = single(words(rest, word_mode()))?;
    let raw = single(words(rest, Mode { raw_quotes: true, ..word_mode() }))?;
    Some(Token { expand: quotes(&name) == quotes(&raw), name, chomp })
}

/// `heredoc` without the leading tabs of its lines, if it is a `<<-`.
pub(super) fn stripped(heredoc: &Heredoc) -> Heredoc {
    if !heredoc.chomp {
        return heredoc.clone();
    }
    let body = heredoc.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect();
    Heredoc { body, ..heredoc.clone() }
}

/// Heredoc words know one escape character, whatever the directive says, and no variables.
fn word_mode() -> Mode {
    Mode { keep_unset: true, ..Mode::new('\\') }
}

fn words(text: &str, mode: Mode) -> Vec<String> {
    let unset = |_: &str| None;
    Lexer::new(text, mode, &unset).words().unwrap_or_default()
}

fn single(words: Vec<String>) -> Option<String> {
    let mut words = words.into_iter();
    let first = words.next()?;
    words.next().is_none().then_some(first)
}

fn quotes(word: &str) -> usize {
    word.chars().filter(|c| matches!(c, '\'' | '"')).count()
}

//! What went wrong in a Dockerfile and where, and how to show it.

use std::fmt::Write as _;

use super::ast::{Caret, Span};

/// Lines shown before and after the place.
const CONTEXT: usize = 1;
/// Lines shown of the place itself.
const MAX_SHOWN: usize = 5;
/// Characters shown of a line.
const MAX_WIDTH: usize = 160;

/// The first thing that makes a Dockerfile invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where; line 0 when the file as a whole is wrong.
    pub span: Span,
    /// BuildKit's words, with the line number in front when it has one.
    pub message: String,
}

impl ParseError {
    /// A fault of an instruction; `source` gives the caret its place.
    pub(super) fn new(span: Span, fault: &Fault, source: &[u8]) -> Self {
        let message = format!("dockerfile parse error on line {}: {}", span.start, fault.message);
        let text = String::from_utf8_lossy(source);
        let listing = Listing::new("", &text);
        let caret = fault.token.as_deref().and_then(|token| listing.find(span, token, fault.last));
        let caret = caret.or_else(|| listing.first_word(span));
        ParseError { span: Span { caret, ..span }, message }
    }

    /// A fault of the file as a whole, or one that BuildKit reports without a line.
    pub(super) fn plain(span: Span, message: &str) -> Self {
        ParseError { span, message: message.to_owned() }
    }
}

/// A mistake whose place is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// BuildKit's words.
    pub(super) message: String,
    /// The text to blame, as it stands in the source.
    pub(super) token: Option<String>,
    /// Its last occurrence is to blame, not its first.
    pub(super) last: bool,
}

impl Fault {
    /// A mistake of the whole instruction.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), token: None, last: false }
    }

    /// A mistake at `token`.
    pub(super) fn at(message: impl Into<String>, token: &str) -> Self {
        Fault { message: message.into(), token: Some(token.to_owned()), last: false }
    }

    /// A mistake at the last occurrence of `token`.
    pub(super) fn at_last(message: impl Into<String>, token: &str) -> Self {
        Fault { last: true, ..Fault::at(message, token) }
    }
}

/// `error_message` above the lines of `source` that `span` names, see [`Listing::show`].
pub fn render(error_message: &str, span: Span, file_name: &str, source: &str) -> String {
    Listing::new(file_name, source).show(error_message, span)
}

/// The lines of a Dockerfile, for showing places in it.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Listing<'a> {
    /// `name` is what to call the file.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Listing { name, lines: text.lines().collect() }
    }

    /// The first of `words` that stands in the lines of `span`, as `span`'s caret; `span` as it is if
    /// none does. Where a word stands by itself it is meant rather than where it is part of another.
    pub fn locate<'w>(&self, span: Span, words: impl IntoIterator<Item = &'w str>) -> Span {
        let caret = words.into_iter().find_map(|word| self.find(span, word, false));
        Span { caret: caret.or(span.caret), ..span }
    }

    /// `last` looks for the last occurrence, not the first.
    pub(super) fn find(&self, span: Span, word: &str, last: bool) -> Option<Caret> {
        let first = span.start.checked_sub(1)?;
        let lines = self.lines.get(first..span.end.min(self.lines.len())).filter(|_| !word.is_empty())?;
        let places = || {
            let numbered = lines.iter().enumerate().map(|(index, line)| (span.start + index, line));
            numbered.flat_map(|(line, text)| text.match_indices(word).map(move |(column, _)| (line, column, text)))
        };
        let alone =
            |(_, column, text): &(usize, usize, &&str)| text[..*column].chars().last().is_none_or(char::is_whitespace);
        let found = if last { places().filter(alone).last() } else { places().find(alone) };
        found.or_else(|| places().next()).map(|(line, column, _)| Caret { line, column })
    }

    /// The first word of the span's first line.
    fn first_word(&self, span: Span) -> Option<Caret> {
        let text = self.lines.get(span.start.checked_sub(1)?)?;
        text.find(|c: char| !c.is_whitespace()).map(|column| Caret { line: span.start, column })
    }

    /// `message` above the lines that `span` names: `file:line:column`, numbered lines, a caret when
    /// its place is known, else a `>` before each of them. No colours; control characters are made harmless.
    ///
    /// The message alone when the span is outside the file.
    pub fn show(&self, message: &str, span: Span) -> String {
        let mut shown = format!("{message}\n");
        if span.start == 0 || span.start > self.lines.len() {
            return shown;
        }
        let window = self.window(span);
        let (line, column) = match span.caret {
            Some(caret) => (caret.line, format!(":{}", caret.column + 1)),
            None => (span.start, String::new()),
        };
        let width = window.last.to_string().len();
        let _ = writeln!(shown, "{:>width$}--> {}:{line}{column}", "", self.name);
        for number in window.first..=window.last {
            let line = self.lines[number - 1];
            let is_blamed = span.caret.is_none() && (span.start..=span.end).contains(&number);
            let mark = if is_blamed { '>' } else { '|' };
            let _ = writeln!(shown, "{}", format!("{number:>width$} {mark} {}", visible(line, MAX_WIDTH)).trim_end());
            if let Some(caret) = span.caret.filter(|caret| caret.line == number) {
                point(&mut shown, line, caret.column, width);
            }
        }
        if window.cut {
            let _ = writeln!(shown, "{:>width$} | ...", "");
        }
        shown
    }

    /// From the span's first line, or if that is too far from the caret, around the caret.
    fn window(&self, span: Span) -> Window {
        let end = span.end.clamp(span.start, self.lines.len());
        let caret = span.caret.map_or(span.start, |caret| caret.line.clamp(span.start, end));
        let start = if caret < span.start + MAX_SHOWN { span.start } else { caret };
        let cut = end.min(start + MAX_SHOWN - 1);
        let last = if cut < end { cut } else { (end + CONTEXT).min(self.lines.len()) };
        Window { first: start.saturating_sub(CONTEXT).max(1), last, cut: cut < end }
    }
}

/// The lines that are shown.
struct Window {
    first: usize,
    last: usize,
    /// The span goes on.
    cut: bool,
}

/// The line with the caret, when it falls into what is shown.
fn point(shown: &mut String, line: &str, column: usize, width: usize) {
    let Some(before) = line.get(..column) else { return };
    let offset = visible(before, usize::MAX).chars().count();
    if offset < MAX_WIDTH {
        let _ = writeln!(shown, "{:>width$} | {:>offset$}^", "", "");
    }
}

/// `text` with tabs as four spaces, without control characters, cut at `limit` characters.
fn visible(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        match c {
            _ if index == limit => {
                out.push_str("...");
                break;
            }
            '\t' => out.push_str("    "),
            '\u{FEFF}' => {}
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

//! What went wrong in a Dockerfile and where, and how to show it.

use std::fmt::Write as _;

use super::ast::Span;

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
    /// A fault of an instruction; `source` gives the caret its column.
    pub(super) fn new(span: Span, fault: &Fault, source: &[u8]) -> Self {
        let message = format!("dockerfile parse error on line {}: {}", span.start, fault.message);
        let column = column(source, span.start, fault);
        ParseError { span: Span { column, ..span }, message }
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

/// Where the fault's token starts in line `number` (in bytes), when it is there; as a word if it can be.
pub(super) fn column(source: &[u8], number: usize, fault: &Fault) -> Option<usize> {
    let token = fault.token.as_deref().filter(|token| !token.is_empty())?.as_bytes();
    let line = source.split(|&byte| byte == b'\n').nth(number.checked_sub(1)?)?;
    let found = |start: &usize| line[*start..].starts_with(token);
    let word = |start: &usize| found(start) && (*start == 0 || line[start - 1].is_ascii_whitespace());
    let mut starts = 0..line.len();
    let words = if fault.last { starts.clone().rfind(word) } else { starts.clone().find(word) };
    words.or_else(|| starts.find(found))
}

/// `error_message` above the lines of `source` that `span` names: `file:line`, numbered lines, a
/// caret when the column is known, else a `>` before each of them. No colours; control characters are made harmless.
///
/// Shows the message alone when the span is outside the source.
pub fn render(error_message: &str, span: Span, file_name: &str, source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let mut shown = format!("{error_message}\n");
    if span.start == 0 || span.start > lines.len() {
        return shown;
    }
    let place = span.column.map_or(String::new(), |column| format!(":{}", column + 1));
    let end = span.end.clamp(span.start, lines.len());
    let cut = end.min(span.start + MAX_SHOWN - 1);
    let last = if cut < end { cut } else { (end + CONTEXT).min(lines.len()) };
    let width = last.to_string().len();
    let _ = writeln!(shown, "{:>width$}--> {file_name}:{}{place}", "", span.start);
    for number in span.start.saturating_sub(CONTEXT).max(1)..=last {
        let line = lines[number - 1];
        let is_blamed = span.column.is_none() && (span.start..=end).contains(&number);
        let mark = if is_blamed { '>' } else { '|' };
        let _ = writeln!(shown, "{}", format!("{number:>width$} {mark} {}", visible(line, MAX_WIDTH)).trim_end());
        if number == span.start {
            caret(&mut shown, line, span.column, width);
        }
    }
    if cut < end {
        let _ = writeln!(shown, "{:>width$} | ...", "");
    }
    shown
}

/// The line with the caret, when it falls into what is shown.
fn caret(shown: &mut String, line: &str, column: Option<usize>, width: usize) {
    let Some(before) = column.and_then(|column| line.get(..column)) else { return };
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

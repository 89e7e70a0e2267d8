//! Physical lines to logical ones: comments, continuations, and the bodies of heredocs.

use super::diagnostic::Fault;
use super::heredoc::Token;

/// Bytes that a physical line may have, without its line feed.
const MAX_LINE: usize = 65_535;

/// One instruction's line with its continuations joined.
#[derive(Debug)]
pub(super) struct Logical {
    /// First physical line, 1-based.
    pub(super) start: usize,
    /// Leading white space is gone, trailing is not.
    pub(super) text: String,
    /// The comments before it, see [`super::Note::comments`].
    pub(super) comments: Vec<String>,
    /// A blank line stands inside its continuation.
    pub(super) empty_continuation: bool,
}

/// Reads a Dockerfile line by line.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    escape: char,
    /// Lines at the top that are no comments, though they look like it.
    directives: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    /// Starts at line 1, past a byte order mark.
    pub(super) fn new(source: &'a [u8], escape: char, directives: usize) -> Self {
        let rest = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(source);
        Lines { rest, escape, directives, number: 0 }
    }

    /// The last physical line that was read, 1-based; 0 before the first.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The next instruction, or `None` at the end.
    pub(super) fn logical(&mut self) -> Result<Option<Logical>, Fault> {
        let mut comments = Vec::new();
        while let Some(raw) = self.physical()? {
            let line = String::from_utf8_lossy(raw);
            let line = line.trim_end_matches(['\r', '\n']).trim_start();
            if let Some(comment) = line.strip_prefix('#') {
                if self.number > self.directives {
                    add_comment(&mut comments, comment.trim());
                }
                continue;
            }
            let (text, continued) = self.cut_continuation(line);
            if continued || !text.is_empty() {
                let text = text.to_owned();
                let mut logical = Logical { start: self.number, text, comments, empty_continuation: false };
                if continued {
                    self.join(&mut logical)?;
                }
                return Ok(Some(logical));
            }
        }
        Ok(None)
    }

    /// Reads one heredoc's body, raw, and its terminator; `None` when the terminator is missing.
    pub(super) fn heredoc_body(&mut self, token: &Token) -> Result<Option<String>, Fault> {
        let mut body = Vec::new();
        while let Some(raw) = self.physical()? {
            if is_terminator(raw, token) {
                return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
            }
            body.extend_from_slice(raw);
        }
        Ok(None)
    }

    /// Appends continuation lines up to one that does not continue; skips comments and blank lines.
    fn join(&mut self, logical: &mut Logical) -> Result<(), Fault> {
        while let Some(raw) = self.physical()? {
            let line = String::from_utf8_lossy(raw);
            let line = line.trim_end_matches(['\r', '\n']);
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') {
                logical.empty_continuation |= content.is_empty();
                continue;
            }
            let (part, continued) = self.cut_continuation(line);
            logical.text.push_str(part);
            if !continued {
                break;
            }
        }
        Ok(())
    }

    /// The next line with its line feed.
    fn physical(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let length = self.rest.iter().position(|&byte| byte == b'\n').unwrap_or(self.rest.len());
        if length > MAX_LINE {
            return Err(Fault::new(format!("dockerfile line greater than max allowed size of {MAX_LINE}")));
        }
        let (line, rest) = self.rest.split_at(self.rest.len().min(length + 1));
        self.rest = rest;
        Ok(Some(line))
    }

    /// Cuts a trailing escape character (and blanks after it) that no other one precedes.
    fn cut_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(text) if !text.ends_with(self.escape) => (text, true),
            _ => (line, false),
        }
    }
}

/// An empty comment parts those before it from the instruction.
fn add_comment(comments: &mut Vec<String>, text: &str) {
    match text {
        "" => comments.clear(),
        text => comments.push(text.to_owned()),
    }
}

fn is_terminator(raw: &[u8], token: &Token) -> bool {
    let line = trim_line_end(raw);
    let tabs = if token.chomp { line.iter().take_while(|&&byte| byte == b'\t').count() } else { 0 };
    &line[tabs..] == token.name.as_bytes()
}

fn trim_line_end(mut line: &[u8]) -> &[u8] {
    while let [head @ .., b'\r' | b'\n'] = line {
        line = head;
    }
    line
}

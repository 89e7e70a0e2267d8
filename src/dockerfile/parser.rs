//! Lines to stages.

use super::arguments;
use super::ast::{Directives, Dockerfile, Heredoc, Instruction, Kind, Note, Span, Stage};
use super::diagnostic::{Fault, ParseError};
use super::directive;
use super::heredoc;
use super::instruction::{Parsed, Statement, takes_heredocs};
use super::line::{Lines, Logical};

/// Parses a Dockerfile. Bytes that are not UTF-8 become replacement characters.
///
/// # Errors
/// The first mistake in the file.
///
/// # Source
/// BuildKit, `frontend/dockerfile/parser` and `instructions`.
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::plain(Span::default(), "the Dockerfile cannot be empty"));
    }
    let (directives, lines) =
        directive::parse(bytes).map_err(|(line, fault)| ParseError::new(Span::lines(line, line), &fault, bytes))?;
    let mut reader = Reader::new(bytes, directives.escape, lines);
    let mut file = Builder::new(directives);
    let mut empty = true;
    while let Some((note, parsed)) = reader.next()? {
        empty = false;
        file.push(note, parsed)?;
    }
    if empty {
        return Err(ParseError::plain(Span::default(), "file with no instructions"));
    }
    file.finish()
}

/// Parses the one instruction of an ONBUILD trigger, bodies of its heredocs behind it.
///
/// The span counts lines from the start of `text`.
///
/// # Errors
/// The first mistake; also when it is FROM, or not exactly one instruction.
pub fn parse_trigger(text: &str, escape: char) -> Result<Instruction, ParseError> {
    let mut reader = Reader::new(text.as_bytes(), escape, 0);
    let Some((Note { span, text, .. }, parsed)) = reader.next()? else {
        return Err(ParseError::plain(Span::default(), "file with no instructions"));
    };
    let fault = |message: &str| ParseError::new(span, &Fault::new(message), reader.source);
    let kind = match parsed {
        Parsed::From(_) => return Err(fault("FROM isn't allowed as an ONBUILD trigger")),
        // What ONBUILD refuses can stand in an image that something else made.
        Parsed::Kind(kind) => kind,
    };
    if reader.next()?.is_some() {
        return Err(ParseError::plain(span, "onbuild trigger should be a single expression"));
    }
    Ok(Instruction { span, text, kind })
}

/// Reads instruction after instruction.
struct Reader<'a> {
    source: &'a [u8],
    lines: Lines<'a>,
    escape: char,
}

impl<'a> Reader<'a> {
    /// The first `directives` lines are parser directives.
    fn new(source: &'a [u8], escape: char, directives: usize) -> Self {
        Reader { source, lines: Lines::new(source, escape, directives), escape }
    }

    fn next(&mut self) -> Result<Option<(Note, Parsed)>, ParseError> {
        let logical = self.lines.logical().map_err(|fault| self.error(self.lines.number(), &fault))?;
        let Some(logical) = logical else { return Ok(None) };
        let parsed = self.statement(&logical).map_err(|fault| self.error(logical.start, &fault))?;
        let (span, text) = (self.span(logical.start), logical.text.trim().to_owned());
        let Logical { comments, empty_continuation, .. } = logical;
        Ok(Some((Note { span, text, comments, empty_continuation }, parsed)))
    }

    fn statement(&mut self, logical: &Logical) -> Result<Parsed, Fault> {
        let line = logical.text.as_str();
        let parts = arguments::split(line, self.escape);
        let mut heredocs = Vec::new();
        if line.contains("<<") && takes_heredocs(&parts, self.escape) {
            for token in heredoc::tokens(line) {
                let body = self.lines.heredoc_body(&token)?.ok_or_else(|| Fault::at("unterminated heredoc", "<<"))?;
                heredocs.push(Heredoc { name: token.name, body, expand: token.expand, chomp: token.chomp });
            }
        }
        Statement { line, parts, escape: self.escape, heredocs }.parse()
    }

    /// From `start` to the line read last.
    fn span(&self, start: usize) -> Span {
        Span::lines(start, self.lines.number())
    }

    fn error(&self, start: usize, fault: &Fault) -> ParseError {
        ParseError::new(self.span(start), fault, self.source)
    }
}

/// A Dockerfile in the making.
struct Builder(Dockerfile);

impl Builder {
    fn new(directives: Directives) -> Self {
        Builder(Dockerfile { directives, global_args: Vec::new(), stages: Vec::new(), notes: Vec::new() })
    }

    fn push(&mut self, note: Note, parsed: Parsed) -> Result<(), ParseError> {
        let (span, text) = (note.span, note.text.clone());
        match (parsed, self.0.stages.last_mut()) {
            (Parsed::From(from), _) => self.0.stages.push(Stage {
                base: from.base,
                name: from.name,
                platform: from.platform,
                span,
                instructions: Vec::new(),
            }),
            (Parsed::Kind(kind), Some(stage)) => stage.instructions.push(Instruction { span, text, kind }),
            (Parsed::Kind(kind @ Kind::Arg(_)), None) => self.0.global_args.push(Instruction { span, text, kind }),
            (Parsed::Kind(_), None) => return Err(ParseError::plain(span, "no build stage in current context")),
        }
        self.0.notes.push(note);
        Ok(())
    }

    fn finish(self) -> Result<Dockerfile, ParseError> {
        if self.0.stages.is_empty() {
            return Err(ParseError::plain(Span::default(), "dockerfile contains no stages to build"));
        }
        Ok(self.0)
    }
}

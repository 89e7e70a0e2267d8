use std::fmt;

use super::Rule;
use crate::dockerfile::Span;

/// A rule and the instruction that breaks it. Shown as `Rule: message (line N)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Which rule.
    pub rule: &'static Rule,
    /// What is wrong.
    pub message: String,
    /// The instruction.
    pub span: Span,
    pub(super) token: Option<Token>,
}

/// What to point at, as it stands in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Its last occurrence, not its first.
    pub(super) last: bool,
}

impl Warning {
    /// `arguments` are those of the rule's message, in order.
    pub fn new(rule: &'static Rule, arguments: &[&str], span: Span) -> Self {
        Warning { rule, message: rule.message(arguments), span, token: None }
    }

    /// The warning, pointing at the first `token` of the instruction's first line.
    pub fn at(self, token: &str) -> Self {
        Warning { token: Some(Token { text: token.to_owned(), last: false }), ..self }
    }

    /// The warning, pointing at the last `token` of the instruction's first line.
    pub fn at_last(self, token: &str) -> Self {
        Warning { token: Some(Token { text: token.to_owned(), last: true }), ..self }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.rule.name, self.message)?;
        match self.span.start {
            0 => Ok(()),
            line => write!(formatter, " (line {line})"),
        }
    }
}

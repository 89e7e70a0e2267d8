//! Path patterns: `.dockerignore` and `--exclude` ([`Patterns`]), COPY and ADD sources ([`Wildcard`]). Pure.
//!
//! Paths are bytes, relative, separated by `/`, without a leading or trailing one.

mod automaton;
mod ignore;
mod wildcard;

pub use ignore::Patterns;
pub use wildcard::{Wildcard, has_meta};

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `!` with nothing to re-include.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclusion,
    /// An open or empty `[...]`, or a backslash at the end.
    #[error("syntax error in pattern {0:?}")]
    Syntax(String),
    /// No sane ignore file has such lines.
    #[error("line {line} of the ignore file is longer than {limit} bytes")]
    LineTooLong {
        /// 1-based.
        line: usize,
        /// In bytes.
        limit: usize,
    },
}

impl PatternError {
    fn syntax(pattern: &[u8]) -> Self {
        PatternError::Syntax(String::from_utf8_lossy(pattern).into_owned())
    }
}

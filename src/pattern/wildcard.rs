//! Wildcards in the sources of COPY and ADD.

use super::PatternError;
use super::automaton::{Automaton, Grammar};

/// A pattern that matches whole paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard(Automaton);

impl Wildcard {
    /// `*`, `?`, `[...]` and `\` escapes; no star crosses a slash.
    ///
    /// # Errors
    /// [`PatternError::Syntax`].
    ///
    /// # Source
    /// Go, `path/filepath.Match`.
    pub fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::parse(pattern, Grammar::Match)
    }

    /// The same with `**` for any number of components, as COPY `--parents` has it.
    ///
    /// # Errors
    /// [`PatternError::Syntax`].
    ///
    /// # Source
    /// moby/patternmatcher.
    pub fn recursive(pattern: &[u8]) -> Result<Self, PatternError> {
        Self::parse(pattern, Grammar::Recursive)
    }

    /// Does the whole path match?
    pub fn matches(&self, path: &[u8]) -> bool {
        self.0.matches(path)
    }

    /// Can anything below `directory` match? The empty path is the root.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.0.may_match_below(directory)
    }

    fn parse(pattern: &[u8], grammar: Grammar) -> Result<Self, PatternError> {
        Automaton::parse(pattern, grammar).map(Wildcard).ok_or_else(|| PatternError::syntax(pattern))
    }
}

/// Has `path` a `*`, `?` or `[` that no backslash escapes?
pub fn has_meta(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;

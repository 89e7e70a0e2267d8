//! Expansion of variables and quotes in the words of a Dockerfile.
//!
//! # Source
//! BuildKit, `frontend/dockerfile/shell`; the error texts are its own.

pub(super) mod lexer;
mod pattern;
#[cfg(test)]
mod tests;

pub use lexer::ExpandReason;
use lexer::{Lexer, Mode};

/// Expands words with the variables of one moment.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// One expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The result; inner spaces kept.
    pub text: String,
    /// Variables that were asked for and not set; sorted, each once.
    pub unset: Vec<String>,
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {reason}")]
pub struct ExpandError {
    /// As written.
    pub word: String,
    /// Why.
    #[source]
    pub reason: ExpandReason,
}

impl<'a> Expander<'a> {
    /// `escape` is the one of the parser directive; `lookup` gives a variable's value, `None` when unset.
    pub fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Expander { escape, lookup }
    }

    /// Expands `word` and removes its quotes; the result is one word whatever the values hold.
    ///
    /// # Errors
    /// [`ExpandError`] for open quotes, broken `${…}` and `${v:?text}` of an unset variable.
    pub fn word(&self, word: &str) -> Result<Expanded, ExpandError> {
        self.run(word, Mode::new(self.escape))
    }

    /// Like [`Expander::word`], then split at the white space that was not quoted (EXPOSE).
    ///
    /// # Errors
    /// Those of [`Expander::word`].
    pub fn words(&self, word: &str) -> Result<Vec<String>, ExpandError> {
        let lexer = Lexer::new(word, Mode::new(self.escape), self.lookup);
        lexer.words().map_err(|reason| ExpandError { word: word.to_owned(), reason })
    }

    /// Expands a heredoc's body: quotes are text, and the escape character is always the backslash.
    ///
    /// # Errors
    /// Those of [`Expander::word`] but open quotes.
    pub fn heredoc(&self, body: &str) -> Result<Expanded, ExpandError> {
        self.run(body, Mode { literal_quotes: true, ..Mode::new('\\') })
    }

    fn run(&self, word: &str, mode: Mode) -> Result<Expanded, ExpandError> {
        let (text, mut unset) = Lexer::new(word, mode, self.lookup)
            .text()
            .map_err(|reason| ExpandError { word: word.to_owned(), reason })?;
        unset.sort_unstable();
        unset.dedup();
        Ok(Expanded { text, unset })
    }
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

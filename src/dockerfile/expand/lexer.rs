//! The lexer behind word expansion; heredoc tokens are found with it too.

use std::iter::Peekable;
use std::str::Chars;

use super::pattern::{Pattern, Reach};

/// How deep `${a:-${b:-…}}` may nest: a bound on the stack, far above what anyone writes.
const MAX_DEPTH: usize = 100;

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandReason {
    /// A quote or delimiter is open at the end.
    #[error("unexpected end of statement while looking for matching {0}")]
    Open(&'static str),
    /// `${…` without its end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${v/p}`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${{` or `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${v:=w}` and the like.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// `${v:?message}`.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message given, or the default one.
        message: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    InvalidPattern {
        /// As written, expanded.
        pattern: String,
        /// What followed the backslash.
        escaped: char,
    },
    /// Too many `${` inside each other.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// What the lexer keeps and what it processes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Mode {
    /// The escape character.
    pub(in super::super) escape: char,
    /// Quotes stay in the result.
    pub(in super::super) raw_quotes: bool,
    /// Escape characters stay in the result.
    pub(in super::super) raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub(in super::super) literal_quotes: bool,
    /// Unset variables stay as they are written.
    pub(in super::super) keep_unset: bool,
    /// White space after `<<` does not end a word.
    pub(in super::super) join_heredoc: bool,
}

impl Mode {
    /// Ordinary expansion.
    pub(in super::super) fn new(escape: char) -> Self {
        Mode {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            literal_quotes: false,
            keep_unset: false,
            join_heredoc: false,
        }
    }
}

/// One pass over one text.
pub(in super::super) struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    mode: Mode,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    words: Words,
    unset: Vec<String>,
    depth: usize,
}

impl<'a> Lexer<'a> {
    /// Ready to read `text`.
    pub(in super::super) fn new(text: &'a str, mode: Mode, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let words = Words { join_heredoc: mode.join_heredoc, ..Words::default() };
        Lexer { chars: text.chars().peekable(), mode, lookup, words, unset: Vec::new(), depth: 0 }
    }

    /// The whole text as one word, and the variables that were not set (unsorted).
    pub(super) fn text(mut self) -> Result<(String, Vec<String>), ExpandReason> {
        let text = self.until(None)?;
        Ok((text, self.unset))
    }

    /// The words of the text.
    pub(in super::super) fn words(mut self) -> Result<Vec<String>, ExpandReason> {
        self.until(None)?;
        Ok(self.words.finish())
    }

    /// Reads up to `stop` and past it, or to the end. Words are noted on the outermost level only.
    fn until(&mut self, stop: Option<char>) -> Result<String, ExpandReason> {
        let outermost = stop.is_none();
        let mut text = String::new();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(text);
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    if outermost {
                        value.chars().for_each(|c| self.words.push_splitting(c));
                    }
                    text.push_str(&value);
                }
                '\'' | '"' if !self.mode.literal_quotes => {
                    let value = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    if outermost {
                        self.words.push_str(&value);
                    }
                    text.push_str(&value);
                }
                _ => self.plain(outermost, &mut text),
            }
        }
        match stop {
            None => Ok(text),
            Some('/') => Err(ExpandReason::Open("/")),
            Some(_) => Err(ExpandReason::Open("}")),
        }
    }

    /// An ordinary or an escaped character.
    fn plain(&mut self, outermost: bool, text: &mut String) {
        let Some(c) = self.chars.next() else { return };
        if c != self.mode.escape {
            text.push(c);
            if outermost {
                self.words.push_splitting(c);
            }
            return;
        }
        let kept = self.mode.raw_escapes.then_some(c);
        for c in kept.into_iter().chain(self.chars.next()) {
            text.push(c);
            if outermost {
                self.words.push(c);
            }
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandReason> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(&c) = self.chars.peek() {
            if c == '\'' {
                self.quote(&mut text);
                return Ok(text);
            }
            self.chars.next();
            text.push(c);
        }
        Err(ExpandReason::Open("single-quote"))
    }

    fn double_quoted(&mut self) -> Result<String, ExpandReason> {
        let mut text = String::new();
        self.quote(&mut text);
        while let Some(&c) = self.chars.peek() {
            match c {
                '"' => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                c if c == self.mode.escape => self.escape_in_quotes(&mut text),
                c => {
                    self.chars.next();
                    text.push(c);
                }
            }
        }
        Err(ExpandReason::Open("double-quote"))
    }

    /// The escape character counts before `"`, `$` and itself, else it is text.
    fn escape_in_quotes(&mut self, text: &mut String) {
        let Some(escape) = self.chars.next() else { return };
        if self.mode.raw_escapes {
            text.push(escape);
        }
        match self.chars.peek() {
            None => {}
            Some(&c) if c == '"' || c == '$' || c == escape => {
                self.chars.next();
                text.push(c);
            }
            Some(_) => text.push(escape),
        }
    }

    /// Consumes a quote; it is kept in raw mode.
    fn quote(&mut self, text: &mut String) {
        if let Some(c) = self.chars.next()
            && self.mode.raw_quotes
        {
            text.push(c);
        }
    }

    /// `$name`, `${…}` or a lone dollar sign.
    fn dollar(&mut self) -> Result<String, ExpandReason> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.chars.next();
        if self.depth == MAX_DEPTH {
            return Err(ExpandReason::TooDeep);
        }
        self.depth += 1;
        let value = self.braced();
        self.depth -= 1;
        value
    }

    /// What stands between `${` and `}`.
    fn braced(&mut self) -> Result<String, ExpandReason> {
        match self.chars.peek() {
            None => return Err(ExpandReason::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandReason::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(ExpandReason::MissingBrace),
            Some('}') => Ok(match self.get(&name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.chars.next() {
                None => Err(ExpandReason::MissingBrace),
                Some(c @ ('#' | '%')) => Err(ExpandReason::UnsupportedModifier(format!(":{c}"))),
                Some(operator) => self.conditional(name, operator, true),
            },
            Some(operator @ ('+' | '-' | '?')) => self.conditional(name, operator, false),
            Some(operator @ ('#' | '%')) => self.trim(&name, operator),
            Some('/') => self.replace(&name),
            Some(other) => Err(ExpandReason::UnsupportedModifier(other.to_string())),
        }
    }

    /// `-`, `+` and `?`; with a colon an empty value counts as unset. The word is always evaluated.
    fn conditional(&mut self, name: String, operator: char, colon: bool) -> Result<String, ExpandReason> {
        let word = self.argument('}', false)?;
        let value = self.get(&name);
        let colon_text = if colon { ":" } else { "" };
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{colon_text}{operator}{word}}}"));
        }
        let unset = value.is_none();
        let value = value.filter(|value| !colon || !value.is_empty());
        match operator {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(value.map(|_| word).unwrap_or_default()),
            '?' => value.ok_or_else(|| required(name, word, unset)),
            other => Err(ExpandReason::UnsupportedModifier(format!("{colon_text}{other}"))),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trim(&mut self, name: &str, operator: char) -> Result<String, ExpandReason> {
        let word = self.argument('}', true)?;
        let value = self.get(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (text, reach) = match word.strip_prefix(operator) {
            Some(text) => (text, Reach::Longest),
            None => (word.as_str(), Reach::Shortest),
        };
        let pattern = pattern(text)?;
        Ok(if operator == '#' { pattern.trim_start(&value, reach) } else { pattern.trim_end(&value, reach) })
    }

    /// `/p/r` and `//p/r`.
    fn replace(&mut self, name: &str) -> Result<String, ExpandReason> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let text = self.argument('/', true)?;
        let replacement = self.argument('}', true)?;
        let value = self.get(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}/{text}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let pattern = pattern(&text)?;
        Ok(if all { pattern.replace_all(&value, &replacement) } else { pattern.replace_first(&value, &replacement) })
    }

    /// Reads an inner word up to `stop`; a fault at the very end is a missing delimiter.
    fn argument(&mut self, stop: char, raw_escapes: bool) -> Result<String, ExpandReason> {
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let word = self.until(Some(stop));
        self.mode.raw_escapes = outer;
        word.map_err(|reason| match self.chars.peek() {
            None if stop == '/' => ExpandReason::MissingSlash,
            None => ExpandReason::MissingBrace,
            Some(_) => reason,
        })
    }

    /// Letters, digits and underscores; or digits only; or one special character; or nothing.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.push(name.to_owned());
        }
        value
    }
}

fn required(name: String, word: String, unset: bool) -> ExpandReason {
    let default = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
    let message = if word.is_empty() { default.to_owned() } else { word };
    ExpandReason::Required { name, message }
}

fn pattern(text: &str) -> Result<Pattern, ExpandReason> {
    Pattern::parse(text).map_err(|escaped| ExpandReason::InvalidPattern { pattern: text.to_owned(), escaped })
}

/// Words split at white space that was neither quoted nor escaped.
#[derive(Debug, Default)]
struct Words {
    done: Vec<String>,
    current: String,
    join_heredoc: bool,
}

impl Words {
    fn push(&mut self, c: char) {
        self.current.push(c);
    }

    fn push_str(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn push_splitting(&mut self, c: char) {
        if !c.is_whitespace() || (self.join_heredoc && opens_heredoc(&self.current)) {
            self.current.push(c);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

/// `<<` with nothing but digits before and at most a dash and white space behind.
fn opens_heredoc(word: &str) -> bool {
    let word = word.trim_end();
    let word = word.strip_suffix('-').unwrap_or(word);
    word.strip_suffix("<<").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

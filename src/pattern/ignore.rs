//! Ordered lists of patterns that leave files out: `.dockerignore` and `--exclude`.

use super::PatternError;
use super::automaton::{Automaton, Grammar, Token};

/// Bytes that a line of an ignore file may have.
const MAX_LINE: usize = 65_535;

/// What to leave out: the last pattern that matches decides, `!` takes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// With `!`.
    includes: bool,
    /// `*`, `**` or `**/*`: every name there is.
    everything: bool,
    matcher: Matcher,
}

/// A pattern in the cheapest form that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// This path.
    Exact(Vec<u8>),
    /// `x**`.
    Prefix(Vec<u8>),
    /// `**/x`: these last components.
    Name(Vec<u8>),
    /// `**x`.
    Suffix(Vec<u8>),
    /// The rest. A path without the literal text, the longest of the pattern, cannot match.
    Glob { literal: Vec<u8>, automaton: Automaton },
}

impl Patterns {
    /// Reads an ignore file: comments, blank lines, leading slashes and dots are dealt with.
    ///
    /// # Errors
    /// Those of [`Patterns::new`], and [`PatternError::LineTooLong`].
    ///
    /// # Source
    /// moby/patternmatcher, `ignorefile`.
    pub fn parse_file(text: &[u8]) -> Result<Self, PatternError> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut patterns = Patterns::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            if line.len() > MAX_LINE {
                return Err(PatternError::LineTooLong { line: index + 1, limit: MAX_LINE });
            }
            if let Some(pattern) = file_pattern(line) {
                patterns.push(&pattern)?;
            }
        }
        Ok(patterns)
    }

    /// Compiles patterns as flags give them, in order; blank ones do not count.
    ///
    /// # Errors
    /// [`PatternError::LoneExclusion`] and [`PatternError::Syntax`].
    ///
    /// # Source
    /// moby/patternmatcher, `New`.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut compiled = Patterns::default();
        for pattern in patterns {
            compiled.push(pattern.as_bytes())?;
        }
        Ok(compiled)
    }

    /// Is the path left out? A pattern also matches what is below a directory that it matches.
    ///
    /// The root is never left out.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.decisive(path).is_some_and(|rule| !self.0[rule].includes)
    }

    /// Is there any `!`?
    pub fn has_exclusions(&self) -> bool {
        self.0.iter().any(|rule| rule.includes)
    }

    /// Is there a pattern that leaves out all there is, as far as no later `!` takes it back?
    pub fn excludes_everything(&self) -> bool {
        self.0.iter().any(|rule| rule.everything && !rule.includes)
    }

    /// Is there no pattern at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Can anything below the directory `dir` be kept? When not, a walk need not enter it.
    pub fn may_match_below(&self, dir: &[u8]) -> bool {
        match self.decisive(dir) {
            // What excludes the directory excludes all below, so only a later `!` matters.
            Some(rule) if !self.0[rule].includes => {
                self.0[rule + 1..].iter().any(|rule| rule.includes && rule.matcher.may_match_below(dir))
            }
            _ => true,
        }
    }

    /// The last rule that matches.
    fn decisive(&self, path: &[u8]) -> Option<usize> {
        if path.is_empty() || path == b"." {
            return None;
        }
        self.0.iter().rposition(|rule| rule.matcher.matches_or_above(path))
    }

    fn push(&mut self, pattern: &[u8]) -> Result<(), PatternError> {
        let pattern = trim(pattern);
        if pattern.is_empty() {
            return Ok(());
        }
        let cleaned = clean(pattern);
        let (includes, text) = match cleaned.strip_prefix(b"!") {
            Some(b"") => return Err(PatternError::LoneExclusion),
            Some(text) => (true, text),
            None => (false, cleaned.as_slice()),
        };
        let automaton = Automaton::parse(text, Grammar::Recursive).ok_or_else(|| PatternError::syntax(pattern))?;
        let everything = matches!(text, b"*" | b"**" | b"**/*");
        self.0.push(Rule { includes, everything, matcher: Matcher::new(automaton) });
        Ok(())
    }
}

impl Matcher {
    fn new(automaton: Automaton) -> Self {
        let whole = match automaton.tokens() {
            [Token::Directories, rest @ ..] => literal(rest).map(Matcher::Name),
            [start @ .., Token::Rest] => literal(start).map(Matcher::Prefix),
            [Token::Rest, rest @ ..] => literal(rest).map(Matcher::Suffix),
            all => literal(all).map(Matcher::Exact),
        };
        whole.unwrap_or_else(|| Matcher::Glob { literal: longest_literal(automaton.tokens()), automaton })
    }

    fn matches_or_above(&self, path: &[u8]) -> bool {
        match self {
            Matcher::Exact(wanted) => {
                path.strip_prefix(wanted.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Name(name) => ends(path)
                .any(|path| path.strip_suffix(name.as_slice()).is_some_and(|head| matches!(head, [] | [.., b'/']))),
            Matcher::Suffix(suffix) => ends(path).any(|path| path.ends_with(suffix)),
            Matcher::Glob { literal, automaton } => contains(path, literal) && automaton.matches_or_above(path),
        }
    }

    /// Can it match something below a directory that it does not match?
    fn may_match_below(&self, dir: &[u8]) -> bool {
        let below = |longer: &[u8]| longer.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"));
        match self {
            Matcher::Exact(wanted) => below(wanted),
            Matcher::Prefix(prefix) => below(prefix) || dir.starts_with(prefix),
            Matcher::Name(_) | Matcher::Suffix(_) => true,
            Matcher::Glob { automaton, .. } => automaton.may_match_below(dir),
        }
    }
}

/// The path and the directories above it, shortest first.
fn ends(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    slashes.chain([path.len()]).map(|end| &path[..end])
}

/// The text of tokens that are all literal, and all characters.
fn literal(tokens: &[Token]) -> Option<Vec<u8>> {
    let chars = tokens.iter().map(|token| match token {
        Token::Literal(unit) => char::from_u32(*unit),
        _ => None,
    });
    chars.collect::<Option<String>>().map(String::into_bytes)
}

/// The longest run of literal tokens; empty when there is none.
fn longest_literal(tokens: &[Token]) -> Vec<u8> {
    let runs = tokens.split(|token| !matches!(token, Token::Literal(_)));
    runs.filter_map(literal).max_by_key(Vec::len).unwrap_or_default()
}

fn contains(path: &[u8], part: &[u8]) -> bool {
    part.is_empty() || path.windows(part.len()).any(|window| window == part)
}

/// One line of an ignore file as a pattern; `None` for comments and blank lines.
fn file_pattern(line: &[u8]) -> Option<Vec<u8>> {
    if line.starts_with(b"#") {
        return None;
    }
    let line = trim(line);
    let (mark, pattern) = match line.strip_prefix(b"!") {
        Some(pattern) => (&b"!"[..], trim(pattern)),
        None => (&b""[..], line),
    };
    if pattern.is_empty() {
        return (!mark.is_empty()).then(|| mark.to_vec());
    }
    let cleaned = clean(pattern);
    let relative = cleaned.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Some([mark, relative].concat())
}

/// Without white space at both ends.
fn trim(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or_else(|_| text.trim_ascii(), |text| text.trim().as_bytes())
}

/// Without empty and `.` components, `..` resolved as far as it goes.
///
/// # Source
/// Go, `path/filepath.Clean`.
fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.starts_with(b"/");
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if absolute => {}
            _ => kept.push(component),
        }
    }
    let joined = kept.join(&b'/');
    match (absolute, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests;

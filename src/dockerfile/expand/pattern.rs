//! Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and backslash escapes, no brackets.

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

/// Neither wildcard matches a line feed, as in the regular expressions of BuildKit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(char),
    One,
    Many,
}

/// How much a `*` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

impl Pattern {
    /// Parses `text`; the error is the character that may not be escaped.
    pub(super) fn parse(text: &str) -> Result<Self, char> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Many,
                '?' => Piece::One,
                // Escaped for the sake of `${…}` only.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\')) => Piece::Literal(c),
                    other => return Err(other.unwrap_or(char::REPLACEMENT_CHARACTER)),
                },
                c => Piece::Literal(c),
            });
        }
        Ok(Pattern(pieces))
    }

    /// `value` without the prefix that matches.
    pub(super) fn trim_start(&self, value: &str, reach: Reach) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = self.prefix(&chars, reach).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// `value` without the suffix that matches.
    pub(super) fn trim_end(&self, value: &str, reach: Reach) -> String {
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let chars: Vec<char> = value.chars().rev().collect();
        let end = backwards.prefix(&chars, reach).unwrap_or(0);
        chars[end..].iter().rev().collect()
    }

    /// `value` with its first match replaced by the text as it is.
    pub(super) fn replace_first(&self, value: &str, replacement: &str) -> String {
        let chars: Vec<char> = value.chars().collect();
        let Some((start, end)) = self.find(&chars, 0) else { return value.to_owned() };
        let mut out: String = chars[..start].iter().collect();
        out.push_str(replacement);
        out.extend(&chars[end..]);
        out
    }

    /// `value` with every match replaced; `$0` and the like in the replacement are group syntax.
    pub(super) fn replace_all(&self, value: &str, replacement: &str) -> String {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut copied, mut from) = (0, 0);
        while let Some((start, end)) = self.find(&chars, from) {
            out.extend(&chars[copied..start]);
            // An empty match right behind the one before is none.
            if end > copied || start == 0 {
                let matched: String = chars[start..end].iter().collect();
                expand_groups(replacement, &matched, &mut out);
            }
            copied = end;
            from = end.max(from + 1);
            if from > chars.len() {
                break;
            }
        }
        out.extend(&chars[copied..]);
        out
    }

    /// The leftmost, longest match at or after `from`.
    fn find(&self, chars: &[char], from: usize) -> Option<(usize, usize)> {
        (from..=chars.len()).find_map(|start| {
            let length = self.prefix(&chars[start..], Reach::Longest)?;
            Some((start, start + length))
        })
    }

    /// How many of `chars` match from the first on.
    fn prefix(&self, chars: &[char], reach: Reach) -> Option<usize> {
        let mut states = vec![false; self.0.len() + 1];
        self.enter(&mut states, 0);
        let mut found = None;
        for read in 0..=chars.len() {
            if states[self.0.len()] {
                found = Some(read);
                if reach == Reach::Shortest {
                    break;
                }
            }
            match chars.get(read) {
                Some(&c) if states.contains(&true) => states = self.step(&states, c),
                _ => break,
            }
        }
        found
    }

    /// Where one can be after reading `c`; state `n` is before piece `n`.
    fn step(&self, states: &[bool], c: char) -> Vec<bool> {
        let mut next = vec![false; states.len()];
        for (index, piece) in self.0.iter().enumerate().filter(|(index, _)| states[*index]) {
            match piece {
                Piece::Literal(wanted) if *wanted == c => self.enter(&mut next, index + 1),
                Piece::One if c != '\n' => self.enter(&mut next, index + 1),
                Piece::Many if c != '\n' => self.enter(&mut next, index),
                _ => {}
            }
        }
        next
    }

    /// Marks state `index` and those that stars make reachable for nothing.
    fn enter(&self, states: &mut [bool], mut index: usize) {
        states[index] = true;
        while self.0.get(index) == Some(&Piece::Many) {
            index += 1;
            states[index] = true;
        }
    }
}

/// Appends `template` with `$$`, `$0`, `${0}` and the (always empty) other groups replaced.
///
/// # Source
/// Go, `regexp.Regexp.Expand`.
fn expand_groups(template: &str, matched: &str, out: &mut String) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = group_name(after) {
            if name == "0" {
                out.push_str(matched);
            }
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
}

/// `name` or `{name}` at the start of `text`, and what follows.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (text, brace) = text.strip_prefix('{').map_or((text, false), |text| (text, true));
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if brace { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

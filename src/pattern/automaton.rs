//! Globs as a state machine: one pass over a path, whatever the stars are.

/// Which stars a pattern knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Go's `filepath.Match`.
    Match,
    /// The same, with `**` for any number of components.
    Recursive,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Automaton(Vec<Token>);

/// One piece of a pattern. A unit is a character, or a byte that is part of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This unit.
    Literal(u32),
    /// Any unit but a slash.
    One,
    /// Any number of units that are no slash.
    Many,
    /// A unit of the set, even a slash.
    Class { negated: bool, ranges: Vec<(u32, u32)> },
    /// Nothing, or anything that ends with a slash.
    Directories,
    /// Anything.
    Rest,
}

/// Units from here on are bytes that are not UTF-8.
const INVALID: u32 = 0x11_0000;
const SLASH: u32 = '/' as u32;

impl Automaton {
    /// Compiles `pattern`; `None` when its syntax is wrong.
    ///
    /// # Source
    /// Go, `path/filepath.Match`; moby/patternmatcher for `**`.
    pub(super) fn parse(pattern: &[u8], grammar: Grammar) -> Option<Self> {
        let mut units = Units(pattern);
        let mut tokens = Vec::new();
        while let Some(unit) = units.next() {
            tokens.push(match char::from_u32(unit) {
                Some('*') if grammar == Grammar::Recursive && units.eat('*') => double_star(&mut units),
                Some('*') => {
                    // A second star adds nothing, unless it starts a double one.
                    while grammar == Grammar::Match && units.eat('*') {}
                    Token::Many
                }
                Some('?') => Token::One,
                Some('[') => class(&mut units)?,
                Some('\\') => Token::Literal(units.next()?),
                _ => Token::Literal(unit),
            });
        }
        if let Some(rest) = pattern.strip_prefix(b"**")
            && !rest.starts_with(b"/")
            && grammar == Grammar::Recursive
            && tokens[1..].iter().all(|token| matches!(token, Token::Literal(_)))
        {
            // `**.md` is a suffix, also of a file name; behind other stars it starts a component.
            tokens[0] = Token::Rest;
        }
        Some(Automaton(tokens))
    }

    /// The tokens, in order.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.0
    }

    /// Does the pattern match the whole path?
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let mut states = self.start();
        for unit in Units(path) {
            states = self.step(&states, unit);
            if states.is_empty() {
                return false;
            }
        }
        states.contains(self.0.len())
    }

    /// Does the pattern match the path or one of the directories above it?
    pub(super) fn matches_or_above(&self, path: &[u8]) -> bool {
        let mut states = self.start();
        for unit in Units(path) {
            if unit == SLASH && states.contains(self.0.len()) {
                return true;
            }
            states = self.step(&states, unit);
            if states.is_empty() {
                return false;
            }
        }
        states.contains(self.0.len())
    }

    /// Can the pattern match anything below `directory`?
    pub(super) fn may_match_below(&self, directory: &[u8]) -> bool {
        let slash = if directory.is_empty() { &b""[..] } else { b"/" };
        let units = Units(directory).chain(Units(slash));
        let end = units.fold(self.start(), |states, unit| self.step(&states, unit));
        !end.is_empty()
    }

    fn start(&self) -> States {
        let mut states = States::new(self.0.len());
        self.enter(&mut states, 0);
        states
    }

    fn step(&self, states: &States, unit: u32) -> States {
        let mut next = States::new(self.0.len());
        for index in states.iter() {
            match self.0.get(index) {
                Some(Token::Literal(wanted)) if *wanted == unit => self.enter(&mut next, index + 1),
                Some(Token::One) if unit != SLASH => self.enter(&mut next, index + 1),
                Some(Token::Many) if unit != SLASH => self.enter(&mut next, index),
                Some(Token::Class { negated, ranges }) if in_ranges(ranges, unit) != *negated => {
                    self.enter(&mut next, index + 1);
                }
                Some(Token::Directories) => {
                    // Only a slash leads out again, hence no `enter`.
                    next.insert(index);
                    if unit == SLASH {
                        self.enter(&mut next, index + 1);
                    }
                }
                Some(Token::Rest) => self.enter(&mut next, index),
                _ => {}
            }
        }
        next
    }

    /// Adds state `index` and those that need no further unit.
    fn enter(&self, states: &mut States, mut index: usize) {
        states.insert(index);
        while let Some(Token::Many | Token::Directories | Token::Rest) = self.0.get(index) {
            index += 1;
            states.insert(index);
        }
    }
}

/// `**`, its second star just read.
fn double_star(units: &mut Units<'_>) -> Token {
    units.eat('/');
    if units.0.is_empty() { Token::Rest } else { Token::Directories }
}

/// `[...]`, its bracket just read.
fn class(units: &mut Units<'_>) -> Option<Token> {
    let negated = units.eat('^');
    let mut ranges = Vec::new();
    while ranges.is_empty() || !units.eat(']') {
        let low = bound(units)?;
        let high = if units.eat('-') { bound(units)? } else { low };
        ranges.push((low, high));
    }
    Some(Token::Class { negated, ranges })
}

/// One end of a range.
fn bound(units: &mut Units<'_>) -> Option<u32> {
    match units.next()? {
        unit if unit == u32::from('-') || unit == u32::from(']') => None,
        unit if unit == u32::from('\\') => units.next(),
        unit => Some(unit),
    }
    .filter(|unit| *unit < INVALID && !units.0.is_empty())
}

fn in_ranges(ranges: &[(u32, u32)], unit: u32) -> bool {
    ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit))
}

/// The units of a byte string.
struct Units<'a>(&'a [u8]);

impl Units<'_> {
    /// Takes `wanted` (an ASCII character) if it is next.
    fn eat(&mut self, wanted: char) -> bool {
        let found = self.0.first().is_some_and(|byte| char::from(*byte) == wanted);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }
}

impl Iterator for Units<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (&first, rest) = self.0.split_first()?;
        if first.is_ascii() {
            self.0 = rest;
            return Some(u32::from(first));
        }
        let window = &self.0[..self.0.len().min(4)];
        let valid = match std::str::from_utf8(window) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
        };
        match valid.chars().next() {
            Some(c) => {
                self.0 = &self.0[c.len_utf8()..];
                Some(u32::from(c))
            }
            None => {
                self.0 = rest;
                Some(INVALID + u32::from(first))
            }
        }
    }
}

/// A set of states; nearly all patterns fit into the one word that needs no allocation.
#[derive(Debug, Clone)]
struct States {
    low: u64,
    high: Vec<u64>,
}

impl States {
    /// Room for the states `0..=last`.
    fn new(last: usize) -> Self {
        States { low: 0, high: vec![0; last / 64] }
    }

    fn insert(&mut self, state: usize) {
        match (state / 64).checked_sub(1) {
            None => self.low |= 1 << state,
            Some(word) => self.high[word] |= 1 << (state % 64),
        }
    }

    fn contains(&self, state: usize) -> bool {
        let word = (state / 64).checked_sub(1).map_or(self.low, |word| self.high[word]);
        word >> (state % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.low == 0 && self.high.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = std::iter::once(self.low).chain(self.high.iter().copied());
        words.enumerate().flat_map(|(index, word)| Bits(word).map(move |bit| index * 64 + bit))
    }
}

/// The positions of the bits that are set.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

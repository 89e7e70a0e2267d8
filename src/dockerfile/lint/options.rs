//! Which rules count: `# check=skip=A,B;error=true;experimental=all`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Warning};
use crate::dockerfile::{Dockerfile, Note};

/// Options of one directive.
const MAX_OPTIONS: usize = 3;

/// What the Dockerfile or the user says about the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// A warning fails the build.
    pub error: bool,
    skip: Selection,
    experimental: Selection,
}

/// Rules by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Selection {
    all: bool,
    names: BTreeSet<String>,
}

/// Why a text is no list of options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckOptionsError {
    /// Not `name=value`, or no known name.
    #[error("invalid check option {0:?}")]
    Unknown(String),
    /// `error=` of something that is no boolean.
    #[error("failed to parse check option {0:?}: expected a boolean")]
    Boolean(String),
}

impl Selection {
    fn parse(value: &str) -> Self {
        match value.trim() {
            "all" => Selection { all: true, names: BTreeSet::new() },
            names => Selection { all: false, names: names.split(',').map(|name| name.trim().to_owned()).collect() },
        }
    }

    fn names(&self, rule: &Rule) -> bool {
        self.names.contains(rule.name)
    }
}

impl CheckOptions {
    /// Reads a directive's value; an empty one is the default. Names of rules are not checked.
    ///
    /// # Errors
    /// See [`CheckOptionsError`].
    ///
    /// # Source
    /// BuildKit, `frontend/dockerfile/linter`, `ParseLintOptions`.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = CheckOptions::default();
        let text = text.trim();
        let parts = text.splitn(MAX_OPTIONS, ';').filter(|_| !text.is_empty());
        for part in parts {
            let unknown = || CheckOptionsError::Unknown(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            match name.trim() {
                "skip" => options.skip = Selection::parse(value),
                "experimental" => options.experimental = Selection::parse(value),
                "error" => options.error = boolean(value.trim()).ok_or(CheckOptionsError::Boolean(part.to_owned()))?,
                name => return Err(CheckOptionsError::Unknown(name.to_owned())),
            }
        }
        Ok(options)
    }

    /// Those of `warnings` that count, by line, each once: neither these options nor a
    /// `# check=skip=…` above their instruction skip them.
    pub fn select(&self, warnings: Vec<Warning>, dockerfile: &Dockerfile) -> Vec<Warning> {
        let local: BTreeMap<usize, (usize, CheckOptions)> =
            dockerfile.notes.iter().filter_map(|note| Some((note.span.start, (note.span.end, above(note)?)))).collect();
        let skipped = |warning: &Warning| {
            let line = warning.span.start;
            let nearest = local.range(..=line).next_back();
            nearest.is_some_and(|(_, (end, options))| line <= *end && options.skips(warning.rule))
        };
        let mut seen = BTreeSet::new();
        let mut new = |warning: &Warning| seen.insert((warning.span.start, warning.rule.name, warning.message.clone()));
        let mut selected = warnings;
        selected.retain(|warning| self.runs(warning.rule) && !skipped(warning) && new(warning));
        selected.sort_by_key(|warning| warning.span.start);
        selected
    }

    /// Experimental rules are off until they are asked for, and then `skip=all` does not mean them.
    fn runs(&self, rule: &Rule) -> bool {
        match rule.experimental {
            true => (self.experimental.all || self.experimental.names(rule)) && !self.skip.names(rule),
            false => !self.skips(rule),
        }
    }

    fn skips(&self, rule: &Rule) -> bool {
        (self.skip.all && !rule.experimental) || self.skip.names(rule)
    }
}

/// The options in the comments above an instruction; those that make no sense are mere comments.
fn above(note: &Note) -> Option<CheckOptions> {
    let values = note.comments.iter().filter_map(|comment| {
        let (key, value) = comment.split_once('=')?;
        key.trim().eq_ignore_ascii_case("check").then(|| value.trim().split(' ').next().unwrap_or_default())
    });
    let mut options = values.filter_map(|value| CheckOptions::parse(value).ok());
    let first = options.next()?;
    Some(options.fold(first, |mut sum, more| {
        sum.skip.all |= more.skip.all;
        sum.skip.names.extend(more.skip.names);
        sum
    }))
}

/// As Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

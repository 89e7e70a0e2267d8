//! Variables: which there are, and words expanded with them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Dockerfile, Expanded, Expander, Kind, Pair};
use crate::image::Platform;

use super::{PlanError, PlanFault, PlanOptions};

/// Bytes that variables may put into one word; no process could take more, and it keeps
/// `ENV A=$A$A` from growing without end.
const MAX_VALUES: usize = 1 << 20;

/// The variables of one moment, in order of first definition.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    escape: char,
    variables: Vec<(String, String)>,
    /// Names that were asked for in vain; only lint looks at them.
    unset: RefCell<BTreeSet<String>>,
}

impl Scope {
    /// Without variables; `escape` is the directive's.
    pub(super) fn new(escape: char) -> Self {
        Self { escape, variables: Vec::new(), unset: RefCell::default() }
    }

    /// The value of a variable, `None` when it is unset.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable, in its old place when it has one.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.variables.push((name.to_owned(), value.to_owned())),
        }
    }

    /// All of them.
    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Expands one word to one word.
    pub(super) fn expand(&self, word: &str) -> Result<String, PlanFault> {
        self.bounded(word, |expander| Ok(expander.word(word)?)).map(|expanded| self.noted(expanded))
    }

    /// Expands one word to any number of words.
    pub(super) fn expand_words(&self, word: &str) -> Result<Vec<String>, PlanFault> {
        self.bounded(word, |expander| Ok(expander.words(word)?))
    }

    /// Expands a heredoc's body.
    pub(super) fn expand_heredoc(&self, body: &str) -> Result<String, PlanFault> {
        self.bounded(body, |expander| Ok(expander.heredoc(body)?)).map(|expanded| self.noted(expanded))
    }

    /// The variables that were asked for and not set since the last call; those of EXPOSE are not
    /// among them.
    pub(super) fn take_unset(&self) -> BTreeSet<String> {
        self.unset.take()
    }

    fn noted(&self, expanded: Expanded) -> String {
        self.unset.borrow_mut().extend(expanded.unset);
        expanded.text
    }

    /// Runs `expand` with the variables, as long as they stay below [`MAX_VALUES`].
    fn bounded<T>(
        &self,
        word: &str,
        expand: impl FnOnce(Expander<'_>) -> Result<T, PlanFault>,
    ) -> Result<T, PlanFault> {
        let used = Cell::new(0);
        let lookup = |name: &str| {
            let value = self.get(name)?;
            used.set(used.get() + value.len());
            Some(if used.get() > MAX_VALUES { String::new() } else { value.to_owned() })
        };
        let result = expand(Expander::new(self.escape, &lookup));
        if used.get() > MAX_VALUES {
            return Err(PlanFault::TooLong { word: word.chars().take(100).collect(), limit: MAX_VALUES });
        }
        result
    }
}

/// The variables that FROM sees: the automatic ones and the ARGs before the first FROM.
pub(super) fn globals(dockerfile: &Dockerfile, options: &PlanOptions) -> Result<Scope, PlanError> {
    let mut scope = automatic(dockerfile, options);
    for instruction in &dockerfile.global_args {
        if let Kind::Arg(pairs) = &instruction.kind {
            for pair in pairs {
                let value = argument(pair, &scope, options).map_err(|fault| fault.at(instruction.span))?;
                if let Some(value) = value {
                    scope.set(&pair.name, &value);
                }
            }
        }
    }
    Ok(scope)
}

/// What an ARG is worth without regard to globals: the build argument as it is, else its own
/// default, expanded.
pub(super) fn argument(pair: &Pair, scope: &Scope, options: &PlanOptions) -> Result<Option<String>, PlanFault> {
    match (options.build_args.get(&pair.name), &pair.value) {
        (Some(given), _) => Ok(Some(given.clone())),
        (None, Some(default)) => scope.expand(default).map(Some),
        (None, None) => Ok(None),
    }
}

/// BUILDPLATFORM and the like; build arguments override them.
pub(super) fn automatic(dockerfile: &Dockerfile, options: &PlanOptions) -> Scope {
    let mut scope = Scope::new(dockerfile.directives.escape);
    let mut set = |name: &str, value: &str| {
        scope.set(name, options.build_args.get(name).map_or(value, String::as_str));
    };
    let target = options.target_platform();
    for (prefix, platform) in [("BUILD", &options.build_platform), ("TARGET", target)] {
        let whole = if prefix == "TARGET" { with_version(platform) } else { platform.to_string() };
        set(&format!("{prefix}PLATFORM"), &whole);
        set(&format!("{prefix}OS"), &platform.os);
        set(&format!("{prefix}OSVERSION"), platform.os_version.as_deref().unwrap_or_default());
        set(&format!("{prefix}ARCH"), &platform.architecture);
        set(&format!("{prefix}VARIANT"), platform.variant.as_deref().unwrap_or_default());
    }
    let last = dockerfile.stages.last().and_then(|stage| stage.name.as_deref());
    set("TARGETSTAGE", options.wanted_stage().or(last).unwrap_or("default"));
    scope
}

/// `os(version)/arch[/variant]`.
fn with_version(platform: &Platform) -> String {
    let text = platform.to_string();
    match (&platform.os_version, text.split_once('/')) {
        (Some(version), Some((os, rest))) if !version.is_empty() => format!("{os}({version})/{rest}"),
        _ => text,
    }
}

/// Build arguments that RUN gets without an ARG, in any case.
pub(super) const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The proxy variables that build arguments set, in both cases each.
pub(super) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let given = |name: &str| {
        let matching = build_args.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value).next_back().filter(|value| !value.is_empty())
    };
    PROXIES
        .into_iter()
        .filter_map(|name| given(name).map(|value| (name, value)))
        .flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_lowercase(), value.clone())])
        .collect()
}

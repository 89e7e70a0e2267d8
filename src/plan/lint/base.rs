//! Rules about FROM.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::lint::Warning;
use crate::dockerfile::lint::rule::{
    FROM_PLATFORM_FLAG_CONST_DISALLOWED, INVALID_BASE_IMAGE_PLATFORM, INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM, UNDEFINED_ARG_IN_FROM,
};
use crate::dockerfile::{Dockerfile, Expander, Kind, Stage, suggestion};
use crate::image::{ImageConfig, Platform, Reference};
use crate::plan::error::did_you_mean;
use crate::plan::graph::{Graph, Origin};
use crate::plan::scope::{Scope, globals};
use crate::plan::{PlanError, PlanOptions};

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// What is wrong with the FROMs of a file, also of stages that are not built.
///
/// # Errors
/// An ARG before the first FROM that cannot be expanded.
///
/// # Source
/// BuildKit, `dockerfile2llb/convert.go` and `validations.go`.
pub fn check_bases(dockerfile: &Dockerfile, options: &PlanOptions) -> Result<Vec<Warning>, PlanError> {
    let given = Words { scope: globals(dockerfile, options)?, escape: dockerfile.directives.escape };
    let without = PlanOptions { build_args: BTreeMap::new(), ..options.clone() };
    // The build may never need these defaults: one that cannot be expanded is no fault.
    let defaults = globals(dockerfile, &without).ok().map(|scope| Words { scope, escape: given.escape });
    let declared = declared(dockerfile);
    let mut warnings = Vec::new();
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        warnings.extend(undeclared(stage, &given, &declared));
        warnings.extend(platform(stage, &given));
        let earlier = &dockerfile.stages[..index];
        warnings.extend(defaults.as_ref().and_then(|defaults| invalid_default(stage, earlier, defaults)));
    }
    Ok(warnings)
}

/// Global variables, and how words are expanded with them.
struct Words {
    scope: Scope,
    escape: char,
}

/// An expanded word and the variables it asked for.
struct Asked {
    text: String,
    names: BTreeSet<String>,
}

impl Words {
    /// `None` when the word cannot be expanded; planning says why.
    fn ask(&self, word: &str) -> Option<Asked> {
        let names = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            names.borrow_mut().insert(name.to_owned());
            self.scope.get(name).map(str::to_owned)
        };
        let text = Expander::new(self.escape, &lookup).word(word).ok()?.text;
        Some(Asked { text, names: names.take() })
    }

    fn is_set(&self, name: &str) -> bool {
        self.scope.get(name).is_some()
    }
}

/// The names of the ARGs before the first FROM.
fn declared(dockerfile: &Dockerfile) -> Vec<&str> {
    let pairs = dockerfile.global_args.iter().flat_map(|instruction| match &instruction.kind {
        Kind::Arg(pairs) => pairs.as_slice(),
        _ => &[],
    });
    pairs.map(|pair| pair.name.as_str()).collect()
}

fn undeclared(stage: &Stage, words: &Words, declared: &[&str]) -> Vec<Warning> {
    let asked = [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten().filter_map(|word| words.ask(word));
    let names: BTreeSet<String> = asked.flat_map(|asked| asked.names).collect();
    let unknown = names.iter().filter(|name| !words.is_set(name) && !declared.contains(&name.as_str()));
    let warning = |name: &String| {
        let known = words.scope.variables().iter().map(|(name, _)| name.as_str()).chain(declared.iter().copied());
        let suggestion = suggestion::nearest(name, known).map(str::to_owned);
        Warning::new(&UNDEFINED_ARG_IN_FROM, &[name, &did_you_mean(&suggestion)], stage.span).at(name)
    };
    unknown.map(warning).collect()
}

fn platform(stage: &Stage, words: &Words) -> Option<Warning> {
    let word = stage.platform.as_deref()?;
    let asked = words.ask(word)?;
    if asked.names.is_empty() {
        return constant_platform(stage, &asked.text);
    }
    let only = asked.names.len() == 1 && asked.names.contains(TARGET_PLATFORM);
    let redundant = only && words.scope.get(TARGET_PLATFORM) == Some(asked.text.as_str());
    redundant.then(|| Warning::new(&REDUNDANT_TARGET_PLATFORM, &[word], stage.span).at(word))
}

/// A stage that has its platform in its name means it.
fn constant_platform(stage: &Stage, text: &str) -> Option<Warning> {
    let platform: Platform = text.parse().ok()?;
    let name = stage.name.as_deref().unwrap_or_default();
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return None;
    }
    let quoted = format!("{text:?}");
    Some(Warning::new(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, &[&quoted], stage.span).at(text))
}

/// A base with variables that names neither an image nor an earlier stage when no build argument is given.
fn invalid_default(stage: &Stage, earlier: &[Stage], defaults: &Words) -> Option<Warning> {
    let asked = defaults.ask(&stage.base)?;
    let is_stage = earlier.iter().any(|stage| stage.name.as_deref() == Some(asked.text.as_str()));
    if asked.names.is_empty() || is_stage || asked.text.parse::<Reference>().is_ok() {
        return None;
    }
    Some(Warning::new(&INVALID_DEFAULT_ARG_IN_FROM, &[&stage.base], stage.span).at(&stage.base))
}

impl Graph<'_> {
    /// Is the image that stage `index` starts from for another platform than it should be?
    pub(in crate::plan) fn check_platform(&self, index: usize, config: &ImageConfig) -> Option<Warning> {
        let (node, stage) = (&self.nodes[index], self.dockerfile.stages.get(index)?);
        let expected = &node.platform;
        let known = matches!(node.origin, Origin::Image(_)) && !config.os.is_empty();
        if !known || (config.os == expected.os && config.architecture == expected.architecture) {
            return None;
        }
        let name = self.globals.expand(&stage.base).ok()?;
        let [actual, expected] = [config.platform(), expected.clone()].map(|platform| format!("\"{platform}\""));
        Some(Warning::new(&INVALID_BASE_IMAGE_PLATFORM, &[&name, &actual, &expected], stage.span).at(&stage.base))
    }
}

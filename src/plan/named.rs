//! `--build-context`s: what takes the place of a stage or an image.

use std::collections::BTreeMap;

use crate::image::{Platform, Reference};

/// What a named context is, as far as planning cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files that the build is given.
    Files,
    /// An image.
    Image(Reference),
    /// Nothing at all.
    Scratch,
    /// The result of a stage of the same Dockerfile, by its name.
    Stage(String),
}

/// Named contexts by the name that they replace, `NAME` or `NAME::PLATFORM`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedContexts(BTreeMap<String, NamedContext>);

impl NamedContexts {
    /// The form of a name that is looked up: `alpine`, `alpine:latest` and
    /// `docker.io/library/alpine` are the same.
    pub fn key(name: &str) -> String {
        match name.split_once("::") {
            Some((name, platform)) => {
                let normal = platform.parse().map(|platform: Platform| platform.to_string());
                format!("{}::{}", Self::key(name), normal.unwrap_or_else(|_| platform.to_owned()))
            }
            None => name.parse().map_or_else(|_| name.to_owned(), |reference: Reference| reference.to_string()),
        }
    }

    /// Adds one; the last of a name counts.
    pub fn insert(&mut self, name: &str, context: NamedContext) {
        self.0.insert(Self::key(name), context);
    }

    /// What replaces `name`, with its key: for that platform first.
    pub(super) fn find(&self, name: &str, platform: &Platform) -> Option<(&str, &NamedContext)> {
        if self.0.is_empty() || matches!(name, "scratch" | "context") {
            return None;
        }
        let key = Self::key(name);
        let found = self.0.get_key_value(&format!("{key}::{platform}")).or_else(|| self.0.get_key_value(&key))?;
        Some((found.0, found.1))
    }
}

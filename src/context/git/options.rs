//! `--git`.

use super::{GitSource, GitSourceError};

/// What `--git KEY=VALUE` flags say of a git context.
///
/// `single-branch` is accepted without effect: nothing but what is wanted is ever fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitOptions {
    branch: Option<String>,
    depth: Option<u32>,
    submodules: Option<bool>,
    skip_tls_verify: bool,
}

/// A `--git` flag that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitOptionsError {
    /// Not one of Kaniko's keys.
    #[error("unexpected key {0:?}; expected branch, single-branch, depth, recurse-submodules or insecure-skip-tls")]
    Key(String),
    /// Not a number or boolean, where one is expected.
    #[error("invalid value {value:?} of {key}")]
    Value {
        /// Which.
        key: String,
        /// As given.
        value: String,
    },
}

impl GitOptions {
    /// Takes one `KEY=VALUE`; the last of a key counts.
    ///
    /// # Errors
    /// See [`GitOptionsError`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), GitOptionsError> {
        let bad = || GitOptionsError::Value { key: key.to_owned(), value: value.to_owned() };
        let boolean = || super::source::boolean(value).filter(|_| !value.is_empty()).ok_or_else(bad);
        match key {
            "branch" => self.branch = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "depth" => self.depth = Some(value.parse().map_err(|_| bad())?),
            "recurse-submodules" => self.submodules = Some(boolean()?),
            "insecure-skip-tls" => self.skip_tls_verify = boolean()?,
            "single-branch" => drop(boolean()?),
            _ => return Err(GitOptionsError::Key(key.to_owned())),
        }
        Ok(())
    }

    /// Changes what `source` asks for.
    pub(in crate::context) fn apply(&self, source: &mut GitSource) -> Result<(), GitSourceError> {
        if let Some(branch) = &self.branch {
            source.set_branch(branch)?;
        }
        source.depth = self.depth.unwrap_or(source.depth);
        source.submodules = self.submodules.unwrap_or(source.submodules);
        source.verify_tls &= !self.skip_tls_verify;
        Ok(())
    }
}

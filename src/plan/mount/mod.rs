//! `RUN --mount`.
//!
//! # Source
//! BuildKit, `instructions/commands_runmount.go` and `dockerfile2llb/convert_runmount.go`.

mod fields;
mod request;
mod size;

use request::{MountRequest, MountType};

use super::error::did_you_mean;
use super::graph::Origin;
use super::{Mount, PlanFault, Source, path};

/// Why a `--mount` is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Not one CSV record.
    #[error("failed to parse csv mounts: {record:?}: {reason}")]
    Csv {
        /// As written.
        record: String,
        /// Why.
        reason: &'static str,
    },
    /// A word without `=` that is no switch.
    #[error("invalid field '{0}' must be a key=value pair")]
    Bare(String),
    /// No such key.
    #[error("unexpected key '{key}' in '{field}'{}", did_you_mean(.suggestion))]
    Key {
        /// In lower case.
        key: String,
        /// As written.
        field: String,
        /// A key of nearly that name.
        suggestion: Option<String>,
    },
    /// A key of another type; `type=` must stand before it.
    #[error("unexpected key '{key}' for mount type '{kind}': type= must stand before it")]
    KeyForType {
        /// The key.
        key: &'static str,
        /// The type so far.
        kind: &'static str,
    },
    /// A boolean or size that is none.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// Expanded.
        value: String,
    },
    /// A number that is none; modes are octal.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: &'static str,
        /// Expanded.
        value: String,
    },
    /// No such type.
    #[error("unsupported mount type {value:?}{}", did_you_mean(.suggestion))]
    Type {
        /// Expanded.
        value: String,
        /// A type of nearly that name.
        suggestion: Option<String>,
    },
    /// No such way of sharing.
    #[error("unsupported sharing value {value:?}{}", did_you_mean(.suggestion))]
    Sharing {
        /// Expanded.
        value: String,
        /// A value of nearly that name.
        suggestion: Option<String>,
    },
    /// `from` with a variable.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
    /// `mode`, `uid` or `gid` where files keep their own.
    #[error("{key} not allowed for {kind:?} type mounts")]
    NotAllowed {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// `sharing` without a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingForType(&'static str),
    /// A secret has no `from`.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret has no `sharing`.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// Nothing tells which secret.
    #[error("invalid secret mount. one of source, target required")]
    SecretNameless,
    /// Both tell which secret.
    #[error("both source and id can't be set")]
    SourceAndId,
    /// An agent has no source.
    #[error("ssh does not support source")]
    SshSource,
    /// An empty cache has nothing to take a part of.
    #[error("cache mount has a source but no from")]
    CacheSource,
    /// On the root.
    #[error("invalid mount target \"/\"")]
    Target,
}

impl MountError {
    fn value(key: &str, value: &str) -> Self {
        Self::Value { key: key.to_owned(), value: value.to_owned() }
    }

    /// The keys of the field to blame, in lower case; none when it is the whole value.
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Csv { .. } | Self::SecretNameless => Vec::new(),
            Self::Bare(field) => vec![field.as_str()],
            Self::Key { key, .. } | Self::Value { key, .. } => vec![key.as_str()],
            Self::KeyForType { key, .. } | Self::Number { key, .. } | Self::NotAllowed { key, .. } => vec![key],
            Self::Type { .. } => vec!["type"],
            Self::Sharing { .. } | Self::SharingForType(_) | Self::SecretSharing => vec!["sharing"],
            Self::FromVariable | Self::SecretFrom => vec!["from"],
            Self::SourceAndId | Self::SshSource | Self::CacheSource => vec!["source", "src"],
            Self::Target => vec!["target", "dst", "destination"],
        }
    }
}

/// What a name in `from` stands for, and where its files are.
pub(super) type Resolved = Result<(Origin, Source), PlanFault>;

/// Where a mount is evaluated.
pub(super) struct MountContext<'a> {
    /// Absolute working directory.
    pub(super) workdir: &'a str,
    /// Prefix of cache identities; empty is none.
    pub(super) cache_namespace: &'a str,
    /// Expands a value.
    pub(super) expand: &'a dyn Fn(&str) -> Result<String, PlanFault>,
    /// Finds what `from` names; its second argument is the target, for the error.
    pub(super) resolve: &'a dyn Fn(&str, &str) -> Resolved,
}

/// The image or stage that the mount takes files from, when it names one.
///
/// # Errors
/// Bad CSV, and a variable in the name.
pub(super) fn from(text: &str) -> Result<Option<String>, PlanFault> {
    request::from(text).map_err(|reason| blame(text, reason.into()))
}

/// Evaluates the `--mount`s of one RUN, in order.
///
/// # Errors
/// The first bad one.
pub(super) fn evaluate(texts: &[String], context: &MountContext<'_>) -> Result<Vec<Mount>, PlanFault> {
    let mut agents = 0;
    let mut mounts = Vec::with_capacity(texts.len());
    for text in texts {
        let mount = context.mount(text, agents).map_err(|fault| blame(text, fault))?;
        agents += usize::from(matches!(mount, Mount::Ssh { .. }));
        mounts.push(mount);
    }
    Ok(mounts)
}

/// The fault with the field of `text` that is to blame.
fn blame(text: &str, fault: PlanFault) -> PlanFault {
    let PlanFault::Mount { reason, .. } = fault else { return fault };
    let keys = reason.keys();
    let is_to_blame = |field: &String| keys.contains(&&*field.split('=').next().unwrap_or_default().to_lowercase());
    let field = fields::split(text).unwrap_or_default().into_iter().rfind(is_to_blame);
    PlanFault::Mount { word: field.unwrap_or_else(|| text.to_owned()), reason }
}

impl From<MountError> for PlanFault {
    fn from(reason: MountError) -> Self {
        Self::Mount { word: String::new(), reason }
    }
}

impl MountContext<'_> {
    /// `agents` counts those before it in the same RUN.
    fn mount(&self, text: &str, agents: usize) -> Result<Mount, PlanFault> {
        let request = MountRequest::parse(text, self.expand)?;
        match request.kind {
            MountType::Bind => self.bind(request),
            MountType::Cache => self.cache(request),
            MountType::Tmpfs => Ok(Mount::Tmpfs {
                target: self.target(&request.target)?,
                size_bytes: request.size_bytes,
                readonly: request.readonly == Some(true),
            }),
            MountType::Secret => self.secret(request),
            MountType::Ssh => self.ssh(request, agents),
        }
    }

    fn target(&self, given: &str) -> Result<String, MountError> {
        let target = path::join(self.workdir, given);
        if target == "/" { Err(MountError::Target) } else { Ok(target) }
    }

    fn bind(&self, request: MountRequest) -> Result<Mount, PlanFault> {
        let from = match request.from.as_str() {
            "" => Source::Context,
            from => (self.resolve)(from, &request.target)?.1,
        };
        Ok(Mount::Bind {
            from,
            source: path::join("", &request.source),
            target: self.target(&request.target)?,
            writable: request.readonly == Some(false),
        })
    }

    fn cache(&self, request: MountRequest) -> Result<Mount, PlanFault> {
        let source = path::join("", &request.source);
        let from = match request.from.as_str() {
            "" if source != "/" => return Err(MountError::CacheSource.into()),
            "" => None,
            from => match (self.resolve)(from, &request.target)? {
                (Origin::Scratch, _) if source == "/" => None,
                (_, from) => Some((from, source)),
            },
        };
        // As BuildKit: the identity is made of the target as written, not as resolved.
        let id = if request.id.is_empty() { path::clean(&request.target) } else { request.id };
        Ok(Mount::Cache {
            id: if self.cache_namespace.is_empty() { id } else { format!("{}/{id}", self.cache_namespace) },
            target: self.target(&request.target)?,
            sharing: request.sharing.unwrap_or_default(),
            readonly: request.readonly == Some(true),
            from,
            mode: request.mode.unwrap_or(0o755),
            uid: request.uid.unwrap_or(0),
            gid: request.gid.unwrap_or(0),
        })
    }

    fn secret(&self, request: MountRequest) -> Result<Mount, PlanFault> {
        let target = match (request.target.as_str(), &request.env) {
            ("", Some(_)) => None,
            ("", None) => {
                let name = if request.source.is_empty() { &request.id } else { &request.source };
                Some(path::join("/run/secrets", path::base_name(name)))
            }
            (target, _) => Some(self.target(target)?),
        };
        let id = [&request.source, &request.id].into_iter().find(|name| !name.is_empty());
        Ok(Mount::Secret {
            id: id.map_or_else(|| path::base_name(&request.target), String::as_str).to_owned(),
            target,
            env: request.env,
            required: request.required,
            mode: request.mode.unwrap_or(0o400),
            uid: request.uid.unwrap_or(0),
            gid: request.gid.unwrap_or(0),
        })
    }

    /// `index` counts the agents of this RUN.
    fn ssh(&self, request: MountRequest, index: usize) -> Result<Mount, PlanFault> {
        if !request.source.is_empty() {
            return Err(MountError::SshSource.into());
        }
        let target = match request.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{index}"),
            target => self.target(target)?,
        };
        Ok(Mount::Ssh {
            id: if request.id.is_empty() { "default".to_owned() } else { request.id },
            target,
            required: request.required,
            mode: request.mode.unwrap_or(0o600),
            uid: request.uid.unwrap_or(0),
            gid: request.gid.unwrap_or(0),
        })
    }
}

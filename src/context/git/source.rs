//! How a git repository is written as a source.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::layer::EntryPath;

/// A git repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What `git fetch` takes; may hold a password.
    pub remote: String,
    /// Which commit.
    pub reference: GitReference,
    /// Only what is in this directory; empty for all.
    pub subdirectory: EntryPath,
    /// The commit must start so (hex).
    pub checksum: Option<String>,
    /// Whether `.git` stays; `None` when the source does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
    /// A reference whose history has the commit, for remotes that give out no single commits.
    pub containing: Option<String>,
    /// How many commits of history come along; 0 for all.
    pub depth: u32,
    /// Whether the certificate of an https remote counts.
    pub verify_tls: bool,
    /// Whether an ignore file in it counts: for Kaniko's contexts, not for BuildKit's.
    pub reads_ignore_file: bool,
}

/// How a commit is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitReference {
    /// The remote's default branch.
    Default,
    /// A branch, else a tag, a full reference name or a commit.
    Any(String),
    /// A branch only.
    Branch(String),
    /// A tag only.
    Tag(String),
}

/// Why a text names no git repository. The text itself may hold a password and is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitSourceError {
    /// Neither a URL nor `user@host:path`.
    #[error("invalid git source: expected a URL or user@host:path")]
    Form,
    /// A query key that means nothing.
    #[error("unexpected query key {0:?} in git source")]
    Key(String),
    /// A query key without a value, or with one that it does not take.
    #[error("invalid value of query key {0:?} in git source")]
    Value(String),
    /// A query key twice.
    #[error("query key {0:?} in git source is repeated")]
    Repeated(String),
    /// `#ref`, `ref`, `tag` and `branch` exclude each other, as do `#:subdir` and `subdir`,
    /// `checksum` and `commit`, and two different answers whether `.git` stays.
    #[error("conflicting {0} in git source")]
    Conflict(&'static str),
    /// Would be taken for an option, or is none that git allows.
    #[error("invalid git reference {0:?}")]
    Reference(String),
}

impl GitSource {
    /// Reads `git://`, `ssh://`, `http(s)://` URLs and `user@host:path`, each with an optional
    /// query (URLs only) and `#ref[:subdirectory]`.
    ///
    /// # Errors
    /// See [`GitSourceError`].
    ///
    /// # Source
    /// Dockerfile reference, "ADD", "Adding files from a Git repository".
    pub fn parse(text: &str) -> Result<Self, GitSourceError> {
        let (remote, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = split_query(remote)?;
        if remote.starts_with('-') {
            return Err(GitSourceError::Form);
        }
        let mut source = Self {
            remote,
            reference: GitReference::Default,
            subdirectory: EntryPath::new(),
            checksum: None,
            keep_git_dir: None,
            submodules: true,
            containing: None,
            depth: 1,
            verify_tls: true,
            reads_ignore_file: false,
        };
        source.set_fragment(fragment)?;
        let mut seen = Vec::new();
        for (key, value) in query {
            if seen.contains(&key) {
                return Err(GitSourceError::Repeated(key));
            }
            source.set_option(&key, &value)?;
            seen.push(key);
        }
        Ok(source)
    }

    /// Reads what follows `git://` in Kaniko's `--context`: `HOST/PATH[#REFERENCE[#COMMIT]]`, which
    /// is fetched over `scheme`; `.git` stays, submodules do not come along, an ignore file counts.
    ///
    /// # Errors
    /// See [`GitSourceError`].
    ///
    /// # Source
    /// Kaniko `pkg/buildcontext/git.go`.
    pub fn parse_kaniko(text: &str, scheme: &str) -> Result<Self, GitSourceError> {
        let mut parts = text.split('#');
        let mut source = Self::parse(&format!("{scheme}://{}", parts.next().unwrap_or_default()))?;
        source.keep_git_dir = source.keep_git_dir.or(Some(true));
        source.submodules = false;
        source.reads_ignore_file = true;
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (reference, commit) = (next(), next());
        if parts.next().is_some() {
            return Err(GitSourceError::Form);
        }
        if let Some(reference) = reference {
            source.set_reference(reference, GitReference::Any)?;
        }
        if let Some(commit) = commit {
            source.containing = reference.map(str::to_owned);
            source.reference = GitReference::Default;
            source.set_reference(commit, GitReference::Any)?;
        }
        Ok(source)
    }

    /// Asks for a branch, else a tag, of that name instead.
    ///
    /// # Errors
    /// [`GitSourceError::Reference`].
    pub fn set_branch(&mut self, name: &str) -> Result<(), GitSourceError> {
        self.containing = None;
        self.reference = GitReference::Default;
        self.set_reference(name, GitReference::Any)
    }

    /// Narrows it to a directory of what it names.
    pub fn enter(&mut self, directory: &str) {
        let below = clean_path(directory);
        let slash: &[u8] = if self.subdirectory.is_empty() || below.is_empty() { b"" } else { b"/" };
        self.subdirectory = [&self.subdirectory, slash, &below].concat();
    }

    /// What git is told: without the user and password of a web address, which go another way.
    pub(super) fn address(&self) -> String {
        if self.web_url().is_some() { self.public_remote() } else { self.remote.clone() }
    }

    /// The remote when it is reached over http or https.
    pub(super) fn web_url(&self) -> Option<Url> {
        Url::parse(&self.remote).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    }

    /// Host, with the port when it is not the usual one, of a remote over http or https.
    pub fn web_host(&self) -> Option<String> {
        let url = self.web_url()?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}{port}", url.host_str()?))
    }

    /// Adds what the flags of ADD say.
    ///
    /// # Errors
    /// [`GitSourceError::Conflict`], [`GitSourceError::Value`] for a checksum that is no hex.
    pub fn with_flags(mut self, keep_git_dir: bool, checksum: Option<&str>) -> Result<Self, GitSourceError> {
        if keep_git_dir && self.keep_git_dir == Some(false) {
            return Err(GitSourceError::Conflict("keep-git-dir"));
        }
        self.keep_git_dir = self.keep_git_dir.or(keep_git_dir.then_some(true));
        if let Some(checksum) = checksum {
            self.set_checksum("checksum", checksum)?;
        }
        Ok(self)
    }

    /// The remote without user and password.
    pub fn public_remote(&self) -> String {
        let Ok(mut url) = Url::parse(&self.remote) else { return self.remote.clone() };
        // Fails only where there is no place for them.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.into()
    }

    fn set_fragment(&mut self, fragment: &str) -> Result<(), GitSourceError> {
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        self.subdirectory = clean_path(subdirectory);
        if reference.is_empty() {
            return Ok(());
        }
        self.set_reference(reference, GitReference::Any)
    }

    fn set_option(&mut self, key: &str, value: &str) -> Result<(), GitSourceError> {
        let bad = || GitSourceError::Value(key.to_owned());
        if value.is_empty() && !matches!(key, "keep-git-dir" | "submodules" | "fetch-by-commit") {
            return Err(if is_key(key) { bad() } else { GitSourceError::Key(key.to_owned()) });
        }
        match key {
            "ref" => self.set_reference(value, GitReference::Any),
            "branch" => self.set_reference(value, GitReference::Branch),
            "tag" => self.set_reference(value, GitReference::Tag),
            "subdir" if self.subdirectory.is_empty() => {
                self.subdirectory = clean_path(value);
                Ok(())
            }
            "subdir" => Err(GitSourceError::Conflict("subdirectories")),
            "checksum" | "commit" => self.set_checksum(key, value),
            "keep-git-dir" => {
                self.keep_git_dir = Some(boolean(value).ok_or_else(bad)?);
                Ok(())
            }
            "submodules" => {
                self.submodules = boolean(value).ok_or_else(bad)?;
                Ok(())
            }
            // Concern contexts only, or how a commit is asked for, which is ours to choose.
            "fetch-by-commit" => boolean(value).map(drop).ok_or_else(bad),
            "mtime" => matches!(value, "checkout" | "commit").then_some(()).ok_or_else(bad),
            _ => Err(GitSourceError::Key(key.to_owned())),
        }
    }

    fn set_reference(&mut self, name: &str, make: fn(String) -> GitReference) -> Result<(), GitSourceError> {
        if self.reference != GitReference::Default {
            return Err(GitSourceError::Conflict("references"));
        }
        let forbidden = |byte: u8| byte <= b' ' || byte == 0x7f || b"~^:?*[\\".contains(&byte);
        if name.starts_with('-') || name.contains("..") || name.bytes().any(forbidden) {
            return Err(GitSourceError::Reference(name.to_owned()));
        }
        self.reference = make(name.to_owned());
        Ok(())
    }

    fn set_checksum(&mut self, key: &str, value: &str) -> Result<(), GitSourceError> {
        if value.is_empty() || value.len() > 64 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(GitSourceError::Value(key.to_owned()));
        }
        let value = value.to_ascii_lowercase();
        if self.checksum.as_ref().is_some_and(|known| *known != value) {
            return Err(GitSourceError::Conflict("checksums"));
        }
        self.checksum = Some(value);
        Ok(())
    }
}

fn is_key(key: &str) -> bool {
    matches!(key, "ref" | "branch" | "tag" | "subdir" | "checksum" | "commit" | "mtime")
}

pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The remote without its query, and the query's pairs.
fn split_query(remote: &str) -> Result<(String, Vec<(String, String)>), GitSourceError> {
    let is_url = ["git://", "ssh://", "http://", "https://", "file://"].iter().any(|start| remote.starts_with(start));
    if !is_url {
        // user@host:path
        let is_scp = remote.split_once(':').is_some_and(|(host, path)| {
            host.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()) && !path.is_empty()
        });
        let has_slash = remote.split(':').next().is_some_and(|host| host.contains('/'));
        return if is_scp && !has_slash { Ok((remote.to_owned(), Vec::new())) } else { Err(GitSourceError::Form) };
    }
    Url::parse(remote).map_err(|_| GitSourceError::Form)?;
    let (remote, query) = remote.split_once('?').unwrap_or((remote, ""));
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    });
    Ok((remote.to_owned(), pairs.collect()))
}

/// A clean path inside the repository: `..` stops at its root.
fn clean_path(text: &str) -> EntryPath {
    let mut names: Vec<&str> = Vec::new();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    names.join("/").into_bytes()
}

//! What COPY and ADD take from outside the build: downloads, repositories, archives.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::copy::{Prepared, SourceTrees, select};
use super::error::BuildError;
use super::flights::Flights;
use super::materials::Materials;
use super::request::Secret;
use crate::context::{self, Archive, Checkout, Fetched, Git, GitLogin, GitSource};
use crate::digest::{ContentHash, Digest};
use crate::key::SourceInput;
use crate::layer::{Content, EntryPath};
use crate::plan::{AddOptions, CopyOp, CopySource};
use crate::view::{NodeKind, View};

/// Downloads and repositories, each got once per build.
pub(super) struct Remotes {
    agent: ureq::Agent,
    git: Git,
    directory: PathBuf,
    secrets: BTreeMap<String, Secret>,
    known: Mutex<Known>,
    /// By address: one thread fetches it.
    fetching: Flights<String>,
}

#[derive(Default)]
struct Known {
    files: BTreeMap<(String, Option<String>), Fetched>,
    checkouts: BTreeMap<(String, bool), Checkout>,
    /// What repositories were asked.
    commits: BTreeMap<(String, bool, Option<String>), String>,
}

/// All that the sources of one op may name, ready to be placed.
#[derive(Default)]
pub(super) struct PreparedSources {
    hashes: BTreeMap<EntryPath, ContentHash>,
    archives: BTreeMap<EntryPath, Archive>,
    prepared: BTreeMap<usize, Prepared>,
}

impl PreparedSources {
    /// Together with the tree that paths are in.
    pub(super) fn with<'a>(&'a self, tree: &'a View) -> SourceTrees<'a> {
        SourceTrees { tree, hashes: &self.hashes, archives: &self.archives, prepared: &self.prepared }
    }
}

impl Remotes {
    /// `environment` is for git; downloads are spooled below `work`; some `secrets` open doors.
    pub(super) fn new(
        agent: ureq::Agent,
        environment: Vec<(OsString, OsString)>,
        work: &Path,
        secrets: BTreeMap<String, Secret>,
    ) -> Self {
        Self {
            agent,
            git: Git::new(environment),
            directory: work.join("remotes"),
            secrets,
            known: Mutex::default(),
            fetching: Flights::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What identifies the remote sources of `op`, for its definition key.
    pub(super) fn inputs(&self, op: &CopyOp) -> Result<Vec<SourceInput>, BuildError> {
        let Some(add) = &op.add else { return Ok(Vec::new()) };
        let mut inputs = Vec::new();
        for source in &op.sources {
            match source {
                CopySource::Url(url) => inputs
                    .push(SourceInput::Remote { address: without_query(url), identity: self.url_identity(url, add)? }),
                CopySource::Git(url) => inputs
                    .push(SourceInput::Remote { address: without_query(url), identity: self.git_identity(url, add)? }),
                CopySource::Path(_) | CopySource::Inline { .. } => {}
            }
        }
        Ok(inputs)
    }

    /// The checksum says all but the time; without one the file has to be fetched.
    fn url_identity(&self, url: &str, add: &AddOptions) -> Result<String, BuildError> {
        match &add.checksum {
            Some(checksum) => Ok(checksum.clone()),
            None => Ok(self.file(url, add)?.digest.to_string()),
        }
    }

    fn git_identity(&self, url: &str, add: &AddOptions) -> Result<String, BuildError> {
        let name = (url.to_owned(), add.keep_git_dir, add.checksum.clone());
        if let Some(commit) = self.known().commits.get(&name) {
            return Ok(commit.clone());
        }
        let source = git_source(url, add)?;
        let commit = match self.git(&source).resolve(&source).map_err(BuildError::git)? {
            Some(commit) => commit,
            None => self.checkout(url, add)?.commit,
        };
        self.known().commits.insert(name, commit.clone());
        Ok(commit)
    }

    fn file(&self, url: &str, add: &AddOptions) -> Result<Fetched, BuildError> {
        let _fetching = self.fetching.enter(url.to_owned());
        let name = (url.to_owned(), add.checksum.clone());
        if let Some(fetched) = self.known().files.get(&name) {
            return Ok(fetched.clone());
        }
        let expected = add.checksum.as_deref().map(str::parse::<Digest>).transpose();
        let expected = expected.map_err(|error| BuildError::Checksum { reason: error.to_string() })?;
        self.make_directory()?;
        let fetched =
            context::fetch(&self.agent, url, self.authorization(url).as_deref(), expected.as_ref(), &self.directory)
                .map_err(BuildError::Download)?;
        self.known().files.insert(name, fetched.clone());
        Ok(fetched)
    }

    fn checkout(&self, url: &str, add: &AddOptions) -> Result<Checkout, BuildError> {
        // Their directories are numbered: one after the other.
        let _fetching = self.fetching.enter(String::new());
        let name = (url.to_owned(), add.keep_git_dir);
        if let Some(checkout) = self.known().checkouts.get(&name) {
            return Ok(checkout.clone());
        }
        self.make_directory()?;
        let directory = self.directory.join(format!("git-{}", self.known().checkouts.len()));
        fs::create_dir(&directory).map_err(BuildError::file("create", &directory))?;
        let source = git_source(url, add)?;
        let checkout = self.git(&source).checkout(&source, &directory).map_err(BuildError::git)?;
        self.known().checkouts.insert(name, checkout.clone());
        Ok(checkout)
    }

    fn secret(&self, name: &str) -> Option<String> {
        let bytes = &self.secrets.get(name)?.0;
        Some(String::from_utf8_lossy(bytes).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The `Authorization` that the secrets have for the host of `url`.
    ///
    /// # Source
    /// BuildKit `source/http`: `HTTP_AUTH_HEADER_<host>`, `HTTP_AUTH_TOKEN_<host>`.
    fn authorization(&self, url: &str) -> Option<String> {
        let host = context::web_host(url)?;
        let header = self.secret(&format!("HTTP_AUTH_HEADER_{host}"));
        header.or_else(|| Some(format!("Bearer {}", self.secret(&format!("HTTP_AUTH_TOKEN_{host}"))?)))
    }

    /// Git, with the login that the secrets have for the source's host.
    fn git(&self, source: &GitSource) -> Git {
        let login = source.web_host().and_then(|host| GitLogin::from_secrets(&host, &|name| self.secret(name)));
        self.git.clone().with_login(login)
    }

    fn make_directory(&self) -> Result<(), BuildError> {
        fs::create_dir_all(&self.directory).map_err(BuildError::file("create", &self.directory))
    }

    /// Fetches and unpacks what `op` names. Paths are looked up in `tree`, which `hashes` completes.
    pub(super) fn prepare(
        &self,
        op: &CopyOp,
        tree: &View,
        hashes: BTreeMap<EntryPath, ContentHash>,
        materials: &Materials<'_>,
    ) -> Result<PreparedSources, BuildError> {
        let mut sources = PreparedSources { hashes, ..PreparedSources::default() };
        let Some(add) = &op.add else { return Ok(sources) };
        for (index, source) in op.sources.iter().enumerate() {
            match source {
                CopySource::Url(url) => drop(sources.prepared.insert(index, self.prepare_url(url, add, materials)?)),
                CopySource::Git(url) => {
                    sources.prepared.insert(index, Prepared::Tree(self.checkout(url, add)?.view));
                }
                CopySource::Path(_) | CopySource::Inline { .. } => {}
            }
        }
        sources.archives = self.archives(op, tree, materials)?;
        Ok(sources)
    }

    fn prepare_url(&self, url: &str, add: &AddOptions, materials: &Materials<'_>) -> Result<Prepared, BuildError> {
        let fetched = self.file(url, add)?;
        if add.unpack == Some(true)
            && let Some(archive) = self.unpack(&fetched.path, materials)?
        {
            return Ok(Prepared::Archive(archive));
        }
        Ok(Prepared::File { name: context::url_file_name(url), node: fetched.node() })
    }

    /// Those of the selected files that are archives.
    fn archives(
        &self,
        op: &CopyOp,
        tree: &View,
        materials: &Materials<'_>,
    ) -> Result<BTreeMap<EntryPath, Archive>, BuildError> {
        let mut archives = BTreeMap::new();
        for selected in select(op, tree)?.iter().filter(|selected| selected.may_be_archive(op)) {
            let Some(NodeKind::File(file)) = selected.members.first().map(|root| &root.node.kind) else { continue };
            let Content::Host(path) = &file.content else { continue };
            if let Some(archive) = self.unpack(path, materials)? {
                materials.check_archive(path, &archive)?;
                archives.insert(selected.root.clone(), archive);
            }
        }
        Ok(archives)
    }

    fn unpack(&self, path: &Path, materials: &Materials<'_>) -> Result<Option<Archive>, BuildError> {
        self.make_directory()?;
        let archive = context::unpack(path, &self.directory).map_err(BuildError::Archive)?;
        if let Some(archive) = &archive {
            materials.note_archive(archive);
        }
        Ok(archive)
    }
}

fn git_source(url: &str, add: &AddOptions) -> Result<GitSource, BuildError> {
    GitSource::parse(url)
        .and_then(|source| source.with_flags(add.keep_git_dir, add.checksum.as_deref()))
        .map_err(BuildError::GitSource)
}

/// Part of a key's explanation: must not hold a password or a signed query.
fn without_query(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match (plain.split_once("://"), plain.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => plain.to_owned(),
    }
}

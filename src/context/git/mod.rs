//! Git repositories, for ADD and as contexts: the `git` program does the work, kept on a short leash.

mod login;
mod options;
mod source;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

pub use login::GitLogin;
pub use options::{GitOptions, GitOptionsError};
pub use source::{GitReference, GitSource, GitSourceError};

use super::stat_cache::StatCache;
use super::{ContextError, read_directory, subtree};
use crate::layer::EntryPath;
use crate::pattern::Patterns;
use crate::view::{Node, NodeKind, ResolveError, View};

/// What remotes and submodules may be fetched over.
const PROTOCOLS: &str = "git:http:https:ssh";
/// Configuration of every run, in place of all files: nothing of the host, nothing executed.
const CONFIGURATION: [(&str, &str); 9] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("core.autocrlf", "false"),
    // Would hold the time of the checkout.
    ("core.logAllRefUpdates", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
];
/// Where git's own programs are: beside it, in the images of ours.
const EXEC_PATH: &str = "GIT_EXEC_PATH";
const LOGIN_ADVICE: &str =
    "; GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD, log in for --context, and GIT_AUTH_TOKEN for ADD";
/// Of what git says when it fails, bytes of the end.
const MAX_MESSAGE: usize = 2000;

/// Why a git source could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// `git` cannot be run.
    #[error("failed to run git, which has to be in PATH")]
    Program(#[source] io::Error),
    /// `git` failed.
    #[error("failed to {action} {remote}: {message}")]
    Command {
        /// What was tried.
        action: &'static str,
        /// Without user and password.
        remote: String,
        /// The end of what git said, without user and password.
        message: String,
    },
    /// The remote has no such branch, tag or commit.
    #[error("{remote} has no {reference:?}")]
    NoReference {
        /// Without user and password.
        remote: String,
        /// As asked for.
        reference: String,
    },
    /// Another commit than `--checksum` means.
    #[error("expected checksum to match {expected}, got {commit}")]
    Checksum {
        /// As asked for.
        expected: String,
        /// What the reference names.
        commit: String,
    },
    /// The repository has no such directory.
    #[error("{remote} has no directory /{}", String::from_utf8_lossy(path))]
    NoDirectory {
        /// Without user and password.
        remote: String,
        /// As asked for, cleaned.
        path: EntryPath,
    },
    /// The path of the directory leads nowhere.
    #[error("failed to find the directory in the repository")]
    Resolve(#[from] ResolveError),
    /// The checked-out files cannot be read.
    #[error("failed to read the repository's files")]
    Read(#[from] ContextError),
}

/// How to run `git`.
#[derive(Debug, Clone)]
pub struct Git {
    environment: Vec<(OsString, OsString)>,
    protocols: &'static str,
    login: Option<GitLogin>,
}

/// Files of a commit.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Full hex name.
    pub commit: String,
    /// When it was committed, seconds since the epoch.
    pub time: i64,
    /// Files 0644 or 0755, directories 0755, all 0:0, with the time of the checkout.
    pub view: View,
}

impl Git {
    /// `environment` is all that git sees beside our own settings; it needs `PATH`, and for ssh
    /// `HOME` and `SSH_AUTH_SOCK`, for proxies `https_proxy` and the like. `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say whom it trusts.
    pub fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = |name: &OsString| name == EXEC_PATH || !name.as_encoded_bytes().starts_with(b"GIT_");
        let environment = environment.into_iter().filter(|(name, _)| ours(name));
        Self { environment: environment.collect(), protocols: PROTOCOLS, login: None }
    }

    /// Introduces itself so to the host of every http or https remote, also to one that names a
    /// user of its own; submodules elsewhere do not get to see it.
    #[must_use]
    pub fn with_login(self, login: Option<GitLogin>) -> Self {
        Self { login, ..self }
    }

    /// Asks the remote which commit the source names, without fetching it. `None` when only a
    /// checkout can tell (an abbreviated commit).
    ///
    /// # Errors
    /// [`GitError::Program`], [`GitError::Command`], [`GitError::NoReference`], [`GitError::Checksum`].
    pub fn resolve(&self, source: &GitSource) -> Result<Option<String>, GitError> {
        match self.find(source)? {
            Target::Known { commit, .. } => check(source, commit).map(Some),
            Target::Abbreviated(_) => Ok(None),
        }
    }

    /// Fetches and checks out the source below `directory`, an existing empty directory that the
    /// caller removes after the view's contents were used.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn checkout(&self, source: &GitSource, directory: &Path) -> Result<Checkout, GitError> {
        let run = Run { git: self, source, directory };
        run.git(&["init", "--quiet", "--template="], "set up a copy of")?;
        run.git(&["remote", "add", "--", "origin", &source.address()], "set up a copy of")?;
        let wanted = match self.find(source)? {
            Target::Known { reference, .. } => run.fetch(&reference)?,
            Target::Abbreviated(commit) => run.fetch_all(&commit)?,
        };
        let commit = check(source, wanted)?;
        let time = run.git(&["show", "--no-patch", "--format=%ct", &commit], "read the time of")?;
        run.git(&["checkout", "--quiet", "--force", "--detach", &commit], "check out")?;
        if source.submodules && directory.join(".gitmodules").symlink_metadata().is_ok_and(|found| found.is_file()) {
            let depth = if source.depth == 0 { &[][..] } else { &["--depth=1"] };
            run.update_submodules(depth)?;
        }
        run.git(&["remote", "set-url", "origin", &source.public_remote()], "set up a copy of")?;
        if run.keeps_git_dir() {
            // An index without inodes and times: the same commit gives the same files.
            run.git(&["read-tree", &commit], "set up a copy of")?;
        }
        let view = run.view()?;
        Ok(Checkout { commit, time: time.trim().parse().unwrap_or(0), view })
    }

    /// Git knows no `SSL_CERT_FILE`, and where that and the directory's usual file are missing, its own choice stays.
    fn certificates(&self) -> Vec<(String, String)> {
        let variable = |wanted: &str| {
            let value = self.environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)?;
            value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let directory = variable("SSL_CERT_DIR").and_then(|list| list.split(':').next().map(str::to_owned));
        let bundle = directory.as_ref().map(|directory| format!("{directory}/ca-certificates.crt"));
        let file = variable("SSL_CERT_FILE").or(bundle).filter(|file| Path::new(file).is_file());
        let settings = [("http.sslCAInfo", file), ("http.sslCAPath", directory)];
        settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn find(&self, source: &GitSource) -> Result<Target, GitError> {
        let names = candidates(&source.reference);
        if let [Candidate::Commit(commit)] = &names[..] {
            return Ok(Target::Known { commit: commit.clone(), reference: commit.clone() });
        }
        let run = Run { git: self, source, directory: Path::new("/") };
        let listed = run.git(&["ls-remote", "--", &source.address()], "list references of")?;
        let listed: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let commit_of = |name: &str| listed.iter().find(|(_, listed)| *listed == name).map(|(commit, _)| *commit);
        for candidate in &names {
            let Candidate::Name(name) = candidate else { continue };
            // An annotated tag is listed a second time with what it points to.
            if let Some(commit) = commit_of(&format!("{name}^{{}}")).or_else(|| commit_of(name)) {
                return Ok(Target::Known { commit: commit.to_owned(), reference: name.clone() });
            }
        }
        match &source.reference {
            GitReference::Any(name) if is_hex(name) && name.len() >= 4 => Ok(Target::Abbreviated(name.clone())),
            _ => Err(run.no_reference()),
        }
    }
}

/// What a reference turned out to be.
enum Target {
    Known {
        commit: String,
        /// What to ask the remote for.
        reference: String,
    },
    Abbreviated(String),
}

enum Candidate {
    Name(String),
    Commit(String),
}

/// What a reference may mean, best first.
fn candidates(reference: &GitReference) -> Vec<Candidate> {
    let names = match reference {
        GitReference::Default => vec!["HEAD".to_owned()],
        GitReference::Branch(name) => vec![format!("refs/heads/{name}")],
        GitReference::Tag(name) => vec![format!("refs/tags/{name}")],
        GitReference::Any(name) if is_hex(name) && matches!(name.len(), 40 | 64) => {
            return vec![Candidate::Commit(name.to_ascii_lowercase())];
        }
        GitReference::Any(name) if name.starts_with("refs/") => vec![name.clone()],
        GitReference::Any(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.clone()],
    };
    names.into_iter().map(Candidate::Name).collect()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check(source: &GitSource, commit: String) -> Result<String, GitError> {
    match &source.checksum {
        Some(expected) if !commit.starts_with(expected.as_str()) => {
            Err(GitError::Checksum { expected: expected.clone(), commit })
        }
        _ => Ok(commit),
    }
}

/// One repository being worked on.
struct Run<'a> {
    git: &'a Git,
    source: &'a GitSource,
    /// The working tree.
    directory: &'a Path,
}

impl Run<'_> {
    /// Fetches one reference, without history where the remote can do that.
    fn fetch(&self, reference: &str) -> Result<String, GitError> {
        let rest = ["--quiet", "--no-tags", "--no-recurse-submodules", "--", "origin", reference];
        let depth = format!("--depth={}", self.source.depth);
        let shallow = [&["fetch", &depth][..], &rest].concat();
        if self.source.depth == 0 || self.git(&shallow, "fetch").is_err() {
            let is_commit = is_hex(reference) && matches!(reference.len(), 40 | 64);
            if is_commit {
                return self.fetch_all(reference);
            }
            self.git(&[&["fetch"][..], &rest].concat(), "fetch")?;
        }
        self.commit("FETCH_HEAD")
    }

    /// Fetches everything, for commits that cannot be asked for by name.
    fn fetch_all(&self, commit: &str) -> Result<String, GitError> {
        let branches = "+refs/heads/*:refs/remotes/origin/*";
        let mut fetch = vec!["fetch", "--quiet", "--no-recurse-submodules", "--tags", "--", "origin", branches];
        fetch.extend(self.source.containing.as_deref());
        self.git(&fetch, "fetch")?;
        self.commit(commit)
            .map_err(|error| if matches!(error, GitError::Program(_)) { error } else { self.no_reference() })
    }

    /// `git submodule` is a shell script around a program that since 2.38 does everything. Images without a shell have that one.
    fn update_submodules(&self, depth: &[&str]) -> Result<(), GitError> {
        let update = |command: &[&str]| {
            let arguments = [command, &["update", "--init", "--recursive"], depth].concat();
            self.git(&arguments, "fetch submodules of")
        };
        let updated = match update(&["submodule", "--quiet"]) {
            Err(GitError::Command { message, .. }) if message.contains("is not a git command") => {
                update(&["submodule--helper"])
            }
            updated => updated,
        };
        updated.map(drop)
    }

    fn commit(&self, name: &str) -> Result<String, GitError> {
        let commit =
            self.git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")], "find the commit of")?;
        Ok(commit.trim().to_owned())
    }

    fn no_reference(&self) -> GitError {
        let reference = match &self.source.reference {
            GitReference::Default => "HEAD".to_owned(),
            GitReference::Any(name) | GitReference::Branch(name) | GitReference::Tag(name) => name.clone(),
        };
        GitError::NoReference { remote: self.source.public_remote(), reference }
    }

    fn keeps_git_dir(&self) -> bool {
        self.source.keep_git_dir == Some(true) && self.source.subdirectory.is_empty()
    }

    /// The checked-out files, as ADD copies them.
    fn view(&self) -> Result<View, GitError> {
        let all = read_directory(self.directory, &Patterns::default(), &StatCache::none())?;
        let Some(part) = subtree(&all, &self.source.subdirectory)? else {
            let (remote, path) = (self.source.public_remote(), self.source.subdirectory.clone());
            return Err(GitError::NoDirectory { remote, path });
        };
        let mut view = View::new();
        part.get(b"").into_iter().for_each(|top| view.insert(b"", normal(top)));
        for (path, node) in part.walk(b"") {
            if self.keeps_git_dir() || !path.split(|byte| *byte == b'/').any(|name| name == b".git") {
                view.insert(&path, normal(node));
            }
        }
        Ok(view)
    }

    /// Runs git, and returns what it printed.
    fn git(&self, arguments: &[&str], action: &'static str) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.directory).stdin(Stdio::null());
        command.env_clear().envs(self.git.environment.iter().map(|(name, value)| (name, value)));
        command.envs(self.settings());
        let output = command.output().map_err(GitError::Program)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = self.public_message(&String::from_utf8_lossy(&output.stderr));
        Err(GitError::Command { action, remote: self.source.public_remote(), message })
    }

    fn settings(&self) -> Vec<(String, OsString)> {
        let null = OsString::from("/dev/null");
        let mut settings: Vec<(String, OsString)> = vec![
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            // Nobody is there to be asked, and an image may have no program that says nothing.
            ("GIT_ASKPASS".into(), OsString::new()),
            ("SSH_ASKPASS".into(), "true".into()),
            ("GIT_SSH_COMMAND".into(), "ssh -o BatchMode=yes".into()),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("GIT_CONFIG_GLOBAL".into(), null.clone()),
            ("GIT_ATTR_NOSYSTEM".into(), "1".into()),
            ("GIT_ALLOW_PROTOCOL".into(), self.git.protocols.into()),
            ("GIT_LFS_SKIP_SMUDGE".into(), "1".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
        ];
        let configuration = self.configuration();
        settings.push(("GIT_CONFIG_COUNT".into(), configuration.len().to_string().into()));
        for (index, (key, value)) in configuration.into_iter().enumerate() {
            settings.push((format!("GIT_CONFIG_KEY_{index}"), key.into()));
            settings.push((format!("GIT_CONFIG_VALUE_{index}"), value.into()));
        }
        settings
    }

    /// Passwords go this way: a command line can be seen by everybody.
    fn configuration(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> =
            CONFIGURATION.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        all.extend(self.git.certificates());
        let Some(url) = self.source.web_url() else { return all };
        let host = &url[..url::Position::BeforePath];
        let host = format!("{}://{}/", url.scheme(), host.rsplit(['@', '/']).next().unwrap_or_default());
        if let Some(login) = self.git.login.clone().or_else(|| GitLogin::of_url(&url)) {
            all.push((format!("http.{host}.extraHeader"), login.header()));
        }
        if !self.source.verify_tls {
            all.push((format!("http.{host}.sslVerify"), "false".to_owned()));
        }
        all
    }

    fn public_message(&self, message: &str) -> String {
        let message = message.replace(&self.source.remote, &self.source.public_remote());
        let message = message.trim();
        let start = message.len().saturating_sub(MAX_MESSAGE);
        let start = (start..=message.len()).find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        let message = message[start..].replace('\n', "; ");
        let wants_login = ["could not read Username", "could not read Password", "Authentication failed"];
        let advice = if wants_login.iter().any(|text| message.contains(text)) { LOGIN_ADVICE } else { "" };
        message + advice
    }
}

/// Git knows one permission bit.
fn normal(node: &Node) -> Node {
    let mode = match node.kind {
        NodeKind::File(_) if node.mode & 0o111 == 0 => 0o644,
        NodeKind::Symlink(_) => node.mode,
        _ => 0o755,
    };
    Node { mode, ..node.clone() }
}

#[cfg(test)]
mod tests;

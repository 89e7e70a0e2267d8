//! What `--context` and `--build-context` may name.

use std::path::PathBuf;

use url::{Host, Url};

use super::{BucketAddress, ContextError, GitOptions, GitSource};

/// A build context as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContextSpec {
    /// `dir://PATH`, a path, `tar://PATH`, `tar://stdin`, a URL, an object in a bucket, a git repository.
    pub text: String,
    /// A directory of it, when not all is wanted.
    pub sub_path: String,
    /// For git repositories.
    pub git: GitOptions,
    /// `git://` means http and not https.
    pub git_over_http: bool,
    /// `.git` stays in the context also where the source does not say so.
    pub keep_git_dir: bool,
}

/// What kind of thing a context is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// An archive of this machine.
    Tar(PathBuf),
    /// An archive on standard input.
    StandardInput,
    /// An archive from a web server; may hold a password.
    Web(String),
    /// A single file from a web server, called `context`; may hold a password.
    WebFile(String),
    /// An archive in a bucket.
    Bucket(BucketAddress),
    /// A repository.
    Git(GitSource),
}

impl ContextSpec {
    /// Reads it. A directory of that name goes before `user@host:path` and `github.com/…`.
    ///
    /// # Errors
    /// [`ContextError::Scheme`], [`ContextError::PlainHttp`], [`ContextError::GitSource`], [`ContextError::Bucket`].
    ///
    /// # Source
    /// Kaniko `pkg/buildcontext`; BuildKit `dfgitutil.ParseGitRef` for what Kaniko does not know.
    pub fn location(&self) -> Result<Location, ContextError> {
        let text = self.text.as_str();
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return self.bare();
        };
        match scheme {
            "dir" => Ok(Location::Directory(self.below(rest))),
            "tar" if rest == "stdin" => Ok(Location::StandardInput),
            "tar" => Ok(Location::Tar(rest.into())),
            "git" => {
                let scheme = if self.git_over_http { "http" } else { "https" };
                self.git(GitSource::parse_kaniko(rest, scheme)?)
            }
            "ssh" => self.git(GitSource::parse(text)?),
            "https" | "http" if is_repository(text) => self.git(GitSource::parse(text)?),
            "s3" => Ok(Location::Bucket(BucketAddress::s3(rest)?)),
            "gs" => Ok(Location::Bucket(BucketAddress::google(rest)?)),
            "https" => match BucketAddress::azure(text) {
                Some(address) => Ok(Location::Bucket(address?)),
                None => Ok(Location::Web(text.to_owned())),
            },
            "http" if is_loopback(text) => Ok(Location::Web(text.to_owned())),
            "http" => Err(ContextError::PlainHttp),
            // The rest may hold a password.
            _ => Err(ContextError::Scheme { spec: format!("{scheme}://") }),
        }
    }

    /// Reads the value of a named context that is files: a directory, an archive of this machine, a
    /// repository, or the URL of a single file.
    ///
    /// # Errors
    /// As [`Self::location`].
    ///
    /// # Source
    /// BuildKit `dockerui/namedcontext.go`; `git://` is git's own protocol here.
    pub fn named_location(&self) -> Result<Location, ContextError> {
        let text = self.text.as_str();
        match text.split_once("://").map(|(scheme, _)| scheme) {
            Some("git") => self.git(GitSource::parse(text)?),
            Some("tar") if text == "tar://stdin" => Err(ContextError::Scheme { spec: "tar://stdin".to_owned() }),
            // As ADD of the same URL.
            Some("http" | "https") if !is_repository(text) => Ok(Location::WebFile(text.to_owned())),
            _ => self.location(),
        }
    }

    fn bare(&self) -> Result<Location, ContextError> {
        let directory = self.below(&self.text);
        if directory.exists() {
            return Ok(Location::Directory(directory));
        }
        if self.text.starts_with("github.com/") {
            return self.git(GitSource::parse(&format!("https://{}", self.text))?);
        }
        match GitSource::parse(&self.text) {
            Ok(source) => self.git(source),
            Err(_) => Ok(Location::Directory(directory)),
        }
    }

    fn below(&self, directory: &str) -> PathBuf {
        match self.sub_path.trim_start_matches('/') {
            "" => directory.into(),
            sub_path => PathBuf::from(directory).join(sub_path),
        }
    }

    fn git(&self, mut source: GitSource) -> Result<Location, ContextError> {
        self.git.apply(&mut source)?;
        source.enter(&self.sub_path);
        source.keep_git_dir = source.keep_git_dir.or(self.keep_git_dir.then_some(true));
        Ok(Location::Git(source))
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether the path of a web address ends in `.git`.
fn is_repository(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.path().ends_with(".git"))
}

fn is_loopback(url: &str) -> bool {
    let host = Url::parse(url).ok().and_then(|url| url.host().map(|host| host.to_owned()));
    match host {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

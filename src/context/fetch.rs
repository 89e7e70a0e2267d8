//! Files from the web, for ADD.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use percent_encoding::percent_decode_str;
use sha2::Digest as _;
use ureq::http::{Response, header};
use url::Url;

use crate::digest::{Algorithm, ContentHash, Digest};
use crate::layer::Content;
use crate::view::{FileNode, Node, NodeKind};

const BUFFER: usize = 128 << 10;
/// What a file is called whose URL does not name it.
const UNNAMED: &str = "__unnamed__";

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it was spooled to.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// For keys.
    pub hash: ContentHash,
    /// `Last-Modified` in seconds since the epoch; 0 when the server does not say.
    pub mtime: i64,
    /// `ETag`, verbatim.
    pub etag: Option<String>,
}

/// Why a file could not be fetched. Names hosts, never whole URLs: those may hold credentials.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an `http` or `https` URL.
    #[error("invalid URL of a file to add")]
    Url,
    /// No answer.
    #[error("failed to fetch a file from {host}")]
    Transport {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        cause: Box<ureq::Error>,
    },
    /// The answer is no file.
    #[error("failed to fetch a file from {host}: invalid response status {status}")]
    Status {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The connection broke, or what came is not what it is labelled as.
    #[error("failed to read a file from {host}")]
    Read {
        /// Host and port.
        host: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// There is no place for the file.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file being written.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Not the file that `--checksum` means.
    #[error("digest mismatch for {url}: {found} (expected: {expected})")]
    Checksum {
        /// Scheme, host and path.
        url: String,
        /// Of what came.
        found: Digest,
        /// As given.
        expected: Digest,
    },
}

impl Fetched {
    /// The file as ADD copies it: mode 0600, 0:0.
    pub fn node(&self) -> Node {
        let content = Content::Host(self.path.clone());
        let file = FileNode { size: self.size, hash: Some(self.hash), content, inode: None };
        let (uid, gid, xattrs) = (0, 0, Default::default());
        Node { kind: NodeKind::File(file), mode: 0o600, uid, gid, mtime: self.mtime, xattrs }
    }
}

/// What a file from `url` is called in a directory: the last segment of the decoded path.
pub fn url_file_name(url: &str) -> Vec<u8> {
    let path = Url::parse(url).map_or_else(|_| Vec::new(), |url| percent_decode_str(url.path()).collect());
    let last = path.split(|byte| *byte == b'/').rfind(|segment| !segment.is_empty());
    match last {
        None | Some(b"." | b"..") => UNNAMED.into(),
        Some(name) if name.contains(&0) => UNNAMED.into(),
        Some(name) => name.to_vec(),
    }
}

/// Fetches `url` into a new file in `directory`, which the caller removes. Redirects are up to
/// `agent`, which must not turn statuses into errors. With `expected`, the bytes must have that
/// digest. `authorization` is the value of that header; a redirect elsewhere does not get it.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(
    agent: &ureq::Agent,
    url: &str,
    authorization: Option<&str>,
    expected: Option<&Digest>,
    directory: &Path,
) -> Result<Fetched, FetchError> {
    let url = Url::parse(url).map_err(|_| FetchError::Url)?;
    let host = host(&url).ok_or(FetchError::Url)?;
    let request = agent.get(url.as_str()).config().http_status_as_error(false).build();
    let request = match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    };
    let response = request.call();
    let response = response.map_err(|cause| FetchError::Transport { host: host.clone(), cause: Box::new(cause) })?;
    let status = response.status().as_u16();
    if !(200..400).contains(&status) {
        return Err(FetchError::Status { host, status });
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (etag, modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
    let write_failed = |path: &Path, cause| FetchError::Write { path: path.to_owned(), cause };
    let file = tempfile::Builder::new().prefix("url-").tempfile_in(directory);
    let (mut file, path) = file.and_then(|file| Ok(file.keep()?)).map_err(|cause| write_failed(directory, cause))?;
    let wants_sha512 = expected.is_some_and(|digest| digest.algorithm() == Algorithm::Sha512);
    let sums = copy(&mut body(response), &mut file, wants_sha512).map_err(|failure| match failure {
        Failure::Read(cause) => FetchError::Read { host, cause },
        Failure::Write(cause) => write_failed(&path, cause),
    })?;
    check(&url, &sums, expected)?;
    let mtime = modified.as_deref().and_then(seconds).unwrap_or(0);
    Ok(Fetched { path, size: sums.size, digest: sums.sha256, hash: sums.blake3, mtime, etag })
}

/// Host, with the port when it is not the usual one, of an http or https URL.
pub fn web_host(url: &str) -> Option<String> {
    host(&Url::parse(url).ok()?)
}

fn host(url: &Url) -> Option<String> {
    let is_web = matches!(url.scheme(), "http" | "https");
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    url.host_str().filter(|_| is_web).map(|host| format!("{host}{port}"))
}

/// The bytes that the server means: a `gzip` coding is for the way only.
fn body(response: Response<ureq::Body>) -> Box<dyn Read> {
    let is_coded = response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    // The disk is the limit, not a number.
    let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    if is_coded { Box::new(flate2::read::MultiGzDecoder::new(reader)) } else { Box::new(reader) }
}

struct Sums {
    size: u64,
    sha256: Digest,
    /// When it was asked for.
    sha512: Option<Digest>,
    blake3: ContentHash,
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut dyn Read, to: &mut File, wants_sha512: bool) -> Result<Sums, Failure> {
    let (mut sha256, mut blake3) = (sha2::Sha256::new(), blake3::Hasher::new());
    let mut sha512 = wants_sha512.then(sha2::Sha512::new);
    let (mut buffer, mut size) = (vec![0; BUFFER], 0);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(Failure::Read(cause)),
        };
        let bytes = &buffer[..count];
        sha256.update(bytes);
        if let Some(sha512) = &mut sha512 {
            sha512.update(bytes);
        }
        blake3.update(bytes);
        to.write_all(bytes).map_err(Failure::Write)?;
        size += count as u64;
    }
    Ok(Sums {
        size,
        sha256: Digest::from_sha256(&sha256.finalize().into()),
        sha512: sha512.map(|sha512| Digest::from_sha512(&sha512.finalize().into())),
        blake3: ContentHash(*blake3.finalize().as_bytes()),
    })
}

fn check(url: &Url, sums: &Sums, expected: Option<&Digest>) -> Result<(), FetchError> {
    let found = sums.sha512.as_ref().unwrap_or(&sums.sha256);
    let Some(expected) = expected.filter(|expected| *expected != found) else { return Ok(()) };
    let url = format!("{}://{}{}", url.scheme(), host(url).unwrap_or_default(), url.path());
    Err(FetchError::Checksum { url, found: found.clone(), expected: expected.clone() })
}

fn seconds(date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    since.as_secs().try_into().ok()
}

//! Static tokens: made by an operator, kept in a file as hashes.
//!
//! A token is `yk_ID_SECRET`. The secret has 256 random bits, so one SHA-256 of it is as good as
//! a slow hash, and cheap enough for every request.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::grant::{Grant, Grants};
use super::identity::{Identity, Proof};

const PREFIX: &str = "yk_";
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 6;
/// A file of more is not one of ours.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The tokens of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenFile {
    tokens: Vec<StoredToken>,
}

/// What is known of a token; not the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredToken {
    pub(crate) id: String,
    /// What it is for; shown in logs.
    pub(crate) name: String,
    /// SHA-256 of the secret, in hex.
    sha256: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    pub(crate) grants: Vec<Grant>,
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenFileError {
    #[error("failed to read the token file {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the token file {path} is damaged", path = .0.display())]
    Damaged(PathBuf, #[source] serde_json::Error),
    #[error("failed to write the token file {path}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("no random numbers for a new token")]
    Random(#[source] getrandom::Error),
}

impl TokenFile {
    /// Reads the file; one that is not there holds nothing.
    pub(crate) fn load(path: &Path) -> Result<Self, TokenFileError> {
        let unreadable = |error| TokenFileError::Read(path.to_owned(), error);
        let size = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
        };
        if size > MAX_FILE_BYTES {
            return Err(unreadable(io::Error::other("the file is larger than it can be")));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        serde_json::from_slice(&bytes).map_err(|error| TokenFileError::Damaged(path.to_owned(), error))
    }

    /// Replaces the file; only its owner can read it.
    pub(crate) fn save(&self, path: &Path) -> Result<(), TokenFileError> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|error| TokenFileError::Write(path.to_owned(), error))
    }

    /// Makes a token and returns it; it cannot be had again.
    pub(crate) fn create(
        &mut self,
        name: &str,
        grants: Vec<Grant>,
        expires: Option<Timestamp>,
    ) -> Result<String, TokenFileError> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random).map_err(TokenFileError::Random)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex(id), URL_SAFE_NO_PAD.encode(secret));
        let text = format!("{PREFIX}{id}_{secret}");
        let (name, sha256) = (name.to_owned(), hex(&Sha256::digest(&secret)));
        self.tokens.push(StoredToken { id, name, sha256, created: Timestamp::now(), expires, grants });
        Ok(text)
    }

    /// Forgets a token; false when there is none of that ID.
    pub(crate) fn revoke(&mut self, id: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.id != id);
        self.tokens.len() < before
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredToken> {
        self.tokens.iter()
    }

    /// Whose token this is; `None` when it is wrong, revoked or expired at `now`.
    pub(crate) fn identify(&self, text: &str, now: Timestamp) -> Option<Identity> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let token = self.tokens.iter().find(|token| token.id == id)?;
        let same = hex(&Sha256::digest(secret)).as_bytes().ct_eq(token.sha256.as_bytes());
        if !bool::from(same) || token.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let grants: Grants = token.grants.iter().cloned().collect();
        Some(Identity::new(format!("token:{}", token.name), Arc::new(grants), Proof::Credentials))
    }
}

/// Says whether a text claims to be a static token.
pub(super) fn looks_like(text: &str) -> bool {
    text.starts_with(PREFIX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Vec<Grant> {
        vec!["team/**=pull".parse().expect("valid")]
    }

    #[test]
    fn a_token_works_until_it_is_revoked() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tokens.json");
        let mut file = TokenFile::load(&path).expect("an absent file is empty");
        let text = file.create("ci", grants(), None).expect("made");
        file.save(&path).expect("written");
        let secret = text.rsplit('_').next().expect("a secret");
        assert!(!fs::read_to_string(&path).expect("read").contains(secret));
        let mut file = TokenFile::load(&path).expect("read");
        let now = Timestamp::now();
        assert_eq!(file.identify(&text, now).map(|identity| identity.name().to_string()), Some("token:ci".into()));
        for wrong in [&text[..text.len() - 1], &format!("{text}x"), "yk_", "yk__", "", &text.to_uppercase()] {
            assert!(file.identify(wrong, now).is_none(), "{wrong}");
        }
        let id = file.iter().next().expect("one").id.clone();
        assert!(file.revoke(&id) && !file.revoke(&id));
        assert!(file.identify(&text, now).is_none());
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let mut file = TokenFile::default();
        let end = Timestamp::from_second(1000).expect("valid");
        let text = file.create("ci", grants(), Some(end)).expect("made");
        assert!(file.identify(&text, Timestamp::from_second(999).expect("valid")).is_some());
        assert!(file.identify(&text, end).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tokens.json");
        TokenFile::default().save(&path).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").expect("written");
        assert!(matches!(TokenFile::load(&path), Err(TokenFileError::Damaged(..))));
    }
}

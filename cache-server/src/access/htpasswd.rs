//! Users of an htpasswd file, with bcrypt hashes only.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Hashes that take longer than this are refused: they would let strangers keep a core busy.
const MAX_COST: u32 = 14;
/// Hash of no password at all, so that an unknown user takes as long as a known one.
const NOBODY: &str = "$2y$10$abcdefghijklmnopqrstuuMpMLbSkwAWqQ6k7GWbbTSIjCs8Y1Cxq";

/// User names and bcrypt hashes.
#[derive(Default)]
pub(crate) struct Htpasswd(HashMap<String, String>);

/// Why an htpasswd file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HtpasswdError {
    #[error("failed to read the htpasswd file {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{path}:{line}: expected USER:HASH with a bcrypt hash of cost up to {MAX_COST} (htpasswd -B)", path = .path.display())]
    Line { path: PathBuf, line: usize },
}

impl Htpasswd {
    pub(crate) fn load(path: &Path) -> Result<Self, HtpasswdError> {
        let text = fs::read_to_string(path).map_err(|error| HtpasswdError::Read(path.to_owned(), error))?;
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let user = |(line, text)| parse(text).ok_or_else(|| HtpasswdError::Line { path: path.to_owned(), line });
        entries.map(user).collect::<Result<_, _>>().map(Self)
    }

    /// Compares a password with the user's; takes tens of milliseconds, whoever the user is.
    pub(crate) fn verify(&self, user: &str, password: &str) -> bool {
        let hash = self.0.get(user);
        let matches = bcrypt::verify(password, hash.map_or(NOBODY, String::as_str)).unwrap_or(false);
        matches && hash.is_some()
    }
}

impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Htpasswd({} users)", self.0.len())
    }
}

fn parse(line: &str) -> Option<(String, String)> {
    let (user, hash) = line.split_once(':')?;
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    (!user.is_empty() && parts.get_cost() <= MAX_COST).then(|| (user.into(), hash.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Htpasswd, HtpasswdError> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        fs::write(file.path(), text).expect("written");
        Htpasswd::load(file.path())
    }

    #[test]
    fn passwords_are_compared() {
        let hash = bcrypt::hash("secret", 4).expect("hashed");
        let users = load(&format!("# people\n\nalice:{hash}\n")).expect("valid");
        assert!(users.verify("alice", "secret"));
        assert!(!users.verify("alice", "Secret") && !users.verify("bob", "secret") && !users.verify("", ""));
    }

    #[test]
    fn other_hashes_are_refused_with_their_line() {
        let expensive = "$2y$20$abcdefghijklmnopqrstuuMpMLbSkwAWqQ6k7GWbbTSIjCs8Y1Cxq";
        for hash in ["{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=", "$apr1$x$y", "plain", expensive] {
            let error = load(&format!("# people\nalice:{hash}\n")).expect_err("refused").to_string();
            assert!(error.contains(":2: expected"), "{error}");
            assert!(!error.contains(hash), "{error}");
        }
    }

    #[test]
    fn the_hash_of_nobody_is_a_hash() {
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
        assert!(bcrypt::verify("", NOBODY).is_ok());
    }
}

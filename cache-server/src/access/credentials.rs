//! The `Authorization` header. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// What a caller shows; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Presented {
    Basic { user: String, password: String },
    Bearer(String),
}

/// A header that holds no credentials that we understand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed Authorization header: expected Basic or Bearer credentials")]
pub(crate) struct Malformed;

impl Presented {
    /// Reads the value of an `Authorization` header.
    pub(crate) fn parse(header: &str) -> Result<Self, Malformed> {
        let (scheme, value) = header.trim().split_once(' ').ok_or(Malformed)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
            return Ok(Self::Bearer(value.into()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Malformed);
        }
        let decoded = STANDARD.decode(value).map_err(|_| Malformed)?;
        let text = String::from_utf8(decoded).map_err(|_| Malformed)?;
        let (user, password) = text.split_once(':').ok_or(Malformed)?;
        Ok(Self::Basic { user: user.into(), password: password.into() })
    }

    /// The part that must be kept secret.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Self::Basic { password, .. } => password,
            Self::Bearer(token) => token,
        }
    }

    /// Names these credentials without holding them.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let user = if let Self::Basic { user, .. } = self { user.as_str() } else { "" };
        let mut hasher = Sha256::new();
        hasher.update((user.len() as u64).to_le_bytes());
        hasher.update(user);
        hasher.update(self.secret());
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let basic = |user: &str, password: &str| Presented::Basic { user: user.into(), password: password.into() };
        assert_eq!(Presented::parse("Basic YTpiOmM="), Ok(basic("a", "b:c")));
        assert_eq!(Presented::parse("bearer  x.y"), Ok(Presented::Bearer("x.y".into())));
        for bad in ["", "Basic", "Basic !", "Basic YQ==", "Bearer ", "Digest x", "Basic /w=="] {
            assert_eq!(Presented::parse(bad), Err(Malformed), "{bad}");
        }
        assert_ne!(basic("ab", "c").fingerprint(), basic("a", "bc").fingerprint());
        assert!(!format!("{:?}", basic("user", "hunter2")).contains("hunter2"));
    }
}

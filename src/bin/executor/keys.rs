//! Key files that flags name.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use yadokari::signature::{KeyError, SigningKey, TrustedKey};

use crate::command_line::settings::{Environment, SettingsError, usage};

/// A private key; an encrypted one is opened with the password in `YADOKARI_SIGN_PASSWORD`, else `COSIGN_PASSWORD`.
pub(crate) fn signing_key(flag: &str, path: &Path, env: Environment<'_>) -> Result<SigningKey, SettingsError> {
    SigningKey::from_pem(&read(path)?, password(env).as_bytes()).map_err(|error| unusable(flag, path, &error))
}

/// That of `--sign-key`, which an empty name switches off.
pub(crate) fn signer(flag: Option<&OsStr>, env: Environment<'_>) -> Result<Option<SigningKey>, SettingsError> {
    let key = flag.filter(|path| !path.is_empty());
    key.map(|path| signing_key("--sign-key", Path::new(path), env)).transpose()
}

/// A public key.
pub(crate) fn trusted_key(flag: &str, path: &Path) -> Result<TrustedKey, SettingsError> {
    TrustedKey::from_pem(&read(path)?).map_err(|error| unusable(flag, path, &error))
}

/// Of private keys. An empty one is one.
pub(crate) fn password(env: Environment<'_>) -> String {
    env("YADOKARI_SIGN_PASSWORD").or_else(|| env("COSIGN_PASSWORD")).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read { what: "key", path: path.into(), source })
}

fn unusable(flag: &str, path: &Path, error: &KeyError) -> SettingsError {
    usage(format!("{flag} {}: {error}", path.display()))
}

//! `executor login`: keeps a user and password in Docker's configuration file.

// Doc comments are help texts here: brackets mean optional parts.
#![allow(rustdoc::broken_intra_doc_links)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::command_line::settings::{SettingsError, credential_files, env, usage};

/// No registry has a longer one.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct LoginFlags {
    /// HOST[:PORT]; Docker Hub is docker.io.
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: String,
    /// User name.
    #[arg(short, long, value_name = "NAME")]
    username: String,
    /// Password; other processes can see it: --password-stdin keeps it from them.
    #[arg(short, long, value_name = "TEXT", required_unless_present = "password_stdin")]
    password: Option<String>,
    /// Read the password from the standard input.
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("failed to read the password from the standard input")]
    Password(#[source] io::Error),
    #[error("failed to {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The parser's message may quote a secret.
    #[error("{} is no configuration file of Docker's (line {line}): repair it, or move it away", path.display())]
    Malformed { path: PathBuf, line: usize },
    #[error("{} leaves credentials for {registry} to docker-credential-{helper}: log in with it", path.display())]
    Helper { path: PathBuf, registry: String, helper: String },
}

/// The key of the entry: Docker Hub has one of its own.
fn registry(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "index.docker.io/v1" => {
            Ok("https://index.docker.io/v1/".into())
        }
        _ if is_host => Ok(host.to_owned()),
        _ => Err("expected HOST[:PORT]".into()),
    }
}

/// Carries out the command. The registry is not asked.
pub(crate) fn run(flags: &LoginFlags) -> Result<PathBuf, crate::failure::Failure> {
    let password = password(flags)?;
    if password.is_empty() || flags.username.is_empty() || flags.username.contains(':') {
        let why = "a login needs a user name without a colon, and a password";
        return Err(SettingsError::Usage(why.into()).into());
    }
    let path = credential_files(&env).into_iter().next().ok_or_else(|| usage("there is no home directory"))?;
    let auth = STANDARD.encode(format!("{}:{password}", flags.username));
    store(&path, &flags.registry, &auth)?;
    Ok(path)
}

fn password(flags: &LoginFlags) -> Result<String, LoginError> {
    if let Some(password) = &flags.password {
        return Ok(password.clone());
    }
    let mut text = String::new();
    io::stdin().take(MAX_PASSWORD_BYTES).read_to_string(&mut text).map_err(LoginError::Password)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Everything else in the file stays as it is.
fn store(path: &Path, registry: &str, auth: &str) -> Result<(), LoginError> {
    let mut file = read(path)?;
    if let Some(helper) = helper(&file, registry) {
        return Err(LoginError::Helper { path: path.into(), registry: registry.into(), helper });
    }
    let auths = file.entry("auths").or_insert_with(|| json!({}));
    let malformed = || LoginError::Malformed { path: path.into(), line: 1 };
    auths.as_object_mut().ok_or_else(malformed)?.insert(registry.to_owned(), json!({ "auth": auth }));
    write(path, &Value::Object(file))
}

fn read(path: &Path) -> Result<Map<String, Value>, LoginError> {
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Ok(Map::new()),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| LoginError::Malformed { path: path.into(), line: error.line() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(source) => Err(LoginError::File { action: "read", path: path.into(), source }),
    }
}

/// Who is asked instead of `auths`.
fn helper(file: &Map<String, Value>, registry: &str) -> Option<String> {
    let of_registry = file.get("credHelpers").and_then(|helpers| helpers.get(registry));
    let named = of_registry.or_else(|| file.get("credsStore")).and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// For the user alone. By rename, through a link to the file that it names.
fn write(path: &Path, value: &Value) -> Result<(), LoginError> {
    let failed = |source| LoginError::File { action: "write", path: path.into(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    file.write_all(format!("{value:#}\n").as_bytes()).map_err(failed)?;
    file.persist(target).map(drop).map_err(|error| failed(error.error))
}

//! Credential programs (`docker-credential-<name>`).

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::credentials::{Credential, CredentialsError, Secret};
use super::error::clean;

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_OUTPUT: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks `docker-credential-<name> get` for the credentials of `server`; `None` when it has none.
/// The program is looked for in `directories`, then in PATH; no shell is involved.
///
/// # Errors
/// [`CredentialsError::Helper`]; its text holds nothing that the program wrote on success.
///
/// # Source
/// docker-credential-helpers, "Development": the server on standard input, JSON on standard output.
pub(super) fn ask(name: &str, server: &str, directories: &[PathBuf]) -> Result<Option<Credential>, CredentialsError> {
    let fail = |reason: String| CredentialsError::Helper { helper: name.to_owned(), reason };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err(fail("the name is not acceptable".to_owned()));
    }
    let mut child = start(name, directories).map_err(|error| fail(format!("cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input says why on its output.
        let _ = input.write_all(server.as_bytes());
    }
    let output = read_output(&mut child).ok_or_else(|| fail("no answer in time".to_owned()))?;
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    if status.success() {
        let output: Output = serde_json::from_slice(&output).map_err(|_| fail("malformed answer".to_owned()))?;
        return Ok(credential(output));
    }
    let text = String::from_utf8_lossy(&output);
    if text.contains("credentials not found") {
        return Ok(None);
    }
    Err(fail(clean(&text).unwrap_or_else(|| status.to_string())))
}

fn start(name: &str, directories: &[PathBuf]) -> std::io::Result<Child> {
    let program = format!("docker-credential-{name}");
    let found = directories.iter().map(|directory| directory.join(&program)).find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| program.into()))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Reads the output on a thread, since a hanging program must not hang the build.
fn read_output(child: &mut Child) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let _ = stdout.take(MAX_OUTPUT).read_to_end(&mut output);
        let _ = sender.send(output);
    });
    let output = receiver.recv_timeout(PATIENCE).ok();
    if output.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    output
}

/// The user name `<token>` marks an identity token.
fn credential(output: Output) -> Option<Credential> {
    match output.username.as_str() {
        "" => None,
        "<token>" => Some(Credential::IdentityToken(Secret::new(output.secret))),
        _ => Some(Credential::Basic { username: output.username, password: Secret::new(output.secret) }),
    }
}

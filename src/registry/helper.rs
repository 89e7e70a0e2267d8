//! Credential programs (`docker-credential-<name>`).

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::credentials::{Credential, CredentialsError, Secret};
use super::error::clean;

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_OUTPUT: u64 = 64 << 10;
/// How long a program that has closed its output may go on.
const LAST_WORDS: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Programs whose work [`super::Credentials::with_environment`] does: they need not be there.
const BUILT_IN: [&str; 6] = ["ecr-login", "gcr", "gcloud", "acr-env", "acr", "env"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks `docker-credential-<name> get` for the credentials of `server`; `None` when it has none, or is one of ours that
/// is not installed. The program is looked for in `directories`, then in PATH; no shell is involved. It has a minute.
///
/// # Errors
/// [`CredentialsError::Helper`]; its text holds nothing that the program wrote on success.
///
/// # Source
/// docker-credential-helpers, "Development": the server on standard input, JSON on standard output.
pub(super) fn ask(name: &str, server: &str, directories: &[PathBuf]) -> Result<Option<Credential>, CredentialsError> {
    ask_within(PATIENCE, name, server, directories)
        .map_err(|reason| CredentialsError::Helper { helper: name.to_owned(), reason })
}

fn ask_within(
    patience: Duration,
    name: &str,
    server: &str,
    directories: &[PathBuf],
) -> Result<Option<Credential>, String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Err("the name is not acceptable".to_owned());
    }
    let child = match start(name, directories) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && BUILT_IN.contains(&name) => return Ok(None),
        child => child.map_err(|error| format!("cannot be started: {error}"))?,
    };
    let (output, status) = run(child, server, patience)?;
    if output.len() as u64 > MAX_OUTPUT {
        return Err(format!("it answered more than {} KiB", MAX_OUTPUT >> 10));
    }
    if status.success() {
        let malformed = |_| "its answer is not the JSON with Username and Secret that was expected".to_owned();
        return serde_json::from_slice(&output).map_err(malformed).map(credential);
    }
    let text = String::from_utf8_lossy(&output);
    if text.contains("credentials not found") {
        return Ok(None);
    }
    Err(clean(&text).unwrap_or_else(|| status.to_string()))
}

/// In a process group of its own, so that what it starts can be ended with it.
fn start(name: &str, directories: &[PathBuf]) -> io::Result<Child> {
    let program = format!("docker-credential-{name}");
    let found = directories.iter().map(|directory| directory.join(&program)).find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| program.into()))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Sends `input`, takes the output, and leaves no process behind.
fn run(mut child: Child, input: &str, patience: Duration) -> Result<(Vec<u8>, ExitStatus), String> {
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says why on its output.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = read_output(&mut child, patience);
    let until = Instant::now() + if output.is_some() { LAST_WORDS } else { Duration::ZERO };
    let status = wait(&mut child, until).map_err(|error| error.to_string())?;
    if status.is_none() {
        end(&mut child);
    }
    let late = || format!("it did not answer and end within {} s, and was stopped", patience.as_secs());
    output.zip(status).ok_or_else(late)
}

fn wait(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= until {
            return Ok(status);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads the output on a thread, since a hanging program must not hang the build.
fn read_output(child: &mut Child, patience: Duration) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let _ = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output);
        let _ = sender.send(output);
    });
    receiver.recv_timeout(patience).ok()
}

/// The user name `<token>` marks an identity token.
fn credential(output: Output) -> Option<Credential> {
    match output.username.as_str() {
        "" => None,
        "<token>" => Some(Credential::IdentityToken(Secret::new(output.secret))),
        _ => Some(Credential::Basic { username: output.username, password: Secret::new(output.secret) }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn answer(script: &str) -> Result<Option<Credential>, String> {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        ask_within(Duration::from_secs(1), "test", "r.example", &[folder.path().to_owned()])
    }

    #[test]
    fn programs_that_hang_are_stopped_with_their_children() {
        let folder = tempfile::tempdir().expect("tempdir");
        let pids = folder.path().join("pids");
        let note = format!("echo $! >> {}", pids.display());
        for script in [
            format!("sleep 600 & {note}; wait"),
            format!("sleep 600 & {note}; echo '{{\"Username\":\"u\",\"Secret\":\"hunter2\"}}'; exec >&-; wait"),
        ] {
            let error = answer(&script).expect_err("it hangs");
            assert!(error.contains("did not answer and end") && !error.contains("hunter2"), "{error}");
        }
        let is_gone = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let pids = fs::read_to_string(&pids).expect("pids");
        assert_eq!(pids.lines().count(), 2);
        // The kernel may take a moment to end what is killed.
        let gone = (0..500).any(|_| {
            thread::sleep(LOOK_AGAIN);
            pids.lines().all(is_gone)
        });
        assert!(gone, "left behind: {pids}");
    }

    #[test]
    fn rubbish_is_named_and_not_shown() {
        for script in ["echo hunter2", "printf '\\377\\000hunter2'", "echo '{\"Username\":7}hunter2'", "true"] {
            let error = answer(script).expect_err(script);
            assert!(error.contains("not the JSON") && !error.contains("hunter2"), "{error}");
        }
        let endless = answer("while echo hunter2hunter2hunter2hunter2hunter2hunter2; do :; done").expect_err("endless");
        assert!(endless.contains("more than 64 KiB"), "{endless}");
        let failed = answer("printf '\\033[31mno\\n'; exit 2").expect_err("failed");
        assert_eq!(failed, "[31mno");
        assert_eq!(answer("exit 3").expect_err("failed"), "exit status: 3");
    }

    #[test]
    fn programs_that_are_built_in_need_not_be_there() {
        assert_eq!(ask_within(PATIENCE, "ecr-login", "r.example", &[]), Ok(None));
        assert!(ask_within(PATIENCE, "of-somebody-else", "r.example", &[]).is_err());
    }
}

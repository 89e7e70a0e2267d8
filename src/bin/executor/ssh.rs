//! `--ssh`: agents that the user has, and private ones for keys in files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command_line::settings::{Environment, SettingsError, usage};

/// More than any private key, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 20;

/// Where an agent comes from.
#[derive(Debug, PartialEq, Eq)]
enum AgentSource {
    /// A socket that somebody listens at.
    Socket(PathBuf),
    /// Private keys, to be given to an agent of our own.
    Keys(Vec<PathBuf>),
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("--ssh {id} names keys, which need the programs ssh-agent and ssh-add; {program} is not installed")]
    Missing { id: String, program: &'static str },
    #[error("--ssh {id}: failed to start {program}")]
    Start {
        id: String,
        program: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("--ssh {id}: ssh-agent ended at once")]
    Ended { id: String },
    #[error("--ssh {id}: failed to read key {}", path.display())]
    Key {
        id: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("--ssh {id}: ssh-add did not take key {}: {}", path.display(), said.trim())]
    Refused { id: String, path: PathBuf, said: String },
}

/// Agents by id; the private ones end when this is dropped.
#[derive(Default)]
pub(crate) struct Agents {
    pub(crate) sockets: BTreeMap<String, PathBuf>,
    private: Vec<PrivateAgent>,
}

struct PrivateAgent(Child);

impl Drop for PrivateAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The agents that `--ssh` names, not yet started.
pub(crate) struct AgentRequests(BTreeMap<String, AgentSource>);

/// Reads the flags; looks at the files that they name, but not into them.
pub(crate) fn requests(specs: &[String], env: Environment<'_>) -> Result<AgentRequests, SettingsError> {
    let mut requests = BTreeMap::new();
    for spec in specs {
        let (id, source) = source(spec, env)?;
        if requests.insert(id.clone(), source).is_some() {
            return Err(usage(format!("--ssh {id}: given twice")));
        }
    }
    Ok(AgentRequests(requests))
}

/// `ID` alone is the agent of `SSH_AUTH_SOCK`; `ID=PATH[,PATH]` a socket, or keys.
///
/// # Source
/// BuildKit's `--ssh`.
fn source(spec: &str, env: Environment<'_>) -> Result<(String, AgentSource), SettingsError> {
    let (id, paths) = spec.split_once('=').unwrap_or((spec, ""));
    if id.is_empty() {
        return Err(usage(format!("--ssh {spec:?}: the id is empty")));
    }
    if paths.is_empty() {
        let socket = env("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let socket = socket.ok_or_else(|| usage(format!("--ssh {id}: no path, and SSH_AUTH_SOCK is not set")))?;
        return Ok((id.to_owned(), AgentSource::Socket(socket.into())));
    }
    let paths: Vec<PathBuf> = paths.split(',').map(PathBuf::from).collect();
    let mut sockets = 0;
    for path in &paths {
        let read = |source| SettingsError::Read { what: "ssh agent or key", path: path.clone(), source };
        sockets += usize::from(fs::metadata(path).map_err(read)?.file_type().is_socket());
    }
    match (sockets, <[PathBuf; 1]>::try_from(paths)) {
        (0, Ok(key)) => Ok((id.to_owned(), AgentSource::Keys(key.into()))),
        (0, Err(keys)) => Ok((id.to_owned(), AgentSource::Keys(keys))),
        (_, Ok([socket])) => Ok((id.to_owned(), AgentSource::Socket(socket))),
        (_, Err(_)) => Err(usage(format!("--ssh {id}: one socket, or any number of keys"))),
    }
}

impl AgentRequests {
    /// Starts the private agents, with their sockets in `directory`.
    pub(crate) fn start(self, directory: &Path) -> Result<Agents, AgentError> {
        let mut agents = Agents::default();
        for (number, (id, source)) in self.0.into_iter().enumerate() {
            let socket = match source {
                AgentSource::Socket(socket) => socket,
                AgentSource::Keys(keys) => {
                    let socket = directory.join(format!("agent-{number}"));
                    agents.private.push(private_agent(&id, &socket)?);
                    keys.iter().try_for_each(|key| add_key(&id, &socket, key))?;
                    socket
                }
            };
            agents.sockets.insert(id, socket);
        }
        Ok(agents)
    }
}

/// Returns when it listens.
fn private_agent(id: &str, socket: &Path) -> Result<PrivateAgent, AgentError> {
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(socket).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut agent = PrivateAgent(command.spawn().map_err(|source| unstartable(id, "ssh-agent", source))?);
    // What it prints, it prints once the socket is there.
    let mut line = String::new();
    let said = agent.0.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    match said {
        Some(Ok(1..)) => Ok(agent),
        _ => Err(AgentError::Ended { id: id.to_owned() }),
    }
}

fn unstartable(id: &str, program: &'static str, source: std::io::Error) -> AgentError {
    let id = id.to_owned();
    match source.kind() {
        ErrorKind::NotFound => AgentError::Missing { id, program },
        _ => AgentError::Start { id, program, source },
    }
}

/// By standard input: ssh-add refuses files that others may read, as those of a Pod's secret are.
fn add_key(id: &str, socket: &Path, path: &Path) -> Result<(), AgentError> {
    let mut key = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY_BYTES).read_to_end(&mut key));
    read.map_err(|source| AgentError::Key { id: id.to_owned(), path: path.to_owned(), source })?;
    let mut command = Command::new("ssh-add");
    command.args(["-q", "-"]).env("SSH_AUTH_SOCK", socket);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |source| unstartable(id, "ssh-add", source);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // When it ends before it has read all, it says why.
        let _ = input.write_all(&key);
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(AgentError::Refused { id: id.to_owned(), path: path.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_alone_is_the_agent_of_the_environment() {
        let env = |name: &str| (name == "SSH_AUTH_SOCK").then(|| "/run/agent".to_owned());
        let found = source("default", &env).expect("a socket");
        assert_eq!(found, ("default".to_owned(), AgentSource::Socket("/run/agent".into())));
        assert!(source("default", &|_| None).is_err_and(|error| error.to_string().contains("SSH_AUTH_SOCK")));
        assert!(source("=x", &env).is_err());
        assert!(requests(&["a".into(), "a".into()], &env).is_err_and(|error| error.to_string().contains("twice")));
    }

    #[test]
    fn paths_are_one_socket_or_keys() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).expect("socket");
        for name in ["one", "two"] {
            fs::write(path(name), "key").expect("file");
        }
        let parse = |names: &[&str]| {
            let paths: Vec<String> = names.iter().map(|name| path(name).display().to_string()).collect();
            source(&format!("id={}", paths.join(",")), &|_| None).map(|(_, source)| source)
        };
        assert_eq!(parse(&["socket"]).expect("socket"), AgentSource::Socket(path("socket")));
        assert_eq!(parse(&["one", "two"]).expect("keys"), AgentSource::Keys(vec![path("one"), path("two")]));
        assert!(parse(&["one", "socket"]).is_err());
        assert!(parse(&["missing"]).is_err());
    }
}

//! The `--mount`s of a RUN, made ready on the host.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::super::error::BuildError;
use super::super::evaluate::Evaluator;
use super::super::state::StageState;
use super::super::trees::StageSource;
use super::agent::AgentSocket;
use crate::plan::{Mount, RunOp, Source};
use crate::sandbox::{self, MountKind};

/// Mounts ready for the sandbox. Dropping it releases the locks of cache mounts, closes agents, and
/// removes the files with secrets: in place, the next step could read them.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<sandbox::Mount>,
    /// From secrets.
    pub(super) env: Vec<(String, String)>,
    pub(super) locks: Vec<File>,
    agents: Vec<AgentSocket>,
    files: Vec<PathBuf>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

impl Prepared {
    fn add(&mut self, target: &str, kind: MountKind) {
        self.mounts.push(sandbox::Mount { kind, target: target.to_owned() });
    }
}

/// Who a file, socket or directory made for a mount belongs to.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Evaluator<'_> {
    pub(super) fn prepare_mounts(&self, op: &RunOp) -> Result<Prepared, BuildError> {
        let mut prepared = Prepared::default();
        if let Some(script) = &op.script {
            let owner = Ownership { mode: 0o755, uid: 0, gid: 0 };
            let source = self.private_file(script.body.as_bytes(), owner)?;
            prepared.files.push(source.clone());
            let target = format!("{}/{}", self.shop.rooms.script_directory(), script.name);
            prepared.add(&target, MountKind::Bind { source, readonly: true });
        }
        let mut caches = self.claim_caches(op, &mut prepared)?;
        for (number, mount) in op.mounts.iter().enumerate() {
            match (mount, caches.remove(&number)) {
                (Mount::Cache { target, readonly, .. }, Some(source)) => {
                    prepared.add(target, MountKind::Bind { source, readonly: *readonly });
                }
                _ => self.prepare_mount(mount, &mut prepared)?,
            }
        }
        // Whatever their order in the line, what is below another comes after it.
        prepared.mounts.sort_by(|left, right| left.target.cmp(&right.target));
        Ok(prepared)
    }

    fn prepare_mount(&self, mount: &Mount, prepared: &mut Prepared) -> Result<(), BuildError> {
        match mount {
            Mount::Bind { from, source, target, writable } => {
                let kind = self.bind(from, source, target, *writable)?;
                prepared.add(target, kind);
            }
            // Claimed before.
            Mount::Cache { .. } => {}
            Mount::Tmpfs { target, size_bytes, readonly } => {
                prepared.add(target, MountKind::Tmpfs { size_bytes: *size_bytes, readonly: *readonly });
            }
            Mount::Secret { .. } => self.secret(mount, prepared)?,
            Mount::Ssh { .. } => self.ssh(mount, prepared)?,
        }
        Ok(())
    }

    /// Files of the context, a stage or an image; writes to them are discarded.
    fn bind(&self, from: &Source, source: &str, target: &str, writable: bool) -> Result<MountKind, BuildError> {
        if let (Some(mut state), true) = (self.source_state(from)?, self.shop.rooms.extracts()) {
            self.learn(&mut state)?;
            let lowers = self.shop.materials.lowers(state.layers())?;
            return Ok(MountKind::Layers { lowers, source: source.to_owned(), writable });
        }
        let copy = self.copied_source(from, source, target)?;
        Ok(if writable {
            MountKind::Discard { source: copy }
        } else {
            MountKind::Bind { source: copy, readonly: true }
        })
    }

    fn source_state(&self, from: &Source) -> Result<Option<StageState>, BuildError> {
        match self.source(from)? {
            StageSource::Layers(state) => Ok(Some(state)),
            StageSource::Files(_) => Ok(None),
        }
    }

    /// A copy below the work directory, made once per source and build.
    fn copied_source(&self, from: &Source, source: &str, target: &str) -> Result<PathBuf, BuildError> {
        let memo = (from.clone(), source.to_owned());
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = copied.get(&memo) {
            return Ok(path.clone());
        }
        let directory = self.shop.services.work.join("mounts").join(self.shop.rooms.next_number().to_string());
        let missing = || BuildError::Mount { target: target.to_owned(), reason: format!("{source:?}: not found") };
        let path = self.write_source(from, source, &directory)?.ok_or_else(missing)?;
        copied.insert(memo, path.clone());
        Ok(path)
    }

    fn secret(&self, mount: &Mount, prepared: &mut Prepared) -> Result<(), BuildError> {
        let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
        let secret = self.shop.request.secrets.get(id);
        if secret.is_none() && *required {
            let reason = format!("secret {id}: not found");
            return Err(BuildError::Mount { target: target.clone().unwrap_or_else(|| id.clone()), reason });
        }
        if let Some(name) = env {
            let value = secret.map(|secret| String::from_utf8_lossy(&secret.0).into_owned()).unwrap_or_default();
            prepared.env.push((name.clone(), value));
        }
        if let (Some(target), Some(secret)) = (target, secret) {
            let owner = Ownership { mode: *mode, uid: *uid, gid: *gid };
            let source = self.private_file(&secret.0, owner)?;
            prepared.files.push(source.clone());
            prepared.add(target, MountKind::Bind { source, readonly: true });
        }
        Ok(())
    }

    /// An agent that was not given is left out, unless the step needs it. The variable that tells ssh
    /// where it is comes from the plan.
    fn ssh(&self, mount: &Mount, prepared: &mut Prepared) -> Result<(), BuildError> {
        let Mount::Ssh { id, target, required, mode, uid, gid } = mount else { return Ok(()) };
        let unusable = |reason: String| BuildError::Mount { target: target.clone(), reason };
        let Some(agent) = self.shop.request.ssh.get(id) else {
            return if *required { Err(unusable(format!("no ssh agent {id:?} was given; see --ssh"))) } else { Ok(()) };
        };
        let path = self.private_path()?;
        let owner = Ownership { mode: *mode, uid: *uid, gid: *gid };
        let socket = AgentSocket::open(&path, agent, owner);
        let socket = socket.map_err(|error| unusable(format!("ssh agent {id:?} at {}: {error}", agent.display())))?;
        prepared.agents.push(socket);
        prepared.add(target, MountKind::Bind { source: path, readonly: false });
        Ok(())
    }

    /// A new name in a directory that only the executor reaches.
    fn private_path(&self) -> Result<PathBuf, BuildError> {
        let directory = self.shop.services.work.join("private");
        fs::create_dir_all(&directory).map_err(BuildError::file("create", &directory))?;
        Ok(directory.join(self.shop.rooms.next_number().to_string()))
    }

    /// A file of the work directory that only its owner can read while it is written.
    fn private_file(&self, bytes: &[u8], owner: Ownership) -> Result<PathBuf, BuildError> {
        let path = self.private_path()?;
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            chown(&path, Some(owner.uid), Some(owner.gid))?;
            file.set_permissions(Permissions::from_mode(owner.mode))
        };
        write().map_err(BuildError::file("write", &path))?;
        Ok(path)
    }
}

/// Sources of bind mounts that were copied out; locked while one is.
pub(in super::super) type CopiedSources = Mutex<HashMap<(Source, String), PathBuf>>;

//! RUN.

use crate::dockerfile::{Run, RunCommand};

use super::mount::{self, MountContext, Resolved};
use super::stage::{Effect, StageBuilder};
use super::{Mount, Network, Op, PlanFault, RunOp, Script, path};

/// Where the script of a heredoc is mounted.
const SCRIPTS: &str = "/dev/pipes";

/// The build argument that names the host of every RUN.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

impl StageBuilder<'_> {
    /// Evaluates a RUN; its command is never expanded here.
    pub(super) fn run(&self, run: &Run) -> Result<Effect, PlanFault> {
        if run.security.as_deref() == Some("insecure") {
            return Err(PlanFault::Insecure);
        }
        if !run.devices.is_empty() {
            return Err(PlanFault::Device);
        }
        let (argv, script) = self.command(&run.command)?;
        let mounts = self.mounts(&run.mounts)?;
        let created_by = format!("RUN {}{} # buildkit", self.noted_arguments(), argv.join(" "));
        let op = RunOp {
            argv,
            script,
            env: self.environment(&mounts),
            proxy_env: self.sources.proxies.clone(),
            user: self.image.config.user.clone(),
            workdir: self.workdir().to_owned(),
            mounts,
            network: network(run.network.as_deref()),
            hostname: self.sources.graph.options.build_args.get(HOSTNAME).filter(|name| !name.is_empty()).cloned(),
        };
        Ok(Effect { created_by: Some(created_by), op: Some(Op::Run(op)) })
    }

    fn command(&self, command: &RunCommand) -> Result<(Vec<String>, Option<Script>), PlanFault> {
        match command {
            RunCommand::Exec(words) => Ok((words.clone(), None)),
            RunCommand::Shell(text) => Ok((self.in_shell(text), None)),
            RunCommand::Script(heredoc) if heredoc.body.starts_with("#!") => {
                let name = file_name(&heredoc.name)?;
                let program = format!("{SCRIPTS}/{name}");
                if path::join(SCRIPTS, &format!("./{}", heredoc.name)) != program {
                    return Err(PlanFault::HeredocName(heredoc.name.clone()));
                }
                Ok((self.in_shell(&program), Some(Script { name, body: heredoc.body.clone() })))
            }
            RunCommand::Script(heredoc) => Ok((self.in_shell(&heredoc.body), None)),
        }
    }

    fn mounts(&self, texts: &[String]) -> Result<Vec<Mount>, PlanFault> {
        let graph = self.sources.graph;
        let namespace = graph.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
        let context = MountContext {
            workdir: self.workdir(),
            cache_namespace: namespace.map_or("", String::as_str),
            expand: &|word| self.declared.scope.expand(word),
            resolve: &|from, target| self.mount_source(from, target),
        };
        mount::evaluate(texts, &context)
    }

    fn mount_source(&self, from: &str, target: &str) -> Resolved {
        let origin = self.sources.graph.named_origin(from)?;
        match self.sources.source(&origin) {
            Some(source) => Ok((origin, source)),
            None => Err(PlanFault::MountFromLater { from: from.to_owned(), target: target.to_owned() }),
        }
    }

    /// ENV and ARG, and where the first agent is.
    fn environment(&self, mounts: &[Mount]) -> Vec<(String, String)> {
        let mut env = self.declared.scope.variables().to_vec();
        let agent = mounts.iter().find_map(|mount| match mount {
            Mount::Ssh { target, .. } => Some(target),
            _ => None,
        });
        if let Some(target) = agent
            && self.declared.scope.get("SSH_AUTH_SOCK").is_none()
        {
            env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
        }
        env
    }

    /// `|N name=value … ` for the ARGs so far, each once.
    fn noted_arguments(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for argument in &self.declared.arguments {
            if !names.contains(&argument.name.as_str()) {
                names.push(&argument.name);
            }
        }
        if names.is_empty() {
            return String::new();
        }
        let noted: String = names.iter().map(|name| format!("{name}={} ", self.noted_value(name))).collect();
        format!("|{} {noted}", names.len())
    }

    /// The variable's value, else what the last ARG of that name said.
    fn noted_value(&self, name: &str) -> &str {
        let last = || self.declared.arguments.iter().rev().find(|argument| argument.name == name);
        let declared = || last().and_then(|argument| argument.value.as_deref());
        self.declared.scope.get(name).or_else(declared).unwrap_or_default()
    }
}

/// The parser let only these pass.
fn network(name: Option<&str>) -> Network {
    match name {
        Some("none") => Network::None,
        Some("host") => Network::Host,
        _ => Network::Default,
    }
}

/// What the file of a heredoc is called. It is made in an empty tree: `/x` and `../x` are `x`, and there is no
/// directory for `a/x`.
pub(super) fn file_name(name: &str) -> Result<String, PlanFault> {
    let cleaned = path::join("/", name);
    match cleaned.strip_prefix('/') {
        Some(file) if !file.is_empty() && !file.contains(['/', '\0']) => Ok(file.to_owned()),
        _ => Err(PlanFault::HeredocName(name.to_owned())),
    }
}

//! Instructions that change the configuration, and WORKDIR.
//!
//! # Source
//! BuildKit, `dockerfile2llb/convert.go`.

use crate::dockerfile::{Command, HealthcheckSpec, Kind, Pair};
use crate::image::{Empty, Healthcheck};

use super::scope::argument;
use super::stage::{Effect, StageBuilder};
use super::{Op, PlanFault, WorkdirOp, go_format, path, port, signal};

/// Build arguments that are for the builder and never become variables.
pub(super) const NEVER_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl StageBuilder<'_> {
    /// What one instruction does.
    pub(super) fn effect(&mut self, kind: &Kind) -> Result<Effect, PlanFault> {
        let created_by = match kind {
            Kind::Run(run) => return self.run(run),
            Kind::Copy(copy) => return self.copy(copy),
            Kind::Add(add) => return self.add(add),
            Kind::Workdir(path) => return self.set_workdir(path),
            Kind::OnBuild(text) => {
                self.image.config.on_build.push(text.clone());
                return Ok(Effect::default());
            }
            Kind::Arg(pairs) => self.declare(pairs)?,
            Kind::Env(pairs) => self.set_env(pairs)?,
            Kind::Label(pairs) => self.label(pairs)?,
            Kind::User(user) => self.set_user(user)?,
            Kind::Volume(paths) => self.volume(paths)?,
            Kind::Expose(words) => self.expose(words)?,
            Kind::StopSignal(word) => self.stop_signal(word)?,
            Kind::Shell(words) => self.set_shell(words),
            Kind::Cmd(command) => self.set_cmd(command),
            Kind::Entrypoint(command) => self.set_entrypoint(command),
            Kind::Healthcheck(check) => self.healthcheck(check),
            Kind::Maintainer(name) => {
                self.image.author = Some(name.clone());
                format!("MAINTAINER {name}")
            }
        };
        Ok(Effect::noted(created_by))
    }

    /// ARG: each item sees the ones before it.
    fn declare(&mut self, pairs: &[Pair]) -> Result<String, PlanFault> {
        let mut created_by = "ARG".to_owned();
        for pair in pairs {
            let value = self.argument_value(pair)?;
            created_by.push(' ');
            created_by.push_str(&pair.name);
            if let Some(value) = &value {
                created_by.push('=');
                created_by.push_str(value);
                if !NEVER_VARIABLES.contains(&pair.name.as_str()) {
                    self.declared.scope.set(&pair.name, value);
                }
            }
            self.declared.arguments.push(Pair { name: pair.name.clone(), value });
        }
        Ok(created_by)
    }

    /// The build argument, else the default, else the global value.
    fn argument_value(&self, pair: &Pair) -> Result<Option<String>, PlanFault> {
        let graph = self.sources.graph;
        let own = argument(pair, &self.declared.scope, graph.options)?;
        Ok(own.or_else(|| graph.globals.get(&pair.name).map(str::to_owned)))
    }

    fn set_env(&mut self, pairs: &[Pair]) -> Result<String, PlanFault> {
        let pairs = self.expand_pairs(pairs)?;
        for (name, value) in &pairs {
            self.declared.scope.set(name, value);
            self.image.config.set_env(name, value);
        }
        Ok(note_pairs("ENV", &pairs))
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<String, PlanFault> {
        let pairs = self.expand_pairs(pairs)?;
        let created_by = note_pairs("LABEL", &pairs);
        self.image.config.labels.extend(pairs);
        Ok(created_by)
    }

    /// Names and values; all see the variables from before the line.
    fn expand_pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>, PlanFault> {
        let scope = &self.declared.scope;
        let expand =
            |pair: &Pair| Ok((scope.expand(&pair.name)?, scope.expand(pair.value.as_deref().unwrap_or_default())?));
        pairs.iter().map(expand).collect()
    }

    fn set_user(&mut self, user: &str) -> Result<String, PlanFault> {
        self.image.config.user = self.declared.scope.expand(user)?;
        Ok(format!("USER {}", self.image.config.user))
    }

    fn volume(&mut self, paths: &[String]) -> Result<String, PlanFault> {
        let words = paths;
        let paths = self.expand_all(words)?;
        if let Some(blank) = paths.iter().position(String::is_empty) {
            return Err(PlanFault::BlankVolume(words[blank].clone()));
        }
        let created_by = format!("VOLUME {}", go_format::list(&paths));
        self.image.config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        Ok(created_by)
    }

    fn expose(&mut self, words: &[String]) -> Result<String, PlanFault> {
        let mut ports = Vec::new();
        for word in words {
            let expanded = self.declared.scope.expand_words(word)?;
            port::parse(&expanded, &mut ports).map_err(|reason| PlanFault::Port { word: word.clone(), reason })?;
        }
        let created_by = format!("EXPOSE {}", go_format::list(&ports));
        self.image.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
        Ok(created_by)
    }

    fn stop_signal(&mut self, word: &str) -> Result<String, PlanFault> {
        let signal = self.declared.scope.expand(word)?;
        if !signal::is_valid(&signal) {
            return Err(PlanFault::Signal { word: word.to_owned(), signal });
        }
        let created_by = format!("STOPSIGNAL {signal}");
        self.image.config.stop_signal = signal;
        Ok(created_by)
    }

    fn set_shell(&mut self, words: &[String]) -> String {
        self.image.config.shell = Some(words.to_vec());
        format!("SHELL {}", go_format::list(words))
    }

    fn set_cmd(&mut self, command: &Command) -> String {
        let argv = self.argv(command);
        let created_by = format!("CMD {}", go_format::quoted_list(&argv));
        self.image.config.cmd = Some(argv);
        self.image.config.args_escaped = true;
        self.cmd_set = true;
        created_by
    }

    /// A CMD that was inherited was meant for another program.
    fn set_entrypoint(&mut self, command: &Command) -> String {
        let argv = self.argv(command);
        let created_by = format!("ENTRYPOINT {}", go_format::quoted_list(&argv));
        self.image.config.entrypoint = Some(argv).filter(|argv| !argv.is_empty());
        if !self.cmd_set {
            self.image.config.cmd = None;
        }
        created_by
    }

    fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(text) => self.in_shell(text),
            Command::Exec(words) => words.clone(),
        }
    }

    fn healthcheck(&mut self, spec: &HealthcheckSpec) -> String {
        let check = match spec {
            HealthcheckSpec::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
            HealthcheckSpec::Check { command, interval, timeout, start_period, start_interval, retries } => {
                Healthcheck {
                    test: health_test(command),
                    interval: *interval,
                    timeout: *timeout,
                    start_period: *start_period,
                    start_interval: *start_interval,
                    retries: *retries,
                }
            }
        };
        let created_by = note_healthcheck(&check);
        self.image.config.healthcheck = Some(check);
        created_by
    }

    fn set_workdir(&mut self, word: &str) -> Result<Effect, PlanFault> {
        let path = path::join(self.workdir(), &self.declared.scope.expand(word)?);
        self.image.config.working_dir.clone_from(&path);
        let created_by = Some(format!("WORKDIR {path}"));
        let user = self.image.config.user.clone();
        let op = (path != "/").then_some(Op::Workdir(WorkdirOp { path, user }));
        Ok(Effect { created_by, op })
    }

    /// Expands each word to one.
    pub(super) fn expand_all(&self, words: &[String]) -> Result<Vec<String>, PlanFault> {
        words.iter().map(|word| self.declared.scope.expand(word)).collect()
    }
}

fn note_pairs(keyword: &str, pairs: &[(String, String)]) -> String {
    pairs.iter().fold(keyword.to_owned(), |note, (name, value)| format!("{note} {name}={value}"))
}

fn health_test(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
    }
}

fn note_healthcheck(check: &Healthcheck) -> String {
    let Healthcheck { test, interval, timeout, start_period, start_interval, retries } = check;
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{retries}}}",
        go_format::list(test),
        go_format::duration(*interval),
        go_format::duration(*timeout),
        go_format::duration(*start_period),
        go_format::duration(*start_interval),
    )
}

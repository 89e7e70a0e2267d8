//! One stage while its instructions are evaluated.

use crate::dockerfile::lint::Warning;
use crate::dockerfile::{Instruction, Pair, Span};
use crate::image::{ImageConfig, Platform};

use super::evaluate::Sources;
use super::graph::Node;
use super::scope::Scope;
use super::{Base, CopyOp, CopySource, HistoryEntry, Op, PlanError, Source, Stage, Step, path};

/// Where programs are looked for when a base image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage hands to those built from it, besides its configuration.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    /// ENV and ARG.
    pub(super) scope: Scope,
    /// ARGs in order, with their values.
    pub(super) arguments: Vec<Pair>,
    /// There was a WORKDIR.
    pub(super) workdir_set: bool,
}

/// How many ARGs and variables there were at one moment; later ones come behind them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) arguments: usize,
    pub(super) variables: usize,
}

impl Declared {
    fn count(&self) -> Count {
        Count { arguments: self.arguments.len(), variables: self.scope.variables().len() }
    }
}

/// One stage in the making.
pub(super) struct StageBuilder<'a> {
    /// Where files can come from.
    pub(super) sources: &'a Sources<'a>,
    /// For errors.
    pub(super) name: &'a str,
    /// Variables and ARGs so far.
    pub(super) declared: Declared,
    /// The configuration so far.
    pub(super) image: ImageConfig,
    /// CMD was set in this stage.
    pub(super) cmd_set: bool,
    /// What is bad style; instructions add to it.
    pub(super) warnings: &'a mut Vec<Warning>,
    platform: &'a Platform,
    steps: Vec<Step>,
    history: Vec<HistoryEntry>,
}

impl<'a> StageBuilder<'a> {
    /// Before the first instruction: `image` is the base's configuration, `declared` what a base
    /// stage hands over.
    pub(super) fn new(
        sources: &'a Sources<'a>,
        node: &'a Node,
        image: ImageConfig,
        declared: Option<Declared>,
        warnings: &'a mut Vec<Warning>,
    ) -> Self {
        let scope = || Scope::new(sources.graph.dockerfile.directives.escape);
        let declared =
            declared.unwrap_or_else(|| Declared { scope: scope(), arguments: Vec::new(), workdir_set: false });
        let mut builder = Self {
            sources,
            name: &node.name,
            declared,
            image,
            cmd_set: false,
            warnings,
            platform: &node.platform,
            steps: Vec::new(),
            history: Vec::new(),
        };
        builder.adopt_base();
        builder
    }

    /// The base's environment becomes variables, PATH is there, the working directory absolute.
    ///
    /// Like BuildKit this gives a variable that has both an ARG and an ENV in a base stage the
    /// ENV's value again.
    fn adopt_base(&mut self) {
        let config = &mut self.image.config;
        if self.platform.os != "windows" && config.environment().all(|(name, _)| name != "PATH") {
            config.set_env("PATH", DEFAULT_PATH);
        }
        for (name, value) in config.environment() {
            self.declared.scope.set(name, value);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = path::join("/", &config.working_dir);
        }
    }

    /// FROM of a named context with files: they are its first layer, as they are.
    pub(super) fn adopt_files(&mut self, name: &str, span: Span) {
        let op = CopyOp {
            add: None,
            from: Source::Named(name.to_owned()),
            sources: vec![CopySource::Path("/".to_owned())],
            destination: "/".to_owned(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            excludes: Vec::new(),
        };
        let title = format!("FROM {name}");
        let step = Some(self.push_step(span, &title, Op::Copy(op)));
        self.history.push(HistoryEntry { created_by: title, step });
    }

    /// Evaluates one instruction.
    pub(super) fn instruction(&mut self, instruction: &Instruction) -> Result<(), PlanError> {
        let span = instruction.span;
        let before = self.declared.count();
        self.check(instruction);
        let effect = self.effect(&instruction.kind).map_err(|fault| fault.at(span))?;
        self.check_variables(span, before);
        let step = effect.op.map(|op| self.push_step(span, &instruction.text, op));
        if let Some(created_by) = effect.created_by {
            self.history.push(HistoryEntry { created_by, step });
        }
        Ok(())
    }

    fn push_step(&mut self, span: Span, title: &str, op: Op) -> usize {
        self.steps.push(Step { span, title: title.to_owned(), op });
        self.steps.len() - 1
    }

    /// After the last instruction.
    pub(super) fn finish(self, base: Base) -> (Stage, Declared) {
        let stage = Stage {
            name: self.name.to_owned(),
            base,
            platform: self.platform.clone(),
            steps: self.steps,
            config: self.image,
            history: self.history,
        };
        (stage, self.declared)
    }

    /// The working directory, absolute.
    pub(super) fn workdir(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            set => set,
        }
    }

    /// SHELL and `text` behind it.
    pub(super) fn in_shell(&self, text: &str) -> Vec<String> {
        let mut argv = match &self.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        argv.push(text.to_owned());
        argv
    }
}

/// What an instruction does besides changing the configuration.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// Its history entry, if it leaves one.
    pub(super) created_by: Option<String>,
    /// Its layer, if it makes one.
    pub(super) op: Option<Op>,
}

impl Effect {
    /// A history entry alone.
    pub(super) fn noted(created_by: String) -> Self {
        Self { created_by: Some(created_by), op: None }
    }
}

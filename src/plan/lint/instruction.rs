//! Rules about single instructions, with the variables and the configuration at that moment.

use crate::dockerfile::lint::rule::{
    EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, JSON_ARGS_RECOMMENDED, UNDEFINED_VAR, WORKDIR_RELATIVE_PATH,
};
use crate::dockerfile::lint::{Warning, keyword};
use crate::dockerfile::{Command, Instruction, Kind, Span, suggestion};
use crate::plan::error::did_you_mean;
use crate::plan::instruction::NEVER_VARIABLES;
use crate::plan::stage::{Count, StageBuilder};

impl StageBuilder<'_> {
    /// Checks an instruction before it has its effect. A word that cannot be expanded is left to it.
    pub(in crate::plan) fn check(&mut self, instruction: &Instruction) {
        let span = instruction.span;
        match &instruction.kind {
            Kind::Cmd(Command::Shell(_)) | Kind::Entrypoint(Command::Shell(_)) => self.check_shell_form(instruction),
            Kind::Workdir(word) => self.check_workdir(word, span),
            Kind::Expose(words) => {
                let ports = words.iter().filter_map(|word| self.declared.scope.expand_words(word).ok()).flatten();
                let found: Vec<Warning> = ports.flat_map(|port| check_port(&port, span)).collect();
                self.warnings.extend(found);
            }
            _ => {}
        }
    }

    /// Checks the variables that an instruction asked for, after its effect; what it declares
    /// itself does not count, only what was there `before`.
    pub(in crate::plan) fn check_variables(&mut self, span: Span, before: Count) {
        let declared = self.declared.arguments.iter().take(before.arguments);
        let known = self.declared.scope.variables().iter().take(before.variables).map(|(name, _)| name.as_str());
        for name in self.declared.scope.take_unset() {
            let is_declared = declared.clone().any(|argument| argument.name == name);
            if is_declared || NEVER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let suggestion = suggestion::nearest(&name, known.clone()).map(|word| format!("${word}"));
            let warning = Warning::new(&UNDEFINED_VAR, &[&name, &did_you_mean(&suggestion)], span);
            self.warnings.push(warning.at(&name));
        }
    }

    /// Whoever sets SHELL means to use it.
    fn check_shell_form(&mut self, instruction: &Instruction) {
        if self.image.config.shell.as_ref().is_none_or(Vec::is_empty) {
            let word = keyword(instruction);
            self.warnings.push(Warning::new(&JSON_ARGS_RECOMMENDED, &[word], instruction.span).at(word));
        }
    }

    /// Only the first WORKDIR: those after it depend on it, not on the base image.
    fn check_workdir(&mut self, word: &str, span: Span) {
        let first = !std::mem::replace(&mut self.declared.workdir_set, true);
        let Ok(path) = self.declared.scope.expand(word) else { return };
        if first && !path.starts_with('/') {
            self.warnings.push(Warning::new(&WORKDIR_RELATIVE_PATH, &[&format!("{path:?}")], span).at(word));
        }
    }
}

fn check_port(port: &str, span: Span) -> Vec<Warning> {
    let (outside, container) = port.rsplit_once(':').unwrap_or(("", port));
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    let casing = protocol != protocol.to_lowercase();
    let format = !outside.trim_matches(':').is_empty();
    let found = [(casing, &EXPOSE_PROTO_CASING), (format, &EXPOSE_INVALID_FORMAT)];
    found.into_iter().filter(|(wrong, _)| *wrong).map(|(_, rule)| Warning::new(rule, &[port], span).at(port)).collect()
}

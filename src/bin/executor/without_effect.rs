//! Flags of Kaniko's that have nothing to do here: taken, so that pipelines work as they are.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::command_line::values::boolean;

/// A flag that is accepted, and why it does nothing.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    variable: Option<&'static str>,
    kind: Kind,
    pub(crate) why: &'static str,
}

enum Kind {
    /// A boolean with Kaniko's default, which is what happens here; only the other value is worth a word.
    Switch(bool),
    Text,
}

/// All of them, in the order of their names.
pub(crate) const FLAGS: [Flag; 6] = [
    text("azure-container-registry-config", "credentials come from Docker's config.json, its helpers included"),
    switch(
        "compressed-caching",
        true,
        "layers are compressed once, on their way to the disk, and never kept in memory",
    ),
    switch("force-build-metadata", false, "instructions without files are always part of the keys and the history"),
    Flag {
        variable: Some("KANIKO_PRE_CLEANUP"),
        ..switch(
            "pre-cleanup",
            false,
            "in place, the root is always wiped before the first RUN; elsewhere it is not used",
        )
    },
    switch("skip-unused-stages", false, "only the stages that the target needs are ever built"),
    switch("use-new-run", false, "what did not change is never read again, and every change is found"),
];

const fn switch(name: &'static str, default: bool, why: &'static str) -> Flag {
    Flag { name, variable: None, kind: Kind::Switch(default), why }
}

const fn text(name: &'static str, why: &'static str) -> Flag {
    Flag { name, variable: None, kind: Kind::Text, why }
}

impl Flag {
    fn arg(&self) -> Arg {
        let help = format!("Without effect: {}.", self.why);
        let arg =
            Arg::new(self.name).long(self.name).help(help).help_heading("Without effect").action(ArgAction::Append);
        let arg = match self.variable {
            Some(variable) => arg.env(variable),
            None => arg,
        };
        match self.kind {
            Kind::Switch(_) => arg.value_parser(boolean()).value_name("BOOL"),
            Kind::Text => arg.value_name("TEXT"),
        }
    }

    fn asks_for_something(&self, matches: &ArgMatches) -> bool {
        match self.kind {
            Kind::Switch(default) => matches.get_many::<bool>(self.name).and_then(Iterator::last) == Some(&!default),
            Kind::Text => matches.contains_id(self.name),
        }
    }
}

/// What is to be said about the flags that were given.
#[derive(Debug, Default)]
pub(crate) struct WithoutEffect {
    /// One line per flag.
    pub(crate) warnings: Vec<String>,
}

impl clap::Args for WithoutEffect {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(Flag::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for WithoutEffect {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = FLAGS.iter().filter(|flag| flag.asks_for_something(matches));
        let warnings = given.map(|flag| format!("--{} has no effect: {}", flag.name, flag.why)).collect();
        Ok(Self { warnings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

//! Groups of flags.

use std::ffi::OsStr;

use clap::{ArgAction, Args, ValueEnum};

use super::values::{KeyValue, RegistryMap, boolean, parse_boolean, parse_key_value, parse_registry_map};

/// Booleans are `--flag`, `--flag=true` or `--flag=false`, never `--flag true` (pflag's rule,
/// which pipelines rely on).
pub(crate) fn with_booleans(command: clap::Command) -> clap::Command {
    let is_boolean =
        |arg: &clap::Arg| arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "BOOL"));
    command.mut_args(|arg| match is_boolean(&arg) {
        true => without_empty_variable(arg.num_args(0..=1).require_equals(true).default_missing_value("true")),
        false => arg,
    })
}

/// Variables that Kaniko takes for not set where they are neither true nor false.
pub(crate) const LENIENT_VARIABLES: [&str; 3] = ["KANIKO_CLEANUP", "KANIKO_PRE_CLEANUP", "KANIKO_PRESERVE_CONTEXT"];

/// A variable that is set to nothing is not set.
fn without_empty_variable(arg: clap::Arg) -> clap::Arg {
    let says_nothing = arg.get_env().is_some_and(|name| {
        let is_lenient = LENIENT_VARIABLES.iter().any(|lenient| name == *lenient);
        let means_nothing = |value: &OsStr| value.to_str().is_none_or(|value| parse_boolean(value).is_err());
        std::env::var_os(name).is_some_and(|value| value.is_empty() || is_lenient && means_nothing(&value))
    });
    if says_nothing { arg.env(clap::builder::Resettable::Reset) } else { arg }
}

/// How registries are reached for pulling.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct PullFlags {
    /// Pull base images over plain HTTP.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) insecure_pull: bool,
    /// Registry that is reached over plain HTTP. Repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
    /// Do not verify TLS certificates when pulling.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) skip_tls_verify_pull: bool,
    /// Registry whose TLS certificate is not verified. Repeatable.
    #[arg(long, value_name = "HOST")]
    pub(crate) skip_tls_verify_registry: Vec<String>,
    /// Certificate authority of a registry: HOST=FILE. Repeatable.
    #[arg(long, value_name = "HOST=FILE", value_parser = parse_key_value)]
    pub(crate) registry_certificate: Vec<KeyValue>,
    /// Client certificate for a registry: HOST=CERTIFICATE,KEY. Repeatable.
    #[arg(long, value_name = "HOST=FILE,FILE", value_parser = parse_key_value)]
    pub(crate) registry_client_cert: Vec<KeyValue>,
    /// Registry that is asked before another when pulling: HOST=OTHER[/PREFIX]. Repeatable; the
    /// variable KANIKO_REGISTRY_MAP adds to it, several between semicolons.
    #[arg(long, value_name = "HOST=HOST", value_parser = parse_registry_map)]
    pub(crate) registry_map: Vec<RegistryMap>,
    /// Mirror of Docker Hub that is asked before it: HOST[/PREFIX]. Repeatable; the variable
    /// KANIKO_REGISTRY_MIRROR adds to it.
    #[arg(long, value_name = "HOST")]
    pub(crate) registry_mirror: Vec<String>,
    /// Do not ask a registry itself when none of its maps and mirrors delivers.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) skip_default_registry_fallback: bool,
}

impl PullFlags {
    /// Takes names with nothing in their place for names that are not there.
    pub(crate) fn drop_empty(&mut self) {
        let lists = [&mut self.insecure_registry, &mut self.skip_tls_verify_registry, &mut self.registry_mirror];
        lists.into_iter().for_each(|list| list.retain(|text| !text.is_empty()));
    }
}

/// What is said, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub(crate) struct LogFlags {
    /// trace, debug, info, warn, error, fatal or panic.
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    pub(crate) verbosity: yadokari::report::Verbosity,
    /// color (a live display on a terminal, else plain lines), text or json.
    #[arg(long, value_enum, default_value_t = LogFormat::Color, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Begin the lines of text and color with the time of day, not with the seconds since the start.
    #[arg(long, value_parser = boolean(), default_value = "false", value_name = "BOOL", action = ArgAction::Set)]
    pub(crate) log_timestamp: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Color,
    Text,
    Json,
}

//! Which display there is.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::Arc;

use indicatif::ProgressDrawTarget;
use yadokari::report::{Json, Live, Observer, Plain, Verbosity};

use super::flags::{LogFlags, LogFormat};
use super::settings::Environment;

/// A live display on a terminal, plain lines elsewhere; colours only on a terminal, and not where
/// `NO_COLOR` is set.
pub(crate) fn observer(flags: &LogFlags, env: Environment<'_>) -> Arc<dyn Observer> {
    let is_terminal = stderr().is_terminal() && env("TERM").is_none_or(|term| term != "dumb");
    let colour = is_terminal && flags.log_format == LogFormat::Color && env("NO_COLOR").is_none_or(|v| v.is_empty());
    match flags.log_format {
        LogFormat::Json => Arc::new(Json::new(stderr(), flags.verbosity)),
        LogFormat::Color if colour && flags.verbosity == Verbosity::Info && !flags.log_timestamp => {
            Arc::new(Live::new(ProgressDrawTarget::stderr(), flags.verbosity))
        }
        LogFormat::Color | LogFormat::Text => {
            let plain = Plain::new(stderr(), stdout(), colour, flags.verbosity);
            Arc::new(plain.with_timestamps(flags.log_timestamp))
        }
    }
}

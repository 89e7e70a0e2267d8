//! HEALTHCHECK.

use super::arguments;
use super::ast::{Command, HealthcheckSpec};
use super::diagnostic::Fault;
use super::duration;
use super::flag::{FlagKind, Flags};

/// Nanoseconds that an interval has at least, if it is not zero.
const MIN_INTERVAL: i64 = 1_000_000;

/// Parses the arguments of HEALTHCHECK.
pub(super) fn parse(flags: &[String], rest: &str) -> Result<HealthcheckSpec, Fault> {
    if rest.is_empty() {
        return Err(Fault::new("HEALTHCHECK requires at least one argument"));
    }
    let (kind, rest, exec) = split(rest)?;
    match kind.to_uppercase().as_str() {
        "NONE" if rest.is_empty() || exec.as_ref().is_some_and(Vec::is_empty) => Ok(HealthcheckSpec::None),
        "NONE" => Err(Fault::at("HEALTHCHECK NONE takes no arguments", rest)),
        "CMD" => check(flags, rest, exec),
        other => {
            Flags::parse(flags, FLAGS)?;
            Err(Fault::at(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"), kind))
        }
    }
}

/// The kind, what follows it, and that as a JSON array, if it is one. An array of something else is
/// wrong whatever the kind is.
pub(super) fn split(rest: &str) -> Result<(&str, &str, Option<Vec<String>>), Fault> {
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    Ok((kind, rest, arguments::json(rest)?))
}

const FLAGS: &[(&str, FlagKind)] = &[
    ("interval", FlagKind::Value),
    ("timeout", FlagKind::Value),
    ("start-period", FlagKind::Value),
    ("start-interval", FlagKind::Value),
    ("retries", FlagKind::Value),
];

fn check(flags: &[String], rest: &str, exec: Option<Vec<String>>) -> Result<HealthcheckSpec, Fault> {
    let flags = Flags::parse(flags, FLAGS)?;
    let command = match exec {
        Some(words) if !words.is_empty() => Command::Exec(words),
        None if !rest.is_empty() => Command::Shell(rest.to_owned()),
        _ => return Err(Fault::new("Missing command after HEALTHCHECK CMD")),
    };
    Ok(HealthcheckSpec::Check {
        command,
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn interval(flags: &Flags, name: &str) -> Result<i64, Fault> {
    let Some(text) = flags.value(name) else { return Ok(0) };
    let flag = format!("--{name}");
    match duration::parse(&text).map_err(|message| Fault::at(message, &flag))? {
        0 => Ok(0),
        nanoseconds if nanoseconds < MIN_INTERVAL => {
            Err(Fault::at(format!("Interval {name:?} cannot be less than 1ms"), &flag))
        }
        nanoseconds => Ok(nanoseconds),
    }
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let Some(text) = flags.value("retries") else { return Ok(0) };
    match text.parse::<i32>() {
        Ok(number) if number < 0 => Err(Fault::at(format!("--retries cannot be negative ({number})"), "--retries")),
        Ok(number) => Ok(i64::from(number)),
        Err(_) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
            let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let why = if number { "value out of range" } else { "invalid syntax" };
            Err(Fault::at(format!("strconv.ParseInt: parsing {text:?}: {why}"), "--retries"))
        }
    }
}
